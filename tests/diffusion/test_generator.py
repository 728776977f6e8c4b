"""The loaded generator: a clip's result depends on its own inputs, never on its batch or shard."""

import json
import re

import pytest
import torch

from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.diffusion.generator import (
    frames_of_predictions,
    invert_batch,
    load_generator,
    reconstruct_batch,
    start_latents,
)
from mind_animator.diffusion.shards import plan_batches
from mind_animator.models.latents import decode_latents
from mind_animator.models.load import load_vae

CLIPS = [f"seg1-{index:05d}" for index in range(7)]
SETTINGS = ReconstructionConfig(num_inference_steps=3, num_inversion_steps=3, clips_per_batch=4)


@pytest.fixture(scope="module")
def folder(random_models):
    return random_models / "sd"


@pytest.fixture(scope="module")
def generator(folder):
    return load_generator(folder, None, 3, SETTINGS, device="cpu", seed=5)


@pytest.fixture(scope="module")
def inputs():
    rng = torch.Generator().manual_seed(2)
    return torch.randn(7, 3, 4, 8, 8, generator=rng), torch.randn(7, 19, 128, generator=rng)


def reconstruct(generator, inputs, settings=SETTINGS, first=0, count=7, seed=5):
    """Latents of clips first .. first + count - 1, in padded batches."""
    latents, condition = (x[first : first + count] for x in inputs)
    clips, results = CLIPS[first : first + count], {}
    for batch in plan_batches(first, count, settings.clips_per_batch):
        rows = list(batch.rows)
        inverted = invert_batch(generator, latents[rows], settings.inversion(), 20)
        names = [clips[row] for row in rows]
        result = reconstruct_batch(
            generator, latents[rows], inverted, condition[rows], names, settings, seed=seed
        )
        for position in batch.kept:
            results[rows[position]] = result[position]
    return torch.stack([results[row] for row in range(count)])


@pytest.fixture(scope="module")
def reference(generator, inputs):
    return reconstruct(generator, inputs)


@pytest.mark.parametrize(("first", "count"), [(0, 4), (0, 5), (3, 4), (5, 2), (6, 1)])
def test_identical_bits_for_any_shard(generator, inputs, reference, first, count):
    result = reconstruct(generator, inputs, first=first, count=count)
    assert torch.equal(result, reference[first : first + count])


@pytest.mark.parametrize("size", [1, 2, 7])
def test_nearly_equal_for_any_batch_size(generator, inputs, reference, folder, size):
    settings = SETTINGS.model_copy(update={"clips_per_batch": size})
    result = reconstruct(generator, inputs, settings)
    torch.testing.assert_close(result, reference, atol=1e-4, rtol=0)
    vae = load_vae(folder)
    frames, expected = (decode_latents(vae, x, batch=3).int() for x in (result, reference))
    assert (frames - expected).abs().max() <= 1


def test_seed_and_name_decide_the_noise(generator, inputs, reference):
    assert not torch.allclose(reconstruct(generator, inputs, count=4, seed=6), reference[:4], atol=1e-2)
    same = torch.stack([inputs[0][0]] * 4), torch.stack([inputs[1][0]] * 4)
    results = reconstruct(generator, same, count=4)
    assert not torch.allclose(results[0], results[1], atol=1e-2)
    quiet = SETTINGS.model_copy(update={"noise_timestep": 0})
    results = reconstruct(generator, same, quiet, count=4)
    torch.testing.assert_close(results[0], results[1], atol=1e-4, rtol=0)


def test_unseeded_noise_is_new_every_time(generator, inputs):
    settings = SETTINGS.model_copy(update={"noise": "unseeded"})
    first, second = (reconstruct(generator, inputs, settings, count=4) for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-2)


def test_start_by_its_definition(generator, inputs):
    latents = inputs[0]
    schedule = generator.schedule
    inverted = torch.ones_like(latents)
    pure = SETTINGS.model_copy(update={"noise_timestep": 0})
    assert torch.equal(start_latents(schedule, latents, inverted, CLIPS, pure, seed=5), inverted)
    # alpha-bar at t = 200 of the scaled-linear schedule of SD 1.x, by its own product
    steps = torch.arange(201, dtype=torch.float64) / 999
    betas = (0.00085**0.5 + steps * (0.012**0.5 - 0.00085**0.5)) ** 2
    alpha = float((1 - betas).prod())
    mixed = start_latents(schedule, latents, inverted, CLIPS, SETTINGS, seed=5)
    noise = start_latents(schedule, latents, 0 * inverted, CLIPS, SETTINGS, seed=5)
    torch.testing.assert_close(mixed - noise, torch.full_like(mixed, alpha**0.5), atol=1e-5, rtol=0)
    assert abs(noise.var().item() - (1 - alpha)) < 0.1 * (1 - alpha)
    # No inversion: plainly noised latents, so halving the strength leaves more of the image.
    shallow = SETTINGS.model_copy(update={"num_inversion_steps": 0, "strength": 0.3})
    start = start_latents(schedule, latents, None, CLIPS, shallow, seed=5)
    level = schedule.alpha(schedule.timesteps(3, 300)[-1])
    fraction = (start * latents).mean() / latents.square().mean()
    assert abs(fraction.item() - level**0.5) < 0.02


def test_text_is_bos_and_then_the_decoded_tokens(generator, inputs):
    empty, other = generator.encode_text("", 20), generator.encode_text("a bee on a beach", 20)
    assert empty.shape == (1, 20, 128)
    torch.testing.assert_close(empty[:, 0], other[:, 0])  # causal: BOS sees no word
    assert not torch.allclose(empty[:, 1:], other[:, 1:], atol=1e-3)
    seen = []
    unet = generator.unet.unet
    handle = unet.register_forward_pre_hook(
        lambda module, positional, named: seen.append(named["encoder_hidden_states"]), with_kwargs=True
    )
    try:
        reconstruct(generator, inputs, SETTINGS.model_copy(update={"num_inference_steps": 1}), count=4)
    finally:
        handle.remove()
    unconditional, conditional = seen[-1].chunk(2)
    torch.testing.assert_close(unconditional, empty.expand(4, -1, -1))
    torch.testing.assert_close(conditional[:, :1], empty[:, :1].expand(4, -1, -1))
    torch.testing.assert_close(conditional[:, 1:], inputs[1][:4])


@pytest.mark.parametrize(
    "option", [{"group_norm": "pooled"}, {"temporal_bias": True}, {"scheduler": "dpm_solver"}]
)
def test_every_switch_changes_the_result(folder, inputs, reference, option):
    settings = SETTINGS.model_copy(update=option)
    changed = load_generator(folder, None, 3, settings, device="cpu", seed=5)
    assert not torch.allclose(reconstruct(changed, inputs, settings, count=4), reference[:4], atol=1e-2)


def test_temporal_bias_follows_the_seed(folder, inputs):
    settings = SETTINGS.model_copy(update={"temporal_bias": True})
    one, two, three = (
        reconstruct(
            load_generator(folder, None, 3, settings, device="cpu", seed=seed), inputs, settings, count=4
        )
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.allclose(one, three, atol=1e-2)


def test_the_inversion_prompt_has_its_own_length(generator, inputs):
    """The released code inverts under an empty prompt of 77 tokens: another condition, other noise."""
    short, long = (
        SETTINGS.model_copy(update={"inversion_tokens": count}).inversion() for count in (None, 77)
    )
    seen = []
    handle = generator.unet.unet.register_forward_pre_hook(
        lambda module, positional, named: seen.append(named["encoder_hidden_states"]), with_kwargs=True
    )
    try:
        results = [invert_batch(generator, inputs[0][:2], settings, 20) for settings in (short, long)]
    finally:
        handle.remove()
    assert {tuple(tokens.shape[1:]) for tokens in seen[:3]} == {(20, 128)}
    assert {tuple(tokens.shape[1:]) for tokens in seen[3:]} == {(77, 128)}
    assert not torch.allclose(*results, atol=1e-3)


def test_passes():
    """What each pass is set to: the first pass differs by its own keys alone."""
    plain = ReconstructionConfig()
    assert (plain.two_passes, plain.final_pass()) == (False, plain)
    both = ReconstructionConfig(strength=0.3, first_pass={"strength": 0.6, "guidance_scale": 3})
    first, final = both.image_pass(), both.final_pass()
    assert both.two_passes
    assert (first.motion, first.strength, first.guidance_scale, first.num_inference_steps) == (
        "warped", 0.6, 3, 50,
    )  # fmt: skip
    assert final == ReconstructionConfig(strength=0.3)
    ablation = both.model_copy(update={"motion": "warped"})
    assert (ablation.two_passes, ablation.final_pass()) == (False, first)


def test_presets():
    released = ReconstructionConfig(preset="released_code")
    assert (released.group_norm, released.temporal_bias, released.noise) == ("pooled", True, "unseeded")
    assert ReconstructionConfig(preset="released_code", noise="seeded").noise == "seeded"
    assert ReconstructionConfig.model_validate_json(released.model_dump_json()) == released
    paper = ReconstructionConfig()
    assert (
        paper.num_inference_steps,
        paper.num_inversion_steps,
        paper.guidance_scale,
        paper.noise_timestep,
    ) == (
        50,
        50,
        12.5,
        200,
    )
    assert (paper.group_norm, paper.temporal_bias, paper.noise) == ("per_frame", False, "seeded")
    for values, text in (
        ({"strength": 0.02}, "strength = 0.02: must be 0, or large enough for num_inference_steps and "
                             "num_inversion_steps "
         "(50 and 50 of 20 time steps)"),
        ({"first_pass": {"strength": 0.02}}, "first_pass.strength = 0.02: must be 0, or large enough"),
        ({"strength": 1}, "strength = 1: must be below 1 with num_inversion_steps > 0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(text)):
            ReconstructionConfig.model_validate(values)
    assert ReconstructionConfig(strength=1, num_inversion_steps=0).fraction == paper.fraction == 1
    assert "Distorted and blurred body" in released.negative_prompt
    assert (released.inversion_tokens, paper.inversion_tokens, paper.negative_prompt) == (77, None, "")
    # Text settings are no part of what an inversion depends on.
    one, two = ReconstructionConfig(guidance_scale=3), ReconstructionConfig(negative_prompt="blurred")
    assert json.loads(one.inversion().model_dump_json()) == json.loads(two.inversion().model_dump_json())


def test_one_image_equals_a_static_clip_of_the_inflated_net(generator, folder, inputs):
    """What lets one drawn frame stand for a clip: K and V of equal frames change nothing (1e-4 as elsewhere)."""
    settings = SETTINGS.model_copy(update={"motion": "warped", "noise_timestep": 0})
    single = load_generator(folder, None, 1, settings, device="cpu", seed=5)
    static = inputs[0][:4].mean(dim=1, keepdim=True).expand_as(inputs[0][:4]).contiguous()
    every = SETTINGS.model_copy(update={"noise_timestep": 0})
    whole = reconstruct(generator, (static, inputs[1]), every, count=4)
    image = reconstruct(single, (static, inputs[1]), settings, count=4)
    assert image.shape[1] == 1
    torch.testing.assert_close(image.expand_as(whole), whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("scheduler", ["ddim", "dpm_solver"])
@pytest.mark.parametrize("inversion", [0, 3])
def test_strength_zero_returns_the_given_latents(generator, inputs, scheduler, inversion):
    """The third guard of methods: at strength 0 nothing is sampled."""
    changed = {"strength": 0.0, "scheduler": scheduler, "num_inversion_steps": inversion}
    settings = ReconstructionConfig.model_validate(SETTINGS.model_dump() | changed)
    latents, condition = (x[:4] for x in inputs)
    inverted = invert_batch(generator, latents, settings.inversion(), 20) if inversion else None
    result = reconstruct_batch(generator, latents, inverted, condition, CLIPS[:4], settings, seed=5)
    assert torch.equal(result, latents)


@pytest.mark.parametrize("scheduler", ["ddim", "dpm_solver"])
def test_strength_one_ignores_the_given_latents(generator, inputs, scheduler):
    """The third guard of methods: sampling at strength 1 starts from pure noise; with inversion 1 is not accepted."""
    latents, condition = (x[:4] for x in inputs)
    changed = {"num_inversion_steps": 0, "scheduler": scheduler}
    for strength, alike in ((1.0, True), (None, True), (0.5, False)):
        settings = SETTINGS.model_copy(update=changed | {"strength": strength})
        results = [
            reconstruct_batch(generator, own, None, condition, CLIPS[:4], settings, seed=5)
            for own in (latents, torch.full_like(latents, 3.0))
        ]
        assert torch.equal(*results) == alike


def test_the_whole_path_from_predictions_to_frames(generator, inputs, folder):
    """With the stored inversion, or with the one computed on the way, the frames are the same."""
    latents, condition = (x[:4] for x in inputs)
    vae, names = load_vae(folder), CLIPS[:4]
    batch = {"latents": latents, "prompt_embedding": condition}
    noise = invert_batch(generator, latents, SETTINGS.inversion(), 20)
    stored, computed = (
        frames_of_predictions(generator, vae, given, names, SETTINGS, seed=5, tokens=20)
        for given in (batch | {"noise": noise}, batch)
    )
    assert stored.dtype == torch.uint8 and stored.shape[:2] == (4, 3) and torch.equal(stored, computed)
