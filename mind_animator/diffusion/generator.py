"""The frozen generator, loaded and inflated once per job, and its two uses: inversion and reconstruction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from mind_animator.config.reconstruction import InversionConfig, ReconstructionConfig
from mind_animator.diffusion.inflate import VideoUNet
from mind_animator.diffusion.invert import invert
from mind_animator.diffusion.memory import resolve_clips_per_batch
from mind_animator.diffusion.noise import clip_generator, draw_noise, mix_noise
from mind_animator.diffusion.sample import sample, sample_dpm
from mind_animator.diffusion.schedule import Schedule, schedule_of
from mind_animator.errors import InputError
from mind_animator.models.embed import encode_prompts
from mind_animator.models.latents import decode_latents
from mind_animator.models.load import load_text_encoder, load_unet_and_scheduler, network_dtype
from mind_animator.video.warp import move_image

S = TypeVar("S", ReconstructionConfig, InversionConfig)


@dataclass(frozen=True)
class VideoGenerator:
    """An inflated UNet with its text encoder and noise schedule.

    Attributes
    ----------
    unet : VideoUNet
    encode_text : callable
        ``encode_text(text, tokens)``: prompt_embeds (1, tokens, width), float32; padded or cut to ``tokens``,
        BOS included.
    schedule : Schedule
    scheduler_config : dict
        Config of the model folder's scheduler, for solvers of other kinds.
    """

    unet: VideoUNet
    encode_text: Callable[[str, int], Tensor]
    schedule: Schedule
    scheduler_config: dict[str, Any]

    @property
    def device(self) -> torch.device:
        """Device of the UNet."""
        return next(self.unet.parameters()).device


def load_generator(
    model_id_or_path: str | Path,
    lock: str | Path | None,
    frames: int,
    settings: ReconstructionConfig | InversionConfig,
    *,
    device: str,
    seed: int,
) -> VideoGenerator:
    """Load the generator and inflate its UNet.

    Parameters
    ----------
    model_id_or_path : str or path
        Stable Diffusion folder (``unet``, ``text_encoder``, ``tokenizer``, ``scheduler``) or id on the hub.
    lock : path, optional
        Lock file of models.
    frames : int
        Frames per clip.
    settings : ReconstructionConfig or InversionConfig
        Precision, compilation and the peculiarities of the released network.
    device : str
        ``cpu`` or ``cuda``; a CUDA device must be present.
    seed : int
        Seed of the temporal bias, if ``settings`` enable it.

    Raises
    ------
    InputError
        If a part is missing.
    """
    dtype = network_dtype(settings.precision, device)
    unet, scheduler = load_unet_and_scheduler(model_id_or_path, lock, device=device, dtype=dtype)
    text = load_text_encoder(model_id_or_path, lock, device=device)
    bias = clip_generator(seed, "temporal attention") if settings.temporal_bias else None
    video = VideoUNet(unet, frames, group_norm=settings.group_norm, temporal_bias=bias)
    if device != "cpu":
        unet.to(memory_format=torch.channels_last)
    if settings.compile:
        unet.compile(dynamic=False)

    def encode_text(words: str, tokens: int) -> Tensor:
        return encode_prompts(text, [words], tokens, batch=1).to(device)

    return VideoGenerator(
        video.eval(), cache(encode_text), schedule_of(scheduler.config), dict(scheduler.config)
    )


def with_clips_per_batch(generator: VideoGenerator, settings: S, latents: Sequence[int], tokens: int) -> S:
    """Settings with the number of clips per batch, where it is ``auto`` (`resolve_clips_per_batch`).

    Parameters
    ----------
    settings : ReconstructionConfig or InversionConfig
    latents : sequence of int
        Shape of the latents (.., h, w).
    tokens : int
        Tokens of the text condition, BOS included.
    """
    clips = resolve_clips_per_batch(
        settings.clips_per_batch,
        generator.unet,
        height=latents[-2],
        width=latents[-1],
        tokens=max(tokens, settings.inversion_tokens or 0),
        guided=isinstance(settings, ReconstructionConfig) and settings.guidance_scale != 1,
    )
    return settings.model_copy(update={"clips_per_batch": clips})


def check_inputs(generator: VideoGenerator, latents: Sequence[int], width: int | None = None) -> None:
    """Raise an `InputError` if latents (.., channel, h, w) or the width of prompt embeddings do not fit the UNet."""
    config = generator.unet.unet.config
    factor = 2 ** (len(config.block_out_channels) - 1)
    if latents[-3] != config.in_channels or latents[-1] % factor or latents[-2] % factor:
        raise InputError(
            f"Expected latents of {config.in_channels} channels, height and width multiples of {factor} "
            f"(as the generator takes them), got {tuple(latents[-3:])}."
        )
    if width is not None and width != config.cross_attention_dim:
        raise InputError(f"Expected a text condition of width {config.cross_attention_dim}, got {width}.")


def invert_batch(
    generator: VideoGenerator, latents: Tensor, settings: InversionConfig, tokens: int
) -> Tensor:
    """Inverted latents (clip, frame, channel, h, w) of one padded batch, under the empty prompt."""
    latents = drawn_latents(latents, settings).to(generator.device)
    if settings.strength == 0:
        return latents.float().cpu()
    length = tokens if settings.inversion_tokens is None else settings.inversion_tokens
    empty = generator.encode_text("", length).expand(len(latents), -1, -1)
    inverted = invert(
        generator.unet,
        latents,
        empty,
        generator.schedule,
        steps=settings.num_inversion_steps,
        max_timestep=generator.schedule.max_timestep(settings.fraction),
    )
    return inverted.cpu()


def reconstruct_batch(
    generator: VideoGenerator,
    latents: Tensor,
    inverted: Tensor | None,
    prompt_embeds: Tensor,
    clips: Sequence[str],
    settings: ReconstructionConfig,
    *,
    seed: int,
    negative_prompt_embeds: Tensor | None = None,
) -> Tensor:
    """Latents of the reconstruction of one padded batch.

    Parameters
    ----------
    latents : Tensor of shape (clip, frame, channel, h, w)
        Decoded latents, multiplied by the VAE's scaling factor.
    inverted : Tensor of the same shape, or None
        Their inversion; None where ``settings.num_inversion_steps`` is 0.
    prompt_embeds : Tensor of shape (clip, token, width)
        Decoded text condition without BOS.
    clips : sequence of str
        Names, which seed the noise.
    settings : ReconstructionConfig
    seed : int
    negative_prompt_embeds : Tensor of shape (clip, token, width), optional
        Unconditional branch without BOS; default: ``settings.negative_prompt``.

    Returns
    -------
    Tensor of shape (clip, frame, channel, h, w), float32, on the CPU
        One frame with ``motion: warped``.
    """
    device, schedule = generator.device, generator.schedule
    drawn = drawn_latents(latents, settings)
    if settings.strength == 0:
        return drawn.float().cpu()
    tokens = prompt_embeds.shape[1] + 1
    bos = generator.encode_text("", tokens)[:, :1].expand(len(prompt_embeds), -1, -1)
    conditional = torch.cat([bos, prompt_embeds.float().to(device)], dim=1)
    unconditional = generator.encode_text(settings.negative_prompt, tokens).expand(len(prompt_embeds), -1, -1)
    if negative_prompt_embeds is not None:
        unconditional = torch.cat([bos, negative_prompt_embeds.float().to(device)], dim=1)
    start = start_latents(schedule, drawn, inverted, clips, settings, seed=seed).to(device)
    if settings.scheduler == "dpm_solver":
        result = sample_dpm(
            generator.unet,
            start,
            conditional,
            unconditional,
            schedule,
            generator.scheduler_config,
            steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            max_timestep=generator.schedule.max_timestep(settings.fraction),
        )
    else:
        result = sample(
            generator.unet,
            start,
            conditional,
            unconditional,
            schedule,
            steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            max_timestep=generator.schedule.max_timestep(settings.fraction),
        )
    return result.cpu()


def frames_of_predictions(
    generator: VideoGenerator,
    vae: Any,
    batch: Mapping[str, Tensor],
    clips: Sequence[str],
    settings: ReconstructionConfig,
    *,
    seed: int,
    tokens: int,
) -> Tensor:
    """Frames of one padded batch of clips from their predictions: inversion, sampling, decoding, motion.

    Parameters
    ----------
    batch : mapping
        ``latents`` (clip, frame, channel, h, w) and ``prompt_embedding`` (clip, token, width); ``noise``, the
        inverted latents, which are computed here if they are needed and absent; ``flow`` (clip, 2, h, w) for
        ``motion: warped`` (default: no motion).
    clips : sequence of str
        Names, which seed the noise.
    settings : ReconstructionConfig
        Of the final pass.
    seed : int
    tokens : int
        Tokens of the prompt, BOS included.

    Returns
    -------
    Tensor of shape (clip, frame, height, width, 3), uint8
    """
    latents, noise = batch["latents"], batch.get("noise")
    if noise is None and settings.num_inversion_steps:
        noise = invert_batch(generator, latents, settings.inversion(), tokens)
    drawn = reconstruct_batch(
        generator, latents, noise, batch["prompt_embedding"], clips, settings, seed=seed
    )
    # one clip per forward pass: its frames do not depend on the number of clips
    shown = decode_latents(vae, drawn, batch=drawn.shape[1])
    if settings.motion == "sampled":
        return shown
    flow = batch.get("flow", torch.zeros(len(latents), 2, *latents.shape[-2:]))
    return move_image(shown[:, 0], settings.motion_gain * flow, latents.shape[1])


def draw_moving_image(
    generator: VideoGenerator,
    vae: Any,
    latents: Tensor,
    prompt_embeds: Tensor,
    flow: Tensor,
    clips: Sequence[str],
    settings: ReconstructionConfig,
    *,
    seed: int,
    tokens: int,
) -> Tensor:
    """First pass: draw one image per clip and move it along a flow.

    Parameters
    ----------
    generator : VideoGenerator
        Loaded for one frame.
    vae : AutoencoderKL
    latents : Tensor of shape (clip, frame, channel, h, w)
        Decoded latents, multiplied by the VAE's scaling factor; the image is drawn from their mean over frames.
    prompt_embeds : Tensor of shape (clip, token, width)
        Decoded text condition without BOS.
    flow : Tensor of shape (clip, 2, h, w)
        Decoded flow (x, y) in cells of its own grid per frame, y pointing down.
    clips : sequence of str
        Names, which seed the noise.
    settings : ReconstructionConfig
        From `ReconstructionConfig.image_pass`.
    seed : int
    tokens : int
        Tokens of the text condition, BOS included.

    Returns
    -------
    Tensor of shape (clip, frame, height, width, 3), uint8, on the CPU
    """
    inverted = None
    if settings.num_inversion_steps:
        inverted = invert_batch(generator, latents, settings.inversion(), tokens)
    drawn = reconstruct_batch(generator, latents, inverted, prompt_embeds, clips, settings, seed=seed)
    return move_image(
        decode_latents(vae, drawn, batch=1)[:, 0], settings.motion_gain * flow, latents.shape[1]
    )


def empty_prompt_embeds(generator: VideoGenerator, clips: int, tokens: int) -> Tensor:
    """Prompt embeddings (clip, token, width) of the empty prompt, without BOS: for methods that decode no text."""
    return generator.encode_text("", tokens)[:, 1:].cpu().expand(clips, -1, -1)


def drawn_latents(latents: Tensor, settings: ReconstructionConfig | InversionConfig) -> Tensor:
    """Latents (clip, frame, ...) that the generator receives: every frame, or the mean as a clip of one frame."""
    return latents if settings.motion == "sampled" else latents.float().mean(dim=1, keepdim=True)


def start_latents(
    schedule: Schedule,
    latents: Tensor,
    inverted: Tensor | None,
    clips: Sequence[str],
    settings: ReconstructionConfig,
    *,
    seed: int,
) -> Tensor:
    """Latents from which sampling starts: inverted latents with fresh noise, or, without inversion, noised latents."""
    generators = [clip_generator(seed, clip) if settings.noise == "seeded" else unseeded() for clip in clips]
    noise = draw_noise(generators, tuple(latents.shape[1:]), across_frames=settings.noise_frames)
    if inverted is None:
        if settings.fraction == 1:  # pure noise, as in the image-to-image pipelines of diffusers
            return noise
        level = schedule.alpha(
            schedule.timesteps(settings.num_inference_steps, schedule.max_timestep(settings.fraction))[-1]
        )
        return level**0.5 * latents.float() + (1 - level) ** 0.5 * noise
    if settings.noise_timestep == 0:
        return inverted.float()
    amount = schedule.alpha(settings.noise_timestep)
    if settings.noise_into == "inverted":
        return mix_noise(inverted.float(), noise, amount)
    level = schedule.alpha(
        schedule.timesteps(settings.num_inversion_steps, schedule.max_timestep(settings.fraction))[-1]
    )
    return mix_noise(inverted.float(), noise, amount, clean=latents.float(), level=level)


def unseeded() -> torch.Generator:
    """A generator seeded by the operating system: the released code's noise."""
    generator = torch.Generator("cpu")
    generator.seed()
    return generator
