"""Blocks of neighbouring clips."""

import numpy as np
import pytest

from mind_animator.statistics.blocks import aligned_blocks, block_labels, block_sums


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


def test_errors_say_what_was_expected_and_found() -> None:
    cases = [
        ("Expected at least one clip and a block of at least 1, got 0 and 10.", lambda: block_labels([], 10)),
        (
            "Expected at least one clip and a block of at least 1, got 1 and 0.",
            lambda: aligned_blocks(["a"], 0),
        ),
        (
            "Expected values (clip, ...) and one block a clip, got (3,) and (2,).",
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
