"""The closed-form decoders: the second stage against explicit refits, and the stack against the first stage alone."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge

from mind_animator.config.decoders import StackedConfig
from mind_animator.decoders.checkpoint import Checkpoint
from mind_animator.decoders.ridge import Search, decompose, decompose_gram, dual_weights, search_penalties
from mind_animator.decoders.stacked import (
    _window_scores,
    decode_stacked,
    fit_stacked,
    flow_field,
    stacking_weights,
)
from mind_animator.errors import InputError

MOVIES = np.repeat(["a", "b", "c", "d", "e"], 40)
SMALL = StackedConfig(window=(1, 0), n_components=6, n_input_components=4)


def _simulate(seed, product):
    """Responses (clip, 2 volumes, 30 voxels) that are linear in latent variables, and targets of which the
    part ``product`` is a product of two variables."""
    mixing = np.random.default_rng(99)
    loadings, outputs = mixing.normal(size=(4, 30)), mixing.normal(size=(4, 5))
    rng, clips = np.random.default_rng(seed), len(MOVIES)
    hidden = rng.normal(size=(clips, 2, 4))
    responses = hidden @ loadings + 0.5 * rng.normal(size=(clips, 2, 30))
    own = hidden[:, 1]
    text = (1 - product) * own @ outputs + product * (own[:, :1] * own[:, 1:2]) * outputs[0]
    targets = {"text": text, "first": own @ outputs + 0.1 * rng.normal(size=(clips, 5))}
    return torch.from_numpy(responses).float(), {k: torch.from_numpy(v).float() for k, v in targets.items()}


def _r2(target, prediction):
    return 1 - float((target - prediction).square().sum() / (target - target.mean(0)).square().sum())


def test_window_scores_are_those_of_a_regression_without_the_movie():
    window, targets = _simulate(0, 0.0)
    window, y = window.double(), targets["first"].double()
    x = window[:, 1].contiguous()
    kernel = decompose(x)
    *_, found = search_penalties(kernel, y, MOVIES, (0.3, 3.0))
    scores = _window_scores(kernel, x, window, y, found, MOVIES)
    for movie in np.unique(MOVIES):
        out = torch.from_numpy(movie == MOVIES)
        for target in range(y.shape[1]):
            refit = Ridge(alpha=float(found.alpha[target] * kernel.unit)).fit(x[~out], y[~out, target])
            for volume in range(2):
                expected = refit.predict(window[out, volume])
                np.testing.assert_allclose(scores[out, volume, target], expected, atol=1e-8)


def test_kernel_ridge_of_a_gaussian_kernel_equals_scikit_learn():
    window, targets = _simulate(1, 1.0)
    x, y = window[:, 1].double(), targets["text"].double()
    gram = torch.exp(-torch.cdist(x, x).square() / 100)
    kernel = decompose_gram(gram)
    found = Search(torch.zeros(5), torch.full((5,), 0.1).double(), torch.zeros_like(y))
    own = gram @ (dual := dual_weights(kernel, y, found)) + y.mean(0) - gram.mean(0) @ dual
    centred = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
    model = KernelRidge(alpha=float(0.1 * kernel.unit), kernel="precomputed").fit(centred, y - y.mean(0))
    np.testing.assert_allclose(own, model.predict(centred) + y.mean(0).numpy(), atol=1e-8)


def test_stacking_is_non_negative_least_squares_and_falls_back():
    rng = np.random.default_rng(2)
    target = torch.from_numpy(rng.normal(size=(len(MOVIES), 3)))
    noisy = torch.stack(
        [target * s + torch.from_numpy(rng.normal(size=target.shape)) for s in (0.8, 1.0, 0.1)]
    )
    weights, (alone, combined) = stacking_weights(noisy, target, MOVIES)
    expected, _ = nnls(noisy.flatten(1).T.numpy(), target.flatten().numpy())
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    assert combined < alone
    # a first prediction that nothing improves: any other weight fits noise
    useless = torch.stack([target, *torch.from_numpy(rng.normal(size=(4, *target.shape)))])
    weights, (alone, combined) = stacking_weights(useless, target, MOVIES)
    assert weights.tolist() == [1, 0, 0, 0, 0] and alone == combined


@pytest.mark.parametrize(("product", "least"), [(1.0, 0.3), (0.0, -0.01)])
def test_the_stack_gains_where_ridge_regression_cannot_and_loses_nothing_elsewhere(product, least):
    """A product of variables that ridge regression decodes is invisible to it (R2 near 0), not to the second stage."""
    window, targets = _simulate(3, product)
    weights, report = fit_stacked(window, targets, MOVIES, SMALL, Checkpoint())
    new, expected = _simulate(4, product)
    decoded = decode_stacked(weights, new, report["components"], SMALL)
    *_, found = search_penalties(decompose(window[:, 1]), targets["text"], MOVIES, SMALL.alphas)
    x = window[:, 1] - window[:, 1].mean(0)
    alone = (new[:, 1] - window[:, 1].mean(0)) @ (
        x.T @ dual_weights(decompose(window[:, 1]), targets["text"], found)
    ) + targets["text"].mean(0)
    assert _r2(expected["text"], decoded["text"]) - _r2(expected["text"], alone) > least
    for r2 in report["out_of_fold_r2"].values():
        assert r2["stack"] >= r2["ridge"]
    assert all(w >= 0 for row in report["stack"].values() for w in row.values())


def test_one_movie_is_refused_and_the_flow_field_is_velocity_times_mask():
    window, targets = _simulate(5, 0.0)
    with pytest.raises(InputError, match="Expected at least 2 training movies to select penalties, got 1"):
        fit_stacked(window, targets, ["a"] * len(window), SMALL, Checkpoint())
    flow = flow_field(
        torch.tensor([[2.0, -1.0]]), torch.tensor([[0.1, 0.2, 0.3, 0.9]]), torch.tensor([0.2, 0.4]), (2, 2)
    )
    np.testing.assert_allclose(flow[0], [[[0, 0], [1, 2]], [[0, 0], [-0.5, -1]]], atol=1e-6)
