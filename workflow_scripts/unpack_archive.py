"""Unpack the files of one downloaded zip that the data folder lacks."""

import argparse
from pathlib import Path

from mind_animator.config.base import parse_settings
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.download import unpack
from mind_animator.datasets.download.zips import list_members
from mind_animator.errors import InputError, run_command


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="the data set's settings, JSON")
    parser.add_argument("--archive", required=True, help="name of the archive")
    parser.add_argument("--zip", type=Path, required=True, help="the downloaded zip")
    given = parser.parse_args(arguments)

    dataset = open_dataset(parse_settings(DatasetConfig, given.dataset, "--dataset"))
    archives = {archive.name: archive for archive in dataset.archives()}
    if given.archive not in archives:
        raise InputError(f"Expected --archive to be of {sorted(archives)}, got '{given.archive}'.")
    archive = archives[given.archive]
    places = dataset.places(archive, list_members(given.zip))
    lacking = {member: place for member, place in places.items() if not (dataset.root / place).exists()}
    absent = [p for p in archive.gives if p not in places.values() and not (dataset.root / p).exists()]
    if absent:
        raise InputError(f"Expected {absent[0]} in {given.zip}, found none ({len(absent)} files missing).")
    entries = unpack(given.zip, dataset.root, lacking.get)
    print(f"{given.zip}: {len(entries)} files, {sum(entry.size for entry in entries)} bytes")


if __name__ == "__main__":
    run_command(main)
