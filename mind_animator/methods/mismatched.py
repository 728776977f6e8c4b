"""The floor of the wrong clip: another test clip's reconstruction, blocks of neighbours permuted."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from mind_animator.config.base import Strict
from mind_animator.errors import InputError
from mind_animator.methods._frames import frames_of
from mind_animator.methods.base import Method
from mind_animator.statistics.exchange import exchanged


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


ENTRY = Mismatched
