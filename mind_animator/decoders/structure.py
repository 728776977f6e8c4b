"""The structure decoder: responses to the latent of the first frame."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mind_animator.config.decoders import StructureConfig
from mind_animator.decoders.layers import Decoder, Residual, initialise, repeat_subjects


class StructureDecoder(Decoder):
    """Responses to the flat latent (clip, channel * h * w) of the first frame.

    Parameters
    ----------
    settings : StructureConfig
    voxels : sequence of int, one a subject
    latent : int
        channel * h * w.
    sizes : mapping, optional
        Components and width of the linear path's target ``first``.
    """

    def __init__(
        self,
        settings: StructureConfig,
        voxels: Sequence[int],
        latent: int,
        sizes: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(settings, voxels, sizes)
        width = settings.width
        self.body = nn.Sequential(
            nn.Dropout(settings.dropout_in),
            *(
                Residual(nn.Linear(width, width), nn.Dropout(settings.dropout))
                for _ in range(settings.blocks)
            ),
            nn.LayerNorm(width),
            nn.ReLU(),
        )
        self.out = nn.Linear(width, len(self.path.scale) if self.path else latent)

    def reset(self, generator: torch.Generator) -> None:
        """Draw the starting weights."""
        initialise(self, generator, zero=[self.out] if self.path else [])

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of `Decoder.inputs` to (clip, channel * h * w)."""
        out = self.out(self.body(self.hidden(inputs)))
        return self.path.target(inputs + self.path.scale * out, "first") if self.path else out

    def loss(self, batch: Mapping[str, Tensor], draw: torch.Generator | None, epoch: int) -> Tensor:
        """Mean squared error against ``first`` (clip, channel * h * w)."""
        inputs = self.batch_inputs(batch, draw, epoch)
        return functional.mse_loss(self(inputs), repeat_subjects(batch["first"], inputs))
