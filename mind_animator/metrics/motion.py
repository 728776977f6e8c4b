"""Motion metrics from dense optical flow (Farneback): end-point error, mean flow, shuffles by look-up."""

from typing import Literal

import cv2
import numpy as np

from mind_animator.metrics.frames import check_frames, check_pair

Grey = Literal["rgb", "published"]
_CONVERSIONS = {"rgb": cv2.COLOR_RGB2GRAY, "published": cv2.COLOR_BGR2GRAY}


def flows(frames: np.ndarray, *, grey: Grey = "rgb") -> np.ndarray:
    """Optical flow between neighbouring frames, Farneback (.5, 3, 15, 3, 5, 1.2, 0).

    Parameters
    ----------
    frames : ndarray of shape (..., frame, height, width, 3), uint8
        RGB, at least two frames.
    grey : {"rgb", "published"}
        ``"published"`` weighs red as blue and blue as red (``BGR2GRAY`` on RGB frames) and takes OpenCV's
        flow as it comes; with ``"rgb"`` equal frames have no flow, where OpenCV invents some along the right
        and lower edges.

    Returns
    -------
    ndarray of shape (..., frame - 1, height, width, 2), float32
        Displacement (x to the right, y down) in pixels a frame.

    References
    ----------
    Farneback (2003), "Two-frame motion estimation based on polynomial expansion", SCIA.
    """
    check_frames(frames, least=2)
    code = _conversion(grey)
    clips = frames.reshape(-1, *frames.shape[-4:])
    out = np.empty((len(clips), frames.shape[-4] - 1, *frames.shape[-3:-1], 2), np.float32)
    for clip, flow in zip(clips, out, strict=True):
        greys = [cv2.cvtColor(frame, code) for frame in clip]
        for t in range(len(flow)):
            stands = t > 0 and all(np.array_equal(greys[t], greys[t + step]) for step in (-1, 1))
            flow[t] = flow[t - 1] if stands else _flow(greys[t], greys[t + 1], grey)
    return out.reshape(*frames.shape[:-4], *out.shape[1:])


def _conversion(grey: str) -> int:
    if grey not in _CONVERSIONS:
        raise ValueError(f"Expected a grey of rgb or published, got '{grey}'.")
    return _CONVERSIONS[grey]


def _flow(first: np.ndarray, second: np.ndarray, grey: Grey) -> np.ndarray:
    if grey == "rgb" and np.array_equal(first, second):
        return np.zeros((*first.shape, 2), np.float32)  # OpenCV's own is not 0 near the right and lower edges
    return cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)


def epe_of_flows(ground_truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """End-point error of two flows: ``mean over steps and pixels of |flow_t - flow_p|``.

    Parameters
    ----------
    ground_truth, prediction : ndarray of shape (..., frame - 1, height, width, 2)
        From `flows`; the ground truth's is worth keeping, since every method meets it.

    Returns
    -------
    ndarray of shape (...,), float64
        Pixels a frame, >= 0, lower is better.
    """
    if (
        ground_truth.shape != prediction.shape
        or ground_truth.ndim < 4
        or ground_truth.shape[-1] != 2
        or 0 in ground_truth.shape
    ):
        raise ValueError(
            f"Expected two flows (..., frame - 1, height, width, 2) of one shape, got {ground_truth.shape} and "
            f"{prediction.shape}."
        )
    return _magnitude(ground_truth - prediction).mean(axis=(-3, -2, -1), dtype=np.float64)


def _magnitude(flow: np.ndarray) -> np.ndarray:
    return np.sqrt(flow[..., 0] ** 2 + flow[..., 1] ** 2)


def epe_published(ground_truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """End-point error as published: `epe_of_flows` on greys that take red for blue.

    Parameters and range as `epe`. It depends on the frame's size and rate, and a frozen clip beats most
    reconstructions: read it beside `epe_relative`.

    References
    ----------
    Lu et al. (2025), "Animate Your Thoughts: Reconstruction of Dynamic Natural Vision from Human Brain
    Activity", ICLR.
    """
    check_pair(ground_truth, prediction, least=2)
    return epe_of_flows(flows(ground_truth, grey="published"), flows(prediction, grey="published"))


def epe(ground_truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """End-point error of the flows of two clips (grey made of RGB as RGB).

    Parameters
    ----------
    ground_truth, prediction : ndarray of shape (..., frame, height, width, 3), uint8

    Returns
    -------
    ndarray of shape (...,), float64
        Pixels a frame, >= 0, lower is better. A frozen prediction scores the ground truth's own mean speed.

    References
    ----------
    Baker et al. (2011), "A database and evaluation methodology for optical flow", International Journal of
    Computer Vision 92.
    """
    check_pair(ground_truth, prediction, least=2)
    return epe_of_flows(flows(ground_truth), flows(prediction))


def mean_speed(flow: np.ndarray) -> np.ndarray:
    """Mean length of a clip's flow vectors, pixels a frame, shape (...,) float64."""
    return _magnitude(flow).mean(axis=(-3, -2, -1), dtype=np.float64)


def epe_relative(error: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """End-point error as a multiple of the ground truth's own motion: ``error / speed``.

    Free of the frame's size and rate. A frozen prediction scores 1; below 1 the prediction's motion
    helps, above 1 it does harm. The score of a set weighs every clip by its ground truth's speed, which makes it a
    ratio of means::

        sum speed epe_relative / sum speed = sum error / sum speed

    A plain mean over clips would be ruled by those that hardly move.

    Parameters
    ----------
    error, speed : ndarray of shape (...,)
        From `epe_of_flows`, and `mean_speed` of the ground truth's flow, pixels a frame.

    Returns
    -------
    ndarray of shape (...,), float64
        >= 0, lower is better, nan where the ground truth does not move at all.

    References
    ----------
    This project's own.
    """
    error, speed = np.asarray(error, np.float64), np.asarray(speed, np.float64)
    return np.divide(error, speed, out=np.full(error.shape, np.nan), where=speed > 0)


def mean_flow(flow: np.ndarray) -> np.ndarray:
    """Mean flow vector of a clip over its frames and pixels.

    Parameters
    ----------
    flow : ndarray of shape (..., frame - 1, height, width, 2)

    Returns
    -------
    ndarray of shape (..., 2), float64
        (x to the right, y down), pixels a frame.
    """
    return flow.mean(axis=(-4, -3, -2), dtype=np.float64)


def flow_cosine(ground_truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Cosine of the angle between two mean flows, ``t . p / (|t| |p|)``, broadcast over leading axes.

    Parameters
    ----------
    ground_truth, prediction : ndarray of shape (..., 2)
        From `mean_flow`.

    Returns
    -------
    ndarray of shape (...,), float64
        In [-1, 1], higher is better, chance 0; 0 where either does not move (it has no direction).

    References
    ----------
    This project's own.
    """
    ground_truth, prediction = np.asarray(ground_truth, np.float64), np.asarray(prediction, np.float64)
    norm = np.linalg.norm(ground_truth, axis=-1) * np.linalg.norm(prediction, axis=-1)
    dot = (ground_truth * prediction).sum(axis=-1)
    return np.divide(dot, norm, out=np.zeros_like(dot), where=norm > 0)


def shuffle_epe_table(
    ground_truth_flow: np.ndarray, prediction: np.ndarray, *, grey: Grey = "rgb"
) -> np.ndarray:
    """End-point errors of every ordered pair of predicted frames against every step of the ground truth.

    With it the score of any order of the frames is a look-up (`shuffled_epe`): each flow is computed once.

    Parameters
    ----------
    ground_truth_flow : ndarray of shape (frame - 1, height, width, 2)
    prediction : ndarray of shape (frame, height, width, 3), uint8

    Returns
    -------
    ndarray of shape (frame - 1, frame, frame), float64
        ``table[t, i, j]``: error of the flow from predicted frame i to j against the ground truth's step t; the
        diagonal, a frame against itself, holds the flow from a frame to itself.
    """
    check_frames(prediction, least=2)
    if ground_truth_flow.shape != (len(prediction) - 1, *prediction.shape[1:3], 2):
        raise ValueError(
            f"Expected the ground truth's flow {(len(prediction) - 1, *prediction.shape[1:3], 2)}, "
            f"got {ground_truth_flow.shape}."
        )
    code = _conversion(grey)
    greys = [cv2.cvtColor(frame, code) for frame in prediction]
    table = np.empty((len(ground_truth_flow), len(greys), len(greys)))
    for i, first in enumerate(greys):
        for j, second in enumerate(greys):
            flow = _flow(first, second, grey)
            table[:, i, j] = [_magnitude(step - flow).mean(dtype=np.float64) for step in ground_truth_flow]
    return table


def shuffled_epe(table: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """End-point error of one clip under each order of its predicted frames.

    Parameters
    ----------
    table : ndarray of shape (frame - 1, frame, frame)
        From `shuffle_epe_table`.
    orders : integer ndarray of shape (order, frame)
        Permutations of the frames; the identity gives the clip's own score.

    Returns
    -------
    ndarray of shape (order,), float64
    """
    orders = np.asarray(orders)
    steps = np.arange(table.shape[0])
    return table[steps, orders[:, :-1], orders[:, 1:]].mean(axis=1)
