"""False-positive rate of the whole analysis: ridge regression and its test on shuffled pairings."""

from collections.abc import Sequence

import numpy as np

from mind_animator.statistics.blocks import aligned_blocks
from mind_animator.statistics.permutation import pair_scores, pairing_test


def null_pairings(
    train_responses: np.ndarray,
    test_responses: np.ndarray,
    train_targets: np.ndarray,
    test_targets: np.ndarray,
    train_segments: Sequence[str],
    test_segments: Sequence[str],
    *,
    draws: int = 200,
    block: int = 10,
    permutations: int = 999,
    seed: int,
) -> np.ndarray:
    """P values of "above chance" where blocks of targets are randomly reassigned to blocks of responses.

    Each draw reassigns the training blocks and the test blocks, trains `ridge` on the shuffled pairs, and tests
    its predictions by `pairing_test` as the benchmark does. Responses keep their order, so that all draws
    share the decompositions of one kernel: the draws are one regression of ``draws`` times as many targets.

    Parameters
    ----------
    train_responses, test_responses : ndarray of shape (clip, voxel), float32
    train_targets, test_targets : ndarray of shape (clip, dim), float32
        E.g. CLIP text embeddings.
    train_segments, test_segments : sequence of str of length clip
        Movies; clips outside whole blocks of ``block`` neighbours are left out.
    draws, block, permutations, seed : int

    Returns
    -------
    ndarray of shape (draw,), float64
        Uniform on (0, 1] if regression and test are valid.
    """
    from mind_animator.methods.ridge import Options, kernel_ridge

    train, test = aligned_blocks(list(train_segments), block), aligned_blocks(list(test_segments), block)
    streams = [np.random.default_rng([seed, index]) for index in range(draws)]
    shuffled = [train[stream.permutation(len(train))].ravel() for stream in streams]
    rows = train.ravel()
    fitted = kernel_ridge(
        train_responses[rows],
        np.concatenate([train_targets[order] for order in shuffled], axis=1),
        np.asarray(train_segments)[rows],
        Options(),
    )
    decoded = test_responses @ fitted["weights"] + fitted["intercept"]
    p = np.empty(draws)
    for index, (stream, prediction) in enumerate(zip(streams, np.split(decoded, draws, axis=1), strict=True)):
        ground_truths = np.zeros_like(test_targets)
        ground_truths[test.ravel()] = test_targets[test[stream.permutation(len(test))].ravel()]
        pairs = pair_scores(prediction, ground_truths, test)
        p[index] = pairing_test(pairs, n_permutations=permutations, generator=stream).p
    return p
