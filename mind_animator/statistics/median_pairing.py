"""The pairing test for a median, e.g. the median rank in retrieval (a median is not a sum over blocks)."""

from itertools import permutations
from math import factorial

import numpy as np

from mind_animator.statistics.blocks import block_sums
from mind_animator.statistics.permutation import TestResult


def median_pairing_test(
    pairs: np.ndarray, *, n_permutations: int = 9999, generator: np.random.Generator
) -> TestResult:
    """Test whether the median over clips is lower with their own ground truths than with those of other clips.

    The test is `mind_animator.statistics.permutation.pairing_test` with the median instead of the mean, for values of
    which lower is better. Blocks of ground truths are re-paired; all ``n_blocks!`` re-pairings are counted if there are
    at most ``n_permutations + 1``.

    Parameters
    ----------
    pairs : ndarray of shape (block, block, offset)
        ``pairs[b, c, o]``: value of the prediction of clip (b, o) for the ground truth of clip (c, o), e.g. its
        rank.
    n_permutations : int
    generator : numpy Generator

    Returns
    -------
    TestResult
        ``statistic``: median with the own ground truths minus median over all pairs of other blocks. With fewer
        than 2 blocks nothing can be re-paired: the statistic is nan and p is 1.
    """
    pairs = np.asarray(pairs, np.float64)
    if pairs.ndim != 3 or pairs.shape[0] != pairs.shape[1] or 0 in pairs.shape or n_permutations < 1:
        raise ValueError(
            f"Expected pairs (block, block, offset) and n_permutations >= 1, got {pairs.shape} and "
            f"{n_permutations}."
        )
    if not np.isfinite(pairs).all():
        raise ValueError("Expected finite values, got NaN or infinity.")
    n, _, offsets = pairs.shape
    if n < 2:
        return TestResult(float("nan"), 1.0, 0, True, n, offsets)
    diagonal = np.arange(n)
    own = float(np.median(pairs[diagonal, diagonal]))
    exact = n <= 20 and factorial(n) <= n_permutations + 1
    total = factorial(n) if exact else n_permutations
    hits = 0
    orders = permutations(range(n)) if exact else (generator.permutation(n) for _ in range(total))
    for order in orders:
        hits += bool(np.median(pairs[diagonal, np.asarray(order)]) <= own)
    others = float(np.median(pairs[~np.eye(n, dtype=bool)]))
    return TestResult(
        own - others, hits / total if exact else (1 + hits) / (1 + total), total, exact, n, n * offsets
    )


def median_interval(
    values: np.ndarray,
    blocks: np.ndarray,
    *,
    n_draws: int = 2000,
    level: float = 0.95,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the median over clips, sampling whole blocks; nan with fewer than two blocks.

    Parameters
    ----------
    values : ndarray of shape (clip,)
    blocks : integer ndarray of shape (clip,)
        From `mind_animator.statistics.blocks.block_labels`.
    n_draws : int
    level : float
        In (0, 1).
    generator : numpy Generator
    """
    values = np.asarray(values, np.float64)
    block_sums(values, blocks)  # validates values and shapes
    members = [np.flatnonzero(blocks == label) for label in np.unique(blocks)]
    if len(members) < 2:
        return float("nan"), float("nan")
    draws = generator.integers(len(members), size=(n_draws, len(members)))
    medians = [np.median(np.concatenate([values[members[i]] for i in chosen])) for chosen in draws]
    tail = (1 - level) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(low), float(high)
