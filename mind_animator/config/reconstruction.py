"""From decoded features to videos by the frozen, inflated generator."""

from typing import Any, Literal

from pydantic import Field, model_validator

from mind_animator.config.base import Strict

# What a preset sets, where the config does not say otherwise. The paper's values are the fields' defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "released_code": {"group_norm": "pooled", "temporal_bias": True, "noise": "unseeded"},
}


class ReconstructionConfig(Strict):
    """Generator settings; every published quirk has a switch of its own.

    Attributes
    ----------
    preset : str
        ``paper``, or ``released_code``: pooled group norms, the random bias of untrained temporal attention,
        unseeded noise. Any key given beside it wins.
    scheduler : str
        ``ddim``, or ``dpm_solver`` (DPM-Solver++, second order) for sampling: a different method, to be
        reported as a row of its own. Inversion is always DDIM.
    steps, inversion_steps : int
        Steps of sampling and of inversion (empty prompt). No inversion: sampling starts from noised latents.
    depth : int
        Inversion and sampling stay in the lowest ``depth`` of the (1000) time steps. Less than all keeps more
        of the decoded latents' layout and motion, and leaves less to the text.
    guidance_scale : float
        Classifier-free guidance; 1 turns it off.
    negative_prompt : str
        Text of the unconditional branch. The text that the authors used is not known here.
    noise_timestep : int
        Time step t of the alpha-bar with which fresh noise is mixed into the inverted latents,
        ``sqrt(a_t) inverted + sqrt(1 - a_t) noise``; 0 mixes none. The sampler's chain starts at the top all
        the same (the paper names 50 steps of both; starting at t = 200 would leave 10).
    noise_into : str
        ``inverted``: all of the inverted latent, as published; ``noise_part``: only its noise, which leaves
        the image that a chain of less than the whole depth still holds at full strength.
    noise_frames : str
        ``independent`` noise for every frame, or one draw ``shared`` by a clip's frames: no flicker.
    noise : str
        ``seeded`` by (seed, clip name), or ``unseeded`` as in the released code: every run differs then.
    motion : str
        ``sampled``: every frame is drawn by the inflated generator, as published. ``warped``: the generator
        draws one image of the clip's mean latents, which is moved along motion_gain x the flow that the
        motion decoder reads from the brain, the image itself the middle of the clip. For small generators,
        whose latents do not shift with the image; a clip costs one frame, and a method that decodes no flow
        shows a still image.
    motion_gain : float
        Of ``warped`` motion: decoders trained on squared error shrink what they are unsure of.
    group_norm : str
        ``per_frame`` (the image net with frames in the batch) or ``pooled`` over a clip's frames (the
        published inflation): two different networks.
    temporal_bias : bool
        Add the random bias of the published code's untrained temporal attention to every transformer block.
        It is drawn from the seed, so that inversion and sampling meet one network (published: afresh at each
        start).
    precision : str
        Of the UNet: ``auto`` is float32 on a CPU and float16 on CUDA. Latents and the scheduler's arithmetic
        are float32 always.
    compile : bool
        ``torch.compile`` the UNet for the one batch shape (minutes once, then faster; worth it at full size).
    clips_per_batch : int
        Clips of a padded batch: results are bit-identical for any sharding at one batch size.
    cpu_threads : int
        Threads of a job on a CPU, whatever the machine has: the last bits of a convolution depend on them.
    """

    preset: Literal["paper", "released_code"] = "paper"
    scheduler: Literal["ddim", "dpm_solver"] = "ddim"
    steps: int = Field(50, ge=1, le=1000)
    inversion_steps: int = Field(50, ge=0, le=1000)
    depth: int = Field(1000, ge=1, le=1000)
    guidance_scale: float = Field(12.5, ge=0)
    negative_prompt: str = ""
    noise_timestep: int = Field(200, ge=0, le=999)
    noise_into: Literal["inverted", "noise_part"] = "inverted"
    noise_frames: Literal["independent", "shared"] = "independent"
    noise: Literal["seeded", "unseeded"] = "seeded"
    motion: Literal["sampled", "warped"] = "sampled"
    motion_gain: float = Field(1.0, ge=0)
    group_norm: Literal["per_frame", "pooled"] = "per_frame"
    temporal_bias: bool = False
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile: bool = False
    clips_per_batch: int = Field(8, ge=1)
    cpu_threads: int = Field(1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("preset", "paper") in PRESETS:
            return PRESETS[values.get("preset", "paper")] | values
        return values

    @model_validator(mode="after")
    def _steps_fit_the_depth(self) -> "ReconstructionConfig":
        if max(self.steps, self.inversion_steps) > self.depth:
            raise ValueError(
                f"expected steps and inversion_steps <= depth ({self.depth}), "
                f"got {self.steps} and {self.inversion_steps}"
            )
        return self

    def drawn_frames(self, frames: int) -> int:
        """Frames of a clip that the generator draws."""
        return frames if self.motion == "sampled" else 1

    def inversion(self) -> "InversionConfig":
        """The part of the settings on which the inversion depends, and nothing else."""
        return InversionConfig(**{name: getattr(self, name) for name in InversionConfig.model_fields})


class InversionConfig(Strict):
    """What the inversion artefact depends on; see `ReconstructionConfig`."""

    drawn_frames = ReconstructionConfig.drawn_frames

    inversion_steps: int = Field(50, ge=1, le=1000)
    depth: int = Field(1000, ge=1, le=1000)
    motion: Literal["sampled", "warped"] = "sampled"
    group_norm: Literal["per_frame", "pooled"] = "per_frame"
    temporal_bias: bool = False
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile: bool = False
    clips_per_batch: int = Field(8, ge=1)
    cpu_threads: int = Field(1, ge=1)
