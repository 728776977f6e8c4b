"""Confidence intervals: a bootstrap of blocks of neighbouring clips within movies."""

from dataclasses import dataclass

import numpy as np

from mind_animator.statistics.blocks import block_sums


@dataclass(frozen=True)
class Interval:
    """A (weighted or unweighted) mean over clips, and its interval.

    Attributes
    ----------
    estimate, low, high : float
        In the units of the values.
    level : float
        Nominal coverage, e.g. .95.
    n_clips, n_blocks : int
    """

    estimate: float
    low: float
    high: float
    level: float
    n_clips: int
    n_blocks: int


def block_bootstrap(
    values: np.ndarray,
    blocks: np.ndarray,
    movies: np.ndarray | None = None,
    *,
    weights: np.ndarray | None = None,
    n_draws: int = 2000,
    level: float = 0.95,
    generator: np.random.Generator,
) -> Interval:
    """Percentile bootstrap interval of the mean over clips, in which whole blocks are sampled within movies.

    Each bootstrap sample contains, for every movie, as many blocks as the movie has, sampled with
    replacement; its estimate is the sum of the values of the sampled clips divided by their number, so that a
    shorter last block is weighted by its clips. Movies of one block, which do not vary under resampling, are
    pooled into one movie. With fewer than two blocks in total there is no interval: ``low`` and ``high`` are
    nan.

    Parameters
    ----------
    values : ndarray of shape (clip,)
        Scores, or paired differences.
    blocks : integer ndarray of shape (clip,)
        From `mind_animator.statistics.blocks.block_labels`.
    movies : ndarray of shape (clip,), optional
        The movie of each clip; one movie by default.
    weights : ndarray of shape (clip,), optional
        Positive weights: the estimate, also that of each bootstrap sample, is ``sum w v / sum w`` (a ratio of means,
        whose denominator varies with the sampled clips like its numerator).
    n_draws : int
    level : float
        In (0, 1).
    generator : numpy Generator

    Returns
    -------
    Interval

    References
    ----------
    Davison & Hinkley (1997), "Bootstrap methods and their application", chapters 3.2 and 8.
    """
    values, blocks = np.asarray(values, np.float64), np.asarray(blocks)
    if values.ndim != 1 or n_draws < 1 or not 0 < level < 1:
        raise ValueError(
            f"Expected values (clip,), n_draws >= 1 and 0 < level < 1, "
            f"got {values.shape}, {n_draws} and {level}."
        )
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != values.shape or not (weights > 0).all():
        raise ValueError(f"Expected a positive weight for each of {len(values)} clips, got {weights}.")
    (sums, _), (counts, _) = block_sums(weights * values, blocks), block_sums(weights, blocks)
    strata = _strata(blocks, movies)
    drawn_sum, drawn_count = np.zeros(n_draws), np.zeros(n_draws)
    for members in strata:
        drawn = members[generator.integers(len(members), size=(n_draws, len(members)))]
        drawn_sum += sums[drawn].sum(axis=1)
        drawn_count += counts[drawn].sum(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(drawn_sum / drawn_count, [tail, 1 - tail]) if len(sums) > 1 else (np.nan, np.nan)
    estimate = np.average(values, weights=weights)
    return Interval(float(estimate), float(low), float(high), level, len(values), len(sums))


def _strata(blocks: np.ndarray, movies: np.ndarray | None) -> list[np.ndarray]:
    """Blocks (as positions among the sorted labels) of each movie; movies of one block are pooled."""
    labels, first = np.unique(blocks, return_index=True)
    if movies is None:
        return [np.arange(len(labels))]
    movies = np.asarray(movies)
    if movies.shape != blocks.shape:
        raise ValueError(f"Expected one movie per clip, got {movies.shape} for {blocks.shape} clips.")
    of_block = movies[first]
    index = np.searchsorted(labels, blocks)
    if (of_block[index] != movies).any():
        raise ValueError("Expected every block within one movie, got a block with clips of two.")
    groups = [np.flatnonzero(of_block == movie) for movie in dict.fromkeys(of_block.tolist())]
    single = [group for group in groups if len(group) == 1]
    strata = [group for group in groups if len(group) > 1]
    return strata + ([np.concatenate(single)] if single else [])
