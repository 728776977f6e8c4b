"""Block bootstrap against a plain loop, a formula and its own coverage."""

import numpy as np
import pytest

from mind_animator.statistics.blocks import block_labels
from mind_animator.statistics.bootstrap import block_bootstrap


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_equals_every_possible_draw_of_a_small_case() -> None:
    # two movies of two blocks of two clips: 2^2 x 2^2 equally likely draws, each mean worked out by hand
    values = np.array([1.0, 3, 10, 20, -5, 5, 100, 40])
    movies = np.repeat(["a", "b"], 4)
    blocks = block_labels(list(movies), 2)
    means = [values[blocks == b].mean() for b in range(4)]
    possible = [
        (means[i] + means[j] + means[k] + means[m]) / 4
        for i in (0, 1) for j in (0, 1) for k in (2, 3) for m in (2, 3)
    ]  # fmt: skip
    for level in (0.6, 0.8):  # tails of 3.2 and 1.6 sixteenths: within one of the sixteen means
        found = block_bootstrap(values, blocks, movies, n_draws=40_000, level=level, generator=rng())
        expected = np.quantile(np.repeat(possible, 1000), [(1 - level) / 2, (1 + level) / 2])
        np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-12)
    assert found.estimate == values.mean() and (found.n_clips, found.n_blocks) == (8, 4)


def test_a_shorter_last_block_counts_by_its_clips() -> None:
    values, movies = np.array([0.0, 0, 0, 0, 6]), np.repeat("a", 5)
    found = block_bootstrap(
        values, block_labels(list(movies), 2), movies, n_draws=4000, level=0.999, generator=rng()
    )
    assert found.low == 0 and found.high == 6  # at worst three times the block of one clip: mean 6
    assert found.estimate == 1.2


def test_weights_make_it_a_ratio_of_means() -> None:
    ratios, weights, movies = rng(7).random(24), rng(8).random(24) + 0.1, np.repeat(["a", "b"], 12)
    blocks = block_labels(list(movies), 3)
    found = block_bootstrap(ratios, blocks, movies, weights=weights, n_draws=300, generator=rng(9))
    generator, above, below = rng(9), np.zeros(300), np.zeros(300)
    for members in (range(4), range(4, 8)):  # the same draws, clip by clip
        for row, drawn in enumerate(generator.integers(4, size=(300, 4))):
            clips = np.concatenate([np.flatnonzero(blocks == members[block]) for block in drawn])
            above[row] += (ratios * weights)[clips].sum()
            below[row] += weights[clips].sum()
    np.testing.assert_allclose(
        [found.low, found.high], np.quantile(above / below, [0.025, 0.975]), rtol=1e-12
    )
    assert found.estimate == np.average(ratios, weights=weights)


def test_one_clip_a_block_gives_the_textbook_standard_error() -> None:
    values = rng(1).standard_normal(400)
    found = block_bootstrap(values, np.arange(400), n_draws=20_000, generator=rng(2))
    error = values.std() / np.sqrt(400)
    # quantiles of 20,000 draws: a relative error of about 1 %
    np.testing.assert_allclose(found.high - found.low, 2 * 1.96 * error, rtol=0.04)


def test_coverage_of_correlated_clips_needs_blocks() -> None:
    covered = {1: 0, 10: 0}
    for seed in range(200):
        generator = rng(seed)
        noise = np.repeat(generator.standard_normal(60), 10) + generator.standard_normal(600)
        for size in covered:
            found = block_bootstrap(noise, block_labels(["a"] * 600, size), n_draws=200, generator=generator)
            covered[size] += found.low <= 0 <= found.high
    assert 174 <= covered[10] <= 199  # 95 % less the percentile method's 1-2 % at 60 blocks, +- 4 sigma
    assert covered[1] < 150  # its interval is too short by sqrt(110 / 20): 60 % expected


def test_movies_of_one_block_are_drawn_from_together() -> None:
    values, movies = rng(3).standard_normal(40), np.repeat(np.arange(8), 5)
    pooled = block_bootstrap(values, movies, movies, n_draws=500, generator=rng(4))
    alone = block_bootstrap(values, movies, None, n_draws=500, generator=rng(4))
    assert pooled == alone and pooled.high > pooled.low


def test_one_block_has_no_interval() -> None:
    found = block_bootstrap(np.array([1.0, 2]), np.zeros(2), n_draws=100, generator=rng())
    assert found.estimate == 1.5 and np.isnan(found.low) and np.isnan(found.high)


def test_is_seeded_and_leaves_its_inputs() -> None:
    values, blocks = rng(5).standard_normal(50), block_labels(["a"] * 50, 10)
    copy = values.copy()
    first, second = (block_bootstrap(values, blocks, generator=rng(6)) for _ in range(2))
    assert first == second
    assert first.low <= first.estimate <= first.high
    np.testing.assert_array_equal(values, copy)


def test_errors_say_what_was_expected_and_found() -> None:
    good = np.ones(4)
    cases = [
        (
            "Expected values (clip,), n_draws >= 1 and 0 < level < 1, got (2, 2), 2000 and 0.95.",
            lambda: block_bootstrap(np.ones((2, 2)), np.zeros(2), generator=rng()),
        ),
        (
            "Expected values (clip,), n_draws >= 1 and 0 < level < 1, got (4,), 2000 and 95.",
            lambda: block_bootstrap(good, np.zeros(4), level=95, generator=rng()),
        ),
        (
            "Expected every block within one movie, got a block with clips of two.",
            lambda: block_bootstrap(good, np.zeros(4), np.arange(4), generator=rng()),
        ),
        (
            "Expected one movie per clip, got (3,) for (4,) clips.",
            lambda: block_bootstrap(good, np.arange(4), np.arange(3), generator=rng()),
        ),
        (
            "Expected a positive weight for each of 4 clips, got [1. 1. 0. 1.].",
            lambda: block_bootstrap(good, np.zeros(4), weights=np.array([1, 1, 0, 1]), generator=rng()),
        ),
        (
            "Expected finite values, got 1 NaN or infinite.",
            lambda: block_bootstrap(np.array([1, np.inf]), np.zeros(2), generator=rng()),
        ),
    ]
    for text, call in cases:
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == text
