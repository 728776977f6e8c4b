"""Responses per clip (``responses.h5``); a subject may have no response to some clips."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mind_animator.artefacts.arrays import open_arrays, read_arrays

NO_RESPONSE = "not computed: the subject has no response to this clip"


def read_responses(
    path: Path | str, clips: Sequence[str] | None = None
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read responses and which clips have one.

    Parameters
    ----------
    path : path
        HDF5 file with ``responses`` (clip, voxel), ``clip`` and, if clips may be missing, ``present`` (clip,).
    clips : sequence of str, optional
        Clips to read, in this order; all by default.

    Returns
    -------
    clips : list of str
    responses : ndarray (clip, voxel) float32
        NaN in every voxel of a missing clip.
    present : ndarray (clip,) bool

    Raises
    ------
    InputError
        If a clip is not in the file.
    """
    with open_arrays(path) as file:
        marked = "present" in file
    clips, arrays = read_arrays(path, ["responses", *(["present"] if marked else [])], clips)
    responses = np.asarray(arrays["responses"], np.float32)
    present = arrays["present"].astype(bool) if marked else np.ones(len(clips), bool)
    return clips, responses, present
