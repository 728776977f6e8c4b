"""From decoded features to videos by the frozen, inflated generator."""

from typing import Literal

from pydantic import Field

from mind_animator.config.base import Strict


class ReconstructionConfig(Strict):
    """Generator settings; every published quirk has a switch of its own.

    Attributes
    ----------
    steps, inversion_steps : int
        DDIM steps of sampling and of inversion (empty prompt).
    guidance_scale : float
        Classifier-free guidance; 1 turns it off.
    negative_prompt : str
        Text of the unconditional branch.
    noise_timestep : int
        Time step t (of 1000) to which noise is added.
    clips_per_batch : int
        Clips per padded batch: results are bit-identical for any sharding at one batch shape.
    """

    steps: int = Field(50, ge=1)
    inversion_steps: int = Field(50, ge=0)
    guidance_scale: float = Field(12.5, ge=0)
    negative_prompt: str = ""
    noise_timestep: int = Field(200, ge=0, le=999)
    clips_per_batch: int = Field(8, ge=1)
    group_norm: Literal["per_frame", "pooled"] = "per_frame"
