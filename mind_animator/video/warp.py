"""Warping of images along an optical flow."""

import torch
from torch import Tensor
from torch.nn import functional


def warp(frames: Tensor, flow: Tensor) -> Tensor:
    """Warp frames along a flow: out(p) = in(p - flow(p)), with bilinear interpolation and repeated edges.

    Parameters
    ----------
    frames : Tensor of shape (clip, channel, h, w)
    flow : Tensor of shape (clip, 2, h, w)
        (x, y) in pixels of the frames, y pointing down.
    """
    height, width = frames.shape[-2:]
    rows = torch.arange(height, device=frames.device, dtype=frames.dtype)[:, None]
    columns = torch.arange(width, device=frames.device, dtype=frames.dtype)
    x = (columns - flow[:, 0]) * 2 / max(width - 1, 1) - 1
    y = (rows - flow[:, 1]) * 2 / max(height - 1, 1) - 1
    grid = torch.stack([x, y], dim=-1)
    return functional.grid_sample(frames, grid, mode="bilinear", padding_mode="border", align_corners=True)


def move_image(image: Tensor, flow: Tensor, frames: int) -> Tensor:
    """Frames of an image that moves along a constant flow; the image itself is the middle of the clip.

    Frame k (from 1) of n is ``warp(image, (k - (n + 1) / 2) flow)``.

    Parameters
    ----------
    image : Tensor of shape (clip, height, width, 3), uint8
    flow : Tensor of shape (clip, 2, h, w)
        (x, y) in grid cells of the flow per frame, y pointing down; interpolated bilinearly to the size of the image.
    frames : int

    Returns
    -------
    Tensor of shape (clip, frame, height, width, 3), uint8
    """
    height, width = image.shape[1:3]
    scale = torch.tensor([width / flow.shape[3], height / flow.shape[2]], dtype=torch.float32)[:, None, None]
    fine = functional.interpolate(flow.float(), (height, width), mode="bilinear", align_corners=False) * scale
    steps = torch.arange(frames) - (frames - 1) / 2
    still = image.permute(0, 3, 1, 2).float()
    moved = [warp(still, step * fine) for step in steps]
    return torch.stack(moved, dim=1).round().clamp(0, 255).to(torch.uint8).permute(0, 1, 3, 4, 2)
