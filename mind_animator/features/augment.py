"""Augmented targets: captions with words replaced, moved or deleted, and random crops of a frame."""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn import functional

from mind_animator.errors import InputError


def read_synonyms(path: Path | str | None = None) -> dict[str, list[str]]:
    """Synonyms of lower-case words, of the shipped table or of the user's own.

    Each line contains a word, a tab, and its synonyms separated by commas; ``#`` starts a comment. The shipped table,
    ``synonyms.tsv`` next to this module, contains about two hundred common words of captions and was written for
    this project (the published code uses WordNet).

    Raises
    ------
    InputError
        If the file is missing or a line has another form.
    """
    table = Path(path) if path else files("mind_animator.features") / "synonyms.tsv"
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"Expected a table of synonyms at {table}, found none.") from None
    synonyms: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        word, tab, others = line.partition("\t")
        found = [other.strip().lower() for other in others.split(",")]
        if not word.strip() or not tab or not all(found):
            raise InputError(
                f"Expected a word, a tab and its synonyms with commas between, got {line!r} "
                f"({table}, line {number})."
            )
        synonyms.setdefault(word.strip().lower(), []).extend(found)
    return synonyms


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
        See `read_synonyms`.
    synonym, insert, swap, delete : float in [0, 1]
        Probability per word that it is replaced by a synonym, that one of its synonyms is inserted at a random
        position, that it is exchanged with another word, and that it is deleted (one word always remains).

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


def random_crop(frame: np.ndarray, generator: np.random.Generator, least: float = 0.6) -> np.ndarray:
    """A random part of a frame, of the frame's own proportions, resized to its size (bilinear).

    Parameters
    ----------
    frame : ndarray of shape (height, width, 3), uint8
    generator : numpy Generator
    least : float in (0, 1]
        The part covers a fraction of the frame's area that is drawn uniformly from [least, 1].

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
    """
    height, width = frame.shape[:2]
    side = np.sqrt(generator.uniform(least, 1))
    rows, columns = max(1, round(side * height)), max(1, round(side * width))
    top = int(generator.integers(height - rows + 1))
    left = int(generator.integers(width - columns + 1))
    part = Tensor(frame[top : top + rows, left : left + columns].astype(np.float32)).permute(2, 0, 1)[None]
    resized = functional.interpolate(part, (height, width), mode="bilinear", align_corners=False)
    return resized[0].permute(1, 2, 0).round().clamp(0, 255).numpy().astype(np.uint8)
