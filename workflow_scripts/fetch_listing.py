"""Fetch the files that a source of the download table lists through its own API (OSF), several at once."""

from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.archives import describe
from mind_animator.datasets.check import plan_downloads
from mind_animator.datasets.download import fetch
from mind_animator.datasets.download.listings import find_listed, list_osf
from mind_animator.errors import InputError, run_command
from workflow_scripts.stages import Param, command


def fetch_listing(
    *,
    source: str = "mind_animator",
    listing: str | None = None,
    folder: Path | None = None,
    dataset: Param[DatasetConfig] | None = None,
    only: str = "*",
    at_once: int = 3,
    show: bool = False,
) -> None:
    """
    Parameters
    ----------
    source
        Source of the download table that has a listing.
    listing
        Address of the listing, instead of that of the table.
    folder
        Folder for the files, if no data set is given.
    dataset
        Settings of a data set (config.dataset): its missing files are fetched into its folder.
    only
        Pattern of paths, e.g. '*.zip'.
    at_once
        Number of files fetched at the same time.
    show
        Only print the listing.
    """
    if dataset:
        data = open_dataset(dataset)
        data.check_before_work()
        archives = [archive for archive in plan_downloads(data).files if archive.listing]
        if not archives:
            return
        url, folder, paths = archives[0].listing, data.root, [archive.file for archive in archives]
        found = find_listed(list_osf(listing or url), paths, listing or url)
    else:
        try:
            url = listing or describe(source)["listing"]
        except KeyError:
            raise InputError(f"Expected --source to have a listing, got '{source}'.") from None
        found = [one for one in list_osf(url) if fnmatch(one.path, only)]
        paths = [one.path for one in found]
        if not folder:
            raise InputError("Expected --folder (or --dataset), got neither.")
    if not found:
        raise InputError(f"Expected files like '{only}' at {url}, found none.")
    for listed in found:
        if ".." in PurePosixPath(listed.path).parts or PurePosixPath(listed.path).is_absolute():
            raise InputError(f"Expected paths inside the folder from {url}, got '{listed.path}'.")
        print(f"{listed.size or '?'}\t{listed.sha256 or 'no sha256'}\t{listed.path}")
    if show:
        return
    with ThreadPoolExecutor(at_once) as pool:
        jobs = [
            pool.submit(fetch, [one.url], folder, path, size=one.size, sha256=one.sha256)
            for one, path in zip(found, paths, strict=True)
        ]
        for job in jobs:
            job.result()


main = command(fetch_listing)

if __name__ == "__main__":
    run_command(main)
