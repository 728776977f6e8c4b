"""The structure decoder: responses to the latent of the first frame."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from mind_animator.config.decoders import StructureConfig
from mind_animator.decoders.checkpoint import Checkpoint
from mind_animator.decoders.layers import Decoder, Residual, initialise, repeat_subjects


class StructureDecoder(Decoder):
    """Responses to the latent (channel, h, w) of the first frame.

    Parameters
    ----------
    settings : StructureConfig
    shapes : mapping
        ``voxels``, ``latent`` (frame, channel, h, w), and ``sizes`` of the linear baseline's target ``first``.
    """

    mean_targets: ClassVar = ("latents",)

    def __init__(self, settings: StructureConfig, shapes: Mapping[str, Any]) -> None:
        super().__init__(settings, shapes)
        width = settings.width
        self.latent = tuple(shapes["latent"][1:])
        self.body = nn.Sequential(
            nn.Dropout(settings.dropout_in),
            *(
                Residual(nn.Linear(width, width), nn.Dropout(settings.dropout))
                for _ in range(settings.blocks)
            ),
            nn.LayerNorm(width),
            nn.ReLU(),
        )
        flat = torch.Size(self.latent).numel()
        self.out = nn.Linear(width, len(self.linear_baseline.scale) if self.linear_baseline else flat)

    @classmethod
    def measure(cls, targets: Mapping[str, Tensor]) -> dict[str, Any]:
        return {"latent": list(targets["latents"].shape[1:])}

    @classmethod
    def prepare(
        cls, settings: StructureConfig, targets: Mapping[str, Tensor], checkpoint: Checkpoint
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The flat latent ``first`` (clip, channel * h * w)."""
        first = targets["latents"][:, 0].flatten(1)
        return {"first": first}, {"first": first}

    def reset(self, generator: torch.Generator) -> None:
        """Draw the initial weights."""
        initialise(self, generator, zero=[self.out] if self.linear_baseline else [])

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of `Decoder.inputs` to (clip, channel * h * w)."""
        out = self.out(self.body(self.hidden(inputs)))
        if self.linear_baseline:
            return self.linear_baseline.target(inputs + self.linear_baseline.scale * out, "first")
        return out

    def loss(self, batch: Mapping[str, Tensor], rng: torch.Generator | None, epoch: int) -> Tensor:
        """Mean squared error with respect to ``first``."""
        inputs = self.batch_inputs(batch, rng, epoch)
        return functional.mse_loss(self(inputs), repeat_subjects(batch["first"], inputs))

    def predict(self, inputs: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """``structure`` (clip, channel, h, w)."""
        return {"structure": self(inputs).unflatten(1, self.latent)}
