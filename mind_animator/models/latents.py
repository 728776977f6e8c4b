"""Conversion between frames and VAE latents, in batches of constant, padded shape."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mind_animator.models.embed import in_batches


def encode_latents(
    vae: Any, frames: Tensor | np.ndarray, batch: int, generators: Sequence[torch.Generator] | None = None
) -> Tensor:
    """Latents of frames: the posterior mean, or a sample of the posterior, times the scaling factor of the VAE.

    Parameters
    ----------
    vae : AutoencoderKL
    frames : Tensor or array of shape (clip, frame, height, width, 3), uint8
    batch : int
        Frames per forward pass.
    generators : sequence of CPU generators, one per clip, optional
        Used to sample ``mean + std * noise`` with separate noise for each clip; the mean by default.

    Returns
    -------
    Tensor of shape (clip, frame, channel, height / 8, width / 8), float32, on the CPU
        The factor 8 stands for the downsampling factor of the VAE.
    """
    frames = torch.as_tensor(frames)
    n_clips, n_frames = frames.shape[:2]

    def network(part: Tensor) -> Tensor:
        images = part.to(vae.device).permute(0, 3, 1, 2).to(vae.dtype) / 127.5 - 1
        return vae.encode(images).latent_dist.parameters

    moments = in_batches(network, frames.flatten(0, 1), batch).unflatten(0, (n_clips, n_frames))
    mean, log_variance = moments.chunk(2, dim=2)
    if generators is not None:
        if len(generators) != n_clips:
            raise ValueError(f"Expected {n_clips} generators, one per clip, got {len(generators)}.")
        noise = torch.stack([torch.randn(mean.shape[1:], generator=generator) for generator in generators])
        # the same bounds as in the posterior of diffusers
        mean = mean + torch.exp(0.5 * log_variance.clamp(-30.0, 20.0)) * noise
    return mean * vae.config.scaling_factor


def decode_latents(vae: Any, latents: Tensor, batch: int) -> Tensor:
    """Frames of latents.

    Parameters
    ----------
    vae : AutoencoderKL
    latents : Tensor of shape (clip, frame, channel, h, w)
        Latents multiplied by the scaling factor of the VAE.
    batch : int
        Frames per forward pass.

    Returns
    -------
    Tensor of shape (clip, frame, height, width, 3), uint8, on the CPU
    """

    def network(part: Tensor) -> Tensor:
        scaled = part.to(vae.device, vae.dtype) / vae.config.scaling_factor
        return vae.decode(scaled).sample.float().add(1).mul(127.5).round().clamp(0, 255).permute(0, 2, 3, 1)

    images = in_batches(network, latents.flatten(0, 1), batch)
    return images.to(torch.uint8).unflatten(0, latents.shape[:2])
