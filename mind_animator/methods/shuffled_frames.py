"""The floor of the wrong order: a reconstruction's own frames, permuted."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mind_animator.config.base import Strict
from mind_animator.errors import InputError
from mind_animator.methods._frames import frames_of
from mind_animator.methods.base import Method
from mind_animator.statistics.exchange import shuffled_order


class Options(Strict):
    """Attributes
    ----------
    of : str
        The method whose frames are permuted.
    """

    of: str


class ShuffledFrames(Method):
    """Everything but the order of the frames: what a score owes to time."""

    kind = "shuffled_frames"
    Options = Options
    reconstruction = "frames"
    frames_from = "method"

    @property
    def source(self) -> str:
        """The method whose frames are permuted."""
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
        """Yield every clip's frames in a random order that is not theirs; ``files`` are the source's shards.

        One generator a clip, so that the order does not depend on the sharding.
        """
        place = {clip: index for index, clip in enumerate(test_clips)}
        for clip, frames in zip(clips, frames_of(files, clips), strict=True):
            if isinstance(frames, InputError):
                yield clip, frames
                continue
            order = shuffled_order(len(frames), np.random.default_rng([seed, place[clip]]))
            yield clip, frames[order]


ENTRY = ShuffledFrames
