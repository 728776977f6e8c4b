"""Ridge regression (himalaya) from voxels to every target: a linear method that every decoder should exceed.

The videos are the decoded latents passed through the VAE decoder. At full size (8 latents of 16,384 values) the
solver runs over batches of targets, and the weights of one subject take 2.4 GB.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, NonNegativeInt, PositiveFloat

from mind_animator.config.base import Strict
from mind_animator.errors import InputError
from mind_animator.methods._clips import choose_clips
from mind_animator.methods.base import (
    Method,
    Needs,
    Part,
    PredictionInputs,
    Responses,
    Size,
    Trained,
    TrainingData,
    TrainingJob,
)

if TYPE_CHECKING:
    import numpy as np


class Options(Strict):
    """Options of this method type.

    Attributes
    ----------
    alphas : tuple of float
        Penalties to try for every target, in units of the mean eigenvalue of the kernel.
    folds : int
        Maximum number of groups of whole movies for selecting the penalties.
    targets_per_batch : int
        Targets solved at once: limits the memory, does not change the result.
    training_clips : int, optional
        Number of training clips; None: all.
    window : tuple of int
        Volumes before and after that of the clip, within its run, whose voxels are further predictors.
    """

    alphas: tuple[PositiveFloat, ...] = Field(
        (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5), min_length=1
    )
    folds: int = Field(5, ge=2)
    targets_per_batch: int = Field(4096, ge=1)
    training_clips: int | None = Field(None, ge=1)
    window: tuple[NonNegativeInt, NonNegativeInt] = (0, 0)


class Ridge(Method):
    """Kernel ridge regression with a penalty per target, selected on held-out movies."""

    kind = "ridge"
    Options = Options
    reconstruction: ClassVar = "vae"

    @property
    def parts(self) -> tuple[Part, ...]:
        text = {"clip_embedding_text": "text", "prompt_embedding": "text"}
        window = self.options.window
        return (
            Part("semantic", needs=Needs(features=text, window=window)),
            Part("structure", needs=Needs(features={"latents": "image"}, window=window), optional=True),
            Part("motion", needs=Needs(features={"latents": "image"}, window=window), optional=True),
        )

    @property
    def needs(self) -> Needs:
        return Needs(window=self.options.window)

    def prediction_settings(self) -> str:
        return "{}"

    def training_memory_mb(self, part: str, size: Size) -> int:
        """Measured for the motion part, the largest (docs/decoders.md), with a margin of 15 %.

        While penalties are selected: 3.2 x the latents, 4 x the kernel, 8 x a batch of targets. While weights are
        computed: the latents, the dual weights and the weights.
        """
        latents, kernel = 4 * size.clips * size.latent, 4 * size.clips**2
        batch = 4 * size.clips * min(self.options.targets_per_batch, size.latent)
        predictors = size.voxels * (1 + sum(self.options.window))
        responses = 4 * size.clips * (predictors if any(self.options.window) else 0)
        weights = 4 * predictors * size.latent
        peak = max(3.2 * latents + 4 * kernel + 8 * batch, 1.9 * latents + weights) + 3 * responses
        return round(1.15 * (450 + peak / 1e6))

    def weights_bytes(self, part: str, size: Size) -> int:
        """One weight per voxel and target: embeddings, the first frame's latents, or the later ones'."""
        frame = size.latent // size.frames
        values = {"semantic": 512 + 19 * 768, "structure": frame, "motion": size.latent - frame}[part]
        return 4 * size.voxels * (1 + sum(self.options.window)) * values

    @classmethod
    def train(cls, part: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        import numpy as np

        from mind_animator.decoders.train import check_finite

        responses = predictors_of(data.responses[0])
        check_finite(data.targets, [responses], data.targets, data.movies)
        options = Options.model_validate_json(settings)
        targets, movies = data.targets, np.asarray(data.movies)
        if options.training_clips is not None:
            rows = choose_clips(len(data.clips), options.training_clips, 10, job.seed)
            responses, movies = responses[rows], movies[rows]
            targets = {name: array[rows] for name, array in targets.items()}
        names = {
            "semantic": ("clip_embedding_text", "prompt_embedding"),
            "structure": ("first",),
            "motion": ("later",),
        }[part]
        shapes = {name: targets[name].shape[1:] for name in names if name in targets}
        if shapes:  # all targets in one solve: they share the decompositions of the kernel
            flat = np.concatenate([targets[name].reshape(len(movies), -1) for name in names], axis=1)
        else:  # a view: the latents of all clips are large
            frames, *shape = targets["latents"].shape[1:]
            flat, size = targets["latents"].reshape(len(movies), -1), int(np.prod(shape))
            flat = flat[:, :size] if part == "structure" else flat[:, size:]
            shapes = {names[0]: shape if part == "structure" else (frames - 1, *shape)}
        fitted = kernel_ridge(responses, flat, movies, options, job.device)
        weights, chosen, border, start = {}, {}, {}, 0
        for name, shape in shapes.items():
            own = slice(start, start := start + int(np.prod(shape)))
            for key, array in fitted.items():
                weights[f"{name}.{key}"] = np.ascontiguousarray(array[..., own])
            picked = weights[f"{name}.alpha"]
            chosen[name] = {
                f"{a:g}": int(n)
                for a, n in zip(options.alphas, counts_of(picked, options.alphas), strict=True)
            }
            ends = at_border(picked, options.alphas)
            if sum(ends.values()):
                print(
                    f"{name}: {ends['lowest']} of {len(picked)} targets end at the lowest penalty and "
                    f"{ends['highest']} at "
                    "the highest (options.alphas); at the highest, the prediction is close to the training mean",
                    file=sys.stderr,
                )
            border[name] = ends
        record = {
            "part": part,
            "settings": options.model_dump(mode="json"),
            "shapes": {name: list(shape) for name, shape in shapes.items()},
            "clips": {"fit": len(movies), "validation": 0},
            "parameters": sum(array.size for array in weights.values()),
            "targets_by_alpha": chosen,
            "targets_at_border": border,
            "history": [],
        }
        return Trained(weights, record)

    @classmethod
    def predict(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        import numpy as np
        from safetensors.numpy import load_file

        from mind_animator.artefacts.files import read_json

        out, values = {}, predictors_of(responses)
        for part, path in inputs.weights.items():
            path = Path(path)
            if not path.is_file():
                raise InputError(f"Expected the weights of the part '{part}' of ridge at {path}, found none.")
            shapes, arrays = read_json(path.with_suffix(".json"))["shapes"], load_file(path)
            for name, shape in shapes.items():
                slope = arrays[f"{name}.weights"]
                if slope.shape[0] != values.shape[1]:
                    raise InputError(
                        f"Expected {slope.shape[0]} predictors for {path}, got {values.shape[1]}."
                    )
                flat = values @ slope + arrays[f"{name}.intercept"]
                out[name] = flat.reshape(len(values), *shape)
        named = {"semantic": out["clip_embedding_text"], "prompt_embedding": out["prompt_embedding"]}
        if "first" not in out:  # a data set without stimuli
            return named
        latents = np.concatenate([out["first"][:, None], out["later"]], axis=1)
        return {**named, "structure": out["first"], "latents": latents}

    @classmethod
    def readout(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        """Embedding; first frame; change from the first frame to the later ones."""
        out = cls.predict(settings, inputs, responses)
        if "latents" not in out:
            return {"semantic": out["semantic"]}
        change = out["latents"][:, 1:] - out["latents"][:, :1]
        return {"semantic": out["semantic"], "structure": out["structure"], "motion": change}


ENTRY = Ridge


def predictors_of(responses: Responses) -> "np.ndarray":
    """Responses (clip, voxel), or with a window those of all its volumes side by side (clip, volume x voxel)."""
    window = responses.window
    return responses.values if window is None else window.reshape(len(window), -1)


def counts_of(picked: "np.ndarray", alphas: tuple[float, ...]) -> "np.ndarray":
    """Number of targets for which each penalty was selected; penalties come back in single precision."""
    import numpy as np

    distance = np.abs(np.log(picked.astype(np.float64))[:, None] - np.log(np.asarray(alphas)))
    return np.bincount(distance.argmin(axis=1), minlength=len(alphas))


def at_border(picked: "np.ndarray", alphas: tuple[float, ...]) -> dict[str, int]:
    """Number of targets whose selected penalty is the lowest or the highest of the grid, so that a better one may lie
    beyond it."""
    import numpy as np

    counts = counts_of(picked, alphas)
    return {"lowest": int(counts[np.argmin(alphas)]), "highest": int(counts[np.argmax(alphas)])}


def kernel_ridge(
    responses: "np.ndarray",
    targets: "np.ndarray",
    movies: "np.ndarray",
    options: Options,
    device: str = "cpu",
) -> "dict[str, np.ndarray]":
    """Ridge regression with an intercept; the penalty of each target has the best R2 over groups of held-out
    movies.

    Parameters
    ----------
    responses : ndarray of shape (clip, voxel), float32
    targets : ndarray of shape (clip, target), float32
    movies : ndarray of shape (clip,)
    options : Options
    device : str

    Returns
    -------
    dict
        ``weights`` (voxel, target), ``intercept`` (target,), ``alpha`` (target,, in units of the mean
        eigenvalue of the kernel); float32.

    Raises
    ------
    InputError
        If there are fewer than two movies.

    References
    ----------
    Dupré la Tour, Eickenberg, Nunez-Elizalde & Gallant (2022), "Feature-space selection with banded ridge
    regression", NeuroImage 264.
    """
    import numpy as np
    from himalaya.backend import get_backend, set_backend
    from himalaya.kernel_ridge import solve_kernel_ridge_cv_eigenvalues
    from sklearn.model_selection import GroupKFold

    count = len(np.unique(movies))
    if count < 2:
        raise InputError(f"Expected at least 2 training movies for selecting penalties, got {count}.")
    folds = GroupKFold(min(options.folds, count))
    splits = list(folds.split(responses, groups=movies))
    centre, mean = responses.mean(0, dtype=np.float64), targets.mean(0, dtype=np.float64)
    centred = (responses - centre).astype(np.float32)
    centred_targets = np.empty(targets.shape, np.float32)
    for row, target in enumerate(targets):  # no float64 copy of all targets
        centred_targets[row] = target - mean
    kernel = centred @ centred.T
    unit = float(np.trace(kernel)) / (len(kernel) - 1)
    before = get_backend().name
    backend = set_backend("torch_cuda" if device.startswith("cuda") else "numpy")
    try:
        penalties, dual, _ = solve_kernel_ridge_cv_eigenvalues(
            backend.asarray(kernel / unit), backend.asarray(centred_targets),
            alphas=backend.asarray(np.asarray(options.alphas, np.float32)), cv=splits,
            n_targets_batch=options.targets_per_batch, n_targets_batch_refit=options.targets_per_batch,
        )  # fmt: skip
        penalties, dual = backend.to_numpy(penalties), backend.to_numpy(dual)
    finally:
        set_backend(before)
    del centred_targets
    dual /= np.float32(unit)
    weights = centred.T @ dual
    del dual
    intercept = np.empty(len(mean), np.float32)
    for start in range(0, len(mean), options.targets_per_batch):  # no float64 copy of all weights
        own = slice(start, start + options.targets_per_batch)
        intercept[own] = mean[own] - centre @ weights[:, own]
    return {"weights": weights, "intercept": intercept, "alpha": penalties.astype(np.float32)}
