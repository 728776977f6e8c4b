"""The chain of time steps against diffusers' own schedulers and against a flow with a known solution."""

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from mind_animator.diffusion.invert import invert
from mind_animator.diffusion.sample import sample
from mind_animator.diffusion.schedule import Schedule, check_finite, move, schedule_of
from mind_animator.errors import InputError

# Stable Diffusion 1.x as its scheduler_config.json has it.
SD = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
NOTHING = torch.zeros(3, 1, 1)


@pytest.fixture
def schedule():
    return schedule_of(SD)


def wavy(latents, timestep, condition):
    """A made-up net: smooth, not linear, dependent on time."""
    return torch.sin(latents + timestep / 300) * 0.7 + 0.1 * latents


def test_time_steps_are_those_of_published_samplers(schedule):
    ddim = DDIMScheduler.from_config(SD)
    for steps in (1, 8, 50, 333, 999):
        ddim.set_timesteps(steps)
        assert schedule.timesteps(steps) == ddim.timesteps.tolist()[::-1]
    assert schedule.timesteps(50)[:3] == [1, 21, 41]
    assert schedule.timesteps(1000)[-1] == 999
    assert schedule.timesteps(10, max_timestep=600) == list(range(1, 600, 60))


def test_inverting_equals_diffusers(schedule, normal):
    latents = normal(3, 2, 4, 4, 4)
    inverse = DDIMInverseScheduler.from_config(SD, clip_sample=False)
    inverse.set_timesteps(20)
    expected = latents
    for timestep in inverse.timesteps:
        expected = inverse.step(wavy(expected, int(timestep), None), timestep, expected).prev_sample
    result = invert(wavy, latents, NOTHING, schedule, steps=20)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)  # theirs has float32 coefficients


def test_sampling_equals_diffusers(schedule, normal):
    start = normal(3, 2, 4, 4, 4)
    ddim = DDIMScheduler.from_config(SD)
    ddim.set_timesteps(20)
    expected = start
    for timestep in ddim.timesteps:
        expected = ddim.step(wavy(expected, int(timestep), None), timestep, expected).prev_sample
    result = sample(wavy, start, NOTHING, NOTHING, schedule, steps=20, guidance_scale=1)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)


def test_velocity_nets_are_understood(normal):
    start = normal(3, 2, 4, 4, 4)
    config = SD | {"prediction_type": "v_prediction"}
    ddim = DDIMScheduler.from_config(config)
    ddim.set_timesteps(20)
    expected = start
    for timestep in ddim.timesteps:
        expected = ddim.step(wavy(expected, int(timestep), None), timestep, expected).prev_sample
    result = sample(wavy, start, NOTHING, NOTHING, schedule_of(config), steps=20, guidance_scale=1)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)


def test_a_step_there_and_back_is_nothing(normal):
    latents, noise = normal(2, 3, 4, 4, 4).double(), normal(2, 3, 4, 4, 4).double()
    there = move(latents, noise, 0.9, 0.2)
    torch.testing.assert_close(move(there, noise, 0.2, 0.9), latents, atol=1e-12, rtol=0)
    expected = 0.05**0.5 * latents + 0.95**0.5 * noise  # from a clean latent: plain noising
    torch.testing.assert_close(move(latents, noise, 1.0, 0.05), expected, atol=1e-12, rtol=0)


def gaussian(schedule, mean, deviation):
    """The best net for latents ~ N(mean, deviation^2): its flow keeps each z-score."""

    def predict(latents, timestep, condition):
        alpha = schedule.alpha(timestep)
        spread = alpha * deviation**2 + 1 - alpha
        return (1 - alpha) ** 0.5 * (latents - alpha**0.5 * mean) / spread

    return predict


@pytest.mark.parametrize("max_timestep", [1000, 500])
def test_inversion_comes_near_the_exact_flow_as_steps_grow(schedule, normal, max_timestep):
    mean, deviation = 0.4, 0.8
    predict, latents = gaussian(schedule, mean, deviation), mean + deviation * normal(2, 4, 4, 8, 8)
    errors = {}
    for steps in (10, 50, 250):
        alpha = schedule.alpha(schedule.timesteps(steps, max_timestep)[-1])
        before = schedule.final_alpha

        def score(x, a):
            return (x - a**0.5 * mean) / (a * deviation**2 + 1 - a) ** 0.5

        inverted = invert(predict, latents, NOTHING, schedule, steps=steps, max_timestep=max_timestep)
        errors[steps] = (score(inverted, alpha) - score(latents, before)).square().mean().sqrt().item()
    assert errors[250] < 0.01
    # A method of first order: five times the steps, about a fifth of the error.
    assert 3 < errors[10] / errors[50] < 7
    assert 3 < errors[50] / errors[250] < 7


def test_round_trip_error_falls_with_steps(schedule, normal):
    predict, latents = gaussian(schedule, mean=0.4, deviation=0.8), normal(2, 4, 4, 8, 8)
    errors = []
    for steps in (10, 50, 200):
        inverted = invert(predict, latents, NOTHING, schedule, steps=steps)
        back = sample(predict, inverted, NOTHING, NOTHING, schedule, steps=steps, guidance_scale=1)
        errors.append(((back - latents).norm() / latents.norm()).item())
    # First order: the error falls by about the ratio of steps (5, then 4).
    assert 3 < errors[0] / errors[1] < 7
    assert 2.5 < errors[1] / errors[2] < 6
    assert errors[2] < 0.05


def test_no_steps_leave_the_latents(schedule, normal):
    latents = normal(1, 2, 4, 4, 4)
    result = invert(wavy, latents, NOTHING, schedule, steps=0)
    assert torch.equal(result, latents)
    assert result is not latents


def test_wrong_numbers_are_named(schedule):
    with pytest.raises(ValueError, match=r"Expected 1 <= steps <= max_timestep <= 1000, got 1001 and 1000\."):
        schedule.timesteps(1001)
    with pytest.raises(ValueError, match=r"got 20 and 10\."):
        schedule.timesteps(20, max_timestep=10)
    with pytest.raises(ValueError, match=r"Expected prediction 'epsilon' or 'v_prediction', got 'sample'\."):
        Schedule(schedule.alphas, 1.0, prediction="sample")
    with pytest.raises(InputError, match=r"Expected finite inverted latents, got NaN or infinity"):
        check_finite(torch.tensor([1.0, float("nan")]), "inverted latents")
