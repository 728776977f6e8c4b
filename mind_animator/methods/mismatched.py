"""The floor of the wrong clip: another test clip's reconstruction, blocks of neighbours permuted."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from mind_animator.config.base import Strict
from mind_animator.errors import InputError
from mind_animator.methods._frames import frames_of
from mind_animator.methods.base import Method


class Options(Strict):
    """Attributes
    ----------
    of : str
        The method whose reconstructions are exchanged.
    block : int
        Neighbouring clips that move together, so that a clip never meets its neighbour in time.
    """

    of: str
    block: int = Field(10, ge=1)


class Mismatched(Method):
    """What a score gives to reconstructions that look right and answer the wrong clip."""

    kind = "mismatched"
    Options = Options
    reconstruction = "frames"
    frames_from = "method"

    @property
    def source(self) -> str:
        """The method whose reconstructions are exchanged."""
        return self.options.of

    @classmethod
    def reconstruct(
        cls,
        settings: str,
        clips: Sequence[str],
        files: Sequence[Path],
        test_clips: Sequence[str],
        *,
        seed: int,
    ) -> Iterator[tuple[str, np.ndarray | InputError]]:
        """Yield the frames of another clip under each clip's name; ``files`` are the source's shards."""
        block = Options.model_validate_json(settings).block
        donor = dict(zip(test_clips, exchanged(test_clips, block, seed), strict=True))
        yield from zip(clips, frames_of(files, [donor[clip] for clip in clips]), strict=True)


def exchanged(clips: Sequence[str], block: int, seed: int) -> list[str]:
    """Clips in the order of their donors: blocks of neighbours permuted so that none stays in place.

    The list is cut into ``max(2, round(n / block))`` spans of nearly equal length; donors are the clips of the
    spans in a seeded order without fixed points (one random cycle), read off in sequence. Where spans differ
    in length by one, a clip could meet itself at a seam; then the next seeded order is tried.

    Raises
    ------
    InputError
        If there is but one clip.
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


ENTRY = Mismatched
