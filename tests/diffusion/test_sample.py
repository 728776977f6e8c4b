"""Guidance and the faster solver."""

import pytest
import torch

from mind_animator.diffusion.sample import guided_noise, sample, sample_dpm
from mind_animator.diffusion.schedule import schedule_of
from mind_animator.errors import InputError
from mind_animator.synthetic.models import build_scheduler


@pytest.fixture
def scheduler_config():
    return dict(build_scheduler().config)


@pytest.fixture
def schedule(scheduler_config):
    return schedule_of(scheduler_config)


def predicted_noise(latents, timestep, condition):
    """The best net for latents that all equal the condition's mean: noise = what is not that value."""
    schedule = schedule_of(dict(build_scheduler().config))
    alpha = schedule.alpha(timestep)
    value = condition.mean(dim=(1, 2))[:, None, None, None, None]
    return (latents - alpha**0.5 * value) / (1 - alpha) ** 0.5


def test_guidance_goes_from_negative_through_condition(schedule, normal):
    latents, condition, negative = normal(2, 3, 4, 4, 4), normal(2, 5, 6), normal(2, 5, 6)
    positive, unconditional = (
        predicted_noise(latents, 400, condition),
        predicted_noise(latents, 400, negative),
    )
    for scale in (0, 1, 3.5):
        result = guided_noise(predicted_noise, latents, 400, condition, negative, scale, schedule)
        torch.testing.assert_close(
            result, unconditional + scale * (positive - unconditional), atol=1e-5, rtol=1e-5
        )


def test_without_guidance_one_half_is_asked(schedule, normal):
    asked = []

    def predict(latents, timestep, condition):
        asked.append(len(latents))
        return latents

    latents, condition = normal(2, 3, 4, 4, 4), normal(2, 5, 6)
    sample(predict, latents, condition, condition, schedule, steps=3, guidance_scale=1)
    sample(predict, latents, condition, condition, schedule, steps=3, guidance_scale=2)
    assert asked == [2, 2, 2, 4, 4, 4]


@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver"])
@pytest.mark.parametrize("max_timestep", [1000, 600])
def test_a_perfect_net_leads_to_its_value(schedule, scheduler_config, normal, sampler, max_timestep):
    start, condition = normal(2, 3, 4, 4, 4), normal(2, 5, 6)
    before = start.clone()
    arguments = (start, condition, condition, schedule)
    if sampler == "ddim":
        result = sample(predicted_noise, *arguments, steps=10, guidance_scale=1, max_timestep=max_timestep)
    else:
        result = sample_dpm(
            predicted_noise,
            *arguments,
            scheduler_config,
            steps=10,
            guidance_scale=1,
            max_timestep=max_timestep,
        )
    expected = condition.mean(dim=(1, 2))[:, None, None, None, None].expand_as(result)
    # DDIM ends at the noise level of the first training step (alpha-bar .99915): noise of deviation .03 is
    # left, at most 4.5 deviations among these values.
    torch.testing.assert_close(result, expected, atol=0.13 if sampler == "ddim" else 1e-3, rtol=0)
    assert torch.equal(start, before)


def test_a_net_that_fails_is_named(schedule, normal):
    def broken(latents, timestep, condition):
        return latents * float("nan")

    with pytest.raises(InputError, match=r"Expected finite sampled latents, got NaN or infinity"):
        sample(
            broken,
            normal(1, 2, 4, 4, 4),
            normal(1, 5, 6),
            normal(1, 5, 6),
            schedule,
            steps=2,
            guidance_scale=1,
        )
