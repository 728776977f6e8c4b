"""What the decoders aim at."""

from typing import Any, Literal

from pydantic import Field, model_validator

from mind_animator.config.base import Strict


class ReadyConfig(Strict):
    """Embeddings and features computed elsewhere: npy, npz, h5, mat, safetensors or pt files, one row per clip.

    Rows are in the order of the table of clips (of the data set's segments where there is no table), or in any
    order where the same HDF5 file holds the clips' names as ``clip``. ``file::name`` selects an array; ``{split}``
    stands for ``train`` and ``test`` where each has its own file.

    Attributes
    ----------
    text, image : str, optional
        Embeddings (clip, dim) of any width; the same width and the same space for both. Where only one is given,
        the other is left out, because the embedding of ``models.clip`` lies in another space.
    prompt_embedding : str, optional
        Prompt embeddings (clip, token, width), with or without BOS; else computed from captions.
    latents : str, optional
        VAE latents of the frames (clip, frame, channel, h, w); else computed from frames.
    """

    text: str | None = None
    image: str | None = None
    prompt_embedding: str | None = None
    latents: str | None = None

    @property
    def embeddings(self) -> bool:
        """Whether the embeddings that the semantic decoder predicts are ready."""
        return self.text is not None or self.image is not None

    @property
    def given(self) -> dict[str, str]:
        """What is ready, by name."""
        return {name: place for name, place in self.model_dump().items() if place is not None}


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
    ready : ReadyConfig
        Features computed elsewhere.
    options : mapping of feature provider to its options
        For providers besides ``text`` and ``image`` (`mind_animator.features.base.Provider`).
    """

    tokens: int = Field(20, ge=2, le=77)
    latents: Literal["mean", "sample"] = "mean"
    image: Literal["middle", "first", "mean"] = "middle"
    batch: int = Field(64, ge=1)
    caption_copies: int = Field(0, ge=0)
    crops: int = Field(0, ge=0)
    synonyms: str | None = None
    ready: ReadyConfig = ReadyConfig()
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _no_copies_of_ready(self) -> "FeaturesConfig":
        for key, name in (
            ("caption_copies", "text"),
            ("caption_copies", "prompt_embedding"),
            ("crops", "image"),
        ):
            if getattr(self, key) and getattr(self.ready, name):
                raise ValueError(
                    f"expected {key} = 0: ready.{name} has no augmented copies (use ridge, or preset ridge_residual)"
                )
        return self
