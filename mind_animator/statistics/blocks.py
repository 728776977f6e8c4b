"""Blocks of neighbouring clips: the unit of every bootstrap and permutation."""

from collections.abc import Sequence

import numpy as np

BLOCK = 10


def block_labels(movies: Sequence[str], size: int = BLOCK) -> np.ndarray:
    """Number the blocks of ``size`` neighbouring clips within each movie.

    The last block of a movie may be shorter. Used by the bootstrap and the sign-flip test, which weight a block by
    its clips.

    Parameters
    ----------
    movies : sequence of str, length clip
        The movie (or segment) of each clip, clips in order of time within a movie.
    size : int

    Returns
    -------
    ndarray of shape (clip,), int64
        From 0, in order of first appearance.
    """
    movies = _check(movies, size)
    position: dict[str, int] = {}
    seen: dict[tuple[str, int], int] = {}
    labels = []
    for movie in movies:
        index = position[movie] = position.get(movie, -1) + 1
        labels.append(seen.setdefault((movie, index // size), len(seen)))
    return np.array(labels)


def aligned_blocks(movies: Sequence[str], size: int = BLOCK) -> np.ndarray:
    """Rows of the clips of every whole block; the clips of a movie's shorter last block are dropped.

    Used by the pairing test, which pairs clip o of one block with clip o of any other.

    Parameters
    ----------
    movies, size
        As for `block_labels`.

    Returns
    -------
    ndarray of shape (block, size), int64
        ``rows[b, o]``: the clip at offset o of block b.
    """
    labels = block_labels(movies, size)
    counts = np.bincount(labels)
    rows = [np.flatnonzero(labels == block) for block in np.flatnonzero(counts == size)]
    return np.array(rows, dtype=np.int64).reshape(-1, size)


def clips_per_block(seconds: float, durations: Sequence[float]) -> int:
    """Block length in clips for a block length in seconds: the least number of clips of median length that fill it.

    Parameters
    ----------
    seconds : float
        Block length, longer than the haemodynamic response and than the memory of the stimulus.
    durations : sequence of float, length clip
        Seconds.
    """
    durations = np.asarray(durations, np.float64)
    if not (seconds > 0 and durations.size and (durations > 0).all()):
        raise ValueError(f"Expected positive seconds and durations, got {seconds} and {durations}.")
    return max(1, int(np.ceil(seconds / np.median(durations) - 1e-9)))


def least_p(n_permutations: int, exact: bool, *, two_sided: bool = False) -> float:
    """The least p that a permutation test of blocks can give, however strong the effect is.

    One of all permutations is the observed one; a two-sided test of sign flips also counts its mirror image::

        1 / n (2 / n two-sided) if all n were counted,    1 / (1 + n) if n were drawn at random

    With 4 blocks there are 24 pairings, so that p is at least 0.042.

    Parameters
    ----------
    n_permutations : int
        Permutations that were counted or drawn; 0: nothing can be permuted, p is 1.
    exact : bool
        Whether all permutations were counted.
    two_sided : bool
        Whether the mirror image of every permutation is also a permutation and counts.
    """
    if n_permutations < 1:
        return 1.0
    return min(1.0, (1 + two_sided) / n_permutations) if exact else 1 / (1 + n_permutations)


def _check(movies: Sequence[str], size: int) -> list[str]:
    movies = list(movies)
    if not movies or size < 1:
        raise ValueError(
            f"Expected at least one clip and a block of at least 1, got {len(movies)} and {size}."
        )
    return movies


def block_sums(values: np.ndarray, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of ``values`` (clip, ...) and number of clips of each block, (block, ...) and (block,) float64."""
    values, blocks = np.asarray(values, np.float64), np.asarray(blocks)
    if values.ndim < 1 or blocks.shape != values.shape[:1] or not values.size:
        raise ValueError(
            f"Expected values (clip, ...) and one block per clip, got {values.shape} and {blocks.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"Expected finite values, got {int((~np.isfinite(values)).sum())} NaN or infinite.")
    _, index = np.unique(blocks, return_inverse=True)
    counts = np.bincount(index).astype(np.float64)
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums, counts
