"""Activation patterns against Haufe's formula, their permutation interval, and the areas' AUC by counting
pairs."""

import numpy as np
import pytest

from mind_animator.explain.patterns import (
    activation_pattern,
    leading_components,
    permuted_patterns,
    resampled_patterns,
    roi_auc,
)


def _linear(seed=0, clips=300, voxels=20, outputs=3):
    rng = np.random.default_rng(seed)
    responses = rng.normal(size=(clips, voxels)) @ rng.normal(size=(voxels, voxels)) / 4
    weights = rng.normal(size=(voxels, outputs))
    return responses, weights


def test_a_linear_decoder_gets_haufes_pattern():
    """Cov(x) W, columns rotated to uncorrelated outputs: A Cov(y) of Haufe's A = Cov(x) W Cov(y)^-1."""
    responses, weights = _linear()
    covariance = np.cov(responses.T, bias=True)
    spread = weights.T @ covariance @ weights
    values, vectors = np.linalg.eigh(spread)
    haufe = covariance @ weights @ np.linalg.inv(spread) @ spread @ vectors
    expected = np.abs(haufe).sum(axis=1) / np.sqrt(values.sum())
    got = activation_pattern(responses, leading_components(responses @ weights))
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_a_canceller_of_noise_has_a_weight_but_no_pattern():
    rng = np.random.default_rng(1)
    signal, noise = rng.normal(size=(2, 20_000))
    responses = np.stack([signal + noise, noise], axis=1)
    pattern = activation_pattern(responses, (responses @ [1, -1])[:, None])
    assert pattern[0] > 0.95 and pattern[1] < 5 / np.sqrt(20_000)  # five standard errors of a covariance of 0


def test_components_keep_the_variance_and_the_covariances():
    rng = np.random.default_rng(2)
    for shape in ((50, 6), (10, 40)):
        outputs = rng.normal(size=shape)
        scores = leading_components(outputs, 100)
        centred = outputs - outputs.mean(0)
        np.testing.assert_allclose(scores @ scores.T, centred @ centred.T, atol=1e-9)
        assert np.all(np.diff(scores.var(axis=0)) <= 1e-12)


def test_constant_outputs_give_a_map_of_zeros():
    responses, _ = _linear()
    np.testing.assert_array_equal(activation_pattern(responses, np.ones((300, 2))), np.zeros(20))


def test_permuted_blocks_cover_an_unrelated_output_and_not_a_related_one():
    responses, weights = _linear(clips=400)
    before = responses.copy()
    blocks = np.arange(400).reshape(40, 10)
    outputs = leading_components(responses @ weights)
    null = permuted_patterns(responses, outputs, blocks, 99, np.random.default_rng(0))
    again = permuted_patterns(responses, outputs, blocks, 99, np.random.default_rng(0))
    np.testing.assert_array_equal(null, again)
    np.testing.assert_array_equal(responses, before)
    assert activation_pattern(responses, outputs).mean() > null.mean(axis=1).max()
    unrelated = np.random.default_rng(3).normal(size=(400, 3))
    low, high = np.quantile(null.mean(axis=1), (0.005, 0.995))
    spread = high - low
    assert low - spread < activation_pattern(responses, unrelated).mean() < high + spread


def test_resampled_patterns_gather_about_the_pattern():
    responses, weights = _linear(clips=400)
    outputs = leading_components(responses @ weights)
    draws = resampled_patterns(
        responses, outputs, np.arange(400).reshape(40, 10), 50, np.random.default_rng(0)
    )
    whole = activation_pattern(responses, outputs)
    assert np.corrcoef(draws.mean(axis=0), whole)[0, 1] > 0.95


def test_auc_counts_pairs_and_ties_half():
    rois = ["L_V1", "R_V1", "L_MT", "R_LO1", "L_V2"]
    values = np.array([[3.0, 1.0, 1.0, 0.0, 9.0], [0.0, 0.0, 1.0, 2.0, 9.0]])
    # V1 against MT and LO1: (3 > 1, 3 > 0, 1 = 1, 1 > 0) and (0 < 1, 0 < 2, twice)
    np.testing.assert_allclose(roi_auc(values, rois, ["V1"], ["MT", "LO1"]), [3.5 / 4, 0.0])
    np.testing.assert_allclose(roi_auc(values[0], rois, ["V1"], ["V1", "MT", "LO1"]), 3.5 / 4)
    with pytest.raises(ValueError, match=r"Expected voxels in planted and in other areas, got 2 and 0\."):
        roi_auc(values, rois, ["V1"], ["FEF"])


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"got \(4, 2\) and \(5, 1\)\."):
        activation_pattern(np.zeros((4, 2)), np.zeros((5, 1)))
