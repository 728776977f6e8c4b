"""DDIM inversion: from decoded latents to the noise from which a deterministic sampler would generate them."""

from collections.abc import Callable

import torch
from torch import Tensor

from mind_animator.diffusion.schedule import Schedule, check_finite, move

Predict = Callable[[Tensor, int, Tensor], Tensor]


@torch.no_grad()
def invert(
    predict: Predict,
    latents: Tensor,
    prompt_embeds: Tensor,
    schedule: Schedule,
    *,
    steps: int,
    max_timestep: int | None = None,
) -> Tensor:
    """Invert latents to noise, without guidance.

    Step k goes from time step t_{k-1} (a clean latent for k = 1) to t_k with the noise that the network
    predicts for the latent of t_{k-1} at time step t_k, as in published samplers.

    Parameters
    ----------
    predict : callable
        ``predict(latents, timestep, prompt_embeds)``: the net's output, e.g. a `VideoUNet`.
    latents : Tensor of shape (clip, frame, channel, h, w)
        Multiplied by the VAE's scaling factor.
    prompt_embeds : Tensor of shape (clip, token, width)
        Prompt embeddings; by convention those of the empty prompt.
    schedule : Schedule
    steps : int
        DDIM steps; 0 leaves the latents unchanged.
    max_timestep : int, optional
        Use only the lowest ``max_timestep`` time steps; all by default.

    Returns
    -------
    Tensor of shape (clip, frame, channel, h, w), float32
        At noise level ``schedule.alpha(schedule.timesteps(steps, max_timestep)[-1])``.

    References
    ----------
    Song, Meng & Ermon (2021), "Denoising diffusion implicit models", ICLR, section 4.3.
    """
    current = latents.float()
    if steps == 0:
        return current.clone()
    before = None
    for timestep in schedule.timesteps(steps, max_timestep):
        noise = schedule.noise(predict(current, timestep, prompt_embeds), current, timestep)
        current = move(current, noise, schedule.alpha(before), schedule.alpha(timestep))
        before = timestep
    check_finite(current, "inverted latents")
    return current
