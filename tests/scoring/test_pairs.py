"""Ranks of aligned candidates, by definition and by look-up."""

import numpy as np
from scipy.stats import rankdata

from mind_animator.metrics.retrieval import retrieval_ranks, top_k_hits
from mind_animator.scoring.pairs import rank_pairs


def test_rank_pairs_equal_retrieval(rng):
    queries, candidates = rng.standard_normal((12, 4)), rng.standard_normal((12, 4))
    candidates[5] = candidates[2]  # captions repeat
    rows = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
    ranks, top = rank_pairs(queries, candidates, rows)
    own = retrieval_ranks(queries, candidates, np.arange(12))
    for block in range(3):
        np.testing.assert_array_equal(ranks[block, block], own.middle[rows[block]])
        np.testing.assert_allclose(top[block, block], top_k_hits(own, 10)[rows[block]], atol=1e-12)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, candidates)]
    similarity = np.round(unit[0] @ unit[1].T, 12)
    slow = np.array([rankdata(-row) for row in similarity])
    for block in range(3):
        for other in range(3):
            np.testing.assert_allclose(ranks[block, other], slow[rows[block], rows[other]])
