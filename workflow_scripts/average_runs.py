"""Clean and average the runs of one subject and one segment, so that the runs need not be kept."""

import argparse
from pathlib import Path

from mind_animator.config.base import parse_settings
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.averages import average_segment, write_average
from mind_animator.errors import InputError, run_command


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="the data set's settings, JSON")
    parser.add_argument("--subject", required=True)
    parser.add_argument("--segment", required=True)
    parser.add_argument("--settings", required=True, help="the fMRI's settings, JSON")
    parser.add_argument("--output", type=Path, required=True, help="output, HDF5")
    given = parser.parse_args(arguments)
    settings = parse_settings(FmriConfig, given.settings)
    dataset = open_dataset(parse_settings(DatasetConfig, given.dataset, "--dataset"))
    dataset.check_subject(given.subject)
    segments = {segment.id: segment for segment in dataset.segments}
    if given.segment not in segments:
        raise InputError(f"Expected --segment to be of {list(segments)}, got '{given.segment}'.")
    write_average(given.output, average_segment(dataset, given.subject, segments[given.segment], settings))


if __name__ == "__main__":
    run_command(main)
