"""Which volume stands for which clip: the haemodynamic lag, applied once and by selection alone."""

import numpy as np


def volumes_of_clips(
    onsets: np.ndarray, *, n_volumes: int, repetition_time: float, recording_start: float, lag: float
) -> np.ndarray:
    """Index of the volume whose acquisition starts ``lag`` seconds after each clip's onset::

        index = round((onset + lag - recording_start) / repetition_time)

    Parameters
    ----------
    onsets : ndarray (clip,)
        Onsets of the clips, seconds since the stimulus began.
    n_volumes : int
        Volumes in the run.
    repetition_time : float
        Seconds between volumes.
    recording_start : float
        Start of the first volume's acquisition, seconds since the stimulus began.
    lag : float
        Haemodynamic shift, seconds.

    Returns
    -------
    ndarray (clip,) int64
        Nearest volume; a tie goes to the earlier one.

    Raises
    ------
    ValueError
        If a clip's volume lies outside the run.
    """
    if repetition_time <= 0:
        raise ValueError(f"Expected a positive repetition time, got {repetition_time}.")
    places = (np.asarray(onsets, np.float64) + lag - recording_start) / repetition_time
    indices = np.ceil(places - 0.5 - 1e-9).astype(np.int64)
    outside = (indices < 0) | (indices >= n_volumes)
    if outside.any():
        clip = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"Expected volumes 0..{n_volumes - 1} for {len(indices)} clips at a lag of {lag:g} s, "
            f"got volume {indices[clip]} for clip {clip}."
        )
    return indices
