"""Exchange of clips in blocks, for baselines and permuted responses."""

from collections.abc import Sequence

import numpy as np

from mind_animator.errors import InputError


def exchanged(clips: Sequence[str], block: int, seed: int) -> list[str]:
    """Clips in the order of their donors: blocks of neighbours are permuted so that no clip keeps its position.

    The list is cut into ``max(2, round(n / block))`` spans of nearly equal length; donors are the clips of
    the spans in a seeded order without fixed points (one random cycle), read in sequence. Where spans
    differ in length by one, a clip could be its own donor at a boundary; then the next seeded order is tried.

    Raises
    ------
    InputError
        If there is only one clip.
    """
    if len(clips) < 2:
        raise InputError(f"Expected at least 2 test clips to exchange, got {len(clips)}.")
    generator = np.random.default_rng(seed)
    spans = np.array_split(np.arange(len(clips)), min(len(clips), max(2, round(len(clips) / block))))
    while True:
        order = generator.permutation(len(spans))
        follower = np.empty_like(order)
        follower[order] = np.roll(order, 1)  # one cycle through all spans
        donors = np.concatenate([spans[i] for i in follower])
        if not np.any(donors == np.arange(len(clips))):
            return [clips[i] for i in donors]


def shuffled_order(count: int, generator: np.random.Generator) -> np.ndarray:
    """A random order of ``count`` frames other than the original one; for a single frame, the original order."""
    order = np.arange(count)
    while count > 1 and np.array_equal(order, np.arange(count)):
        order = generator.permutation(count)
    return order
