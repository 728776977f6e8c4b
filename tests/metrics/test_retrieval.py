"""Retrieval against a full sort and against every order of ties."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import rankdata

from mind_animator.metrics.retrieval import Ranks, aligned_ranks, retrieval_ranks, top_k_hits, two_way


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


def test_copies_of_a_candidate_tie_exactly_at_any_position() -> None:
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


def test_random_queries_score_at_chance() -> None:
    generator = np.random.default_rng(3)
    candidates = generator.standard_normal((120, 8))
    candidates[60:] = candidates[generator.integers(0, 60, size=60)]
    own = np.tile(np.arange(120), 100)
    ranks = retrieval_ranks(generator.standard_normal((12_000, 8)), candidates, own)
    for k in (1, 10, 50, 100):
        chance = k / 120
        sigma = np.sqrt(chance * (1 - chance) / len(own))
        assert abs(top_k_hits(ranks, k).mean() - chance) < 4.5 * sigma
    # the median of a uniform rank of 120 over n queries has a standard error of 120 / (2 sqrt n) = .55
    assert abs(np.median(ranks.middle) - 60.5) < 4.5 * 0.55
    assert abs(two_way(ranks).mean() - 0.5) < 4.5 * np.sqrt(1 / 12 / len(own))


def test_two_way_counts_pairs() -> None:
    """Slow definition: each query against each other candidate, a tie counts half."""
    generator = np.random.default_rng(6)
    candidates = generator.standard_normal((9, 3))
    candidates[5] = candidates[2]
    queries = candidates + generator.standard_normal((9, 3))
    cosine = [[np.dot(q, c) / np.linalg.norm(q) / np.linalg.norm(c) for c in candidates] for q in queries]
    cosine = np.round(cosine, 12)
    expected = [
        np.mean([(row[i] > row[j]) + (row[i] == row[j]) / 2 for j in range(9) if j != i])
        for i, row in enumerate(cosine)
    ]
    np.testing.assert_allclose(two_way(retrieval_ranks(queries, candidates, np.arange(9))), expected)


def test_centring_removes_the_hub() -> None:
    """All embeddings share a direction; one of them is the mean direction and the nearest of every query."""
    generator = np.random.default_rng(7)
    mean = 3 * np.ones(20)
    candidates = mean + generator.standard_normal((60, 20))
    candidates[0] = mean * 1.1
    decoded = mean + 0.15 * (candidates - mean) + 0.1 * generator.standard_normal((60, 20))
    own = np.arange(60)
    plain, centred = (retrieval_ranks(decoded, candidates, own, m) for m in (None, mean))
    nearest = [retrieval_ranks(decoded[i : i + 1], candidates, own[:1]).middle[0] == 1 for i in own]
    assert np.mean(nearest) > 0.8  # candidate 0, regardless of the query
    assert np.median(centred.middle) < 3 < 8 < np.median(plain.middle)
    unit = [(v - mean) / np.linalg.norm(v - mean, axis=1, keepdims=True) for v in (decoded, candidates)]
    expected = [rankdata(-row)[i] for i, row in enumerate(unit[0] @ unit[1].T)]
    np.testing.assert_array_equal(centred.middle, expected)


def test_a_decoder_that_predicts_the_mean_ties_with_every_candidate() -> None:
    candidates = np.random.default_rng(8).standard_normal((30, 5)).astype(np.float32)
    mean = candidates.mean(0, dtype=np.float64)
    constant = np.tile(mean.astype(np.float32), (30, 1))
    ranks = retrieval_ranks(constant, candidates, np.arange(30), mean)
    np.testing.assert_array_equal(ranks.middle, 15.5)
    np.testing.assert_array_equal(two_way(ranks), 0.5)


@pytest.mark.parametrize("centre", [False, True])
def test_aligned_ranks_equal_the_ranks_one_by_one(centre: bool) -> None:
    generator = np.random.default_rng(9)
    candidates = generator.standard_normal((14, 6))
    candidates[11] = candidates[3]
    queries = candidates + generator.standard_normal((14, 6))
    mean = np.full(6, 0.3) if centre else None
    rows = np.array([[0, 1, 2], [3, 4, 5], [9, 10, 11]])
    cosines, ranks, top = aligned_ranks(queries, candidates, rows, mean)
    shift = 0 if mean is None else mean
    for b, c, o in np.ndindex(3, 3, 3):
        query, own = queries[rows[b, o]], rows[c, o]
        one = retrieval_ranks(query[None], candidates, np.array([own]), mean)
        assert ranks[b, c, o] == one.middle[0] and top[b, c, o] == top_k_hits(one, 10)[0]
        x, y = query - shift, candidates[own] - shift
        assert cosines[b, c, o] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


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
