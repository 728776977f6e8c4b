"""Decoders in closed form, and the inflated generator: ridge regression, kernel ridge regression on its out-of-fold
predictions, and a stack of both (`mind_animator.decoders.stacked`).

The decoders are this project's; stage 2 is that of Mind-Animator. Motion is a decoded velocity and a decoded motion
mask, along which `reconstruction.first_pass` moves an image, so that all frames that the generator inverts contain it.
"""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mind_animator.config.decoders import StackedConfig
from mind_animator.errors import InputError
from mind_animator.methods._clips import choose_clips, swapped_rows
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
    from torch import Tensor

FEATURES = {
    "clip_embedding_text": "text",
    "prompt_embedding": "text",
    "clip_embedding_image": "image",
    "latents": "image",
}
Fraction = Annotated[float, Field(ge=0, le=1)]
# Targets that show motion; the others show content.
MOTION = ("change", "flow", "mask")


class Training(StackedConfig):
    """What the weights depend on.

    Attributes
    ----------
    training_clips : int, optional
        Number of training clips (whole blocks of ``block`` neighbours, drawn with the seed); None: all.
    block : int
        Clips per block.
    """

    training_clips: int | None = Field(None, ge=1)
    block: int = Field(10, ge=1)


class Options(Training):
    """Options of this method type, with those of `StackedConfig`.

    Attributes
    ----------
    weights_from : str, optional
        Another method of this type whose weights are used.
    swap : tuple of str
        ``motion``: motion is decoded from the responses to another block of clips (a negative control).
    mask_quantiles : tuple of float
        Quantiles, over pixels and training clips, of the out-of-fold motion mask that become 0 and 1 in the flow.
    """

    weights_from: str | None = None
    swap: tuple[Literal["motion"], ...] = ()
    mask_quantiles: tuple[Fraction, Fraction] = (0.7, 0.9)

    @model_validator(mode="after")
    def _consistent(self) -> "Options":
        given = sorted(self.model_fields_set & (set(Training.model_fields) - {"block", "window"}))
        if self.weights_from is not None and given:
            raise ValueError(f"weights_from excludes settings of a training: {given}")
        if self.mask_quantiles[0] >= self.mask_quantiles[1]:
            raise ValueError(f"mask_quantiles must ascend, got {self.mask_quantiles}")
        return self


class StackedRidge(Method):
    """Closed-form decoders, then DDIM inversion and sampling by the inflated generator."""

    kind = "stacked_ridge"
    Options = Options
    reconstruction: ClassVar = "generator"

    @property
    def parts(self) -> tuple[Part, ...]:
        if self.options.weights_from is not None:
            return ()
        optional = ("clip_embedding_image", "latents")
        needs = Needs(features=FEATURES, optional=optional, window=self.options.window)
        return (Part("decoders", needs=needs),)

    @property
    def needs(self) -> Needs:
        return Needs(window=self.options.window)

    @property
    def weights(self) -> dict[str, str]:
        return {"decoders": self.options.weights_from or self.name}

    @property
    def permuted_copy_of(self) -> str | None:
        return self.options.weights_from if self.options.swap else None

    def training_settings(self, part: str) -> str:
        given = {name: getattr(self.options, name) for name in Training.model_fields}
        return Training(**given).model_dump_json()

    def prediction_settings(self) -> str:
        return self.options.model_dump_json(include={"swap", "block", "mask_quantiles"})

    def training_memory_mb(self, part: str, size: Size) -> int:
        """Latents with the changes within clips; responses of the window; kernels; duals and predictions of the
        regressions."""
        volumes = 1 + sum(self.options.window)
        components = 7 * self.options.n_components
        values = 4 * size.clips * size.latent + 2 * size.clips * volumes * size.voxels
        values += 6 * size.clips**2 + 20 * size.clips * components
        values += 2 * size.clips * volumes * 7 * self.options.n_input_components
        return round(1.15 * (700 + 4 * values / 1e6))

    @classmethod
    def train(cls, part: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        import numpy as np
        import torch

        from mind_animator.decoders.checkpoint import Checkpoint
        from mind_animator.decoders.stacked import fit_stacked, stacked_targets
        from mind_animator.decoders.train import check_finite

        chosen = Training.model_validate_json(settings)
        rows = choose_clips(len(data.clips), chosen.training_clips, chosen.block, job.seed)
        arrays = {name: array[rows] for name, array in data.targets.items()}
        movies = list(np.asarray(data.movies)[rows])
        own = data.responses[0].take(rows)
        check_finite(arrays, [own.values], arrays, movies)
        with Checkpoint(job.checkpoint, job.fingerprint, 30.0, job.device) as checkpoint:
            targets = {k: v.to(job.device) for k, v in stacked_targets(arrays, checkpoint).items()}
            window = torch.from_numpy(window_of(own)).to(job.device)
            weights, report = fit_stacked(window, targets, movies, chosen, checkpoint)
        for target, r2 in report["out_of_fold_r2"].items():
            print(
                f"{target}: R2 out of fold {r2['ridge']:.4f} (ridge), {r2['stack']:.4f} (stack)",
                file=sys.stderr,
            )
        record = {
            "part": part,
            "settings": chosen.model_dump(mode="json"),
            "shapes": {name: list(array.shape[1:]) for name, array in arrays.items()},
            "clips": {"fit": len(movies), "validation": 0},
            "parameters": sum(tensor.numel() for tensor in weights.values()),
            "history": [],
            **report,
        }
        return Trained({name: tensor.cpu() for name, tensor in weights.items()}, record)

    @classmethod
    def predict(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        from mind_animator.decoders.stacked import flow_field

        chosen = Options.model_validate_json(settings)
        weights, record = load_weights(inputs)
        decoded = decode(weights, record, responses)
        if chosen.swap:
            rows = swapped_rows(len(responses.clips), chosen.block, inputs.seed)
            decoded |= {name: decoded[name][rows] for name in MOTION if name in decoded}
        shapes = record["shapes"]
        out = {
            "semantic": decoded["text"],
            "prompt_embedding": decoded["prompt_embedding"].unflatten(1, shapes["prompt_embedding"]),
        }
        if "first" in decoded:  # absent for a data set without stimuli
            frames, *shape = shapes["latents"]
            out["structure"] = decoded["first"].unflatten(1, shape)
            change = decoded["change"].unflatten(1, (frames, *shape))
            out["latents"] = out["structure"][:, None] + change - change[:, :1]
            ends = weights["mask_percentiles"][[round(100 * q) for q in chosen.mask_quantiles]]
            out["flow"] = flow_field(decoded["flow"], decoded["mask"], ends, shape[1:])
        return {name: tensor.cpu().numpy() for name, tensor in out.items()}

    @classmethod
    def readout(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        """Embedding; first frame; velocity of the moving content."""
        decoded = decode(*load_weights(inputs), responses)
        names = {"semantic": "text", "structure": "first", "motion": "flow"}
        return {name: decoded[own].cpu().numpy() for name, own in names.items() if own in decoded}


ENTRY = StackedRidge


def window_of(responses: Responses) -> "np.ndarray":
    """Responses around each clip (clip, volume, voxel), float32; one volume where none are requested around it."""
    import numpy as np

    window = responses.values[:, None] if responses.window is None else responses.window
    return np.ascontiguousarray(window, np.float32)


def load_weights(inputs: PredictionInputs) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Weights on the device, and their record.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from mind_animator.artefacts.files import read_json

    path = inputs.weights["decoders"]
    if not path.is_file():
        raise InputError(f"Expected the weights of the decoders at {path}, found none.")
    try:
        return load_file(path, device=inputs.device), read_json(path.with_suffix(".json"))
    except SafetensorError as error:
        raise InputError(f"Expected a whole safetensors file at {path}, got: {error}.") from None


def decode(
    weights: "Mapping[str, Tensor]", record: Mapping[str, Any], responses: Responses
) -> "dict[str, Tensor]":
    """Flat predictions (clip, width) of every target.

    Raises
    ------
    InputError
        If the responses have another number of volumes or voxels than those of the training.
    """
    import torch

    from mind_animator.decoders.stacked import decode_stacked

    settings, window = Training.model_validate(record["settings"]), window_of(responses)
    expected = (1 + sum(settings.window), weights["ridge.weights"].shape[0])
    if window.shape[1:] != expected:
        raise InputError(f"Expected responses (clip, volume, voxel) with {expected}, got {window.shape[1:]}.")
    return decode_stacked(
        weights, torch.from_numpy(window).to(weights["ridge.weights"].device), record["components"], settings
    )
