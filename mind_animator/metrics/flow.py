"""Dense optical flow (Farneback), from which the motion metrics are computed."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import cv2
import numpy as np

from mind_animator.metrics.base import Input, NotComputed
from mind_animator.metrics.frames import check_frames

Grey = Literal["rgb", "published"]
_CONVERSIONS = {"rgb": cv2.COLOR_RGB2GRAY, "published": cv2.COLOR_BGR2GRAY}


def flows(frames: np.ndarray, *, grey: Grey = "rgb") -> np.ndarray:
    """Optical flow between neighbouring frames, Farneback (.5, 3, 15, 3, 5, 1.2, 0).

    Parameters
    ----------
    frames : ndarray of shape (frame, height, width, 3), uint8
        RGB, at least two frames.
    grey : {"rgb", "published"}
        ``"published"`` exchanges the weights of red and blue (``BGR2GRAY`` on RGB frames) and takes OpenCV's flow as it
        is; with ``"rgb"`` equal frames have no flow, where OpenCV returns some along the right and lower edges.

    Returns
    -------
    ndarray of shape (frame - 1, height, width, 2), float32
        Displacement (x to the right, y down) in pixels per frame.

    References
    ----------
    Farneback (2003), "Two-frame motion estimation based on polynomial expansion", SCIA.
    """
    check_frames(frames)
    if len(frames) < 2:
        raise NotComputed(f"optical flow needs at least 2 frames, got {len(frames)}")
    greys = grey_frames(frames, grey)
    flow = np.empty((len(frames) - 1, *frames.shape[1:3], 2), np.float32)
    for t in range(len(flow)):
        still = t > 0 and all(np.array_equal(greys[t], greys[t + step]) for step in (-1, 1))
        flow[t] = flow[t - 1] if still else flow_between(greys[t], greys[t + 1], grey)
    return flow


def grey_frames(frames: np.ndarray, grey: Grey = "rgb") -> list[np.ndarray]:
    """Grey images (height, width) uint8 of frames."""
    if grey not in _CONVERSIONS:
        raise ValueError(f"Expected a grey of rgb or published, got '{grey}'.")
    return [cv2.cvtColor(frame, _CONVERSIONS[grey]) for frame in frames]


def flow_between(first: np.ndarray, second: np.ndarray, grey: Grey = "rgb") -> np.ndarray:
    """Flow (height, width, 2) float32 from one grey image to another."""
    if grey == "rgb" and np.array_equal(first, second):
        return np.zeros((*first.shape, 2), np.float32)  # OpenCV's own is not 0 near the right and lower edges
    return cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)


FLOW = Input("flow", flows)
FLOW_PUBLISHED = Input("flow_published", partial(flows, grey="published"))


def speeds(flow: np.ndarray) -> np.ndarray:
    """Mean length of the flow vectors of each step, (frame - 1,) float64, pixels per frame."""
    return np.array([_magnitude(step).mean(dtype=np.float64) for step in flow])


def end_point_errors(ground_truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Mean distance of the vectors of two flows for each step, (frame - 1,) float64, pixels per frame.

    Parameters
    ----------
    ground_truth, prediction : ndarray of shape (frame - 1, height, width, 2)
        From `flows`.
    """
    if (
        ground_truth.shape != prediction.shape
        or ground_truth.ndim != 4
        or ground_truth.shape[-1] != 2
        or 0 in ground_truth.shape
    ):
        raise ValueError(
            f"Expected two flows (frame - 1, height, width, 2) of one shape, got {ground_truth.shape} and "
            f"{prediction.shape}."
        )
    return np.array(
        [_magnitude(t - p).mean(dtype=np.float64) for t, p in zip(ground_truth, prediction, strict=True)]
    )


def mean_flow(flow: np.ndarray) -> np.ndarray:
    """Mean flow vector of a clip over its frames and pixels, (2,) float64: x to the right, y down, pixels per frame."""
    return flow.mean(axis=(-4, -3, -2), dtype=np.float64)


def motion_fidelity(ground_truth: Sequence[np.ndarray], prediction: Sequence[np.ndarray]) -> dict[str, float]:
    """Agreement of the motion of two sets of clips.

    With t and p the mean flows of a clip (`mean_flow`)::

        cosine = mean over clips of t . p / (|t| |p|), 0 where either does not move
        slope = sum t . p / sum |t|^2
        epe_relative = sum of end-point errors / sum of the speeds of the ground truth
        speed_ratio = sum of the speeds of the prediction / sum of the speeds of the ground truth

    Parameters
    ----------
    ground_truth, prediction : sequence of ndarray of shape (frame - 1, height, width, 2)
        Flows of each clip, pixels per frame.

    Returns
    -------
    dict of str to float
        ``cosine`` in [-1, 1], chance 0; ``cosine_se``, its standard error over clips; ``slope``, 1 = right speed;
        ``epe_relative``, 1 = a frozen clip, lower is better; ``speed_ratio``, 1 = right speed regardless of the
        direction. nan where the ground truth does not move at all.
    """
    t, p = (np.array([mean_flow(flow) for flow in flows]) for flows in (ground_truth, prediction))
    norm = np.linalg.norm(t, axis=1) * np.linalg.norm(p, axis=1)
    cosine = np.divide((t * p).sum(axis=1), norm, out=np.zeros(len(t)), where=norm > 0)
    speed, other = (sum(speeds(flow).mean() for flow in flows) for flows in (ground_truth, prediction))
    pairs = zip(ground_truth, prediction, strict=True)
    error = sum(end_point_errors(*pair).mean() for pair in pairs)
    power = (t**2).sum()
    return {
        "cosine": float(cosine.mean()),
        "cosine_se": float(cosine.std(ddof=1) / len(cosine) ** 0.5) if len(cosine) > 1 else float("nan"),
        "slope": float((t * p).sum() / power) if power > 0 else float("nan"),
        "epe_relative": float(error / speed) if speed > 0 else float("nan"),
        "speed_ratio": float(other / speed) if speed > 0 else float("nan"),
    }


def shuffle_table(ground_truth_flow: np.ndarray, prediction: np.ndarray, *, grey: Grey = "rgb") -> np.ndarray:
    """End-point errors of every ordered pair of predicted frames against every step of the ground truth.

    With it the score of any order of the frames is a look-up (`shuffled_errors`): each flow is computed once.

    Parameters
    ----------
    ground_truth_flow : ndarray of shape (frame - 1, height, width, 2)
    prediction : ndarray of shape (frame, height, width, 3), uint8

    Returns
    -------
    ndarray of shape (frame - 1, frame, frame), float64
        ``table[t, i, j]``: error of the flow from predicted frame i to j against step t of the ground truth; the
        diagonal, a frame against itself, holds the flow from a frame to itself.
    """
    check_frames(prediction, least=2)
    expected = (len(prediction) - 1, *prediction.shape[1:3], 2)
    if ground_truth_flow.shape != expected:
        raise ValueError(f"Expected the flow of the ground truth {expected}, got {ground_truth_flow.shape}.")
    greys = grey_frames(prediction, grey)
    table = np.empty((len(ground_truth_flow), len(greys), len(greys)))
    for i, first in enumerate(greys):
        for j, second in enumerate(greys):
            flow = flow_between(first, second, grey)
            table[:, i, j] = [_magnitude(step - flow).mean(dtype=np.float64) for step in ground_truth_flow]
    return table


def shuffled_errors(table: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """End-point error of one clip under each order of its predicted frames, (order,) float64.

    Parameters
    ----------
    table : ndarray of shape (frame - 1, frame, frame)
        From `shuffle_table`.
    orders : integer ndarray of shape (order, frame)
        Permutations of the frames; the identity gives the clip's own score.
    """
    orders = np.asarray(orders)
    return table[np.arange(table.shape[0]), orders[:, :-1], orders[:, 1:]].mean(axis=1)


def _magnitude(flow: np.ndarray) -> np.ndarray:
    return np.sqrt(flow[..., 0] ** 2 + flow[..., 1] ** 2)
