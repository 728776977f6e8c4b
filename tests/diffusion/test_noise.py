"""Noise of a clip: its own, standard normal, and mixed without a change of variance."""

import pytest
import torch

from mind_animator.diffusion.noise import clip_generator, draw_noise, mix_noise

SHAPE = (8, 4, 8, 8)


def test_noise_depends_on_seed_and_name_alone():
    names = [f"seg1-{index:05d}" for index in range(6)]
    together = draw_noise([clip_generator(7, name) for name in names], SHAPE)
    alone = [draw_noise([clip_generator(7, name)], SHAPE)[0] for name in reversed(names)]
    assert torch.equal(together, torch.stack(alone[::-1]))
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(together[0], draw_noise([clip_generator(8, names[0])], SHAPE)[0])


def test_global_random_state_is_neither_read_nor_moved():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draw_noise([clip_generator(7, "a")], SHAPE)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(draw_noise([clip_generator(7, "a")], SHAPE), first)


def test_noise_is_standard_normal():
    noise = draw_noise([clip_generator(0, str(index)) for index in range(50)], SHAPE).double()
    n = noise.numel()
    assert abs(noise.mean()) < 5 / n**0.5
    assert abs(noise.var() - 1) < 5 * (2 / n) ** 0.5
    frames = noise.flatten(2)
    assert abs((frames[:, 0] * frames[:, 1]).mean()) < 5 / (50 * 256) ** 0.5


def test_shared_noise_is_one_draw_for_all_frames():
    noise = draw_noise([clip_generator(0, "a"), clip_generator(0, "b")], SHAPE, across_frames="shared")
    assert noise.shape == (2, *SHAPE)
    assert torch.equal(noise, noise[:, :1].expand_as(noise))
    assert not torch.equal(noise[0], noise[1])
    with pytest.raises(
        ValueError, match=r"Expected noise 'independent' or 'shared' across frames, got 'one'\."
    ):
        draw_noise([clip_generator(0, "a")], SHAPE, across_frames="one")


def test_mixing_into_all_of_the_inverted_latents(normal):
    inverted, noise = normal(2, *SHAPE), normal(2, *SHAPE)
    mixed = mix_noise(inverted, noise, 0.64)
    torch.testing.assert_close(mixed, 0.8 * inverted + 0.6 * noise)
    assert abs(mixed.var() - 1) < 0.1


@pytest.mark.parametrize("amount", [1.0, 0.7, 0.0])
def test_mixing_into_the_noise_part_keeps_the_image(normal, amount):
    clean, old, new = normal(2, *SHAPE), normal(2, *SHAPE), normal(2, *SHAPE)
    level = 0.3
    inverted = level**0.5 * clean + (1 - level) ** 0.5 * old
    mixed = mix_noise(inverted, new, amount, clean=clean, level=level)
    expected = level**0.5 * clean + (1 - level) ** 0.5 * (amount**0.5 * old + (1 - amount) ** 0.5 * new)
    torch.testing.assert_close(mixed, expected)


def test_both_mixings_agree_where_no_image_is_left(normal):
    inverted, noise, clean = normal(1, *SHAPE), normal(1, *SHAPE), normal(1, *SHAPE)
    torch.testing.assert_close(
        mix_noise(inverted, noise, 0.8), mix_noise(inverted, noise, 0.8, clean=clean, level=0.0)
    )
