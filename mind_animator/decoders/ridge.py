"""Exact leave-one-movie-out ridge regression, and principal components of its targets.

The out-of-fold prediction of a clip comes from the regression fitted without the clip's movie. It is as
blurred as the predictions for new clips are, and so it is what a network may be trained on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class RidgeFit:
    """Ridge regression from voxels to targets.

    Attributes
    ----------
    weights : Tensor of shape (voxel, target)
    intercept : Tensor of shape (target,)
    alpha : Tensor of shape (target,)
        Selected penalty, in units of the mean eigenvalue of the kernel.
    out_of_fold : Tensor of shape (clip, target)
        Prediction for each clip from the regression fitted without the clips of its movie.
    """

    weights: Tensor
    intercept: Tensor
    alpha: Tensor
    out_of_fold: Tensor


@dataclass(frozen=True)
class Kernel:
    """Eigendecomposition of the doubly centred kernel of the responses.

    Attributes
    ----------
    values : Tensor of shape (eigenvalue,)
        Eigenvalues, at least 0; `decompose` gives one per clip, `decompose_features` those that are not 0.
    vectors : Tensor of shape (clip, eigenvalue)
    """

    values: Tensor
    vectors: Tensor

    @property
    def unit(self) -> Tensor:
        """Mean eigenvalue: the unit of the penalties."""
        return self.values.sum() / (len(self.vectors) - 1)


@dataclass(frozen=True)
class Search:
    """Result of a search over penalties so far, per target.

    Attributes
    ----------
    error : Tensor of shape (target,)
        Lowest sum of squared out-of-fold residuals.
    alpha : Tensor of shape (target,)
        Penalty with that error.
    residual : Tensor of shape (clip, target)
        Out-of-fold residuals at that penalty.
    """

    error: Tensor
    alpha: Tensor
    residual: Tensor


def decompose(responses: Tensor) -> Kernel:
    """Eigendecomposition of the kernel of centred responses (clip, voxel)."""
    centred = responses - responses.mean(0)
    return decompose_gram(centred @ centred.T)


def decompose_gram(gram: Tensor) -> Kernel:
    """Eigendecomposition of a kernel (clip, clip), doubly centred here."""
    values, vectors = torch.linalg.eigh(gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean())
    return Kernel(values.clamp(min=0), vectors.contiguous())  # the same layout as after storage


def decompose_features(features: Tensor) -> Kernel:
    """The kernel of centred features (clip, feature), which are fewer than the clips: much faster than `decompose`."""
    vectors, values, _ = torch.linalg.svd(features - features.mean(0), full_matrices=False)
    return Kernel(values.square(), vectors)


def search_penalties(
    kernel: Kernel,
    targets: Tensor,
    movies: Sequence[str],
    alphas: Sequence[float],
    start: Search | None = None,
) -> Iterator[Search]:
    """Try penalties one after another and yield the best result so far after each of them.

    For a penalised least-squares fit with hat matrix H, the residuals of an omitted group g follow from the
    fit to all clips: e_g = (I - H_gg)^-1 (y_g - yhat_g). Here H = 11'/n + K (K + alpha I)^-1 with the doubly
    centred kernel K, so that one eigendecomposition serves all penalties and all movies.

    Parameters
    ----------
    kernel : Kernel
    targets : Tensor of shape (clip, target)
    movies : sequence of str of length clip
    alphas : sequence of float
        Penalties to try, in units of the mean eigenvalue of the kernel.
    start : Search, optional
        The last result of a search over earlier penalties.
    """
    names, group = np.unique(np.asarray(movies), return_inverse=True)
    folds = [torch.as_tensor(np.flatnonzero(group == g), device=targets.device) for g in range(len(names))]
    values, vectors = kernel.values, kernel.vectors
    mean = targets.mean(0)
    centred = targets - mean
    projected = vectors.T @ centred  # (eigenvector, target)
    best = start or Search(
        torch.full_like(mean, torch.inf), torch.zeros_like(mean), torch.zeros_like(centred)
    )
    for alpha in alphas:
        shrink = values / (values + alpha * kernel.unit)
        residual = centred - vectors @ (shrink[:, None] * projected)
        omitted = torch.empty_like(residual)
        for rows in folds:
            own = vectors[rows]
            hat = (own * shrink) @ own.T + 1 / len(centred)
            eye = torch.eye(len(rows), dtype=hat.dtype, device=hat.device)
            omitted[rows] = torch.linalg.solve(eye - hat, residual[rows])
        now = Search(omitted.square().sum(0), torch.full_like(mean, alpha), omitted)
        better = now.error < best.error
        best = Search(*(torch.where(better, getattr(now, n), getattr(best, n)) for n in vars(now)))
        yield best


def solve(kernel: Kernel, responses: Tensor, targets: Tensor, found: Search) -> RidgeFit:
    """The regression with an unpenalised intercept at the penalties of a finished search."""
    centre, mean = responses.mean(0), targets.mean(0)
    weights = (responses - centre).T @ dual_weights(kernel, targets, found)
    return RidgeFit(weights, mean - centre @ weights, found.alpha, targets - found.residual)


def dual_weights(kernel: Kernel, targets: Tensor, found: Search) -> Tensor:
    """Weights (clip, target) of the training clips; each column sums to 0."""
    projected = kernel.vectors.T @ (targets - targets.mean(0))
    return kernel.vectors @ (projected / (kernel.values[:, None] + found.alpha * kernel.unit))


def ridge_out_of_fold(
    responses: Tensor, targets: Tensor, movies: Sequence[str], alphas: Sequence[float]
) -> RidgeFit:
    """Ridge regression; the penalty of each target is selected by leave-one-movie-out cross-validation.

    Parameters
    ----------
    responses : Tensor of shape (clip, voxel), float32 or float64
    targets : Tensor of shape (clip, target)
    movies : sequence of str of length clip, at least two different
    alphas : sequence of float
        Penalties to try, in units of the mean eigenvalue of the kernel.

    Raises
    ------
    ValueError
        If there are fewer than two movies.
    """
    if len(set(movies)) < 2:
        raise ValueError(f"Expected at least 2 movies, got {len(set(movies))}.")
    kernel = decompose(responses)
    *_, found = search_penalties(kernel, targets, movies, alphas)
    return solve(kernel, responses, targets, found)


@dataclass(frozen=True)
class Basis:
    """Principal components of a target over the training clips.

    Attributes
    ----------
    mean : Tensor of shape (target,)
    components : Tensor of shape (component, target), orthonormal, by decreasing variance
    """

    mean: Tensor
    components: Tensor

    def project(self, target: Tensor) -> Tensor:
        """Principal component scores (clip, component) of a target (clip, target)."""
        return (target - self.mean) @ self.components.T


def principal_components(target: Tensor, count: int) -> Basis:
    """The first ``count`` components of a target (clip, target); fewer where its rank is lower."""
    mean = target.mean(0)
    centred = target - mean
    clips, width = target.shape
    if width <= clips:
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        return Basis(mean, vectors[:, _largest(values, count)].T.contiguous())
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    keep = _largest(values, count)
    components = (vectors[:, keep] / values[keep].sqrt()).T @ centred
    return Basis(mean, torch.linalg.qr(components.T).Q.T.contiguous())


def _largest(values: Tensor, count: int) -> Tensor:
    """Indices of the largest eigenvalues above rounding error, descending; at least one."""
    threshold = values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
    kept = max(1, min(count, int((values > threshold).sum())))
    return torch.arange(len(values) - 1, len(values) - 1 - kept, -1, device=values.device)
