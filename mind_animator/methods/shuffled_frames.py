"""The baseline of the wrong order: a reconstruction's own frames, permuted."""

import numpy as np

from mind_animator.methods._derived import Derived
from mind_animator.statistics.exchange import shuffled_order


class ShuffledFrames(Derived):
    """Everything but the order of the frames: what a score owes to time."""

    kind = "shuffled_frames"
    shows = "the reconstructed frames in random order"

    @staticmethod
    def change(frames: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The frames in a random order that is not theirs."""
        return frames[shuffled_order(len(frames), generator)]


ENTRY = ShuffledFrames
