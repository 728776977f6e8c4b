"""Clean and average one subject's runs, select voxels on the training movies, z-score, and report data quality."""

import argparse
from pathlib import Path

from mind_animator.artefacts.arrays import LastClips, write_arrays
from mind_animator.artefacts.tables import write_rows
from mind_animator.config.base import parse_settings
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.averages import read_average
from mind_animator.datasets.preprocess import describe_rois, preprocess_subject
from mind_animator.errors import run_command


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="settings of the data set, JSON")
    parser.add_argument("--subject", required=True, help="name of the subject")
    parser.add_argument("--settings", required=True, help="settings of fmri, JSON")
    parser.add_argument(
        "--averages", type=Path, nargs="*", default=[],
        help="files of average_runs; the runs of other segments are read (default: none)",
    )  # fmt: skip
    parser.add_argument("--responses", type=Path, required=True, help="output, HDF5: responses by clip")
    parser.add_argument("--maps", type=Path, required=True, help="output, HDF5: values of every voxel")
    parser.add_argument("--voxels", type=Path, required=True, help="output, TSV: chosen voxels by area")
    parser.add_argument("--quality", type=Path, required=True, help="output, TSV: one row per run")
    given = parser.parse_args(arguments)
    settings = parse_settings(FmriConfig, given.settings)
    dataset = open_dataset(parse_settings(DatasetConfig, given.dataset, "--dataset"))
    dataset.check_subject(given.subject)
    dataset.scratch = given.responses.absolute().parent
    dataset.scratch.mkdir(parents=True, exist_ok=True)
    segments = {segment.id: segment for segment in dataset.segments}
    kept = {average.segment.id: average for average in (read_average(p, segments) for p in given.averages)}
    made = preprocess_subject(dataset, given.subject, settings, kept)
    if missing := int((~made.present).sum()):
        print(
            f"subject {given.subject}: {missing} of {len(made.clips)} clips have no response and are left out"
        )
    subject = {"subject": given.subject}
    by_voxel = {name: made.maps[name][made.chosen] for name in ("t", "reliability", "noise_ceiling")}
    write_arrays(
        given.responses,
        {"responses": made.responses, "present": made.present}
        | {name: LastClips(half) for name, half in made.halves.items()},
        made.clips,
        subject | {"settings": settings.model_dump_json(), "constant_voxels": made.constant_voxels},
        {"voxel_index": made.chosen, "roi": made.roi[made.chosen].tolist(), **by_voxel},
    )
    write_arrays(given.maps, {}, None, subject, {**made.maps, "roi": made.roi.tolist()})
    write_rows(given.voxels, [row | subject for row in describe_rois(made.roi, made.maps)])
    write_rows(given.quality, made.quality)


if __name__ == "__main__":
    run_command(main)
