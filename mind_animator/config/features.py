"""Settings of the decoding targets."""

from typing import Any, Literal

from pydantic import Field, model_validator

from mind_animator.config.base import Fault, Strict
from mind_animator.config.reconstruction import Precision


class ReadyConfig(Strict):
    """Externally computed embeddings and features: npy, npz, h5, mat, safetensors or pt files with one row per clip.

    Rows are in the order of the table of clips (or of the segments of the data set if there is no table), or
    in any order if the same HDF5 file contains the names of the clips as ``clip``. ``file::name`` selects an
    array; ``{split}`` stands for ``train`` and ``test`` if each split has a separate file.

    Attributes
    ----------
    text, image : str, optional
        Embeddings (clip, dim) of any width; both must have the same width and belong to the same space. If only one is
        given, the other is omitted, because the embedding of ``models.clip`` belongs to another space.
    prompt_embedding : str, optional
        Prompt embeddings (clip, token, width), with or without BOS; computed from captions by default.
    latents : str, optional
        VAE latents of the frames (clip, frame, channel, h, w); computed from frames by default.
    """

    text: str | None = None
    image: str | None = None
    prompt_embedding: str | None = None
    latents: str | None = None

    @property
    def embeddings(self) -> bool:
        """Whether the embeddings that the semantic decoder predicts are given."""
        return self.text is not None or self.image is not None

    @property
    def given(self) -> dict[str, str]:
        """The given features, by name."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


class FeaturesConfig(Strict):
    """Targets from frozen models.

    Attributes
    ----------
    tokens : int
        Tokens of the prompt embedding, including BOS (the decoder predicts all tokens except BOS).
    latents : str
        ``mean`` of the posterior of the VAE, or ``sample`` (seeded per clip).
    image : str
        Frame whose CLIP embedding represents a clip: the ``middle`` or ``first`` sampled frame, or the ``mean`` of the
        normalised embeddings of all frames.
    batch : int
        Frames (or texts) per forward pass.
    vae_precision : str
        As in `ReconstructionConfig`.
    caption_copies, crops : int
        Numbers of augmented captions (synonyms, insertions, swaps, deletions) and random crops of the
        selected frame that are embedded in addition to the originals, for decoders that train on them
        (presets paper and released_code).
    synonyms : str, optional
        Table of synonyms for the captions; by default the shipped table.
    ready : ReadyConfig
        Externally computed features.
    options : mapping of feature provider to its options
        Options of providers other than ``text`` and ``image`` (`mind_animator.features.base.Provider`).
    """

    tokens: int = Field(20, ge=2, le=77)
    latents: Literal["mean", "sample"] = "mean"
    image: Literal["middle", "first", "mean"] = "middle"
    batch: int = Field(64, ge=1)
    vae_precision: Precision = "auto"
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
                raise Fault(key, f"must be 0: ready.{name} has no augmented copies", getattr(self, key))
        return self
