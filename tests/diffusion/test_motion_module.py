"""Motion modules: the image network at the start, the only trained weights, and a strength that has an effect."""

import pytest
import torch
from random_models import save_small_generator
from tiny_demo import ROOT

from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.diffusion.generator import reconstruct_batch
from mind_animator.diffusion.motion_module import (
    CoTraining,
    FirstFrameHeld,
    MotionUNet,
    load_motion_generator,
)
from mind_animator.diffusion.sample import sample
from mind_animator.models.load import load_unet_and_scheduler

SETTINGS = ReconstructionConfig(num_inference_steps=3, num_inversion_steps=0, guidance_scale=2.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_generator(
        tmp_path_factory.mktemp("models") / "sd", ROOT / "mind_animator/assets/models/sd"
    )


@pytest.fixture(scope="module")
def moving(folder):
    """A generator whose motion modules have random output weights, so that frames depend on each other."""
    generator = load_motion_generator(folder, None, 4, SETTINGS, device="cpu")
    rng = torch.Generator().manual_seed(1)
    weights = generator.unet.motion_weights()
    drawn = {
        name: torch.randn(p.shape, generator=rng) * 0.3 if "proj_out" in name else p
        for name, p in weights.items()
    }
    return load_motion_generator(folder, None, 4, SETTINGS, device="cpu", weights=drawn)


@pytest.fixture(scope="module")
def inputs():
    rng = torch.Generator().manual_seed(2)
    return torch.randn(2, 4, 4, 8, 8, generator=rng), torch.randn(2, 20, 128, generator=rng)


def test_untrained_modules_change_nothing(folder, inputs):
    unet, _ = load_unet_and_scheduler(folder)
    latents, prompts = inputs
    expected = unet(latents.flatten(0, 1), 300, prompts.repeat_interleave(4, 0)).sample.unflatten(0, (2, 4))
    torch.testing.assert_close(MotionUNet(unet, 4)(latents, 300, prompts), expected, atol=1e-5, rtol=0)


def test_trained_modules_connect_the_frames(moving, inputs):
    latents, prompts = inputs
    changed = latents.clone()
    changed[0, 3] += 1
    with torch.no_grad():
        one, other = (moving.unet(given, 300, prompts) for given in (latents, changed))
    assert (one - other)[0, 0].abs().max() > 1e-3
    torch.testing.assert_close(one[1], other[1], atol=1e-5, rtol=0)


def test_only_motion_modules_are_trained(folder, inputs):
    training = CoTraining(load_motion_generator(folder, None, 4, SETTINGS, device="cpu"))
    latents, prompts = inputs
    training.loss(
        {"latents": latents, "prompt": prompts[:, 1:]}, torch.Generator().manual_seed(0), 1
    ).backward()
    reached = {name for name, p in training.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached and all(".motion_modules." in name for name in reached)
    kept = training.trained_weights()
    assert all(".motion_modules." in name for name in kept) and len(kept) > len(reached)


@pytest.mark.parametrize("held", [False, True])
def test_strength(moving, inputs, held):
    """0 returns the given latents, 1 ignores them, and in between both are wrong."""
    latents, prompts = inputs
    generator = moving
    if held:
        key = FirstFrameHeld(moving.unet, latents[:, 0] * 0.5, moving.schedule)
        generator = type(moving)(key, moving.encode_text, moving.schedule, moving.scheduler_config)

    def drawn(strength, given):
        settings = SETTINGS.model_copy(update={"strength": strength})
        return reconstruct_batch(generator, given, None, prompts[:, 1:], ["a", "b"], settings, seed=1)

    torch.testing.assert_close(drawn(0.0, latents), latents)
    torch.testing.assert_close(drawn(1.0, latents), drawn(1.0, latents * 3))
    half, other = drawn(0.5, latents), drawn(0.5, latents * 3)
    assert (half - latents).abs().mean() > 0.1 and (half - other)[:, 1:].abs().mean() > 0.1
    assert (half - drawn(1.0, latents))[:, 1:].abs().mean() > 0.1


def test_a_held_first_frame_is_reached_and_seen(moving, inputs):
    latents, prompts = inputs
    results = {}
    for scale in (1.0, -1.0):
        network = FirstFrameHeld(moving.unet, scale * latents[:, 0], moving.schedule)
        results[scale] = sample(
            network, latents, prompts, prompts.flip(0), moving.schedule, steps=5, guidance_scale=3.0
        )
        final = moving.schedule.final_alpha
        difference = results[scale][:, 0] - final**0.5 * scale * latents[:, 0]
        assert (
            difference.abs().max() < 4 * (1 - final) ** 0.5 * 3
        )  # noise of a finished latent, at most 12 sd
    assert (results[1.0] - results[-1.0])[:, 1:].abs().mean() > 1e-3


def test_a_given_negative_condition_is_used(moving, inputs):
    latents, prompts = inputs

    def drawn(negative):
        return reconstruct_batch(
            moving,
            latents,
            None,
            prompts[:, 1:],
            ["a", "b"],
            SETTINGS,
            seed=1,
            negative_prompt_embeds=negative,
        )

    empty = moving.encode_text("", 20)[:, 1:].expand(2, -1, -1)
    torch.testing.assert_close(drawn(empty), drawn(None))
    assert (drawn(prompts.flip(0)[:, 1:]) - drawn(None)).abs().mean() > 1e-3


def test_a_pretrained_adapter_is_used(folder, moving, inputs, tmp_path):
    """Saved in diffusers' format and loaded as one, trained modules give the same output."""
    moving.unet.unet.save_motion_modules(str(tmp_path / "adapter"))
    latents, prompts = inputs
    loaded = load_motion_generator(folder, None, 4, SETTINGS, device="cpu", adapter=tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(loaded.unet(latents, 300, prompts), moving.unet(latents, 300, prompts))
