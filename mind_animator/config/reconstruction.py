"""From decoded features to videos by the frozen, inflated generator."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mind_animator.config.base import Fault, Strict

Precision = Literal["auto", "float32", "bfloat16", "float16"]

# Default negative prompt of the released inference pipeline.
RELEASED_NEGATIVE_PROMPT = (
    "Not like the real scene, Distorted and blurred body, blurry,bad proportions,out of frame,disfigured"
)

# Values of a preset, used for keys that the config does not contain. The paper's values are the defaults of the fields.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "released_code": {
        "group_norm": "pooled",
        "temporal_bias": True,
        "noise": "unseeded",
        "negative_prompt": RELEASED_NEGATIVE_PROMPT,
        "inversion_tokens": 77,
    },
}


class FirstPassConfig(Strict):
    """Settings of the first pass that differ from those of the second; None: the same value.

    See `ReconstructionConfig` for the meaning of each key.
    """

    num_inference_steps: int | None = Field(None, ge=1, le=1000)
    num_inversion_steps: int | None = Field(None, ge=0, le=1000)
    strength: float | None = Field(None, ge=0, le=1)
    guidance_scale: float | None = Field(None, ge=0)
    noise_timestep: int | None = Field(None, ge=0, le=999)
    noise_into: Literal["inverted", "noise_part"] | None = None


class ReconstructionConfig(Strict):
    """Settings of the generator. Each peculiarity of the released code is a separate option.

    Attributes
    ----------
    preset : str
        ``paper``, or ``released_code``: pooled group norms, the random bias of untrained temporal attention,
        unseeded noise, the released negative prompt, and an inversion prompt of 77 tokens. Keys that are given
        explicitly take precedence.
    scheduler : str
        ``ddim``, or ``dpm_solver`` (DPM-Solver++, second order) for sampling: a different method, to be
        reported in a separate row. Inversion is always DDIM.
    num_inference_steps, num_inversion_steps : int
        Steps of sampling and of inversion (empty prompt). No inversion: sampling starts from noised latents.
    inversion_tokens : int, optional
        Length of the empty prompt of the inversion, in tokens; None: that of the text condition.
    strength : float, optional
        Fraction of the diffusion time steps that inversion and sampling use, counted from the clean end, as in the
        image-to-image pipelines of diffusers: 0 returns the given latents, and 1 ignores them, because sampling starts
        from pure noise. Lower values keep more of the layout and motion of the latents and leave less to the text.
        None: all time steps. With inversion, as published, sampling then starts from noise that is computed from the
        latents; an explicit 1 is therefore an error with inversion. Without inversion, None equals 1.
    guidance_scale : float
        Classifier-free guidance; 1 turns it off.
    negative_prompt : str
        Text of the unconditional branch. `RELEASED_NEGATIVE_PROMPT` with ``preset: released_code``; the paper
        names none.
    noise_timestep : int
        Time step t of the alpha-bar with which fresh noise is mixed into the inverted latents,
        ``sqrt(a_t) inverted + sqrt(1 - a_t) noise``; 0 mixes none. Sampling nevertheless starts at the
        highest time step (the paper names 50 steps of both; a start at t = 200 would leave 10).
    noise_into : str
        ``inverted``: the whole inverted latent, as published; ``noise_part``: only its noise, so that the image
        content that remains at strength < 1 is not attenuated.
    noise_frames : str
        ``independent`` noise per frame, or one sample ``shared`` by all frames of a clip, which avoids flicker.
    noise : str
        ``seeded`` by (seed, clip name), or ``unseeded`` as in the released code, in which case every run differs.
    first_pass : FirstPassConfig, optional
        Source of the latents that are inverted. None: the decoded latents, as published. Otherwise the generator
        first draws one image per clip from the clip's mean decoded latents and decoded text; the image is moved
        along ``motion_gain`` times the decoded flow, and the VAE encodes the moved frames. Use it where the decoded
        latents change too little within a clip to show motion: a latent's change is the product of content and
        velocity, which a linear decoder cannot predict. A method that decodes no flow keeps its decoded latents.
        The section sets what differs in the first pass, for example ``{strength: 0.6}``.
    motion : str
        ``sampled``: the inflated generator draws all frames of a clip, as published. ``warped`` (an ablation
        of the second pass): the moved image of the first pass is the result; the generator draws one frame per
        clip, and a method that decodes no flow gives a still image.
    motion_gain : float
        Factor of the decoded flow, by which the image of the first pass is moved. Decoders trained on squared error
        underestimate speed.
    group_norm : str
        ``per_frame`` (the image net with frames in the batch) or ``pooled`` over a clip's frames (the
        published inflation): two different networks.
    temporal_bias : bool
        Add the random bias of the published code's untrained temporal attention to every transformer block.
        It is drawn from the seed, so that inversion and sampling use the same network (in the released code it is drawn
        at each start).
    precision : str
        Of the UNet: ``auto`` is float32 on a CPU and float16 on CUDA. Latents and the scheduler's arithmetic
        are float32 always.
    compile : bool
        ``torch.compile`` the UNet for the one batch shape. Off also on CUDA, because its gain has not been measured
        there: compare ``sampling`` and ``sampling_compiled`` of ``mind-animator benchmark-gpu`` on your GPU.
    vae_precision : str
        Of the VAE that encodes and decodes frames here: ``auto`` is float32 on a CPU and float16 on CUDA, which halves
        time and memory; on the demo's VAE it changes frames by less than one grey level (`tests/models`).
    clips_per_batch : int or "auto"
        Clips of a padded batch: results are bit-identical for any sharding at one batch size, and equal up to rounding
        at another. ``auto``: 8 on a CPU; on CUDA the largest power of two whose memory, derived from the shapes, fits
        into the GPU, because larger batches use a GPU better.
    cpu_threads : int
        Threads of a job on a CPU, independent of the machine: the last bits of a convolution depend on them.
    """

    preset: Literal["paper", "released_code"] = "paper"
    scheduler: Literal["ddim", "dpm_solver"] = "ddim"
    num_inference_steps: int = Field(50, ge=1, le=1000)
    num_inversion_steps: int = Field(50, ge=0, le=1000)
    inversion_tokens: int | None = Field(None, ge=1, le=77)
    strength: float | None = Field(None, ge=0, le=1)
    guidance_scale: float = Field(12.5, ge=0)
    negative_prompt: str = ""
    noise_timestep: int = Field(200, ge=0, le=999)
    noise_into: Literal["inverted", "noise_part"] = "inverted"
    noise_frames: Literal["independent", "shared"] = "independent"
    noise: Literal["seeded", "unseeded"] = "seeded"
    first_pass: FirstPassConfig | None = None
    motion: Literal["sampled", "warped"] = "sampled"
    motion_gain: float = Field(1.0, ge=0)
    group_norm: Literal["per_frame", "pooled"] = "per_frame"
    temporal_bias: bool = False
    precision: Precision = "auto"
    compile: bool = False
    vae_precision: Precision = "auto"
    clips_per_batch: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    cpu_threads: int = Field(1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("preset", "paper") in PRESETS:
            return PRESETS[values.get("preset", "paper")] | values
        return values

    @model_validator(mode="after")
    def _check_steps(self) -> "ReconstructionConfig":
        for name, part in (("", self), ("first_pass.", self.image_pass())):
            if part.strength == 1 and part.num_inversion_steps:
                raise Fault(
                    f"{name}strength",
                    "must be below 1 with num_inversion_steps > 0, since sampling starts from noise that is "
                    "computed from "
                    "the latents; set num_inversion_steps: 0 to ignore the latents, or strength: null to invert "
                    "over all "
                    "time steps",
                    part.strength,
                )
            if not part.steps_fit:
                raise Fault(
                    f"{name}strength",
                    "must be 0, or large enough for num_inference_steps and num_inversion_steps "
                    f"({part.num_inference_steps} and {part.num_inversion_steps} of {1000 * part.fraction:g} time "
                    "steps)",
                    part.strength,
                )
        return self

    @property
    def fraction(self) -> float:
        """Fraction of the diffusion time steps that inversion and sampling use."""
        return 1.0 if self.strength is None else self.strength

    @property
    def steps_fit(self) -> bool:
        """Whether the schedule has as many time steps below ``strength`` as the settings need."""
        steps = max(self.num_inference_steps, self.num_inversion_steps)
        return self.strength == 0 or steps <= round(1000 * self.fraction)

    def drawn_frames(self, frames: int) -> int:
        """Number of frames per clip that the generator draws."""
        return frames if self.motion == "sampled" else 1

    @property
    def two_passes(self) -> bool:
        """Whether the latents that are inverted come from a first pass."""
        return self.motion == "sampled" and self.first_pass is not None

    def image_pass(self) -> "ReconstructionConfig":
        """Settings of a pass that draws one image per clip: those of the first pass, or of ``motion: warped``."""
        changed = self.first_pass.model_dump(exclude_none=True) if self.first_pass else {}
        return self.model_copy(update={"motion": "warped", "first_pass": None, **changed})

    def final_pass(self) -> "ReconstructionConfig":
        """Settings of the pass that gives the reconstruction."""
        return self.image_pass() if self.motion == "warped" else self.model_copy(update={"first_pass": None})

    def inversion(self) -> "InversionConfig":
        """The settings on which the inversion depends, and no others."""
        return InversionConfig(**{name: getattr(self, name) for name in InversionConfig.model_fields})


class InversionConfig(Strict):
    """Settings on which the inverted latents depend; see `ReconstructionConfig`."""

    drawn_frames = ReconstructionConfig.drawn_frames
    fraction = ReconstructionConfig.fraction

    num_inversion_steps: int = Field(50, ge=1, le=1000)
    inversion_tokens: int | None = Field(None, ge=1, le=77)
    strength: float | None = Field(None, ge=0, le=1)
    motion: Literal["sampled", "warped"] = "sampled"
    group_norm: Literal["per_frame", "pooled"] = "per_frame"
    temporal_bias: bool = False
    precision: Precision = "auto"
    compile: bool = False
    clips_per_batch: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    cpu_threads: int = Field(1, ge=1)
