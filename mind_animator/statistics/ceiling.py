"""Limits due to response noise, estimated from repeats: reliability, and identification of clips from half of
the repeats."""

import numpy as np

from mind_animator.metrics.retrieval import Ranks, retrieval_ranks


def split_half_reliability(half_1: np.ndarray, half_2: np.ndarray) -> np.ndarray:
    """Reliability of the mean of all repeats, from the correlation r of two halves: 2 r / (1 + r).

    Parameters
    ----------
    half_1, half_2 : ndarray of shape (clip, voxel)
        Means of two disjoint halves of the repeats.

    Returns
    -------
    ndarray of shape (voxel,), float64
        In [0, 1] (0 for negative r and for constant voxels): the fraction of variance that is signal. Its
        square root is the highest correlation that a perfect model of the signal can reach with the mean.

    References
    ----------
    Spearman (1910) and Brown (1910), British Journal of Psychology 3.
    """
    half_1, half_2 = np.asarray(half_1, np.float64), np.asarray(half_2, np.float64)
    if half_1.shape != half_2.shape or half_1.ndim != 2 or len(half_1) < 2:
        raise ValueError(
            f"Expected halves (clip, voxel) of one shape, got {half_1.shape} and {half_2.shape}."
        )
    if not (np.isfinite(half_1).all() and np.isfinite(half_2).all()):
        raise ValueError("Expected finite responses, got NaN or infinity.")
    a, b = half_1 - half_1.mean(axis=0), half_2 - half_2.mean(axis=0)
    norm = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    r = np.divide((a * b).sum(axis=0), norm, out=np.zeros(a.shape[1]), where=norm > 0)
    r = np.clip(r, 0, 1)
    return 2 * r / (1 + r)


def identify_halves(half_1: np.ndarray, half_2: np.ndarray) -> tuple[np.ndarray, Ranks]:
    """The clip whose second half of the repeats is most similar to each clip's first half, by correlation.

    Computed from responses alone, without a decoder: clips that are confused here cannot be distinguished at this
    noise level. Every voxel is centred over clips, then every clip over voxels.

    Parameters
    ----------
    half_1, half_2 : ndarray of shape (clip, voxel)
        Means of two disjoint halves of the repeats.

    Returns
    -------
    nearest : ndarray of shape (clip,), int64
        Index of the clip whose second half is most similar.
    ranks : Ranks
        Rank of the clip itself among all clips.
    """
    centred = [np.asarray(half, np.float64) - np.mean(half, axis=0) for half in (half_1, half_2)]
    centred = [half - half.mean(axis=1, keepdims=True) for half in centred]
    ranks = retrieval_ranks(*centred, np.arange(len(centred[0])))
    return (centred[0] @ (centred[1] / np.linalg.norm(centred[1], axis=1, keepdims=True)).T).argmax(
        axis=1
    ), ranks
