"""One caption per clip from the captions of its first and last frames."""

import hashlib

import numpy as np

JOINT = ", and then "


def join_captions(
    clip: str,
    first: str,
    last: str,
    similarity_first: float,
    similarity_last: float,
    *,
    agreement: float,
    seed: int,
) -> tuple[str, bool]:
    """Keep one caption if both match the middle frame equally well, otherwise join them.

    Parameters
    ----------
    clip : str
        Name of the clip; it determines, with the seed, which of two equivalent captions is kept.
    first, last : str
        Captions of the first and of the last sampled frame.
    similarity_first, similarity_last : float
        Cosine similarity of the CLIP embeddings of caption and middle frame.
    agreement : float
        Two captions are equivalent if their similarities differ by at most this value.
    seed : int

    Returns
    -------
    caption : str
    joined : bool
        Whether the caption is ``first`` + ", and then " + ``last``.
    """
    if abs(similarity_first - similarity_last) > agreement:
        return f"{first}{JOINT}{last}", True
    coin = hashlib.sha256(f"{seed}/{clip}".encode()).digest()[0] & 1
    return (last if coin else first), False


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of paired rows: arrays of shape (row, dim) -> (row,), float64 in [-1, 1]."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    scale = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.divide((first * second).sum(axis=1), scale, out=np.zeros(len(scale)), where=scale > 0)
