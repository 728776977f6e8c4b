"""Assignment of volumes to clips, in which the haemodynamic lag is applied once."""

import numpy as np


def volumes_of_clips(
    onsets: np.ndarray, *, n_volumes: int, repetition_time: float, recording_start: float, lag: float
) -> np.ndarray:
    """Index of the volume whose acquisition starts ``lag`` seconds after each clip's onset::

        index = round((onset + lag - recording_start) / repetition_time)

    Parameters
    ----------
    onsets : ndarray (clip,)
        Onsets of the clips, seconds since the start of the stimulus.
    n_volumes : int
        Number of volumes in the run.
    repetition_time : float
        Seconds between volumes.
    recording_start : float
        Start of the acquisition of the first volume, seconds since the start of the stimulus.
    lag : float
        Haemodynamic shift, seconds.

    Returns
    -------
    ndarray (clip,) int64
        Nearest volume; the earlier one in case of a tie.

    Raises
    ------
    ValueError
        If the volume of a clip is outside the run.
    """
    if repetition_time <= 0:
        raise ValueError(f"Expected a positive repetition time, got {repetition_time}.")
    positions = (np.asarray(onsets, np.float64) + lag - recording_start) / repetition_time
    indices = np.ceil(positions - 0.5 - 1e-9).astype(np.int64)
    outside = (indices < 0) | (indices >= n_volumes)
    if outside.any():
        clip = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"Expected volumes 0..{n_volumes - 1} for {len(indices)} clips at a lag of {lag:g} s, "
            f"got volume {indices[clip]} for clip {clip}."
        )
    return indices


def clip_weights(
    begins: np.ndarray,
    length: float,
    *,
    first: float,
    repetition_time: float,
    present: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the volumes in the average that gives the response to each clip.

    Volume t is measured at ``first + t TR`` and represents TR seconds around that time. The time window of a clip is
    extended around its middle to at least TR, and the weight of every volume is its overlap with this window in
    seconds. A small correction, linear in time, then moves the mean time of the weighted volumes to the middle of the
    clip, so that the phase between clips and volumes does not shift the response. For clips as long as a volume this is
    linear interpolation; if they also start with a volume, it selects one volume.

    Parameters
    ----------
    begins : ndarray (clip,)
        Start of each clip with the lag added, seconds from the start of the acquisition.
    length : float
        Length of a clip, seconds.
    first : float
        Time of the first volume, seconds from the start of the acquisition.
    repetition_time : float
        Seconds between volumes.
    present : ndarray (volume,) bool
        Volumes that are not missing.

    Returns
    -------
    weights : ndarray (clip, volume) float64
        Each row sums to 1, or to 0 if the clip is not covered.
    covered : ndarray (clip,) bool
        Whether the available volumes cover at least half of the clip.
    """
    if repetition_time <= 0 or length <= 0:
        raise ValueError(
            f"Expected a positive repetition time and length, got {repetition_time} and {length}."
        )
    times = first + repetition_time * np.arange(len(present))
    middles = np.asarray(begins, np.float64)[:, None] + length / 2
    span = max(length, repetition_time)
    late = np.minimum(middles + span / 2, times + repetition_time / 2)
    early = np.maximum(middles - span / 2, times - repetition_time / 2)
    weights = np.where(late - early > 1e-9 * span, late - early, 0.0)
    whole = weights.sum(axis=1) > span * (1 - 1e-6)
    whole &= ~(weights[:, ~present] > 0).any(axis=1)
    weights[:, ~present] = 0
    total = weights.sum(axis=1)
    covered = total >= span / 2
    weights[~covered] = 0
    weights /= np.where(covered, total, 1)[:, None]
    offsets = times - middles
    mean = (weights * offsets).sum(axis=1, keepdims=True)
    spread = (weights * (offsets - mean) ** 2).sum(axis=1, keepdims=True)
    tilt = np.divide(-mean, spread, out=np.zeros_like(mean), where=(spread > 1e-9) & whole[:, None])
    return weights * (1 + tilt * (offsets - mean)), covered


def mean_over_spans(
    values: np.ndarray, repetition_time: float, begins: np.ndarray, length: float
) -> np.ndarray:
    """Responses to clips: volumes of a run averaged with `clip_weights`, where the first volume starts at 0 s.

    Parameters
    ----------
    values : ndarray (volume, voxel)
        A volume that is NaN in every voxel is missing.
    repetition_time, begins, length
        As in `clip_weights`.

    Returns
    -------
    ndarray (clip, voxel) float32
        NaN if less than half of a clip is covered.
    """
    present = np.isfinite(values).any(axis=1)
    weights, covered = clip_weights(
        begins, length, first=repetition_time / 2, repetition_time=repetition_time, present=present
    )
    means = weights[:, present].astype(np.float32) @ values[present].astype(np.float32)
    means[~covered] = np.nan
    return means
