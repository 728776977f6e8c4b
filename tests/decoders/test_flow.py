"""Velocity by search, the part that moves, and images moved along a flow."""

import numpy as np
import pytest
import torch
from moving_blobs import make_blobs

from mind_animator.decoders.flow import motion_mask, moving_flow
from mind_animator.video.warp import move_image, warp


def test_search_finds_the_velocity_of_blobs():
    blobs = make_blobs(movies=2, clips=60)
    latents = torch.from_numpy(blobs.latents)
    before = latents.clone()
    flow = moving_flow(latents, 1)[:, :, 0, 0].numpy()
    cosine = (flow * blobs.velocity).sum(1) / np.linalg.norm(flow, axis=1) / 0.6
    assert cosine.mean() > 0.98
    slope = (flow * blobs.velocity).sum() / np.square(blobs.velocity).sum()
    assert 0.9 < slope < 1.1
    torch.testing.assert_close(latents, before, rtol=0, atol=0)
    torch.testing.assert_close(
        moving_flow(latents, 1, batch=7)[:, :, 0, 0], torch.from_numpy(flow), rtol=0, atol=0
    )
    still = torch.from_numpy(np.repeat(blobs.latents[:, :1], 4, axis=1))
    np.testing.assert_array_equal(moving_flow(still, 2), np.zeros((120, 2, 2, 2)))


def test_each_cell_has_its_own_velocity():
    """Left half to the right, right half down; the least error of a slow, fine search says the same."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    frames = np.zeros((1, 4, 1, 16, 16), np.float32)
    for k in range(4):
        left = np.exp(-((x - 3 - 0.5 * k) ** 2 + (y - 7) ** 2) / 4)
        right = np.exp(-((x - 12) ** 2 + (y - 6 - 0.5 * k) ** 2) / 4)
        frames[0, k, 0] = left + right
    frames += 0.001 * generator.normal(size=frames.shape).astype(np.float32)
    flow = moving_flow(torch.from_numpy(frames), 2)[0].mean(1).numpy()  # (xy, column), mean of two rows
    np.testing.assert_allclose(flow, [[0.5, 0.0], [0.0, 0.5]], atol=0.12)


def test_the_part_that_moves_is_where_the_blob_goes():
    blobs = make_blobs(movies=2, clips=30)
    part = motion_mask(torch.from_numpy(blobs.latents)).numpy()
    variance = blobs.latents.var(axis=1).mean(axis=1)
    np.testing.assert_allclose(part, variance / (variance + variance.mean()), rtol=1e-5)
    assert part.min() >= 0 and part.max() < 1
    assert not motion_mask(torch.zeros(2, 3, 1, 4, 4)).any()


def test_warp_by_whole_pixels_is_a_shift():
    frames = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 6, 7)))
    flow = torch.zeros(2, 2, 6, 7, dtype=frames.dtype)
    flow[0, 0], flow[1, 1] = 2, -1  # right by two; up by one
    moved = warp(frames, flow)
    np.testing.assert_allclose(moved[0, :, :, 2:], frames[0, :, :, :-2], atol=1e-12)
    np.testing.assert_allclose(moved[0, :, :, 0], frames[0, :, :, 0], atol=1e-12)  # edges repeated
    np.testing.assert_allclose(moved[1, :, :-1], frames[1, :, 1:], atol=1e-12)


@pytest.mark.parametrize("frames", [4, 5])
def test_a_moved_image_is_itself_in_the_middle(frames):
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8))
    assert bool((move_image(image, torch.zeros(2, 2, 4, 6), frames) == image[:, None]).all())
    flow = torch.zeros(2, 2, 4, 6)
    flow[:, 0] = 0.5  # half a cell of four pixels per frame, to the right
    moved = move_image(image, flow, frames)
    assert moved.shape == (2, frames, 16, 24, 3) and moved.dtype == torch.uint8
    for k in range(frames):
        shift = 2 * (k - (frames - 1) / 2)
        if shift == int(shift) and shift >= 0:
            shift = int(shift)
            assert bool((moved[:, k, :, shift:] == image[:, :, : 24 - shift]).all())
