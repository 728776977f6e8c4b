"""Extract the single repeats of the training clips of one subject, for methods that need them."""

from mind_animator.artefacts.arrays import read_whole, write_arrays
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.repeats import training_repeats
from mind_animator.errors import run_command
from workflow_scripts.stages import Input, Output, Param, Wildcard, command


def extract_repeats(
    *,
    dataset: Param[DatasetConfig],
    subject: Wildcard[str],
    settings: Param[FmriConfig],
    responses: Input,
    repeats: Output,
) -> None:
    """
    Parameters
    ----------
    dataset
        Settings of the data set.
    subject
        Name of the subject.
    settings
        Settings of preprocessing (config.fmri).
    responses
        Responses of the subject, with the selected voxels (HDF5).
    repeats
        Output: repeats (clip, repeat, voxel) of the training clips (HDF5).
    """
    opened = open_dataset(dataset)
    opened.check_subject(subject)
    voxels = read_whole(responses, ["voxel_index"])["voxel_index"]
    clips, values = training_repeats(opened, subject, settings, voxels)
    write_arrays(repeats, {"repeats": values}, clips, {"subject": subject})


main = command(extract_repeats)

if __name__ == "__main__":
    run_command(main)
