"""Clean and average the runs of one subject and one segment, so that the runs need not be kept."""

from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.averages import average_segment, write_average
from mind_animator.errors import InputError, run_command
from workflow_scripts.stages import Output, Param, Wildcard, command


def average_runs(
    *,
    dataset: Param[DatasetConfig],
    subject: Wildcard[str],
    segment: Wildcard[str],
    settings: Param[FmriConfig],
    average: Output,
) -> None:
    """
    Parameters
    ----------
    dataset
        Settings of the data set (config.dataset).
    subject
        Name of the subject.
    segment
        Id of the segment.
    settings
        Settings of the preprocessing (config.fmri).
    average
        Mean of the repeats, its halves, and the quality of each run (HDF5).
    """
    data = open_dataset(dataset)
    data.check_subject(subject)
    segments = {known.id: known for known in data.segments}
    if segment not in segments:
        raise InputError(f"Expected --segment to be one of {list(segments)}, got '{segment}'.")
    write_average(average, average_segment(data, subject, segments[segment], settings))


main = command(average_runs)

if __name__ == "__main__":
    run_command(main)
