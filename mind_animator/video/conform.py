"""Resampling of frames: of stimuli to a square, and of every scored video to one size and number of frames."""

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

    Frame k of the result is the frame displayed at the middle of the k-th of ``count`` equal parts of the clip, at time
    ``(k + 1/2) / count * duration``; frames are never blended. Frames are downsized by area averaging and enlarged by
    cubic interpolation; the aspect ratio is not kept (as in the published evaluation). A clip that already has the
    requested size and count is returned unchanged.

    Parameters
    ----------
    frames : array of shape (frame, height, width, 3), uint8
    size, count : int
    times : array of shape (frame + 1,), optional
        Start of every frame and the end of the last, in seconds; equally long frames by default.
    duration : float, optional
        Duration in seconds that the clip should cover; by default its own duration (a file is assumed to span
        the whole clip, regardless of its nominal frame rate). If the clip is shorter, its last frame is
        extended; if it is longer, the rest is ignored.

    Returns
    -------
    array of shape (count, size, size, 3), uint8

    Raises
    ------
    ValueError
        If the frames are not such an array, if there are none, or if the times do not match them.
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


def resize_frame(frame: np.ndarray, size: int, crop: float = 1.0) -> np.ndarray:
    """Resize a frame to a square by area interpolation, as for all stimuli; the aspect ratio is not kept.

    Parameters
    ----------
    frame : array of shape (height, width, 3), uint8
    size : int
        Height and width of the result, pixels.
    crop : float
        Fraction of height and width that is kept around the centre, in (0, 1].

    Returns
    -------
    array of shape (size, size, 3), uint8
    """
    height, width = frame.shape[:2]
    kept_height, kept_width = max(1, round(crop * height)), max(1, round(crop * width))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    kept = frame[top : top + kept_height, left : left + kept_width]
    if kept.shape[:2] == (size, size):
        return kept.copy()
    return cv2.resize(kept, (size, size), interpolation=cv2.INTER_AREA)
