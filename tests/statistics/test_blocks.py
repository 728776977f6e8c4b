"""Blocks of neighbouring clips."""

import numpy as np
import pytest

from mind_animator.statistics.blocks import aligned_blocks, block_labels, block_sums, clips_per_block, least_p
from mind_animator.statistics.permutation import pairing_test, sign_flip_test


def test_blocks_stay_within_movies_and_the_last_may_be_short() -> None:
    movies = ["a"] * 5 + ["b"] * 4 + ["c"]
    np.testing.assert_array_equal(block_labels(movies, 2), [0, 0, 1, 1, 2, 3, 3, 4, 4, 5])
    np.testing.assert_array_equal(aligned_blocks(movies, 2), [[0, 1], [2, 3], [5, 6], [7, 8]])


def test_interleaved_movies_keep_their_own_time() -> None:
    movies = ["a", "b"] * 4
    np.testing.assert_array_equal(block_labels(movies, 2), [0, 1, 0, 1, 2, 3, 2, 3])
    np.testing.assert_array_equal(aligned_blocks(movies, 2), [[0, 2], [1, 3], [4, 6], [5, 7]])


def test_full_test_sets_lose_no_clip() -> None:
    movies = [f"test{m}" for m in range(5) for _ in range(240)]
    rows = aligned_blocks(movies, 10)
    assert rows.shape == (120, 10)
    np.testing.assert_array_equal(rows.ravel(), np.arange(1200))


def test_movies_shorter_than_a_block_have_no_whole_one() -> None:
    assert aligned_blocks(["a"] * 4 + ["b"] * 3, 5).shape == (0, 5)


def test_block_sums_equal_a_loop() -> None:
    generator = np.random.default_rng(0)
    values, blocks = generator.standard_normal((30, 2)), generator.integers(3, 9, size=30)
    sums, counts = block_sums(values, blocks)
    for row, block in enumerate(np.unique(blocks)):
        np.testing.assert_allclose(sums[row], values[blocks == block].sum(axis=0), rtol=1e-12)
        assert counts[row] == (blocks == block).sum()


@pytest.mark.parametrize(("seconds", "clips"), [(20, 10), (21, 11), (0.5, 1), (60, 30)])
def test_a_block_in_seconds_is_rounded_up_to_clips(seconds, clips) -> None:
    assert clips_per_block(seconds, [2.0] * 30) == clips
    assert clips_per_block(seconds, [1.0, 2.0, 15.0]) == clips  # the median


@pytest.mark.parametrize("blocks", [2, 3, 4, 6, 8])
def test_the_strongest_effect_reaches_the_least_p_and_nothing_goes_below(blocks) -> None:
    """A perfect decoder of exactly comparable blocks, by both tests; 8! pairings are drawn, not counted."""
    pairs = np.eye(blocks)[:, :, None] + 0.01 * np.random.default_rng(0).random((blocks, blocks, 1))
    result = pairing_test(pairs, n_permutations=999, generator=np.random.default_rng(1))
    assert result.p == pytest.approx(least_p(result.n_permutations, result.exact))
    flip = sign_flip_test(
        np.arange(1.0, blocks + 1), np.arange(blocks), n_permutations=99, generator=np.random.default_rng(2)
    )
    assert flip.p >= least_p(flip.n_permutations, flip.exact, two_sided=True)
    if flip.exact:
        assert flip.p == pytest.approx(2 / 2**blocks)
    assert least_p(0, True) == 1.0


def test_errors_say_what_was_expected_and_found() -> None:
    cases = [
        ("Expected at least one clip and a block of at least 1, got 0 and 10.", lambda: block_labels([], 10)),
        (
            "Expected at least one clip and a block of at least 1, got 1 and 0.",
            lambda: aligned_blocks(["a"], 0),
        ),
        (
            "Expected positive seconds and durations, got 0 and [2.].",
            lambda: clips_per_block(0, [2.0]),
        ),
        (
            "Expected values (clip, ...) and one block per clip, got (3,) and (2,).",
            lambda: block_sums(np.ones(3), np.zeros(2)),
        ),
        (
            "Expected finite values, got 1 NaN or infinite.",
            lambda: block_sums(np.array([1, np.nan]), np.zeros(2)),
        ),
    ]
    for text, call in cases:
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == text
