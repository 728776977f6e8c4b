"""N-way accuracy against a count of every possible draw and against the sampled score."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from mind_animator.metrics.nway import nway_accuracy, nway_image, nway_video, top_classes


def count_draws(scores: list[float], target: list[int], n_way: int, top_k: int) -> float:
    """Share of all draws of distractors in which the best target is among the best ``top_k``."""
    best = max(scores[c] for c in target)
    others = [c for c in range(len(scores)) if c not in target]
    draws = list(combinations(others, n_way - 1))
    return sum(sum(scores[c] >= best for c in draw) < top_k for draw in draws) / len(draws)


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize(("n_way", "top_k"), [(2, 1), (4, 1), (4, 3), (8, 2), (8, 7)])
def test_equals_a_count_of_every_draw(n_targets: int, n_way: int, top_k: int) -> None:
    generator = np.random.default_rng(n_way)
    scores = generator.integers(0, 6, size=(20, 11)).astype(np.float32)  # many ties
    target = np.stack([generator.permutation(11)[:n_targets] for _ in scores])
    value = nway_accuracy(torch.from_numpy(scores), torch.from_numpy(target), n_way=n_way, top_k=top_k)
    expected = [count_draws(list(s), list(t), n_way, top_k) for s, t in zip(scores, target, strict=True)]
    np.testing.assert_array_equal(value.numpy(), expected)  # both are correctly rounded quotients


def test_equals_the_hypergeometric_law_for_a_thousand_classes() -> None:
    scores = torch.arange(1000.0)[None].repeat(997, 1)
    target = torch.arange(997)[:, None] + torch.tensor([[0, 1, 2]])
    for n_way, top_k in [(2, 1), (50, 1), (50, 5), (998, 1)]:
        rivals = 1000 - 3 - np.arange(997)  # classes above the best target
        expected = hypergeom.cdf(top_k - 1, 997, rivals, n_way - 1)
        value = nway_accuracy(scores, target, n_way=n_way, top_k=top_k)
        # ours is exact; scipy's logarithms of factorials near 6e3 carry errors of ~1e-12
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-10, atol=1e-12)


def test_two_way_is_one_minus_the_share_of_rivals() -> None:
    scores = torch.randn(50, 400, generator=torch.Generator().manual_seed(0))
    target = torch.arange(50)[:, None]
    rivals = (scores >= scores.gather(1, target)).sum(1) - 1
    expected = 1 - rivals.double() / 399
    torch.testing.assert_close(nway_accuracy(scores, target, n_way=2), expected, rtol=0, atol=1e-12)


def test_is_the_expectation_of_the_sampled_score() -> None:
    generator = np.random.default_rng(0)
    scores, n_way, trials = generator.standard_normal(60), 10, 20_000
    target = [7, 11, 30]
    others = np.setdiff1d(np.arange(60), target)
    drawn = generator.permuted(np.tile(others, (trials, 1)), axis=1)[:, : n_way - 1]
    hits = (scores[drawn] < scores[target].max()).all(axis=1)
    exact = nway_accuracy(torch.from_numpy(scores)[None], torch.tensor([target]), n_way=n_way).item()
    assert abs(hits.mean() - exact) < 4.5 * np.sqrt(exact * (1 - exact) / trials)


def test_any_increasing_map_of_the_scores_leaves_it_as_it_is() -> None:
    scores = torch.randn(30, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    target = top_classes(torch.randn(30, 50, generator=torch.Generator().manual_seed(2)))
    own = nway_accuracy(scores, target, n_way=5)
    torch.testing.assert_close(nway_accuracy(scores.exp() * 3 - 1, target, n_way=5), own, rtol=0, atol=0)
    torch.testing.assert_close(nway_accuracy(scores.softmax(1), target, n_way=5), own, rtol=0, atol=0)


def test_all_equal_scores_lose_and_certain_cases_are_certain() -> None:
    flat = torch.zeros(1, 20)
    assert nway_accuracy(flat, torch.tensor([[3]]), n_way=2).item() == 0
    best = flat.clone()
    best[0, 3] = 1
    assert nway_accuracy(best, torch.tensor([[3]]), n_way=20).item() == pytest.approx(1, abs=1e-12)
    second = best.clone()
    second[0, 4] = 2  # one rival: it is drawn with probability 9 / 19
    assert nway_accuracy(second, torch.tensor([[3]]), n_way=10).item() == pytest.approx(10 / 19, abs=1e-12)
    assert nway_accuracy(second, torch.tensor([[3]]), n_way=10, top_k=2).item() == pytest.approx(1, abs=1e-12)


def test_image_and_video_scores_take_the_ground_truths_best_classes() -> None:
    generator = torch.Generator().manual_seed(3)
    ground_truth, prediction = torch.randn(2, 4, 5, 40, generator=generator)
    values = nway_image(ground_truth, prediction, n_way=6, top_k=2)
    assert values.shape == (4,) and values.dtype == torch.float64
    for clip in range(4):
        frames = [
            count_draws_closed(prediction[clip, f], ground_truth[clip, f].argsort(descending=True)[:3], 6, 2)
            for f in range(5)
        ]
        assert values[clip].item() == pytest.approx(np.mean(frames), abs=1e-12)
    video = nway_video(ground_truth[:, 0], prediction[:, 0], n_way=6, top_k=2)
    torch.testing.assert_close(video, nway_image(ground_truth[:, :1], prediction[:, :1], n_way=6, top_k=2))
    assert (nway_image(ground_truth, ground_truth, n_way=6) == 1).all()


def count_draws_closed(scores: torch.Tensor, target: torch.Tensor, n_way: int, top_k: int) -> float:
    """The closed form with binomial coefficients as whole numbers."""
    best = scores[target].max()
    rivals = sum(bool(s >= best) for c, s in enumerate(scores) if c not in target.tolist())
    pool = len(scores) - len(target)
    ways = sum(comb(rivals, j) * comb(pool - rivals, n_way - 1 - j) for j in range(top_k))
    return ways / comb(pool, n_way - 1)


def test_chance_with_three_targets_is_three_quarters() -> None:
    scores = torch.randn(2, 20_000, 100, generator=torch.Generator().manual_seed(4))
    value = nway_video(scores[0], scores[1], n_way=2).mean().item()
    assert abs(value - 0.75) < 4.5 * 0.2 / np.sqrt(20_000)  # the best of three has a spread of .19


def test_inputs_stay_as_they_are_and_batches_do_not_matter() -> None:
    scores = torch.randn(6, 30, generator=torch.Generator().manual_seed(5))
    target = top_classes(scores.flip(0))
    copies = scores.clone(), target.clone()
    whole = nway_accuracy(scores, target, n_way=4)
    parts = torch.cat([nway_accuracy(scores[i : i + 1], target[i : i + 1], n_way=4) for i in range(6)])
    assert torch.equal(whole, parts)
    assert torch.equal(scores, copies[0]) and torch.equal(target, copies[1])


def test_errors_say_what_was_expected_and_found() -> None:
    scores, target = torch.zeros(2, 10), torch.tensor([[0], [1]])
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
        "Expected finite scores, at least one, got torch.float32 with NaN, infinity or nothing.": (
            lambda: nway_accuracy(scores / 0, target, n_way=2)
        ),
        "Expected finite scores, at least one, got torch.int64 with NaN, infinity or nothing.": (
            lambda: nway_accuracy(scores.long(), target, n_way=2)
        ),
        "Expected distinct target classes in 0..9, got [0, 0].": (
            lambda: nway_accuracy(scores, torch.zeros(2, 2, dtype=torch.int64), n_way=2)
        ),
        "Expected distinct target classes in 0..9, got [12].": (
            lambda: nway_accuracy(scores, target + torch.tensor([[0], [11]]), n_way=2)
        ),
        "Expected scores of one shape, got (2, 10) (ground truth) and (2, 9).": (
            lambda: nway_video(scores, scores[:, :9], n_way=2)
        ),
        "Expected finite ground truth scores, got NaN or infinity.": lambda: nway_video(
            scores / 0, scores, n_way=2
        ),
        "Expected 1 to 9 targets, got 10.": lambda: top_classes(scores, 10),
    }
    for text, call in cases.items():
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == text
