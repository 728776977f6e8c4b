"""Retrieval: at what rank does a decoded embedding find its own clip among candidates?"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranks:
    """Where each query's own candidate stands.

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


def retrieval_ranks(queries: np.ndarray, candidates: np.ndarray, own: np.ndarray) -> Ranks:
    """Rank each query's own candidate by cosine similarity.

    Candidates that are equal in every bit (captions repeat) tie exactly, whatever the order of a sum.

    Parameters
    ----------
    queries : ndarray of shape (query, dim)
        Decoded embeddings.
    candidates : ndarray of shape (candidate, dim)
        Embeddings of the small set (the test clips) or of the large one.
    own : integer ndarray of shape (query,)
        Row of each query's own candidate.

    Returns
    -------
    Ranks
    """
    queries, candidates, own = np.asarray(queries), np.asarray(candidates), np.asarray(own)
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
    if own.shape != (len(queries),) or own.min() < 0 or own.max() >= len(candidates):
        raise ValueError(
            f"Expected a row below {len(candidates)} for each of {len(queries)} queries, got {own}."
        )
    queries, candidates = _unit(queries, "queries"), _unit(candidates, "candidates")
    distinct, which, copies = np.unique(candidates, axis=0, return_inverse=True, return_counts=True)
    similarity = queries @ distinct.T  # (query, distinct)
    mine = similarity[np.arange(len(queries)), which.ravel()[own]][:, None]
    better = (similarity > mine) @ copies
    ties = (similarity == mine) @ copies - 1
    return Ranks(better, ties, len(candidates))


def _unit(vectors: np.ndarray, name: str) -> np.ndarray:
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(length).all() and length.all()):
        raise ValueError(f"Expected finite {name} other than 0, got NaN, infinity or a zero vector.")
    return vectors / length


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


def retrieval_table(ranks: Ranks, ks: tuple[int, ...] = (1, 10, 50, 100)) -> list[dict]:
    """Summary of ranks, chance beside each number; ``ks`` beyond the number of candidates are left out.

    Returns
    -------
    list of dict
        ``metric`` ("top_1", ..., "median_rank"), ``value``, ``chance``, ``higher_is_better``,
        ``n_candidates``; top-k as shares in [0, 1], the rank from 1.
    """
    n = ranks.n_candidates
    rows = [
        {
            "metric": f"top_{k}",
            "value": float(top_k_hits(ranks, k).mean()),
            "chance": k / n,
            "higher_is_better": True,
        }
        for k in ks
        if k <= n
    ]
    middle = {"value": float(np.median(ranks.middle)), "chance": (n + 1) / 2}
    rows.append({"metric": "median_rank", **middle, "higher_is_better": False})
    return [{**row, "n_candidates": n} for row in rows]
