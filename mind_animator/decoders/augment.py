"""Augmentation of responses and choice among augmented targets. Nothing is written into its input; every draw
has a generator."""

import torch
from torch import Tensor


def sparsify(responses: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Set a share of the values to zero, drawn independently for each value.

    Parameters
    ----------
    responses : Tensor of shape (clip, voxel)
    share : float in [0, 1)
    generator : Generator on the same device

    Returns
    -------
    Tensor of shape (clip, voxel)
    """
    if not share:
        return responses
    draws = torch.rand(responses.shape, generator=generator, device=responses.device)
    return responses * (draws >= share)


def sparsify_accumulated(responses: Tensor, lifetimes: Tensor, share: float, epoch: int) -> Tensor:
    """Sparsification that is written into the training array each epoch, as the published code does.

    A value that was zeroed once stays zero, so that after ``epoch`` passes it is there with probability
    (1 - share)^epoch. One uniform draw u a value has the same law as a draw an epoch: the value lives while
    u < (1 - share)^epoch. The responses themselves stay as they are.

    Parameters
    ----------
    responses, lifetimes : Tensors of shape (clip, voxel)
        ``lifetimes`` are the uniform draws.
    epoch : int
        Passes so far, this one included.
    """
    return responses * (lifetimes < (1 - share) ** epoch)


def pick_copies(own: Tensor, copies: Tensor, choice: Tensor) -> Tensor:
    """For each clip its own target or one of its augmented copies.

    Parameters
    ----------
    own : Tensor of shape (clip, ...)
    copies : Tensor of shape (clip, copy, ...)
    choice : LongTensor of shape (clip,)
        0: its own; k: copy k.

    Returns
    -------
    Tensor of shape (clip, ...)
    """
    rows = torch.arange(len(own), device=own.device)
    chosen = copies[rows, (choice - 1).clamp(min=0)]
    return torch.where((choice > 0).view(-1, *[1] * (own.ndim - 1)), chosen, own)
