"""Sampling with classifier-free guidance: from noise to latents."""

import torch
from torch import Tensor

from mind_animator.diffusion.invert import Predict
from mind_animator.diffusion.schedule import Schedule, check_finite, move


def guided_noise(
    predict: Predict,
    latents: Tensor,
    timestep: int,
    prompt_embeds: Tensor,
    negative_prompt_embeds: Tensor,
    guidance_scale: float,
    schedule: Schedule,
) -> Tensor:
    """``e_unconditional + g (e_conditional - e_unconditional)``, both in one forward pass; g = 1 needs only
    the first."""
    if guidance_scale == 1:
        return schedule.noise(predict(latents, timestep, prompt_embeds), latents, timestep)
    output = predict(
        torch.cat([latents, latents]), timestep, torch.cat([negative_prompt_embeds, prompt_embeds])
    )
    unconditional, conditional = output.chunk(2)
    return schedule.noise(unconditional + guidance_scale * (conditional - unconditional), latents, timestep)


@torch.no_grad()
def sample(
    predict: Predict,
    start: Tensor,
    prompt_embeds: Tensor,
    negative_prompt_embeds: Tensor,
    schedule: Schedule,
    *,
    steps: int,
    guidance_scale: float,
    max_timestep: int | None = None,
) -> Tensor:
    """Sample latents from noise with the deterministic DDIM sampler.

    Parameters
    ----------
    predict : callable
        ``predict(latents, timestep, prompt_embeds)``: the net's output, e.g. a `VideoUNet`.
    start : Tensor of shape (clip, frame, channel, h, w)
        Noise, at the level of the highest of ``schedule.timesteps(steps, max_timestep)``.
    prompt_embeds, negative_prompt_embeds : Tensor of shape (clip, token, width)
        Prompt embeddings of the conditional and the unconditional branch.
    schedule : Schedule
    steps : int
        DDIM steps, >= 1.
    guidance_scale : float
        1 turns guidance off.
    max_timestep : int, optional
        The chain's highest time step lies below this; all time steps by default.

    Returns
    -------
    Tensor of shape (clip, frame, channel, h, w), float32
    """
    current = start.float()
    timesteps = schedule.timesteps(steps, max_timestep)
    for index in range(len(timesteps) - 1, -1, -1):
        timestep = timesteps[index]
        after = timesteps[index - 1] if index else None
        noise = guided_noise(
            predict, current, timestep, prompt_embeds, negative_prompt_embeds, guidance_scale, schedule
        )
        current = move(current, noise, schedule.alpha(timestep), schedule.alpha(after))
    check_finite(current, "sampled latents")
    return current


@torch.no_grad()
def sample_dpm(
    predict: Predict,
    start: Tensor,
    prompt_embeds: Tensor,
    negative_prompt_embeds: Tensor,
    schedule: Schedule,
    scheduler_config: dict,
    *,
    steps: int,
    guidance_scale: float,
    max_timestep: int | None = None,
) -> Tensor:
    """As `sample`, by second-order DPM-Solver++ over the same time steps: a different method.

    References
    ----------
    Lu et al. (2022), "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models".
    """
    from diffusers import DPMSolverMultistepScheduler

    solver = DPMSolverMultistepScheduler.from_config(
        scheduler_config,
        algorithm_type="dpmsolver++",
        solver_order=2,
        thresholding=False,
        prediction_type="epsilon",  # guided_noise returns noise for either kind of network
    )
    solver.set_timesteps(timesteps=schedule.timesteps(steps, max_timestep)[::-1], device=start.device)
    current = start.float()
    for timestep in solver.timesteps:
        noise = guided_noise(
            predict, current, int(timestep), prompt_embeds, negative_prompt_embeds, guidance_scale, schedule
        )
        current = solver.step(noise, timestep, current, return_dict=False)[0]
    check_finite(current, "sampled latents")
    return current
