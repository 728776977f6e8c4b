"""Leave-one-movie-out ridge regression against explicit refits, and principal components against their
definition."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from mind_animator.decoders.ridge import principal_components, ridge_out_of_fold

MOVIES = np.repeat(["a", "b", "c", "d"], [12, 9, 15, 14])


def _data(seed=0, voxels=30, targets=5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(MOVIES), voxels)) + 2
    y = x[:, :targets] + 0.5 * rng.normal(size=(len(MOVIES), targets)) - 1
    return torch.from_numpy(x), torch.from_numpy(y)


@pytest.mark.parametrize("voxels", [30, 80])
def test_out_of_fold_predictions_equal_those_of_refits(voxels):
    x, y = _data(voxels=voxels)
    fitted = ridge_out_of_fold(x, y, MOVIES, (0.3,))
    centred = x - x.mean(0)
    unit = float(centred.square().sum()) / (len(x) - 1)
    for movie in np.unique(MOVIES):
        out = movie == MOVIES
        refit = Ridge(alpha=0.3 * unit).fit(x[~out], y[~out])
        np.testing.assert_allclose(fitted.out_of_fold[out], refit.predict(x[out]), atol=1e-9)
    whole = Ridge(alpha=0.3 * unit).fit(x, y)
    np.testing.assert_allclose(x @ fitted.weights + fitted.intercept, whole.predict(x), atol=1e-9)


def test_each_target_gets_the_penalty_with_the_lowest_out_of_fold_error():
    x, y = _data()
    y[:, 0] = torch.from_numpy(np.random.default_rng(1).normal(size=len(y)))  # noise: the largest penalty
    alphas = (0.01, 1.0, 100.0)
    errors = torch.stack(
        [(ridge_out_of_fold(x, y, MOVIES, (a,)).out_of_fold - y).square().sum(0) for a in alphas]
    )
    chosen = ridge_out_of_fold(x, y, MOVIES, alphas).alpha
    np.testing.assert_array_equal(chosen, torch.tensor(alphas, dtype=y.dtype)[errors.argmin(0)])
    assert chosen[0] == 100.0


def test_inputs_are_untouched_and_one_movie_is_refused():
    x, y = _data()
    before = x.clone(), y.clone()
    ridge_out_of_fold(x, y, MOVIES, (1.0,))
    assert torch.equal(x, before[0]) and torch.equal(y, before[1])
    with pytest.raises(ValueError, match=r"Expected at least 2 movies, got 1\."):
        ridge_out_of_fold(x, y, ["a"] * len(x), (1.0,))


@pytest.mark.parametrize("shape", [(40, 6), (12, 50)])
def test_components_are_orthonormal_and_keep_the_leading_variance(shape):
    target = torch.from_numpy(np.random.default_rng(2).normal(size=shape) * np.linspace(3, 0.1, shape[1]))
    basis = principal_components(target, 4)
    np.testing.assert_allclose(basis.components @ basis.components.T, np.eye(4), atol=1e-10)
    values = np.linalg.svd(target - target.mean(0), compute_uv=False)
    np.testing.assert_allclose(basis.project(target).square().sum(0), values[:4] ** 2, rtol=1e-8)
    whole = principal_components(target, 1000)
    back = whole.mean + whole.project(target) @ whole.components
    np.testing.assert_allclose(back, target, atol=1e-8)
