"""The floor without motion: the first frame of another method's reconstruction, repeated."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mind_animator.config.base import Strict
from mind_animator.errors import InputError
from mind_animator.methods._frames import frames_of
from mind_animator.methods.base import Method


class Options(Strict):
    """Attributes
    ----------
    of : str
        The method whose reconstructions are frozen.
    """

    of: str


class Frozen(Method):
    """What a still picture scores: it beats published methods on end-point error."""

    kind = "frozen"
    Options = Options
    reconstruction = "frames"
    frames_from = "method"

    @property
    def source(self) -> str:
        """The method whose reconstructions are frozen."""
        return self.options.of

    def reconstruction_settings(self) -> str:
        """Nothing: the source comes in as files."""
        return "{}"

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
        """Yield every clip's first frame, repeated; ``files`` are the source's shards."""
        for clip, frames in zip(clips, frames_of(files, clips), strict=True):
            yield (
                clip,
                frames if isinstance(frames, InputError) else np.repeat(frames[:1], len(frames), axis=0),
            )


ENTRY = Frozen
