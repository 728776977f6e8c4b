"""Limits due to response noise, estimated from repeats: reliability, and identification of clips from half of
the repeats."""

import numpy as np

from mind_animator.metrics.retrieval import Ranks, retrieval_ranks


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
