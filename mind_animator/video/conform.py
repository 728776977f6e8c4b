"""One size and number of frames for every video: the only resampling between files and scores."""

import cv2
import numpy as np


def conform(
    frames: np.ndarray,
    *,
    size: int,
    count: int,
    times: np.ndarray | None = None,
    duration: float | None = None,
) -> np.ndarray:
    """Resample a clip to ``count`` frames of ``size`` x ``size`` pixels.

    Frame k of the result is the frame on show at the middle of the k-th of ``count`` equal spans of the
    clip, at time ``(k + 1/2) / count * duration``, never a blend of two. Space
    is resampled by area averaging where it shrinks and by cubic interpolation where it grows; the aspect
    ratio is not kept (as in the published evaluation). A clip that has the size and the count already comes
    back as it is.

    Parameters
    ----------
    frames : array of shape (frame, height, width, 3), uint8
    size, count : int
    times : array of shape (frame + 1,), optional
        Start of every frame and the end of the last, in seconds; equally long frames by default.
    duration : float, optional
        Length in seconds that the clip should cover. By default its own length (a file is assumed to span the
        whole clip, regardless of its nominal frame rate). Where the clip is shorter its last frame stays on show, where it
        is longer the rest is left out.

    Returns
    -------
    array of shape (count, size, size, 3), uint8

    Raises
    ------
    ValueError
        If the frames are not such an array, there is none, or the times do not fit them.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(
            f"Expected uint8 frames (frame, height, width, 3), got {frames.dtype} {frames.shape}."
        )
    if 0 in frames.shape:
        raise ValueError(f"Expected at least one frame and one pixel, got {frames.shape}.")
    bounds = np.arange(len(frames) + 1, dtype=float) if times is None else np.asarray(times, dtype=float)
    if bounds.shape != (len(frames) + 1,) or np.any(np.diff(bounds) <= 0) or not np.isfinite(bounds).all():
        raise ValueError(f"Expected {len(frames) + 1} rising times for {len(frames)} frames, got {bounds}.")
    span = bounds[-1] - bounds[0] if duration is None else duration
    middles = bounds[0] + (np.arange(count) + 0.5) / count * span
    shown = np.clip(np.searchsorted(bounds, middles, side="right") - 1, 0, len(frames) - 1)
    picked = frames if np.array_equal(shown, np.arange(len(frames))) else frames[shown]
    if picked.shape[1:3] == (size, size):
        return picked
    shrinks = size <= min(picked.shape[1:3])
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.stack([cv2.resize(frame, (size, size), interpolation=method) for frame in picked])
