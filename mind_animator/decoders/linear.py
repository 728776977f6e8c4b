"""The closed-form path of ``best``: kernel ridge with an exact prediction of every movie left out.

The path works on principal components of the target, each with its own penalty. What a network may learn from
is the prediction for clips whose movie was left out: it is as blurred as predictions for new clips are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mind_animator.decoders.state import Part, State


@dataclass(frozen=True)
class RidgeFit:
    """Ridge regression from voxels to targets.

    Attributes
    ----------
    weights : Tensor of shape (voxel, target)
    intercept : Tensor of shape (target,)
    alpha : Tensor of shape (target,)
        Penalty chosen.
    left_out : Tensor of shape (clip, target)
        Prediction for each clip of the regression fitted without the clips of its movie.
    """

    weights: Tensor
    intercept: Tensor
    alpha: Tensor
    left_out: Tensor


def ridge_left_out(
    responses: Tensor,
    targets: Tensor,
    movies: Sequence[str],
    alphas: Sequence[float],
    state: State | None = None,
    name: str = "0",
) -> RidgeFit:
    """Ridge regression with an unpenalised intercept; the penalty of each target by leaving movies out.

    For a penalised least-squares fit with hat matrix H the residuals of a group g left out follow from the
    whole fit: e_g = (I - H_gg)^-1 (y_g - yhat_g). Here H = 11'/n + K (K + alpha I)^-1 with the doubly centred
    kernel K, so that one eigendecomposition serves all penalties and all movies.

    Parameters
    ----------
    responses : Tensor of shape (clip, voxel), float32 or float64
    targets : Tensor of shape (clip, target)
    movies : sequence of str of length clip, at least two different
    alphas : sequence of float
        Penalties tried, in units of the kernel's mean eigenvalue.
    state : State, optional
        Told of the decomposition, of every penalty tried and of the end, in parts named after ``name``.

    Raises
    ------
    ValueError
        If there are fewer than two movies.
    """
    names, group = np.unique(np.asarray(movies), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"Expected at least 2 movies, got {len(names)}.")
    state = state or State()
    if whole := state.read(f"ridge-{name}"):
        return RidgeFit(**whole[0])
    places = [torch.as_tensor(np.flatnonzero(group == g), device=responses.device) for g in range(len(names))]
    centre, mean = responses.mean(0), targets.mean(0)
    centred, goal = responses - centre, targets - mean

    def decompose() -> dict[str, Tensor]:
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        return {"values": values.clamp(min=0), "vectors": vectors.contiguous()}  # laid out as if read

    kernel = state.piece(f"kernel-{name}", decompose)
    values, vectors = kernel["values"], kernel["vectors"]
    unit = values.sum() / (len(values) - 1)
    projected = vectors.T @ goal  # (eigenvector, target)
    start = {
        "error": torch.full_like(mean, torch.inf),
        "alpha": torch.zeros_like(mean),
        "residual": torch.zeros_like(goal),
    }
    found, tried = state.read(f"penalties-{name}") or (start, 0)
    for count, candidate in enumerate(alphas[tried:], tried + 1):
        shrink = values / (values + candidate * unit)
        plain = goal - vectors @ (shrink[:, None] * projected)
        left = torch.empty_like(plain)
        for rows in places:
            own = vectors[rows]
            hat = (own * shrink) @ own.T + 1 / len(goal)
            eye = torch.eye(len(rows), dtype=hat.dtype, device=hat.device)
            left[rows] = torch.linalg.solve(eye - hat, plain[rows])
        error = left.square().sum(0)
        better = error < found["error"]
        now = {"error": error, "alpha": torch.full_like(mean, candidate), "residual": left}
        found = {key: torch.where(better, now[key], before) for key, before in found.items()}
        state.tell(f"penalties-{name}", partial(_as_part, found, count))
    dual = vectors @ (projected / (values[:, None] + found["alpha"] * unit))
    weights = centred.T @ dual
    whole = RidgeFit(weights, mean - centre @ weights, found["alpha"], targets - found["residual"])
    state.tell(f"ridge-{name}", partial(_as_part, vars(whole)), (f"kernel-{name}", f"penalties-{name}"))
    return whole


def _as_part(tensors: dict[str, Tensor], value: int | None = None) -> Part:
    return tensors, value


@dataclass(frozen=True)
class Basis:
    """Principal components of a target over the training clips.

    Attributes
    ----------
    mean : Tensor of shape (target,)
    components : Tensor of shape (component, target), orthonormal, by falling variance
    """

    mean: Tensor
    components: Tensor

    def scores(self, target: Tensor) -> Tensor:
        """(clip, target) -> (clip, component)."""
        return (target - self.mean) @ self.components.T


def principal_components(target: Tensor, count: int) -> Basis:
    """The first components of (clip, target); fewer where the rank is lower."""
    mean = target.mean(0)
    centred = target - mean
    clips, width = target.shape
    if width <= clips:
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        keep = _leading(values, count)
        return Basis(mean, vectors[:, keep].T.contiguous())
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    keep = _leading(values, count)
    components = (vectors[:, keep] / values[keep].sqrt()).T @ centred
    return Basis(mean, torch.linalg.qr(components.T).Q.T.contiguous())


def _leading(values: Tensor, count: int) -> Tensor:
    """Indices of the largest eigenvalues that are not noise, falling."""
    floor = values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
    real = int((values > floor).sum())
    return torch.arange(len(values) - 1, len(values) - 1 - max(1, min(count, real)), -1, device=values.device)
