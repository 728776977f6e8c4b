"""Features of frames: the patch tokens of the CLIP vision tower, before pooling."""

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field

from mind_animator.config.base import Strict
from mind_animator.config.models import ModelsConfig
from mind_animator.features.base import Provider

# Frames per forward pass.
BATCH = 64


class Options(Strict):
    """Options of this feature provider.

    Attributes
    ----------
    grid : int, optional
        Tokens per side, averaged over the patches of each cell; None: one token per patch. CLIP bigG has 16 x 16 tokens
        of 1,664 values: 1.7 MB per clip and frame.
    frames : int
        Number of frames around the middle of the clip, which alternate by epoch of training.
    """

    grid: int | None = Field(None, ge=1)
    frames: int = Field(2, ge=1)


class ClipTokens(Provider):
    """``clip_tokens`` (clip, frame, token, width), the last hidden states of the patches."""

    kind = "clip_tokens"
    source = "frames"
    models: ClassVar = ("clip",)
    Options = Options

    def arrays(self) -> tuple[str, ...]:
        return ("clip_tokens",)

    @classmethod
    def compute(
        cls,
        settings: str,
        clips: Iterable[tuple[str, np.ndarray]],
        models: ModelsConfig,
        *,
        seed: int,
        device: str,
        notes: dict[str, str],
    ) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
        from torch import Tensor
        from torch.nn.functional import adaptive_avg_pool2d

        from mind_animator.models.embed import in_batches
        from mind_animator.models.images import prepare_images
        from mind_animator.models.load import load_clip

        chosen = Options.model_validate_json(settings)
        clip = load_clip(models.clip, models.lock, device=device)
        vision = clip.model.vision_model

        def network(part: Tensor) -> Tensor:
            images = prepare_images(part.to(clip.model.device), clip.recipe).to(clip.model.dtype)
            tokens = vision(images).last_hidden_state[:, 1:].transpose(1, 2)
            side = round(tokens.shape[2] ** 0.5)
            return (
                adaptive_avg_pool2d(tokens.unflatten(2, (side, side)), chosen.grid or side)
                .flatten(2)
                .transpose(1, 2)
            )

        for name, frames in clips:
            count = min(chosen.frames, len(frames))
            first = (len(frames) - count + 1) // 2
            yield name, {"clip_tokens": in_batches(network, frames[first : first + count], count).numpy()}


ENTRY = ClipTokens
