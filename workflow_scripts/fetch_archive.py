"""Fetch one archive (or file) of a data set, after checking that terms and credentials are there."""

import argparse
from pathlib import Path

from mind_animator.config.base import parse_settings
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.download import fetch
from mind_animator.errors import InputError, run_command


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="the data set's settings, JSON")
    parser.add_argument("--archive", required=True, help="name of the archive")
    parser.add_argument(
        "--output", type=Path, required=True, help="where it lands: its place in the data folder"
    )
    given = parser.parse_args(arguments)

    dataset = open_dataset(parse_settings(DatasetConfig, given.dataset, "--dataset"))
    dataset.check_before_work()
    archives = {archive.name: archive for archive in dataset.archives()}
    if given.archive not in archives:
        raise InputError(f"Expected --archive to be of {sorted(archives)}, got '{given.archive}'.")
    archive = archives[given.archive]
    if given.output != dataset.root / archive.file:
        raise InputError(f"Expected --output {dataset.root / archive.file}, got {given.output}.")
    entry = fetch(
        archive.urls,
        dataset.root,
        archive.file,
        size=archive.size,
        sha256=archive.sha256,
        anonymous=archive.anonymous,
    )
    print(f"{entry.file}: {entry.size} bytes, sha256 {entry.sha256}, checked by: {entry.checked_by}")


if __name__ == "__main__":
    run_command(main)
