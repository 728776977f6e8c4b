"""Stable Diffusion 1.5's own shapes with random weights: the net is built, inflated, and takes a step."""

import gc

import pytest
import torch
from diffusers import UNet2DConditionModel

from mind_animator.benchmark.shapes import FULL
from mind_animator.diffusion.inflate import VideoUNet
from mind_animator.diffusion.invert import invert
from mind_animator.diffusion.sample import sample
from mind_animator.diffusion.schedule import schedule_of

SHAPES = FULL.unet


@pytest.fixture
def full_unet():
    """The net in bfloat16 (1.7 GB), filled without the slow initialisation of 860 million weights."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SHAPES)
    unet = unet.to(torch.bfloat16).to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in unet.named_parameters():
        if parameter.ndim > 1:
            fan = parameter[0].numel()
            parameter.uniform_(-(fan**-0.5), fan**-0.5, generator=generator)
        else:
            parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    yield unet
    del unet
    gc.collect()


def test_full_size_net_takes_a_step(full_unet, normal):
    assert sum(parameter.numel() for parameter in full_unet.parameters()) == 859_520_964
    video = VideoUNet(full_unet, 3)
    schedule = schedule_of(
        {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
        | {"set_alpha_to_one": False}
    )
    latents, condition = normal(1, 3, 4, 16, 16), normal(1, 20, 768)
    noise = invert(video, latents, condition, schedule, steps=1)
    assert noise.shape == latents.shape
    assert noise.dtype == torch.float32
    result = sample(video, noise, condition, 0 * condition, schedule, steps=1, guidance_scale=12.5)
    assert torch.isfinite(result).all()
    assert (result - latents).abs().max() > 1e-3
    # Frame 3 is seen by no other frame, at this size too.
    changed = noise.clone()
    changed[:, 2] += 1
    before, after = video(noise, 500, condition), video(changed, 500, condition)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.equal(before[:, 2], after[:, 2])
