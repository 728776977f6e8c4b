"""Retrieval against a full sort and against every order of ties."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import rankdata

from mind_animator.metrics.retrieval import Ranks, retrieval_ranks, retrieval_table, top_k_hits


def test_ranks_equal_a_full_sort_with_ties_in_the_middle() -> None:
    generator = np.random.default_rng(0)
    candidates = generator.standard_normal((40, 8))
    candidates[20:] = candidates[generator.integers(0, 20, size=20)]  # captions repeat
    queries, own = generator.standard_normal((30, 8)), generator.integers(0, 40, size=30)
    ranks = retrieval_ranks(queries, candidates, own)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, candidates)]
    similarity = np.round(unit[0] @ unit[1].T, 12)
    expected = [rankdata(-row)[c] for row, c in zip(similarity, own, strict=True)]
    np.testing.assert_array_equal(ranks.middle, expected)


def test_copies_of_a_candidate_tie_exactly_whatever_their_place() -> None:
    generator = np.random.default_rng(1)
    candidates = np.repeat(generator.standard_normal((1, 512)).astype(np.float32), 300, axis=0)
    ranks = retrieval_ranks(generator.standard_normal((50, 512)), candidates, np.arange(50))
    assert not ranks.better.any() and (ranks.ties == 299).all()
    np.testing.assert_array_equal(ranks.middle, 150.5)
    np.testing.assert_allclose(top_k_hits(ranks, 30), 0.1, rtol=1e-15)


def test_top_k_is_the_mean_over_every_order_of_the_ties() -> None:
    for better in range(3):
        for ties in range(4):
            ranks = Ranks(np.array([better]), np.array([ties]), 6)
            for k in range(1, 7):
                hits = [better + order.index(0) < k for order in permutations(range(ties + 1))]
                assert top_k_hits(ranks, k)[0] == pytest.approx(np.mean(hits), abs=1e-15)


def test_a_query_that_is_its_candidate_comes_first() -> None:
    candidates = np.random.default_rng(2).standard_normal((60, 16))
    ranks = retrieval_ranks(5 * candidates, candidates, np.arange(60))
    np.testing.assert_array_equal(ranks.middle, 1)


def test_chance_stands_beside_each_number() -> None:
    generator = np.random.default_rng(3)
    candidates = generator.standard_normal((120, 8))
    candidates[60:] = candidates[generator.integers(0, 60, size=60)]
    own = np.tile(np.arange(120), 100)
    ranks = retrieval_ranks(generator.standard_normal((12_000, 8)), candidates, own)
    table = {row["metric"]: row for row in retrieval_table(ranks)}
    assert list(table) == ["top_1", "top_10", "top_50", "top_100", "median_rank"]
    for k in (1, 10, 50, 100):
        row = table[f"top_{k}"]
        assert row["chance"] == k / 120 and row["higher_is_better"] and row["n_candidates"] == 120
        sigma = np.sqrt(row["chance"] * (1 - row["chance"]) / len(own))
        assert abs(row["value"] - row["chance"]) < 4.5 * sigma
    assert table["median_rank"]["chance"] == 60.5 and not table["median_rank"]["higher_is_better"]
    # the median of a uniform rank of 120 over n queries has a standard error of 120 / (2 sqrt n) = .55
    assert abs(table["median_rank"]["value"] - 60.5) < 4.5 * 0.55


def test_small_sets_have_no_top_100() -> None:
    candidates = np.random.default_rng(4).standard_normal((22, 8))
    table = retrieval_table(retrieval_ranks(candidates, candidates, np.arange(22)))
    assert [row["metric"] for row in table] == ["top_1", "top_10", "median_rank"]
    assert [row["value"] for row in table] == [1, 1, 1]


def test_inputs_stay_as_they_are_and_queries_do_not_see_each_other() -> None:
    generator = np.random.default_rng(5)
    queries, candidates, own = (
        generator.standard_normal((9, 8)),
        generator.standard_normal((12, 8)),
        np.arange(9),
    )
    copies = queries.copy(), candidates.copy()
    whole = retrieval_ranks(queries, candidates, own).middle
    np.testing.assert_array_equal(whole[4:6], retrieval_ranks(queries[4:6], candidates, own[4:6]).middle)
    np.testing.assert_array_equal(queries, copies[0])
    np.testing.assert_array_equal(candidates, copies[1])


def test_errors_say_what_was_expected_and_found() -> None:
    good, own = np.ones((4, 8)), np.arange(4)
    bad = good.copy()
    bad[0, 0] = np.nan
    cases = [
        (
            "Expected queries (query, dim) and candidates (candidate, dim), got (4, 8) and (4, 7).",
            lambda: retrieval_ranks(good, good[:, :7], own),
        ),
        (
            "Expected queries (query, dim) and candidates (candidate, dim), got (0, 8) and (4, 8).",
            lambda: retrieval_ranks(good[:0], good, own[:0]),
        ),
        (
            "Expected a row below 3 for each of 4 queries, got [0 1 2 3].",
            lambda: retrieval_ranks(good, good[:3], own),
        ),
        (
            "Expected finite queries other than 0, got NaN, infinity or a zero vector.",
            lambda: retrieval_ranks(bad, good, own),
        ),
        (
            "Expected finite candidates other than 0, got NaN, infinity or a zero vector.",
            lambda: retrieval_ranks(good, 0 * good, own),
        ),
        (
            "Expected k between 1 and 4 candidates, got 5.",
            lambda: top_k_hits(retrieval_ranks(good, good, own), 5),
        ),
    ]
    for text, call in cases:
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == text
