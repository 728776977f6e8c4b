"""Noise ceilings: how well anything could do on responses this noisy, where showings were repeated."""

import numpy as np

from mind_animator.metrics.retrieval import retrieval_ranks


def split_half_reliability(half_1: np.ndarray, half_2: np.ndarray) -> np.ndarray:
    """Reliability of the mean of all showings, from the correlation r of two halves: 2 r / (1 + r).

    Parameters
    ----------
    half_1, half_2 : ndarray of shape (clip, voxel)
        Means of two disjoint halves of the showings.

    Returns
    -------
    ndarray of shape (voxel,), float64
        In [0, 1] (a negative r counts as 0; a constant voxel too): the share of variance that is signal. Its
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


def identification_ceiling(half_1: np.ndarray, half_2: np.ndarray) -> tuple[np.ndarray, int]:
    """How well one half of the showings finds its own clip in the other half, by correlation over voxels.

    A decoder-free ceiling for retrieval among the same clips: the rank that the responses themselves allow
    (with half of the showings a side, so a decoder that sees all of them may do a little better).

    Parameters
    ----------
    half_1, half_2 : ndarray of shape (clip, voxel)

    Returns
    -------
    ranks : ndarray of shape (clip,), float64
        From 1 (best), ties at their mid-rank.
    n_clips : int
    """
    centred = [np.asarray(h, np.float64) - np.mean(h, axis=0) for h in (half_1, half_2)]
    centred = [h - h.mean(axis=1, keepdims=True) for h in centred]
    ranks = retrieval_ranks(*centred, np.arange(len(centred[0])))
    return ranks.middle, ranks.n_candidates
