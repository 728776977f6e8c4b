"""N-way accuracy compared with a count over all sets of distractors and with the sampled score."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import hypergeom

from mind_animator.metrics.image_nway import ImageNWay
from mind_animator.metrics.nway import nway_accuracy, top_classes
from mind_animator.metrics.video_nway import VideoNWay


def count_draws(scores: list[float], target: list[int], n_way: int, top_k: int) -> float:
    """Fraction of all sets of distractors in which the best target is among the best ``top_k``."""
    best = max(scores[c] for c in target)
    others = [c for c in range(len(scores)) if c not in target]
    draws = list(combinations(others, n_way - 1))
    return sum(sum(scores[c] >= best for c in candidates) < top_k for candidates in draws) / len(draws)


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize(("n_way", "top_k"), [(2, 1), (4, 1), (4, 3), (8, 2), (8, 7)])
def test_equals_a_count_of_every_draw(n_targets: int, n_way: int, top_k: int) -> None:
    generator = np.random.default_rng(n_way)
    scores = generator.integers(0, 6, size=(20, 11)).astype(np.float32)  # many ties
    target = np.stack([generator.permutation(11)[:n_targets] for _ in scores])
    value = nway_accuracy(scores, target, n_way=n_way, top_k=top_k)
    expected = [count_draws(list(s), list(t), n_way, top_k) for s, t in zip(scores, target, strict=True)]
    np.testing.assert_array_equal(value, expected)  # both are correctly rounded quotients


def test_equals_the_hypergeometric_law_for_a_thousand_classes() -> None:
    scores = np.tile(np.arange(1000.0), (997, 1))
    target = np.arange(997)[:, None] + np.array([[0, 1, 2]])
    for n_way, top_k in [(2, 1), (50, 1), (50, 5), (998, 1)]:
        rivals = 1000 - 3 - np.arange(997)  # classes above the best target
        expected = hypergeom.cdf(top_k - 1, 997, rivals, n_way - 1)
        value = nway_accuracy(scores, target, n_way=n_way, top_k=top_k)
        # ours is exact; scipy's logarithms of factorials near 6e3 carry errors of ~1e-12
        np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-12)


def test_two_way_is_one_minus_the_fraction_of_rivals(rng) -> None:
    scores, target = rng.standard_normal((50, 400)), np.arange(50)[:, None]
    rivals = (scores >= np.take_along_axis(scores, target, 1)).sum(1) - 1
    np.testing.assert_allclose(nway_accuracy(scores, target, n_way=2), 1 - rivals / 399, rtol=0, atol=1e-12)


def test_is_the_expectation_of_the_sampled_score() -> None:
    generator = np.random.default_rng(0)
    scores, n_way, trials = generator.standard_normal(60), 10, 20_000
    target = [7, 11, 30]
    others = np.setdiff1d(np.arange(60), target)
    drawn = generator.permuted(np.tile(others, (trials, 1)), axis=1)[:, : n_way - 1]
    hits = (scores[drawn] < scores[target].max()).all(axis=1)
    exact = nway_accuracy(scores[None], np.array([target]), n_way=n_way).item()
    assert abs(hits.mean() - exact) < 4.5 * np.sqrt(exact * (1 - exact) / trials)


def test_any_increasing_map_of_the_scores_leaves_it_as_it_is(rng) -> None:
    scores, target = rng.standard_normal((30, 50)), top_classes(rng.standard_normal((30, 50)))
    own = nway_accuracy(scores, target, n_way=5)
    np.testing.assert_array_equal(nway_accuracy(np.exp(scores) * 3 - 1, target, n_way=5), own)


def test_all_equal_scores_lose_and_certain_cases_are_certain() -> None:
    flat = np.zeros((1, 20))
    assert nway_accuracy(flat, np.array([[3]]), n_way=2).item() == 0
    best = flat.copy()
    best[0, 3] = 1
    assert nway_accuracy(best, np.array([[3]]), n_way=20).item() == pytest.approx(1, abs=1e-12)
    second = best.copy()
    second[0, 4] = 2  # one rival: it is drawn with probability 9 / 19
    assert nway_accuracy(second, np.array([[3]]), n_way=10).item() == pytest.approx(10 / 19, abs=1e-12)
    assert nway_accuracy(second, np.array([[3]]), n_way=10, top_k=2).item() == pytest.approx(1, abs=1e-12)


def test_image_and_video_scores_take_the_best_classes_of_the_ground_truth(rng) -> None:
    ground_truth, prediction = rng.standard_normal((2, 4, 5, 40)).astype(np.float32)
    metric = ImageNWay(6)
    described = [[metric.describe(clip) for clip in side] for side in (ground_truth, prediction)]
    for clip, (t, p) in enumerate(zip(*described, strict=True)):
        frames = [
            count_draws_closed(prediction[clip, f], np.argsort(ground_truth[clip, f])[-3:], 6, 1)
            for f in range(5)
        ]
        np.testing.assert_allclose(metric.compare(t, p), frames, rtol=0, atol=1e-12)
        video = VideoNWay(6)
        one = video.compare(video.describe(ground_truth[clip, 0]), video.describe(prediction[clip, 0]))
        assert one == metric.compare(t, p)[0]
        assert (metric.compare(t, t) == 1).all()
        np.testing.assert_array_equal(
            metric.compare_many(t, described[1]), [metric.compare(t, other).mean() for other in described[1]]
        )


def count_draws_closed(scores: np.ndarray, target: np.ndarray, n_way: int, top_k: int) -> float:
    """The closed form with binomial coefficients as whole numbers."""
    best = scores[target].max()
    rivals = sum(bool(s >= best) for c, s in enumerate(scores) if c not in target.tolist())
    pool = len(scores) - len(target)
    ways = sum(comb(rivals, j) * comb(pool - rivals, n_way - 1 - j) for j in range(top_k))
    return ways / comb(pool, n_way - 1)


def test_chance_with_three_targets_is_three_quarters(rng) -> None:
    first, second = rng.standard_normal((2, 20_000, 100))
    value = nway_accuracy(second, top_classes(first), n_way=2).mean()
    assert abs(value - 0.75) < 4.5 * 0.2 / np.sqrt(20_000)  # the best of three has a spread of .19


def test_inputs_stay_as_they_are_and_batches_do_not_matter(rng) -> None:
    scores = rng.standard_normal((6, 30))
    target = top_classes(scores[::-1])
    copies = scores.copy(), target.copy()
    whole = nway_accuracy(scores, target, n_way=4)
    parts = [nway_accuracy(scores[i : i + 1], target[i : i + 1], n_way=4)[0] for i in range(6)]
    np.testing.assert_array_equal(whole, parts)
    np.testing.assert_array_equal(scores, copies[0])
    np.testing.assert_array_equal(target, copies[1])


def test_errors_say_what_was_expected_and_found() -> None:
    scores, target = np.zeros((2, 10)), np.array([[0], [1]])
    cases = {
        "Expected scores (..., n_classes) and target (..., n_targets), got (2, 10) and (1, 1).": (
            lambda: nway_accuracy(scores, target[:1], n_way=2)
        ),
        "Expected 1 <= top_k < n_way <= 10, got top_k=1, n_way=11.": (
            lambda: nway_accuracy(scores, target, n_way=11)
        ),
        "Expected 1 <= top_k < n_way <= 10, got top_k=2, n_way=2.": (
            lambda: nway_accuracy(scores, target, n_way=2, top_k=2)
        ),
        "Expected finite scores, at least one, got float64 with NaN, infinity or nothing.": (
            lambda: nway_accuracy(np.full((2, 10), np.nan), target, n_way=2)
        ),
        "Expected finite scores, at least one, got int64 with NaN, infinity or nothing.": (
            lambda: nway_accuracy(scores.astype(np.int64), target, n_way=2)
        ),
        "Expected distinct target classes in 0..9, got [0, 0].": (
            lambda: nway_accuracy(scores, np.zeros((2, 2), np.int64), n_way=2)
        ),
        "Expected distinct target classes in 0..9, got [12].": (
            lambda: nway_accuracy(scores, target + np.array([[0], [11]]), n_way=2)
        ),
        "the image classifier has 9 classes": lambda: ImageNWay(50).describe(scores[:, :9]),
        "Expected 1 to 9 targets, got 10.": lambda: top_classes(scores, 10),
    }
    for text, call in cases.items():
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == text
