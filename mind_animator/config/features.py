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
    image : str
        Frame whose CLIP embedding stands for a clip: the ``middle`` or ``first`` sampled one, or the ``mean``
        of all frames' normalised embeddings.
    batch : int
        Frames (or texts) per forward.
    caption_copies, crops : int
        Augmented captions (synonyms, insertions, swaps, deletions) and random crops of the image's frame that
        are embedded beside each clip's own, for decoders that train on them (presets paper and released_code).
    synonyms : str, optional
        A table of synonyms for the captions; by default the shipped one.
    """

    tokens: int = Field(20, ge=2, le=77)
    latents: Literal["mean", "sample"] = "mean"
    image: Literal["middle", "first", "mean"] = "middle"
    batch: int = Field(64, ge=1)
    caption_copies: int = Field(0, ge=0)
    crops: int = Field(0, ge=0)
    synonyms: str | None = None
