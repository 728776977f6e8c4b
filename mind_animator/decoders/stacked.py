"""Decoders in closed form: ridge regression, kernel ridge regression on its predictions, and a stack of both.

The first stage is ridge regression from the voxels to principal components of every target. The second stage receives
the out-of-fold predictions of the first one for all targets, also those of neighbouring volumes, so that decoded
content can inform decoded structure, and neighbours can correct for each other's haemodynamic responses. For every
target, non-negative weights combine the stages; ridge regression alone is kept unless the combination has a lower
squared error on movies that neither the stages nor the weights were fitted to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mind_animator.config.decoders import StackedConfig
from mind_animator.decoders.checkpoint import Checkpoint
from mind_animator.decoders.flow import motion_mask, moving_flow
from mind_animator.decoders.ridge import (
    Kernel,
    Search,
    decompose,
    decompose_gram,
    dual_weights,
    principal_components,
    search_penalties,
    solve,
)
from mind_animator.errors import InputError


@dataclass(frozen=True)
class Stage:
    """A kernel ridge regression of the second stage.

    Attributes
    ----------
    targets : tuple of str
        Targets whose first-stage predictions are its input; empty: all.
    width : float, optional
        Of a Gaussian kernel exp(-d^2 / (2 width^2 m)), with m the median of d^2 over pairs of training clips; None: a
        linear kernel.
    reach : int, optional
        Volumes before and after the clip's own that are used; None: the whole window.
    """

    targets: tuple[str, ...] = ()
    width: float | None = None
    reach: int | None = 0


# Widths were selected on the training movies of the demo's subject 1 (docs/decoders.md).
STAGES = {
    "semantic": Stage(("text", "image", "prompt_embedding"), 0.4),
    "structure": Stage(("first",), 0.7),
    "joint": Stage((), 0.7),
    "neighbours": Stage(reach=1),
    "window": Stage(reach=None),
}


def stacked_targets(arrays: Mapping[str, np.ndarray], checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Flat targets (clip, width) by name.

    ``text``, ``image``, ``prompt_embedding``; with latents, ``first`` (of the first frame), ``change`` (latents minus
    their mean over the clip), ``flow`` (velocity of the moving content, 2) and ``mask`` (where it moves).
    """
    names = {
        "text": "clip_embedding_text",
        "image": "clip_embedding_image",
        "prompt_embedding": "prompt_embedding",
    }
    given = {
        name: torch.from_numpy(np.ascontiguousarray(array, np.float32)) for name, array in arrays.items()
    }
    targets = {name: given[array].flatten(1) for name, array in names.items() if array in given}
    if "latents" not in given:
        return targets
    latents = given["latents"]
    flow = [
        checkpoint.cached(f"flow-{part:04d}", lambda own=own: {"flow": moving_flow(own, 1).flatten(1)})[
            "flow"
        ]
        for part, own in enumerate(latents.split(256))
    ]
    change = latents - latents.mean(1, keepdim=True)
    return targets | {
        "first": latents[:, 0].flatten(1), "change": change.flatten(1), "flow": torch.cat(flow),
        "mask": motion_mask(latents).flatten(1),
    }  # fmt: skip


def fit_stacked(
    window: Tensor,
    targets: Mapping[str, Tensor],
    movies: Sequence[str],
    settings: StackedConfig,
    checkpoint: Checkpoint,
) -> tuple[dict[str, Tensor], dict[str, dict]]:
    """Fit both stages and the weights of the stack.

    Parameters
    ----------
    window : Tensor of shape (clip, volume, voxel), float32
        Responses around each clip; the volume of the clip itself is number ``settings.window[0]``.
    targets : mapping of name to Tensor of shape (clip, width)
    movies : sequence of str of length clip
        Out-of-fold predictions omit whole movies.
    settings : StackedConfig
    checkpoint : Checkpoint
        Caches every regression.

    Returns
    -------
    weights : dict of name to Tensor
        For `decode_stacked`.
    report : dict
        By target: ``components``, the number of principal components; ``stack``, the weights of the stages;
        ``out_of_fold_r2``, of ``ridge`` and of the ``stack``.

    Raises
    ------
    InputError
        If the clips come from fewer than two movies.
    """
    if len(set(movies)) < 2:
        raise InputError(f"Expected at least 2 training movies to select penalties, got {len(set(movies))}.")
    centre = settings.window[0]
    bases = {name: principal_components(own, settings.n_components) for name, own in targets.items()}
    pcs = torch.cat([basis.project(targets[name]) for name, basis in bases.items()], dim=1)
    columns = _columns({name: len(basis.components) for name, basis in bases.items()})
    responses = window[:, centre].contiguous()
    kernel = Kernel(**checkpoint.cached("kernel", lambda: vars(decompose(responses))))
    found = _search(checkpoint, "ridge", kernel, pcs, movies, settings.alphas)
    ridge = solve(kernel, responses, pcs, found)
    weights = {"ridge.weights": ridge.weights, "ridge.intercept": ridge.intercept}

    chosen = torch.cat(
        [torch.arange(c.start, min(c.stop, c.start + settings.n_input_components)) for c in columns.values()]
    )
    mean, spread = ridge.out_of_fold.mean(0), pcs.new_empty(pcs.shape[1])
    for own in columns.values():  # one scale per target: its components keep their relative variances
        spread[own] = (ridge.out_of_fold[:, own] - mean[own]).square().sum(1).mean().sqrt().clamp(min=1e-12)
    weights |= {"inputs.index": chosen, "inputs.mean": mean[chosen], "inputs.spread": spread[chosen]}
    picked = Search(*(values[..., chosen] for values in vars(found).values()))
    scores = checkpoint.cached(
        "window",
        lambda: {"scores": _window_scores(kernel, responses, window, pcs[:, chosen], picked, movies)},
    )["scores"]
    inputs = (scores - mean[chosen]) / spread[chosen]
    weights["inputs.training"] = inputs

    predicted, dual = {"ridge": ridge.out_of_fold}, {}
    for name, stage in _stages(settings).items():
        own = _stage_inputs(inputs, stage, chosen, columns, centre)
        scale = torch.cdist(own, own).square().median().clamp(min=1e-12) if stage.width else torch.ones(())
        gram = _gram(own, own, stage, scale)
        kernel = Kernel(**checkpoint.cached(f"kernel-{name}", lambda gram=gram: vars(decompose_gram(gram))))
        found = _search(checkpoint, name, kernel, pcs, movies, settings.second_alphas)
        predicted[name] = pcs - found.residual
        dual[name] = dual_weights(kernel, pcs, found)
        weights[f"{name}.scale"] = scale
        weights[f"{name}.intercept"] = pcs.mean(0) - gram.mean(0) @ dual[name]
    components = {name: len(basis.components) for name, basis in bases.items()}
    report: dict[str, dict] = {"components": components, "stack": {}, "out_of_fold_r2": {}}
    every = torch.stack(list(predicted.values()))
    stack = pcs.new_zeros(len(every), pcs.shape[1])
    for target, own in columns.items():
        own_weights, errors = stacking_weights(every[..., own], pcs[:, own], movies)
        stack[:, own] = own_weights[:, None].to(stack)
        total = float((targets[target] - bases[target].mean).square().sum())
        lost = total - float(pcs[:, own].square().sum())
        report["stack"][target] = {
            name: round(float(w), 4) for name, w in zip(predicted, own_weights, strict=True)
        }
        report["out_of_fold_r2"][target] = {
            name: round(1 - (lost + error) / total, 4)
            for name, error in zip(("ridge", "stack"), errors, strict=True)
        }
    for row, name in enumerate(predicted):  # the weights of the stack are folded into the regressions
        kind = "weights" if name == "ridge" else "dual"
        weights[f"{name}.{kind}"] = stack[row] * (dual.get(name, ridge.weights))
        weights[f"{name}.intercept"] = stack[row] * weights[f"{name}.intercept"]
    weights |= {
        "first_stage.weights": ridge.weights[:, chosen],
        "first_stage.intercept": ridge.intercept[chosen],
    }
    for name, basis in bases.items():
        weights |= {f"basis.{name}.mean": basis.mean, f"basis.{name}.components": basis.components}
    if "mask" in bases:
        own = columns["mask"]
        stacked = torch.einsum("sk,snk->nk", stack[:, own], every[..., own])
        mask = bases["mask"].mean + stacked @ bases["mask"].components
        ordered = mask.flatten().sort().values  # torch.quantile accepts at most 16 million values
        weights["mask_percentiles"] = ordered[torch.linspace(0, len(ordered) - 1, 101).round().long()]
    return weights, report


def decode_stacked(
    weights: Mapping[str, Tensor], window: Tensor, components: Mapping[str, int], settings: StackedConfig
) -> dict[str, Tensor]:
    """Flat predictions (clip, width) of every target from responses (clip, volume, voxel).

    ``components`` is in the report of `fit_stacked`.
    """
    columns = _columns(components)
    centre, chosen = settings.window[0], weights["inputs.index"]
    pcs = window[:, centre] @ weights["ridge.weights"] + weights["ridge.intercept"]
    scores = window @ weights["first_stage.weights"] + weights["first_stage.intercept"]
    inputs = (scores - weights["inputs.mean"]) / weights["inputs.spread"]
    for name, stage in _stages(settings).items():
        new, old = (
            _stage_inputs(own, stage, chosen, columns, centre) for own in (inputs, weights["inputs.training"])
        )
        pcs += (
            _gram(new, old, stage, weights[f"{name}.scale"]) @ weights[f"{name}.dual"]
            + weights[f"{name}.intercept"]
        )
    return {
        name: weights[f"basis.{name}.mean"] + pcs[:, own] @ weights[f"basis.{name}.components"]
        for name, own in columns.items()
    }


def flow_field(velocity: Tensor, mask: Tensor, mask_range: Tensor, shape: Sequence[int]) -> Tensor:
    """Flow along which a still image of a clip is moved: velocity x mask, the mask rescaled so that ``mask_range``
    becomes [0, 1], and clipped.

    Parameters
    ----------
    velocity : Tensor of shape (clip, 2)
        (x, y), latent pixels per frame, y pointing down.
    mask : Tensor of shape (clip, h * w)
    mask_range : Tensor of shape (2,)
    shape : (h, w)

    Returns
    -------
    Tensor of shape (clip, 2, h, w)
    """
    low, high = mask_range
    moving = ((mask - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    return velocity[:, :, None, None] * moving.unflatten(1, (1, *shape))


def stacking_weights(
    predicted: Tensor, targets: Tensor, movies: Sequence[str]
) -> tuple[Tensor, tuple[float, float]]:
    """Non-negative weights of predictions with the lowest squared error, or the first prediction alone.

    The weights are used only if, fitted without a movie and evaluated on it, they have a lower sum of squared errors
    over all movies than the first prediction alone.

    Parameters
    ----------
    predicted : Tensor of shape (prediction, clip, component)
        Out-of-fold predictions.
    targets : Tensor of shape (clip, component)
    movies : sequence of str of length clip

    Returns
    -------
    weights : Tensor of shape (prediction,)
    errors : tuple of float
        Sum of squared errors of the first prediction, and of the selected combination (leave-one-movie-out).
    """
    from scipy.optimize import nnls

    names, group = np.unique(np.asarray(movies), return_inverse=True)
    grams, products, powers = [], [], []
    for number in range(len(names)):
        rows = torch.as_tensor(np.flatnonzero(group == number))
        own, true = predicted[:, rows].flatten(1).double().cpu(), targets[rows].flatten().double().cpu()
        grams.append((own @ own.T).numpy())
        products.append((own @ true).numpy())
        powers.append(float(true @ true))

    def best(gram: np.ndarray, product: np.ndarray) -> np.ndarray:
        """Minimum of w' G w - 2 w' b over w >= 0."""
        ridge = 1e-9 * np.trace(gram) * np.eye(len(gram)) + 1e-300 * np.eye(len(gram))
        root = np.linalg.cholesky(gram + ridge)
        return nnls(root.T, np.linalg.solve(root, product))[0]

    def error(weights: np.ndarray, number: int) -> float:
        return float(weights @ grams[number] @ weights - 2 * weights @ products[number]) + powers[number]

    gram, product = sum(grams), sum(products)
    alone = np.eye(len(predicted))[0]
    baseline = sum(error(alone, number) for number in range(len(names)))
    combined = sum(error(best(gram - grams[n], product - products[n]), n) for n in range(len(names)))
    if combined < baseline:
        return torch.from_numpy(best(gram, product)).float(), (baseline, combined)
    return torch.from_numpy(alone).float(), (baseline, baseline)


def _stages(settings: StackedConfig) -> dict[str, Stage]:
    """Stages of these settings: without neighbouring volumes, those with a Gaussian kernel; with one volume on each
    side, the whole window are the neighbours."""
    furthest = max(settings.window)
    return {
        name: stage
        for name, stage in STAGES.items()
        if stage.width or (furthest and (stage.reach is not None or furthest > 1))
    }


def _columns(counts: Mapping[str, int]) -> dict[str, slice]:
    ends = np.cumsum(list(counts.values()))
    return {
        name: slice(int(end) - count, int(end))
        for (name, count), end in zip(counts.items(), ends, strict=True)
    }


def _search(
    checkpoint: Checkpoint,
    name: str,
    kernel: Kernel,
    pcs: Tensor,
    movies: Sequence[str],
    alphas: Sequence[float],
) -> Search:
    """The penalties of a regression, cached."""

    def work() -> dict[str, Tensor]:
        *_, found = search_penalties(kernel, pcs, movies, alphas)
        return vars(found)

    return Search(**checkpoint.cached(f"penalties-{name}", work))


def _window_scores(
    kernel: Kernel, responses: Tensor, window: Tensor, pcs: Tensor, found: Search, movies: Sequence[str]
) -> Tensor:
    """First-stage predictions (clip, volume, component) of every volume, from the regression without its movie.

    A penalised regression without some clips equals the one with all clips in which the targets of these clips are
    replaced by their out-of-fold predictions.
    """
    out_of_fold = pcs - found.residual
    if window.shape[1] == 1:
        return out_of_fold[:, None]
    names, group = np.unique(np.asarray(movies), return_inverse=True)
    scores = pcs.new_empty(*window.shape[:2], pcs.shape[1])
    for number in range(len(names)):
        rows = torch.as_tensor(np.flatnonzero(group == number))
        replaced = pcs.clone()
        replaced[rows] = out_of_fold[rows]
        fitted = solve(kernel, responses, replaced, found)
        scores[rows] = window[rows] @ fitted.weights + fitted.intercept
    return scores


def _stage_inputs(
    inputs: Tensor, stage: Stage, chosen: Tensor, columns: Mapping[str, slice], centre: int
) -> Tensor:
    """What a stage receives of the inputs (clip, volume, component): (clip, value)."""
    reach = inputs.shape[1] if stage.reach is None else stage.reach
    own = inputs[:, max(0, centre - reach) : centre + reach + 1]
    if stage.targets:
        used = torch.zeros_like(chosen, dtype=torch.bool)
        for name in stage.targets:
            if name in columns:
                used |= (chosen >= columns[name].start) & (chosen < columns[name].stop)
        own = own[..., used]
    return own.flatten(1)


def _gram(first: Tensor, second: Tensor, stage: Stage, scale: Tensor) -> Tensor:
    """Kernel (clip, clip) of a stage between inputs (clip, value)."""
    if stage.width is None:
        return first @ second.T
    return torch.exp(-torch.cdist(first, second).square() / (2 * stage.width**2 * scale))
