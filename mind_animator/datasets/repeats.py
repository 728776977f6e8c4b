"""Individual repeats of the training clips of a subject, scaled in the same way as the averaged responses."""

from typing import TYPE_CHECKING

import numpy as np

from mind_animator.datasets.base import Dataset
from mind_animator.errors import InputError
from mind_animator.fmri.clean import CleanedRun
from mind_animator.fmri.reliability import average_repeats
from mind_animator.fmri.scale import apply_scale, fit_scale

if TYPE_CHECKING:
    from mind_animator.config.fmri import FmriConfig


def training_repeats(
    dataset: Dataset, subject: str, settings: "FmriConfig", voxels: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Read the runs of the training segments again and return every repeat.

    Parameters
    ----------
    voxels : ndarray of int
        Selected voxels, ascending.

    Returns
    -------
    clips : list of str
        Training clips.
    repeats : ndarray of shape (clip, repeat, voxel), float32
        Scaled by the mean and standard deviation, over the training clips, of the mean over repeats; NaN where
        a clip has fewer repeats than others.

    Raises
    ------
    InputError
        If no training clip has repeats.
    """
    clips: list[str] = []
    segments: list[np.ndarray] = []
    for segment in dataset.segments:
        if segment.split != "train":
            continue
        runs = (
            dataset.runs(subject, segment.id, settings) if dataset.response_files(subject, segment.id) else ()
        )
        values = [
            run.values.only(voxels) if isinstance(run.values, CleanedRun) else run.values.T[voxels].T
            for run in runs
        ]
        empty = np.full((1, segment.n_clips, len(voxels)), np.nan, np.float32)
        own = [average_repeats([repeat], halves=False).mean for repeat in values]
        segments.append(np.stack(own) if own else empty)
        clips += segment.clips
    count = max((len(own) for own in segments), default=0)
    if count < 2:
        raise InputError(f"Expected repeats of training clips of subject {subject}, got each clip once.")
    padded = [
        np.pad(own, ((0, count - len(own)), (0, 0), (0, 0)), constant_values=np.nan) for own in segments
    ]
    repeats = np.concatenate([own.swapaxes(0, 1) for own in padded])
    known = np.isfinite(repeats[..., :1]).sum(axis=1)
    mean = np.nansum(repeats, axis=1) / np.where(known > 0, known, np.nan)
    scale = fit_scale(mean.astype(np.float32))
    return clips, np.stack([apply_scale(repeats[:, number], *scale) for number in range(count)], axis=1)
