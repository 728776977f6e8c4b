"""Motion of a clip's latents: targets of the linear baseline of the motion decoder, and clips built from them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mind_animator.video.warp import warp

# Fastest velocity searched, frame widths per frame, and the first step of the search.
FASTEST, STEP = 0.1, 0.0125
DIRECTIONS = 12


def moving_flow(latents: Tensor, grid: int, batch: int = 256) -> Tensor:
    """Velocity of the moving content of a clip on a coarse grid, estimated by search.

    In each cell the velocity v minimises::

        sum over frames a < b far apart, pixels p:  w(p) |z_b(p) - z_a(p - (b - a) v)|^2

    with w = (variance of the pixel over the clip) x (a tent around the centre of the cell), so that static
    background does not contribute. Latents of neighbouring frames differ by far less than a pixel and by
    encoder rounding, which makes gradients unreliable; frames far apart are compared instead. Velocities up to
    `FASTEST` are searched on circles and then refined.

    Parameters
    ----------
    latents : Tensor of shape (clip, frame, channel, h, w)
    grid : int
    batch : int
        Clips per batch: limits the memory, does not change the result.

    Returns
    -------
    Tensor of shape (clip, 2, row, column)
        (x, y) in latent pixels per frame, y pointing down; 0 where nothing changes.
    """
    return torch.cat([_search(part, grid) for part in latents.split(batch)])


def _search(latents: Tensor, grid: int) -> Tensor:
    frames, (height, width) = latents.shape[1], latents.shape[-2:]
    gap = max(1, frames // 3)
    pairs = [(a, b) for a in range(frames) for b in range(a + gap, frames)]
    tents = functional.interpolate(
        torch.eye(grid * grid, device=latents.device, dtype=latents.dtype).unflatten(1, (grid, grid))[None],
        (height, width), mode="bilinear", align_corners=False,
    )[0]  # fmt: skip
    weights = (latents - latents.mean(1, keepdim=True)).square().sum((1, 2))  # (clip, h, w)

    def error(velocity: Tensor) -> Tensor:
        """(clip, 2) -> (clip, cell)."""
        total = torch.zeros_like(weights)
        for a, b in pairs:
            path = ((b - a) * velocity)[:, :, None, None].expand(-1, 2, height, width)
            total += (warp(latents[:, a], path) - latents[:, b]).square().sum(1)
        return torch.einsum("bhw,chw->bc", total * weights, tents)

    circles = torch.arange(1, round(FASTEST / STEP) + 1) * STEP
    angles = torch.arange(DIRECTIONS) * (2 * math.pi / DIRECTIONS)
    tried = torch.stack([torch.outer(circles, angles.cos()), torch.outer(circles, angles.sin())], -1)
    size = torch.tensor([width, height], dtype=latents.dtype, device=latents.device)
    tried = torch.cat([torch.zeros(1, 2), tried.flatten(0, 1)]).to(latents) * size
    errors = torch.stack([error(v.expand(len(latents), 2)) for v in tried], dim=-1)
    found = tried[errors.argmin(-1)]  # (clip, cell, 2)
    for step in (STEP / 2, STEP / 4):
        around = torch.cartesian_prod(*[torch.tensor([0.0, -step, step])] * 2).to(latents) * size
        options = found[:, :, None] + around  # (clip, cell, option, 2)
        errors = torch.stack(
            [
                torch.stack([error(options[:, cell, option])[:, cell] for option in range(len(around))], -1)
                for cell in range(grid * grid)
            ],
            dim=1,
        )
        found = options.gather(2, errors.argmin(-1)[:, :, None, None].expand(-1, -1, 1, 2))[:, :, 0]
    return found.permute(0, 2, 1).unflatten(2, (grid, grid))


def motion_mask(latents: Tensor) -> Tensor:
    """Where clips change: v / (v + mean v), with v the variance of a latent pixel over the frames of its clip and
    the mean over all clips and pixels.

    Parameters
    ----------
    latents : Tensor of shape (clip, frame, channel, h, w)

    Returns
    -------
    Tensor of shape (clip, h, w), in [0, 1)
    """
    variance = latents.var(dim=1, correction=0).mean(dim=1)
    return variance / (variance + variance.mean().clamp(min=torch.finfo(latents.dtype).tiny))


def linear_clip(first: Tensor, flow: Tensor, change: Tensor) -> Tensor:
    """A first frame moved with constant flow, plus a change: (clip, frame, channel, h, w), including the first
    frame.

    Parameters
    ----------
    first : Tensor of shape (clip, channel, h, w)
    flow : Tensor of shape (clip, 2, row, column)
        Latent pixels per frame, on a coarse grid.
    change : Tensor of shape (clip, frame - 1, channel, h, w)
    """
    clips, later = change.shape[:2]
    fine = functional.interpolate(flow, first.shape[-2:], mode="bilinear", align_corners=False)
    factors = torch.arange(1, later + 1, device=first.device, dtype=first.dtype)[:, None, None, None]
    paths = (fine[:, None] * factors).flatten(0, 1)
    sources = first[:, None].expand(-1, later, -1, -1, -1).flatten(0, 1)
    return torch.cat([first[:, None], warp(sources, paths).unflatten(0, (clips, later)) + change], dim=1)


def choose_gains(
    first: Tensor,
    flow: Tensor,
    change: Tensor,
    latents: Tensor,
    flow_gains: Sequence[float] = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0),
    change_gains: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
) -> Tensor:
    """Gains of the flow and of the change with the lowest squared error over clips.

    Parameters
    ----------
    first, flow, change : Tensors
        As in `linear_clip`, decoded out of fold.
    latents : Tensor of shape (clip, frame, channel, h, w)
        The targets.

    Returns
    -------
    Tensor of shape (2,)
    """
    nothing = torch.zeros_like(change)
    best, chosen = math.inf, (0.0, 0.0)
    for flow_gain in flow_gains:
        moved = linear_clip(first, flow * flow_gain, nothing)[:, 1:]
        for change_gain in change_gains:
            error = float((moved + change_gain * change - latents[:, 1:]).square().mean())
            if error < best:
                best, chosen = error, (flow_gain, change_gain)
    return torch.tensor(chosen, device=latents.device, dtype=latents.dtype)
