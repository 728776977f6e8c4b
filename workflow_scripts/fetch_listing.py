"""Fetch what a source of the download table lists by its own API (OSF), several files at once."""

import argparse
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from mind_animator.config.base import parse_settings
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.archives import describe
from mind_animator.datasets.check import plan_downloads
from mind_animator.datasets.download import fetch
from mind_animator.datasets.download.listings import find_listed, list_osf
from mind_animator.errors import InputError, run_command


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="mind_animator", help="a source of the table that has a listing")
    parser.add_argument("--listing", help="address of the listing, instead of the table's")
    parser.add_argument("--folder", type=Path, help="where the files land")
    parser.add_argument("--dataset", help="a data set's settings, JSON: what it lacks, into its folder")
    parser.add_argument("--only", default="*", help="pattern of paths, e.g. '*.zip'")
    parser.add_argument("--at-once", type=int, default=3, help="files at a time")
    parser.add_argument("--list", action="store_true", help="only tell what there is")
    given = parser.parse_args(arguments)

    if given.dataset:
        dataset = open_dataset(parse_settings(DatasetConfig, given.dataset, "--dataset"))
        dataset.check_before_work()
        archives = [archive for archive in plan_downloads(dataset).files if archive.listing]
        if not archives:
            return
        url, folder, places = archives[0].listing, dataset.root, [archive.file for archive in archives]
        found = find_listed(list_osf(given.listing or url), places, given.listing or url)
    else:
        try:
            url = given.listing or describe(given.source)["listing"]
        except KeyError:
            raise InputError(f"Expected --source to have a listing, got '{given.source}'.") from None
        folder, found = given.folder, [one for one in list_osf(url) if fnmatch(one.path, given.only)]
        places = [one.path for one in found]
        if not folder:
            raise InputError("Expected --folder (or --dataset), got neither.")
    if not found:
        raise InputError(f"Expected files like '{given.only}' at {url}, found none.")
    for listed in found:
        if ".." in PurePosixPath(listed.path).parts or PurePosixPath(listed.path).is_absolute():
            raise InputError(f"Expected paths inside the folder from {url}, got '{listed.path}'.")
        print(f"{listed.size or '?'}\t{listed.sha256 or 'no sha256'}\t{listed.path}")
    if given.list:
        return
    with ThreadPoolExecutor(given.at_once) as pool:
        jobs = [
            pool.submit(fetch, [one.url], folder, place, size=one.size, sha256=one.sha256)
            for one, place in zip(found, places, strict=True)
        ]
        for job in jobs:
            job.result()


if __name__ == "__main__":
    run_command(main)
