"""Where captions come from."""

from pydantic import Field, field_validator

from mind_animator.config.base import Strict


class CaptionsConfig(Strict):
    """Captions of clips by BLIP-2, or ready ones.

    Attributes
    ----------
    ready : tuple of str
        TSV (columns clip, caption) or HDF5 files of ready captions; no captioner is run then. One name will do.
    prompt : str
        The question put to BLIP-2.
    agreement : float
        If the first and last frame's captions differ in CLIP similarity by this or less, one is kept
        (seeded), else joined.
    max_new_tokens, batch : int
        Longest answer in tokens; images per forward.
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
