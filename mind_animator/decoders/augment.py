"""Augmentation of responses, and choice among augmented targets. Inputs are not modified; every function that
draws random numbers takes a generator."""

import torch
from torch import Tensor


def sparsify(responses: Tensor, fraction: float, generator: torch.Generator | None) -> Tensor:
    """Set a fraction of the values to zero, each value independently.

    Parameters
    ----------
    responses : Tensor of shape (clip, voxel)
    fraction : float in [0, 1)
    generator : Generator on the same device

    Returns
    -------
    Tensor of shape (clip, voxel)
    """
    if not fraction:
        return responses
    uniform = torch.rand(responses.shape, generator=generator, device=responses.device)
    return responses * (uniform >= fraction)


def sparsify_accumulated(responses: Tensor, lifetimes: Tensor, fraction: float, epoch: int) -> Tensor:
    """Sparsification that accumulates over epochs, as in the released code.

    There, zeros are written into the training array, so that after ``epoch`` passes a value is still present
    with probability (1 - fraction)^epoch. One uniform number u per value gives the same distribution as a draw
    per epoch: the value is kept while u < (1 - fraction)^epoch. The responses are not modified.

    Parameters
    ----------
    responses, lifetimes : Tensors of shape (clip, voxel)
        ``lifetimes`` are uniform random numbers in [0, 1).
    epoch : int
        Number of passes so far, including this one.
    """
    return responses * (lifetimes < (1 - fraction) ** epoch)


def pick_copies(own: Tensor, copies: Tensor, choice: Tensor) -> Tensor:
    """For each clip, its own target or one of its augmented copies.

    Parameters
    ----------
    own : Tensor of shape (clip, ...)
    copies : Tensor of shape (clip, copy, ...)
    choice : LongTensor of shape (clip,)
        0: the clip's own target; k: copy k.

    Returns
    -------
    Tensor of shape (clip, ...)
    """
    rows = torch.arange(len(own), device=own.device)
    chosen = copies[rows, (choice - 1).clamp(min=0)]
    return torch.where((choice > 0).view(-1, *[1] * (own.ndim - 1)), chosen, own)
