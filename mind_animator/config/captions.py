"""Settings of captions."""

from pydantic import Field, field_validator

from mind_animator.config.base import Strict


class CaptionsConfig(Strict):
    """Captions of clips by BLIP-2, or existing captions.

    Attributes
    ----------
    ready : tuple of str
        TSV (columns clip, caption) or HDF5 files of existing captions, with which no captioner is run. A single file
        may be given without a list.
    prompt : str
        Prompt for BLIP-2.
    agreement : float
        If the CLIP similarities of the captions of the first and last frame differ by at most this value, one of the
        captions is kept (seeded); otherwise they are joined.
    max_new_tokens : int
        Maximum length of a caption in tokens.
    batch : int
        Images per forward pass.
    """

    ready: tuple[str, ...] = ()
    prompt: str = "Question: What does this image describe? Answer:"
    agreement: float = Field(0.05, ge=0)
    max_new_tokens: int = Field(20, ge=1)
    batch: int = Field(32, ge=1)

    @field_validator("ready", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
