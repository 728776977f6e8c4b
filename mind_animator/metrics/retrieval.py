"""Retrieval: the rank of the own clip among candidates by the similarity of a decoded embedding."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranks:
    """Rank of each query's own candidate.

    Attributes
    ----------
    better, ties : ndarray of shape (query,), int64
        Other candidates that score above it, and exactly as it does.
    n_candidates : int
    """

    better: np.ndarray
    ties: np.ndarray
    n_candidates: int

    @property
    def middle(self) -> np.ndarray:
        """Rank from 1 (best), ties at their mid-rank, (query,) float64."""
        return 1 + self.better + self.ties / 2


def retrieval_ranks(
    queries: np.ndarray, candidates: np.ndarray, own: np.ndarray, mean: np.ndarray | None = None
) -> Ranks:
    """Rank each query's own candidate by cosine similarity.

    Candidates that are equal in every bit (captions repeat) tie exactly, regardless of the order of a sum.

    Parameters
    ----------
    queries : ndarray of shape (query, dim)
        Decoded embeddings.
    candidates : ndarray of shape (candidate, dim)
        Embeddings of the small set (the test clips) or of the large one.
    own : integer ndarray of shape (query,)
        Row of each query's own candidate.
    mean : ndarray of shape (dim,), optional
        Subtracted from queries and candidates: the mean embedding of the *training* clips. All embeddings of a
        model point in a similar direction, so that without it one candidate can be the nearest of most queries
        (the published ranks are without). A query equal to the mean ties with all candidates.

    Returns
    -------
    Ranks
    """
    queries, candidates, own = np.asarray(queries), np.asarray(candidates), np.asarray(own)
    _check_pair(queries, candidates)
    if own.shape != (len(queries),) or own.min() < 0 or own.max() >= len(candidates):
        raise ValueError(
            f"Expected a row below {len(candidates)} for each of {len(queries)} queries, got {own}."
        )
    queries, candidates = _unit(queries, "queries", mean), _unit(candidates, "candidates", mean)
    distinct, which, copies = np.unique(candidates, axis=0, return_inverse=True, return_counts=True)
    similarity = queries @ distinct.T  # (query, distinct)
    mine = similarity[np.arange(len(queries)), which.ravel()[own]][:, None]
    better = (similarity > mine) @ copies
    ties = (similarity == mine) @ copies - 1
    return Ranks(better, ties, len(candidates))


def aligned_ranks(
    queries: np.ndarray, candidates: np.ndarray, rows: np.ndarray, mean: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosine, rank (ties at mid-rank) and top-10 hit of every aligned candidate for every query.

    Parameters
    ----------
    queries, candidates : ndarray of shape (clip, dim)
        Decoded embeddings and those of the test clips.
    rows : integer ndarray of shape (block, offset)
        From `mind_animator.statistics.blocks.aligned_blocks`.
    mean : ndarray of shape (dim,), optional
        As in `retrieval_ranks`.

    Returns
    -------
    cosines, ranks, top10 : ndarray of shape (block, block, offset), float64
        ``[b, c, o]``: clip (c, o) among all test clips, for the query of clip (b, o).
    """
    queries, candidates = np.asarray(queries), np.asarray(candidates)
    _check_pair(queries, candidates)
    left, right = _unit(queries, "queries", mean), _unit(candidates, "candidates", mean)
    k = min(10, len(candidates))
    distinct, which, copies = np.unique(right, axis=0, return_inverse=True, return_counts=True)
    which = which.ravel()
    cosines = np.empty((len(rows), *rows.shape))
    ranks, top = np.empty_like(cosines), np.empty_like(cosines)
    for block, members in enumerate(rows):
        for offset, query in enumerate(members):
            similarity = distinct @ left[query]
            order = np.argsort(-similarity, kind="stable")
            ordered, count = -similarity[order], np.concatenate([[0], np.cumsum(copies[order])])
            mine = -similarity[which[rows[:, offset]]]
            better = count[np.searchsorted(ordered, mine, side="left")]
            ties = count[np.searchsorted(ordered, mine, side="right")] - better - 1
            cosines[block, :, offset] = -mine
            ranks[block, :, offset] = 1 + better + ties / 2
            top[block, :, offset] = np.clip((k - better) / (ties + 1), 0, 1)
    return cosines, ranks, top


def _check_pair(queries: np.ndarray, candidates: np.ndarray) -> None:
    if (
        queries.ndim != 2
        or candidates.ndim != 2
        or queries.shape[1] != candidates.shape[1]
        or not queries.size
    ):
        raise ValueError(
            f"Expected queries (query, dim) and candidates (candidate, dim), got {queries.shape} and "
            f"{candidates.shape}."
        )


def _unit(vectors: np.ndarray, name: str, mean: np.ndarray | None = None) -> np.ndarray:
    """Vectors of length 1 (float64); less a mean, those that differ from it by rounding alone become 0."""
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(length).all() and length.all()):
        raise ValueError(f"Expected finite {name} other than 0, got NaN, infinity or a zero vector.")
    if mean is None:
        return vectors / length
    vectors = vectors - np.asarray(mean, np.float64)
    least, length = 1e-6 * length, np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > least)


def two_way(ranks: Ranks) -> np.ndarray:
    """Fraction of the other candidates that score below each query's own, ties counted half.

    Identification of one of two: the probability that the own candidate is preferred to another one drawn at
    random. Chance is 0.5 regardless of the number of candidates.

    Returns
    -------
    ndarray of shape (query,), float64
        In [0, 1], higher is better.
    """
    if ranks.n_candidates < 2:
        raise ValueError(f"Expected at least 2 candidates, got {ranks.n_candidates}.")
    return 1 - (ranks.better + ranks.ties / 2) / (ranks.n_candidates - 1)


def top_k_hits(ranks: Ranks, k: int) -> np.ndarray:
    """Probability that each query's own candidate is among the best ``k``, equal scores in random order.

    ``min(max((k - better) / (ties + 1), 0), 1)``, so that chance is ``k / n_candidates`` even with ties.

    Returns
    -------
    ndarray of shape (query,), float64
        In [0, 1], higher is better.

    References
    ----------
    Lu et al. (2025), "Animate Your Thoughts: Reconstruction of Dynamic Natural Vision from Human Brain
    Activity", ICLR (top-10 and top-100; ties at random are this project's own).
    """
    if not 1 <= k <= ranks.n_candidates:
        raise ValueError(f"Expected k between 1 and {ranks.n_candidates} candidates, got {k}.")
    return np.clip((k - ranks.better) / (ranks.ties + 1), 0.0, 1.0)
