"""Clean and average one subject's runs, select voxels on the training movies, z-score, and report data quality."""

from mind_animator.artefacts.arrays import LastClips, write_arrays
from mind_animator.artefacts.tables import write_rows
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset, preprocess
from mind_animator.datasets.averages import read_average
from mind_animator.errors import run_command
from workflow_scripts.stages import Inputs, Output, Param, Wildcard, command


def preprocess_subject(
    *,
    dataset: Param[DatasetConfig],
    subject: Wildcard[str],
    settings: Param[FmriConfig],
    averages: Inputs = (),
    responses: Output,
    maps: Output,
    voxels: Output,
    quality: Output,
) -> None:
    """
    Parameters
    ----------
    dataset
        Settings of the data set (config.dataset).
    subject
        Name of the subject.
    settings
        Settings of the preprocessing (config.fmri).
    averages
        Files of average_runs; for other segments, the runs themselves are read.
    responses
        Responses of the selected voxels per clip (HDF5).
    maps
        Reliability, noise ceiling and tSNR of every voxel (HDF5).
    voxels
        Number of voxels and of selected voxels per ROI (TSV).
    quality
        Quality of each run (TSV).
    """
    data = open_dataset(dataset)
    data.check_subject(subject)
    data.scratch = responses.absolute().parent
    data.scratch.mkdir(parents=True, exist_ok=True)
    segments = {segment.id: segment for segment in data.segments}
    kept = {average.segment.id: average for average in (read_average(path, segments) for path in averages)}
    made = preprocess.preprocess_subject(data, subject, settings, kept)
    if missing := int((~made.present).sum()):
        print(f"subject {subject}: {missing} of {len(made.clips)} clips have no response and are excluded")
    by_voxel = {name: made.maps[name][made.chosen] for name in ("t", "reliability", "noise_ceiling")}
    about = {"subject": subject}
    write_arrays(
        responses,
        {"responses": made.responses, "present": made.present}
        | {name: LastClips(half) for name, half in made.halves.items()},
        made.clips,
        about | {"settings": settings.model_dump_json(), "constant_voxels": made.constant_voxels},
        {"voxel_index": made.chosen, "roi": made.roi[made.chosen].tolist(), **by_voxel},
    )
    write_arrays(maps, {}, None, about, {**made.maps, "roi": made.roi.tolist()})
    write_rows(voxels, [row | about for row in preprocess.describe_rois(made.roi, made.maps)])
    write_rows(quality, made.quality)


main = command(preprocess_subject)

if __name__ == "__main__":
    run_command(main)
