"""Augmentation of responses and captions. Nothing is written into its input; every draw has a generator."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
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


def augment_caption(
    caption: str,
    generator: np.random.Generator,
    synonyms: Mapping[str, Sequence[str]],
    *,
    synonym: float = 0.5,
    insert: float = 0.2,
    swap: float = 0.2,
    delete: float = 0.2,
) -> str:
    """Easy data augmentation of a caption: synonyms, insertions, swaps and deletions, in this order.

    Parameters
    ----------
    caption : str
    generator : numpy Generator
    synonyms : mapping of lower-case word to its synonyms
        The user's own: this package ships no thesaurus.
    synonym, insert, swap, delete : float in [0, 1]
        Probability, a word, that it is replaced by a synonym, that a synonym of it is inserted at a random
        place, that it changes places with another one, that it is left out (one word always stays).

    Returns
    -------
    str

    References
    ----------
    Wei & Zou (2019), "EDA: easy data augmentation techniques", EMNLP.
    """
    words = caption.split()
    if not words:
        return caption
    found = [synonyms.get(re.sub(r"\W", "", word).lower(), ()) for word in words]
    out = [
        str(generator.choice(list(choices))) if choices and generator.random() < synonym else word
        for word, choices in zip(words, found, strict=True)
    ]
    for choices in found:
        if choices and generator.random() < insert:
            out.insert(int(generator.integers(len(out) + 1)), str(generator.choice(list(choices))))
    for first in range(len(out)):
        if generator.random() < swap:
            second = int(generator.integers(len(out)))
            out[first], out[second] = out[second], out[first]
    kept = [word for word in out if generator.random() >= delete]
    return " ".join(kept or [out[int(generator.integers(len(out)))]])
