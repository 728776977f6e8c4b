"""Ranks of aligned candidates for every decoded embedding, so that any re-pairing of blocks is a look-up."""

import numpy as np


def rank_pairs(
    queries: np.ndarray, candidates: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rank (ties at mid-rank) and top-10 share of every aligned candidate for every query.

    Parameters
    ----------
    queries, candidates : array of shape (clip, dim)
        Decoded embeddings and the test clips' own.
    rows : integer array of shape (block, offset)

    Returns
    -------
    ranks, top10 : arrays of shape (block, block, offset), float64
        ``[b, c, o]``: where clip (c, o) stands, among all test clips, for the query of clip (b, o).
    """
    ks = min(10, len(candidates))
    left, right = (unit_rows(vectors) for vectors in (queries, candidates))
    distinct, which, copies = np.unique(right, axis=0, return_inverse=True, return_counts=True)
    which = which.ravel()
    ranks = np.empty((len(rows), len(rows), rows.shape[1]))
    top = np.empty_like(ranks)
    for block, members in enumerate(rows):
        for offset, query in enumerate(members):
            similarity = distinct @ left[query]
            order = np.argsort(-similarity, kind="stable")
            ordered, count = -similarity[order], np.concatenate([[0], np.cumsum(copies[order])])
            mine = -similarity[which[rows[:, offset]]]
            better = count[np.searchsorted(ordered, mine, side="left")]
            ties = count[np.searchsorted(ordered, mine, side="right")] - better - 1
            ranks[block, :, offset] = 1 + better + ties / 2
            top[block, :, offset] = np.clip((ks - better) / (ties + 1), 0, 1)
    return ranks, top


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows at unit length, float64; refuses what is not finite or has no length."""
    vectors = np.asarray(vectors, np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(length).all() and length.all()):
        raise ValueError("Expected finite embeddings other than 0, got NaN, infinity or a zero vector.")
    return vectors / length
