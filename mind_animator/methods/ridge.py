"""Ridge regression (himalaya) from voxels to every target: the baseline that each decoder must beat.

The videos are the decoded latents through the VAE's decoder alone. At the real size (8 latents of 16,384) the
solver runs over batches of targets; the weights of one subject then take 2.4 GB.
"""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from mind_animator.config.base import Strict
from mind_animator.errors import InputError
from mind_animator.methods.base import DECODERS, Method, Trained, TrainingData, TrainingJob, Using

if TYPE_CHECKING:
    import numpy as np


class Options(Strict):
    """Options of a method of this kind.

    Attributes
    ----------
    alphas : tuple of float
        Penalties tried for every target, in units of the kernel's mean eigenvalue.
    folds : int
        At most so many groups of whole movies to choose the penalties by.
    targets_per_batch : int
        Targets solved at once: bounds the memory, changes nothing.
    training_clips : int, optional
        Number of training clips; None: all.
    """

    alphas: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    folds: int = Field(5, ge=2)
    targets_per_batch: int = Field(4096, ge=1)
    training_clips: int | None = Field(None, ge=1)

    @field_validator("alphas")
    @classmethod
    def _positive(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        if not alphas or min(alphas) <= 0:
            raise ValueError(f"expected penalties above 0, got {alphas}")
        return alphas


class Ridge(Method):
    """One kernel ridge a target, its penalty chosen over held-out movies."""

    kind = "ridge"
    Options = Options
    reconstruction: ClassVar = "vae"

    @property
    def decoders(self) -> dict[str, str]:
        return dict.fromkeys(DECODERS, self.name)

    def training_settings(self, decoder: str) -> str:
        return self.options.model_dump_json()

    def prediction_settings(self) -> str:
        return "{}"

    @classmethod
    def train(cls, decoder: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        import numpy as np

        from mind_animator.decoders.train import check_finite
        from mind_animator.methods.mind_animator import choose_clips

        check_finite(data.targets, data.responses, data.targets, data.movies)
        options = Options.model_validate_json(settings)
        if len(data.responses) != 1:
            raise InputError(f"Expected one subject for ridge, got {len(data.responses)}.")
        rows = choose_clips(len(data.clips), options.training_clips, 10, job.seed)
        responses, movies = data.responses[0][rows], np.asarray(data.movies)[rows]
        latents = data.targets["latents"][rows] if decoder != "semantic" else None
        goals = {
            "semantic": lambda: {
                name: data.targets[name][rows] for name in ("clip_embedding_text", "prompt_embedding")
            },
            "structure": lambda: {"first": latents[:, 0]},
            "motion": lambda: {"later": latents[:, 1:]},
        }[decoder]()
        # all targets of the decoder in one solve: they share the decompositions of the kernel
        flat = np.concatenate([goal.reshape(len(goal), -1) for goal in goals.values()], axis=1)
        fitted = kernel_ridge(responses, flat, movies, options, job.device)
        weights, chosen, start = {}, {}, 0
        for name, goal in goals.items():
            own = slice(start, start := start + goal[0].size)
            for part, array in fitted.items():
                weights[f"{name}.{part}"] = np.ascontiguousarray(array[..., own])
            picked = weights[f"{name}.alpha"]
            chosen[name] = {f"{a:g}": int((picked == np.float32(a)).sum()) for a in options.alphas}
        record = {
            "decoder": decoder,
            "settings": options.model_dump(mode="json"),
            "shapes": {name: list(goal.shape[1:]) for name, goal in goals.items()},
            "clips": {"fit": len(rows), "validation": 0},
            "parameters": sum(array.size for array in weights.values()),
            "targets_by_alpha": chosen,
            "history": [],
        }
        return Trained(weights, record)

    @classmethod
    def predict(cls, settings: str, using: Using, responses: "np.ndarray") -> "dict[str, np.ndarray]":
        import numpy as np
        from safetensors.numpy import load_file

        from mind_animator.artefacts.files import read_json

        out = {}
        for decoder, path in using.weights.items():
            path = Path(path)
            if not path.is_file():
                raise InputError(f"Expected the weights of the {decoder} ridge at {path}, found none.")
            shapes, arrays = read_json(path.with_suffix(".json"))["shapes"], load_file(path)
            for name, shape in shapes.items():
                slope = arrays[f"{name}.weights"]
                if slope.shape[0] != responses.shape[1]:
                    raise InputError(
                        f"Expected {slope.shape[0]} voxels for {path}, got {responses.shape[1]}."
                    )
                flat = responses @ slope + arrays[f"{name}.intercept"]
                out[name] = flat.reshape(len(responses), *shape)
        named = {"semantic": out["clip_embedding_text"], "prompt_embedding": out["prompt_embedding"]}
        if "structure" not in using.weights:  # captions alone
            return named
        latents = np.concatenate([out["first"][:, None], out["later"]], axis=1)
        return {**named, "structure": out["first"], "latents": latents}

    @classmethod
    def readout(cls, settings: str, using: Using, responses: "np.ndarray") -> "dict[str, np.ndarray]":
        """Embedding; first frame; change from the first frame to the later ones."""
        out = cls.predict(settings, using, responses)
        change = out["latents"][:, 1:] - out["latents"][:, :1]
        return {"semantic": out["semantic"], "structure": out["structure"], "motion": change}


ENTRY = Ridge


def kernel_ridge(
    responses: "np.ndarray",
    targets: "np.ndarray",
    movies: "np.ndarray",
    options: Options,
    device: str = "cpu",
) -> "dict[str, np.ndarray]":
    """Ridge regression with an intercept; each target's penalty has the best R2 over groups of movies left
    out.

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
        ``weights`` (voxel, target), ``intercept`` (target,), ``alpha`` (target,, in units of the kernel's
        mean eigenvalue); float32.

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
        raise InputError(f"Expected at least 2 training movies to choose penalties by, got {count}.")
    folds = GroupKFold(min(options.folds, count))
    splits = list(folds.split(responses, groups=movies))
    centre, mean = responses.mean(0, dtype=np.float64), targets.mean(0, dtype=np.float64)
    centred = (responses - centre).astype(np.float32)
    kernel = centred @ centred.T
    unit = float(np.trace(kernel)) / (len(kernel) - 1)
    before = get_backend().name
    backend = set_backend("torch_cuda" if device.startswith("cuda") else "numpy")
    try:
        penalties, dual, _ = solve_kernel_ridge_cv_eigenvalues(
            backend.asarray(kernel / unit), backend.asarray((targets - mean).astype(np.float32)),
            alphas=backend.asarray(np.asarray(options.alphas, np.float32)), cv=splits,
            n_targets_batch=options.targets_per_batch, n_targets_batch_refit=options.targets_per_batch,
        )  # fmt: skip
        penalties, dual = backend.to_numpy(penalties), backend.to_numpy(dual)
    finally:
        set_backend(before)
    weights = centred.T @ (dual / np.float32(unit))
    intercept = (mean - centre @ weights).astype(np.float32)
    return {
        "weights": weights.astype(np.float32),
        "intercept": intercept,
        "alpha": penalties.astype(np.float32),
    }
