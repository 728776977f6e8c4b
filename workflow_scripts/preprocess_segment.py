"""Align, clean and average the runs of one subject and one segment."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.config.base import parse_settings
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.errors import InputError, run_command
from mind_animator.fmri.reliability import average_repeats


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
    segment = segments[given.segment]

    told: list[dict[str, object]] = []
    tsnr: list[np.ndarray] = []

    def values() -> Iterator[np.ndarray]:
        total = len(dataset.response_files(given.subject, segment.id))
        runs = dataset.runs(given.subject, segment.id, settings)
        for run in tqdm(runs, desc=segment.id, total=total, unit="run", mininterval=5):
            if len(run.values) != segment.n_clips:
                raise InputError(
                    f"Expected {segment.n_clips} clips in {run.name} (subject {given.subject}), "
                    f"got {len(run.values)}."
                )
            present = np.isfinite(run.values[:, 0])
            flat = np.flatnonzero(run.values[np.argmax(present)] == 0)  # only these can be 0 throughout
            row: dict[str, object] = {
                "run": run.name,
                "missing_volumes": int((~present).sum()),
                "constant_voxels": int((run.values[:, flat][present] == 0).all(axis=0).sum()),
            }
            if run.tsnr is not None:
                row["median_tsnr"] = float(np.median(run.tsnr))
                tsnr.append(run.tsnr)
            told.append(row)
            yield run.values

    # halves are for noise ceilings of test clips: nothing reads those of training, 57 MB each
    average = average_repeats(values(), halves=segment.split == "test")
    arrays = {"mean": average.mean}
    if average.half_1 is not None and average.half_2 is not None:
        arrays |= {"half_1": average.half_1, "half_2": average.half_2}
    by_voxel = {"reliability": average.reliability}
    if tsnr:
        by_voxel["tsnr"] = np.mean(tsnr, axis=0, dtype=np.float32)
    attrs = {
        "subject": given.subject,
        "segment": segment.id,
        "split": segment.split,
        "n_repeats": average.n_repeats,
        "missing_clips": average.n_missing,
        "runs": json.dumps(told),
    }
    write_arrays(given.output, arrays, segment.clips, attrs, by_voxel)


if __name__ == "__main__":
    run_command(main)
