"""What the decoders aim at."""

from typing import Literal

from pydantic import Field

from mind_animator.config.base import Strict


class FeaturesConfig(Strict):
    """Targets from frozen models.

    Attributes
    ----------
    tokens : int
        Tokens of the text condition, BOS included (the decoder predicts all but BOS).
    latents : str
        ``mean`` of the VAE's posterior, or ``sample`` (seeded per clip).
    batch : int
        Frames per forward.
    """

    tokens: int = Field(20, ge=2, le=77)
    latents: Literal["mean", "sample"] = "mean"
    batch: int = Field(64, ge=1)
