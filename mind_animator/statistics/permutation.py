"""Permutation tests over blocks of neighbouring clips, and corrections for many tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import Literal

import numpy as np

from mind_animator.statistics.blocks import block_sums

Alternative = Literal["two-sided", "greater", "less"]
_CHUNK = 4096


@dataclass(frozen=True)
class TestResult:
    """Outcome of a permutation test.

    Attributes
    ----------
    statistic : float
        In the units of the values.
    p : float
        In (0, 1]: ``(1 + #) / (1 + n)``, where # of n random relabellings give a statistic at least as extreme; if
        ``exact``, ``# / n`` over all n relabellings, including the identity.
    n_permutations : int
    exact : bool
    n_blocks, n_clips : int
    """

    __test__ = False  # prevents pytest from collecting the class because of its name

    statistic: float
    p: float
    n_permutations: int
    exact: bool
    n_blocks: int
    n_clips: int


def sign_flip_test(
    differences: np.ndarray,
    blocks: np.ndarray,
    *,
    n_permutations: int = 9999,
    alternative: Alternative = "two-sided",
    generator: np.random.Generator,
) -> TestResult:
    """Paired test of two methods on the same clips; the null hypothesis is a mean difference of 0.

    If the methods are exchangeable, the sign of a block's differences is arbitrary. The statistic is the mean
    difference over clips; whole blocks change sign. All ``2 ** n_blocks`` sign patterns are counted if there are at
    most ``n_permutations + 1``.

    Parameters
    ----------
    differences : ndarray of shape (clip,)
        First method minus second method, per clip.
    blocks : integer ndarray of shape (clip,)
        From `mind_animator.statistics.blocks.block_labels`; a shorter last block is flipped like any other.
    n_permutations : int
    alternative : {"two-sided", "greater", "less"}
        ``"greater"``: the first method scores higher.
    generator : numpy Generator

    Returns
    -------
    TestResult
    """
    differences = np.asarray(differences, np.float64)
    if differences.ndim != 1 or n_permutations < 1:
        raise ValueError(
            f"Expected differences (clip,) and n_permutations >= 1, "
            f"got {differences.shape} and {n_permutations}."
        )
    sums, _ = block_sums(differences, blocks)
    n = len(sums)
    exact = n < 63 and 2**n <= n_permutations + 1
    total = 2**n if exact else n_permutations
    own = _directed(sums.sum(), alternative)
    hits = 0
    for start in range(0, total, _CHUNK):
        size = min(_CHUNK, total - start)
        bits = (
            np.arange(start, start + size)[:, None] >> np.arange(n) & 1
            if exact
            else generator.integers(0, 2, size=(size, n))
        )
        hits += int((_directed((1 - 2 * bits) @ sums, alternative) >= own - _slack(sums)).sum())
    p = hits / total if exact else (1 + hits) / (1 + total)
    return TestResult(float(differences.mean()), p, total, exact, n, len(differences))


def _directed(values: np.ndarray, alternative: Alternative) -> np.ndarray:
    """Transform a statistic so that larger values are more extreme."""
    turn = {"two-sided": np.abs, "greater": np.positive, "less": np.negative}
    if alternative not in turn:
        raise ValueError(f"Expected an alternative of two-sided, greater or less, got '{alternative}'.")
    return turn[alternative](values)


def _slack(values: np.ndarray) -> float:
    """Bound of the rounding error of a sum; values that differ by less are ties, and ties count as hits."""
    return 4 * np.finfo(np.float64).eps * values.size * float(np.abs(values).max(initial=0.0))


def pairing_test(
    pairs: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    n_permutations: int = 9999,
    alternative: Alternative = "greater",
    generator: np.random.Generator,
) -> TestResult:
    """Test whether predictions match their own ground truths better than those of other clips.

    The statistic is the mean score of predictions with their own ground truths minus the mean with the
    ground truths at the same offset of all other blocks. Under the null, blocks of ground truths are exchangeable,
    so whole blocks are re-paired; ``pairs`` contains every score of every re-pairing. All ``n_blocks!``
    re-pairings are counted if there are at most ``n_permutations + 1``.

    Parameters
    ----------
    pairs : ndarray of shape (block, block, offset)
        ``pairs[b, c, o]``: score of the prediction of clip (b, o) against the ground truth of clip (c, o), with
        clips from `mind_animator.statistics.blocks.aligned_blocks`. If lower is better, use ``"less"``.
    weights : ndarray of shape (block, offset), optional
        Weight (0 or more) of the *ground truth* of clip (c, o), e.g. 0 where it does not move; 1 by default.
    n_permutations : int
    alternative : {"two-sided", "greater", "less"}
    generator : numpy Generator

    Returns
    -------
    TestResult
        ``n_clips`` counts the clips of positive weight. With fewer than 2 blocks nothing can be re-paired:
        the statistic is nan and p is 1.
    """
    pairs = np.asarray(pairs, np.float64)
    if pairs.ndim != 3 or pairs.shape[0] != pairs.shape[1] or 0 in pairs.shape or n_permutations < 1:
        raise ValueError(
            f"Expected pairs (block, block, offset) and n_permutations >= 1, "
            f"got {pairs.shape} and {n_permutations}."
        )
    weights = np.ones(pairs.shape[1:]) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != pairs.shape[1:] or not (weights >= 0).all() or not weights.any():
        raise ValueError(f"Expected weights {pairs.shape[1:]} of at least 0, one above, got {weights.shape}.")
    used = weights > 0
    if not np.isfinite(pairs[:, used]).all():
        raise ValueError("Expected finite pair scores, got NaN or infinity.")
    n, n_clips = len(pairs), int(used.sum())
    scores = np.where(used, pairs, 0.0)
    table = (
        np.einsum("bco,co->bc", scores, weights) / weights.sum()
    )  # a re-pairing's mean = its sum of entries
    if n < 2:
        return TestResult(float("nan"), 1.0, 0, True, n, n_clips)
    own = np.trace(table)
    others = (table.sum() - own) / (n - 1)
    # the statistic of a re-pairing depends only on its own mean, because the sum over all pairs is constant
    centre = table.sum() / n
    threshold = _directed(own - centre, alternative) - _slack(table)
    exact = n <= 20 and factorial(n) <= n_permutations + 1
    total = factorial(n) if exact else n_permutations
    hits = 0
    for orders in _orders(n, total, exact, generator):
        means = table[np.arange(n), orders].sum(axis=1)
        hits += int((_directed(means - centre, alternative) >= threshold).sum())
    p = hits / total if exact else (1 + hits) / (1 + total)
    return TestResult(float(own - others), p, total, exact, n, n_clips)


def _orders(n: int, total: int, exact: bool, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Permutations of ``n`` blocks in chunks (permutation, n): all of them, or ``total`` random ones."""
    if exact:
        yield np.array(list(permutations(range(n))))
        return
    for start in range(0, total, _CHUNK):
        size = min(_CHUNK, total - start)
        yield generator.permuted(np.tile(np.arange(n), (size, 1)), axis=1)


def pair_scores(predictions: np.ndarray, ground_truths: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Block-aligned cosines of vectors, e.g. embeddings or mean flows.

    Parameters
    ----------
    predictions, ground_truths : ndarray of shape (clip, dim)
    rows : integer ndarray of shape (block, offset)
        From `mind_animator.statistics.blocks.aligned_blocks`.

    Returns
    -------
    ndarray of shape (block, block, offset), float64
        ``[b, c, o]``: prediction of clip (b, o) with ground truth of clip (c, o); 0 if either vector is 0.
    """
    unit = []
    for vectors in (predictions, ground_truths):
        vectors = np.asarray(vectors, np.float64)
        if vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise ValueError(
                f"Expected finite vectors (clip, dim), got {vectors.shape} with NaN or infinity."
            )
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit.append(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)[rows])
    return np.einsum("bod,cod->bco", *unit)


def motion_pairing(
    ground_truth_flow: np.ndarray,
    prediction_flow: np.ndarray,
    rows: np.ndarray,
    *,
    moving: np.ndarray,
    n_permutations: int = 9999,
    generator: np.random.Generator,
) -> tuple[TestResult, float]:
    """Test whether the direction of predicted motion is that of the clip itself (`pairing_test` of mean flows).

    The test is valid if direction is independent of content, as in the synthetic data set; in real movies, the content
    may predict the direction.

    Parameters
    ----------
    ground_truth_flow, prediction_flow : ndarray of shape (clip, 2)
        From `mind_animator.metrics.flow.mean_flow`; a prediction that does not move scores 0.
    rows : integer ndarray of shape (block, offset)
        From `mind_animator.statistics.blocks.aligned_blocks`.
    moving : boolean ndarray of shape (clip,)
        Clips whose ground truth moves; the others have no weight.
    n_permutations : int
    generator : numpy Generator

    Returns
    -------
    result : TestResult
        Statistic: mean cosine with own ground truth minus mean cosine with other blocks' ground truths, in [-2, 2].
    score : float
        ``motion_pairing``: mean cosine with the own ground truth over moving clips, in [-1, 1], chance 0.
    """
    moving = np.asarray(moving, bool)
    if moving.shape != np.shape(ground_truth_flow)[:1] or np.shape(ground_truth_flow) != np.shape(
        prediction_flow
    ):
        raise ValueError(
            f"Expected flows (clip, 2) of one shape and one mark per clip, got {np.shape(ground_truth_flow)}, "
            f"{np.shape(prediction_flow)} and {moving.shape}."
        )
    if not moving[rows].any():
        raise ValueError("Expected at least one moving clip in a whole block, got none.")
    pairs = pair_scores(prediction_flow, ground_truth_flow, rows)
    result = pairing_test(pairs, weights=moving[rows], n_permutations=n_permutations, generator=generator)
    own = np.einsum("bbo->bo", pairs)
    return result, float(own[moving[rows]].mean())


def motion_swap_test(
    full: np.ndarray,
    swapped: np.ndarray,
    blocks: np.ndarray,
    *,
    n_permutations: int = 9999,
    generator: np.random.Generator,
) -> TestResult:
    """Test whether the score is higher with the clip's own responses in the motion decoder (paired, one-sided).

    ``full`` and ``swapped`` are scores of the clips (higher is better) for the reconstruction, and for a second one
    whose motion was decoded from the responses to another clip.
    """
    full, swapped = np.asarray(full, np.float64), np.asarray(swapped, np.float64)
    if full.shape != swapped.shape:
        raise ValueError(f"Expected scores of one shape, got {full.shape} and {swapped.shape}.")
    return sign_flip_test(
        full - swapped, blocks, n_permutations=n_permutations, alternative="greater", generator=generator
    )


def frame_orders(n_frames: int, n_orders: int, generator: np.random.Generator) -> np.ndarray:
    """Random orders of a clip's frames, the identity excluded, (order, frame) int64."""
    if n_frames < 2 or n_orders < 1:
        raise ValueError(f"Expected at least 2 frames and 1 order, got {n_frames} and {n_orders}.")
    orders = generator.permuted(np.tile(np.arange(n_frames), (n_orders, 1)), axis=1)
    while (same := (orders == np.arange(n_frames)).all(axis=1)).any():
        orders[same] = generator.permuted(orders[same], axis=1)
    return orders


@dataclass(frozen=True)
class ShuffleResult:
    """Result of the frame-shuffle test of one subject: the fraction of shuffled clips that score at least as well.

    Attributes
    ----------
    p : float
        Corrected p of the mean score over clips: (1 + #) / (1 + n), in [1 / (1 + n), 1].
    p_clips : float
        Corrected p of each clip, averaged over clips.
    p_published : float
        Published form for each clip, # / n, averaged over clips; it may be 0.
    n_orders, n_clips : int
    """

    p: float
    p_clips: float
    p_published: float
    n_orders: int
    n_clips: int


def frame_shuffle_test(own: np.ndarray, shuffled: np.ndarray, *, higher_is_better: bool) -> ShuffleResult:
    """Test whether the order of the predicted frames is better than chance. It measures smoothness, not decoded motion.

    Any smooth video passes, regardless of its direction; a frozen clip ties with all its shuffles (p = 1).

    Parameters
    ----------
    own : ndarray of shape (clip,)
        Scores of the predicted clips, e.g. their end-point error.
    shuffled : ndarray of shape (order, clip)
        Scores for shuffled orders of the frames (`frame_orders`,
        `mind_animator.metrics.flow.shuffled_errors`).
    higher_is_better : bool

    Returns
    -------
    ShuffleResult
    """
    own, shuffled = np.asarray(own, np.float64), np.asarray(shuffled, np.float64)
    if own.ndim != 1 or shuffled.ndim != 2 or shuffled.shape[1:] != own.shape or 0 in shuffled.shape:
        raise ValueError(
            f"Expected own (clip,) and shuffled (order, clip), got {own.shape} and {shuffled.shape}."
        )
    if not (np.isfinite(own).all() and np.isfinite(shuffled).all()):
        raise ValueError("Expected finite scores, got NaN or infinity.")
    sign = 1 if higher_is_better else -1
    slack = 8 * np.finfo(np.float64).eps * np.abs(own).max()  # frozen clips tie up to rounding
    as_good = (sign * (shuffled - own) >= -slack).sum(axis=0)  # (clip,)
    as_good_mean = int((sign * (shuffled.mean(axis=1) - own.mean()) >= -slack).sum())
    n = len(shuffled)
    return ShuffleResult(
        p=(1 + as_good_mean) / (1 + n),
        p_clips=float(((1 + as_good) / (1 + n)).mean()),
        p_published=float((as_good / n).mean()),
        n_orders=n,
        n_clips=len(own),
    )


def holm(p: np.ndarray) -> np.ndarray:
    """Holm-adjusted p values of a family of tests, of the same shape, in [0, 1]; a test is rejected if <= alpha.

    References
    ----------
    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6.
    """
    p = np.asarray(p, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("Expected p values in [0, 1], got NaN or a number outside.")
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    steps = np.maximum.accumulate(flat[order] * np.arange(flat.size, 0, -1))
    adjusted = np.empty_like(flat)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted.reshape(p.shape)


def expected_false_alarms(n_tests: int, alpha: float) -> tuple[float, float]:
    """Expected number of rejections among ``n_tests`` independent true nulls, and the probability of none.

    ``(n alpha, (1 - alpha) ** n)``: of 24 tests at .05, 1.2 reject, and all 24 pass with probability .29.
    """
    if n_tests < 0 or not 0 <= alpha <= 1:
        raise ValueError(f"Expected n_tests >= 0 and alpha in [0, 1], got {n_tests} and {alpha}.")
    return n_tests * alpha, (1 - alpha) ** n_tests
