"""Building blocks of the decoders: residual blocks, per-subject input layers, and the base class."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mind_animator.config.decoders import DecoderConfig
from mind_animator.decoders.augment import sparsify, sparsify_accumulated
from mind_animator.decoders.checkpoint import Checkpoint
from mind_animator.decoders.linear_baseline import LinearBaseline


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Decoder(nn.Module):
    """Base class of the decoders: the input side, and what a decoder must define.

    With ``settings.linear`` the network receives the scores of a `LinearBaseline`; otherwise one linear input
    layer per subject maps voxels to ``settings.width`` units. Everything behind the input is shared by all
    subjects.

    Parameters
    ----------
    settings : DecoderConfig
    shapes : mapping
        ``voxels`` (one count per subject), ``sizes`` of the linear baseline's targets (or None), and what
        `measure` returns.

    Attributes
    ----------
    mean_targets : tuple of str
        Targets whose mean over the training clips is stored with the weights.
    """

    mean_targets: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: DecoderConfig, shapes: Mapping[str, Any]) -> None:
        super().__init__()
        self.settings = settings
        voxels = shapes["voxels"]
        self.linear_baseline: LinearBaseline | None = None
        if settings.linear is not None:
            self.linear_baseline = LinearBaseline(
                voxels, shapes.get("sizes") or {}, settings.linear.n_input_components
            )
            self.input_projection = nn.Linear(len(self.linear_baseline.input_index), settings.width)
        else:
            self.input_layers = nn.ModuleList(nn.Linear(count, settings.width) for count in voxels)

    @classmethod
    def build(cls, settings: DecoderConfig, shapes: Mapping[str, Any]) -> "Decoder":
        """The network of these settings, with weights not yet set."""
        return cls(settings, shapes)

    @classmethod
    def measure(cls, targets: Mapping[str, Tensor]) -> dict[str, Any]:
        """Shapes of the targets that the network is built from, as plain values."""
        raise NotImplementedError

    @classmethod
    def prepare(
        cls, settings: DecoderConfig, targets: Mapping[str, Tensor], checkpoint: Checkpoint
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Training data by name (first axis = clip), and flat targets (clip, width) of the linear baseline."""
        raise NotImplementedError

    def calibrate(
        self,
        data: Mapping[str, Tensor],
        baseline_targets: Mapping[str, Tensor],
        rows: np.ndarray,
        rng: torch.Generator,
        checkpoint: Checkpoint,
    ) -> dict[str, Tensor]:
        """Set what is estimated from the training clips ``rows`` before the fit; further training data."""
        return {}

    def reset(self, generator: torch.Generator) -> None:
        """Draw the initial weights."""
        initialise(self, generator)

    def loss(self, batch: Mapping[str, Tensor], rng: torch.Generator | None, epoch: int) -> Tensor:
        """Mean loss of a batch; ``rng`` is None in validation."""
        raise NotImplementedError

    def predict(self, inputs: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """Named predictions (clip, ...) from the inputs of `inputs`."""
        raise NotImplementedError

    @property
    def noam_width(self) -> int:
        """Width in the ``noam`` learning-rate schedule."""
        return self.settings.width

    def inputs(self, responses: Tensor, subject: int = 0) -> Tensor:
        """Responses (clip, voxel) to scores (clip, component) or to units (clip, width)."""
        if self.linear_baseline:
            return self.linear_baseline.pcs(responses, subject)
        return self.input_layers[subject](responses)

    def hidden(self, inputs: Tensor) -> Tensor:
        """First hidden layer (clip, width), before normalisation."""
        return self.input_projection(self.linear_baseline.inputs(inputs)) if self.linear_baseline else inputs

    def batch_inputs(self, batch: Mapping[str, Tensor], rng: torch.Generator | None, epoch: int) -> Tensor:
        """Inputs of a training batch, one subject after another: (subject * clip, ...)."""
        if self.linear_baseline:
            return torch.cat(by_subject(batch, "pcs"))
        sparsification = self.settings.sparsification
        parts = []
        for subject, layer in enumerate(self.input_layers):
            responses = batch[f"responses/{subject}"]
            if sparsification.accumulates and rng is not None:
                lifetimes = batch[f"lifetimes/{subject}"]
                responses = sparsify_accumulated(responses, lifetimes, sparsification.fraction, epoch)
            elif rng is not None:
                responses = sparsify(responses, sparsification.fraction, rng)
            parts.append(layer(responses))
        return torch.cat(parts)


def by_subject(data: Mapping[str, Tensor], name: str) -> list[Tensor]:
    """Arrays ``name/0``, ``name/1``, ... in the order of the subjects (not of their names)."""
    count = sum(key.startswith(f"{name}/") for key in data)
    return [data[f"{name}/{subject}"] for subject in range(count)]


def repeat_subjects(target: Tensor, inputs: Tensor) -> Tensor:
    """Targets of a batch, repeated for every subject in its inputs."""
    return target.repeat(len(inputs) // len(target), *[1] * (target.ndim - 1))


def initialise(network: nn.Module, generator: torch.Generator, *, zero: Sequence[nn.Linear] = ()) -> None:
    """Xavier-uniform weights and zero biases from a generator; the weights of layers in ``zero`` are zero."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in zero:
        nn.init.zeros_(module.weight)
