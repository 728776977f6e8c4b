"""Permutation tests against enumeration in plain loops, scipy, and their own calibration."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from mind_animator.statistics.blocks import aligned_blocks, block_labels
from mind_animator.statistics.permutation import (
    expected_false_alarms,
    frame_orders,
    frame_shuffle_test,
    holm,
    motion_pairing,
    motion_swap_test,
    pair_scores,
    pairing_test,
    sign_flip_test,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_sign_flips_equal_a_count_of_every_pattern(alternative: str) -> None:
    differences = rng(1).integers(-3, 5, size=23).astype(float)  # whole numbers: ties are real
    blocks = block_labels(["a"] * 13 + ["b"] * 10, 4)  # blocks of 4, 4, 4, 1 and 4, 4, 2
    labels = np.unique(blocks)

    def statistic(signs) -> float:
        total = sum(s * differences[blocks == b].sum() for s, b in zip(signs, labels, strict=True))
        return {"two-sided": abs(total), "greater": total, "less": -total}[alternative]

    patterns = list(product([1, -1], repeat=len(labels)))
    hits = sum(statistic(p) >= statistic(patterns[0]) for p in patterns)
    result = sign_flip_test(differences, blocks, alternative=alternative, generator=rng())
    assert result.exact and result.n_permutations == 2**7 and result.n_blocks == 7 and result.n_clips == 23
    assert result.p == hits / 2**7
    assert result.statistic == pytest.approx(differences.mean(), abs=1e-15)


def test_single_clips_agree_with_scipys_permutation_test() -> None:
    differences = rng(2).standard_normal(10) + 0.3
    result = sign_flip_test(differences, np.arange(10), generator=rng())
    reference = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert result.p == pytest.approx(reference.pvalue, abs=1e-12)


def test_sampled_sign_flips_estimate_the_exact_p() -> None:
    differences, blocks = rng(3).standard_normal(130) + 0.15, block_labels(["a"] * 130, 10)
    exact = sign_flip_test(differences, blocks, generator=rng())
    sampled = sign_flip_test(differences, blocks, n_permutations=4000, generator=rng())
    assert exact.exact and not sampled.exact and sampled.n_permutations == 4000
    assert abs(sampled.p - exact.p) < 4.5 * np.sqrt(exact.p / 4000) + 1 / 4001
    assert sampled.p * 4001 == pytest.approx(round(sampled.p * 4001), abs=1e-9)


def test_equal_methods_have_p_one_and_the_smallest_p_is_bounded() -> None:
    blocks = block_labels(["a"] * 200, 10)
    assert sign_flip_test(np.zeros(200), blocks, generator=rng()).p == 1
    assert sign_flip_test(np.ones(200), blocks, n_permutations=999, generator=rng()).p == 1 / 1000
    assert sign_flip_test(np.ones(40), block_labels(["a"] * 40, 10), generator=rng()).p == 2 / 16


def slow_pairing(pairs: np.ndarray, order, weights: np.ndarray) -> float:
    """Mean with the ground truths of ``order`` minus the mean with all other blocks' ground truths, clip by clip."""
    n, _, size = pairs.shape
    own = [(pairs[b, order[b], o], weights[order[b], o]) for b in range(n) for o in range(size)]
    other = [
        (pairs[b, c, o], weights[c, o])
        for b in range(n)
        for c in range(n)
        for o in range(size)
        if c != order[b]
    ]
    (own, own_weight), (other, other_weight) = zip(*own, strict=True), zip(*other, strict=True)
    return np.average(own, weights=own_weight) - np.average(other, weights=other_weight)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("weighted", [False, True])
def test_pairing_equals_a_count_of_every_re_pairing(alternative: str, weighted: bool) -> None:
    generator = rng(4)
    pairs = generator.integers(0, 4, size=(5, 5, 3)).astype(float)
    pairs[np.arange(5), np.arange(5)] += 1
    weights = generator.integers(0, 2, size=(5, 3)) if weighted else np.ones((5, 3))
    direction = {"two-sided": abs, "greater": float, "less": lambda x: -x}[alternative]
    own = slow_pairing(pairs, range(5), weights)
    all_values = [slow_pairing(pairs, order, weights) for order in permutations(range(5))]
    hits = sum(direction(value) >= direction(own) - 1e-12 for value in all_values)
    result = pairing_test(
        pairs, weights=weights if weighted else None, alternative=alternative, generator=rng()
    )
    assert result.exact and result.n_permutations == 120 and result.n_clips == weights.sum()
    assert result.statistic == pytest.approx(own, abs=1e-12)
    assert result.p == hits / 120


def test_pairing_does_not_look_at_ground_truths_without_weight() -> None:
    pairs, weights = rng(5).standard_normal((12, 12, 4)), np.ones((12, 4))
    weights[3] = 0
    expected = pairing_test(pairs, weights=weights, n_permutations=500, generator=rng())
    pairs[:, 3] = np.nan
    assert pairing_test(pairs, weights=weights, n_permutations=500, generator=rng()) == expected


def test_pairing_finds_what_is_there_and_has_a_smallest_p() -> None:
    pairs = rng(6).standard_normal((24, 24, 10))
    pairs[np.arange(24), np.arange(24)] += 2
    result = pairing_test(pairs, generator=rng())
    assert result.p == 1 / 10_000 and not result.exact
    assert pairing_test(pairs, alternative="less", n_permutations=99, generator=rng()).p == 1


def test_pairing_is_calibrated_under_the_null_with_correlated_clips() -> None:
    # the score of a prediction depends on its block and on the ground truth's block, but on no match of the two
    p = []
    for seed in range(400):
        generator = rng(seed)
        pairs = (
            generator.standard_normal((12, 1, 5)) + generator.standard_normal((1, 12, 5))
            + generator.standard_normal((12, 12, 1)) + generator.standard_normal((12, 12, 5))
        )  # fmt: skip
        p.append(pairing_test(pairs, n_permutations=199, generator=generator).p)
    # 400 uniform p: below .05 are 20 +- 4.4; Kolmogorov-Smirnov at .001
    assert 5 <= np.sum(np.array(p) <= 0.05) <= 38
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_pairing_of_one_block_says_nothing() -> None:
    result = pairing_test(np.ones((1, 1, 4)), generator=rng())
    assert np.isnan(result.statistic) and result.p == 1


def test_pair_scores_are_the_cosines_of_aligned_clips() -> None:
    predictions, ground_truths = rng(7).standard_normal((2, 23, 6))
    ground_truths[4] = 0
    rows = aligned_blocks(["a"] * 13 + ["b"] * 10, 5)
    pairs = pair_scores(predictions, ground_truths, rows)
    assert pairs.shape == (4, 4, 5)
    for b, c, o in np.ndindex(pairs.shape):
        p, t = predictions[rows[b, o]], ground_truths[rows[c, o]]
        expected = p @ t / np.linalg.norm(p) / np.linalg.norm(t) if t.any() else 0
        assert pairs[b, c, o] == pytest.approx(expected, abs=1e-14)


def test_motion_pairing_finds_true_directions_and_not_others() -> None:
    generator = rng(8)
    ground_truth = generator.standard_normal((240, 2))
    moving = np.linalg.norm(ground_truth, axis=1) > 0.5
    rows = aligned_blocks([f"m{i // 60}" for i in range(240)], 10)
    result, score = motion_pairing(
        ground_truth, ground_truth + 0.5 * generator.standard_normal((240, 2)), rows, moving=moving,
        n_permutations=999, generator=generator,
    )  # fmt: skip
    assert result.p == 0.001 and score > 0.7 and result.n_clips == moving.sum()
    one_drift = np.tile([1.0, 0.2], (240, 1))
    result, score = motion_pairing(
        ground_truth, one_drift, rows, moving=moving, n_permutations=999, generator=generator
    )
    assert result.p == 1 and abs(result.statistic) < 1e-12  # one global drift fits every ground truth alike
    still, score = motion_pairing(
        ground_truth, 0 * ground_truth, rows, moving=moving, n_permutations=99, generator=generator
    )
    assert still.p == 1 and score == 0


def test_motion_pairing_score_is_the_mean_cosine_over_moving_clips() -> None:
    ground_truth, prediction = rng(9).standard_normal((2, 40, 2))
    moving = rng(10).random(40) < 0.6
    rows = aligned_blocks(["a"] * 40, 10)
    _, score = motion_pairing(
        ground_truth, prediction, rows, moving=moving, n_permutations=9, generator=rng()
    )
    angles = [np.arctan2(v[:, 1], v[:, 0]) for v in (ground_truth, prediction)]
    assert score == pytest.approx(np.cos(angles[0] - angles[1])[moving].mean(), abs=1e-12)


def test_motion_swap_is_a_one_sided_paired_test() -> None:
    swapped = rng(11).standard_normal(100)
    blocks = block_labels(["a"] * 100, 10)
    better = motion_swap_test(swapped + 0.1, swapped, blocks, generator=rng())
    worse = motion_swap_test(swapped - 0.1, swapped, blocks, generator=rng())
    assert better.exact and better.p == 1 / 1024 and worse.p == 1
    assert better.statistic == pytest.approx(0.1, abs=1e-12)


def test_frame_orders_are_uniform_but_for_the_identity() -> None:
    orders = frame_orders(3, 6000, rng())
    found, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(found) == 5 and not (orders == [0, 1, 2]).all(axis=1).any()
    assert stats.chisquare(counts).pvalue > 1e-4


def test_frame_shuffles_count_what_scores_as_well() -> None:
    own = np.array([1.0, 2.0, 5.0])
    shuffled = np.array([[2.0, 1, 5], [3, 3, 5], [0.5, 4, 5], [4, 5, 5]])
    result = frame_shuffle_test(own, shuffled, higher_is_better=False)
    assert result.p_published == pytest.approx((1 / 4 + 1 / 4 + 4 / 4) / 3)
    assert result.p_clips == pytest.approx((2 / 5 + 2 / 5 + 5 / 5) / 3)
    # means: own 8 / 3; shuffled 8 / 3, 11 / 3, 9.5 / 3, 14 / 3
    assert result.p == 2 / 5
    assert frame_shuffle_test(-own, -shuffled, higher_is_better=True) == result
    frozen = frame_shuffle_test(own, np.tile(own, (100, 1)), higher_is_better=False)
    assert frozen.p == frozen.p_clips == frozen.p_published == 1


def test_holm_equals_its_definition() -> None:
    p = np.array([[0.01, 0.04], [0.03, 0.005], [0.5, 0.9]])
    adjusted = holm(p)
    np.testing.assert_allclose(adjusted, [[0.05, 0.12], [0.12, 0.03], [1, 1]], rtol=1e-12)
    for alpha in (0.03, 0.05, 0.11, 0.12):
        rejected, ordered = set(), sorted((value, index) for index, value in np.ndenumerate(p))
        for step, (value, index) in enumerate(ordered):
            if value > alpha / (len(ordered) - step):
                break
            rejected.add(index)
        assert rejected == {index for index, value in np.ndenumerate(adjusted) if value <= alpha + 1e-15}
    assert holm(np.array([0.2])) == [0.2] and holm(np.empty(0)).shape == (0,)


def test_false_alarms_of_24_tests() -> None:
    expected, none = expected_false_alarms(24, 0.05)
    assert expected == pytest.approx(1.2) and round(none, 2) == 0.29


def test_inputs_stay_as_they_are() -> None:
    pairs, differences = rng(12).standard_normal((6, 6, 3)), rng(13).standard_normal(18)
    copies = pairs.copy(), differences.copy()
    pairing_test(pairs, generator=rng())
    sign_flip_test(differences, block_labels(["a"] * 18, 3), generator=rng())
    holm(np.abs(differences) / 10)
    np.testing.assert_array_equal(pairs, copies[0])
    np.testing.assert_array_equal(differences, copies[1])


def test_errors_say_what_was_expected_and_found() -> None:
    good = np.ones((3, 3, 2))
    rows = aligned_blocks(["a"] * 4, 2)
    flows = np.ones((4, 2))
    cases = [
        (
            "Expected differences (clip,) and n_permutations >= 1, got (2, 2) and 9999.",
            lambda: sign_flip_test(np.ones((2, 2)), np.zeros(2), generator=rng()),
        ),
        (
            "Expected finite values, got 1 NaN or infinite.",
            lambda: sign_flip_test(np.array([1, np.nan]), np.zeros(2), generator=rng()),
        ),
        (
            "Expected an alternative of two-sided, greater or less, got 'larger'.",
            lambda: sign_flip_test(np.ones(2), np.zeros(2), alternative="larger", generator=rng()),
        ),
        (
            "Expected pairs (block, block, offset) and n_permutations >= 1, got (3, 2, 2) and 9999.",
            lambda: pairing_test(good[:, :2], generator=rng()),
        ),
        (
            "Expected finite pair scores, got NaN or infinity.",
            lambda: pairing_test(good * np.nan, generator=rng()),
        ),
        (
            "Expected weights (3, 2) of at least 0, one above, got (3, 2).",
            lambda: pairing_test(good, weights=np.zeros((3, 2)), generator=rng()),
        ),
        (
            "Expected flows (clip, 2) of one shape and one mark per clip, got (4, 2), (3, 2) and (4,).",
            lambda: motion_pairing(flows, flows[:3], rows, moving=np.ones(4), generator=rng()),
        ),
        (
            "Expected at least one moving clip in a whole block, got none.",
            lambda: motion_pairing(flows, flows, rows, moving=np.zeros(4), generator=rng()),
        ),
        (
            "Expected scores of one shape, got (2,) and (3,).",
            lambda: motion_swap_test(np.ones(2), np.ones(3), np.zeros(2), generator=rng()),
        ),
        ("Expected at least 2 frames and 1 order, got 1 and 100.", lambda: frame_orders(1, 100, rng())),
        (
            "Expected own (clip,) and shuffled (order, clip), got (3,) and (5, 2).",
            lambda: frame_shuffle_test(np.ones(3), np.ones((5, 2)), higher_is_better=True),
        ),
        ("Expected p values in [0, 1], got NaN or a number outside.", lambda: holm(np.array([0.1, np.nan]))),
        (
            "Expected n_tests >= 0 and alpha in [0, 1], got 3 and 5.",
            lambda: expected_false_alarms(3, 5),
        ),
        (
            "Expected finite vectors (clip, dim), got (4, 2) with NaN or infinity.",
            lambda: pair_scores(flows * np.nan, flows, rows),
        ),
    ]
    for text, call in cases:
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == text
