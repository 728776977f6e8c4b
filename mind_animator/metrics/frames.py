"""Validation of the frames that metrics are computed from."""

import numpy as np


def check_frames(frames: np.ndarray, least: int = 1) -> None:
    """Raise a `ValueError` unless ``frames`` is (..., frame, height, width, 3) uint8 with at least ``least`` frames."""
    if (
        not isinstance(frames, np.ndarray)
        or frames.dtype != np.uint8
        or frames.ndim < 4
        or frames.shape[-1] != 3
    ):
        kind = f"{frames.shape} {frames.dtype}" if isinstance(frames, np.ndarray) else type(frames).__name__
        raise ValueError(f"Expected RGB frames (..., frame, height, width, 3) uint8, got {kind}.")
    if 0 in frames.shape or frames.shape[-4] < least:
        raise ValueError(
            f"Expected clips of at least {least} frame(s), none of them empty, got {frames.shape}."
        )


def check_pair(ground_truth: np.ndarray, prediction: np.ndarray, least: int = 1) -> None:
    """Raise a `ValueError` unless both arrays are valid frames of one shape."""
    check_frames(ground_truth, least)
    check_frames(prediction, least)
    if ground_truth.shape != prediction.shape:
        raise ValueError(
            f"Expected ground truth and prediction of one shape, got {ground_truth.shape} and {prediction.shape}."
        )
