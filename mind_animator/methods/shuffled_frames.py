"""The baseline of the wrong order: the frames of a reconstruction, permuted."""

import numpy as np

from mind_animator.methods._derived import Derived
from mind_animator.statistics.exchange import shuffled_order


class ShuffledFrames(Derived):
    """The same frames in another order: shows how much a score depends on the order of the frames."""

    kind = "shuffled_frames"
    shows = "the reconstructed frames in random order"

    @staticmethod
    def change(frames: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The frames in a random order other than the original one."""
        return frames[shuffled_order(len(frames), generator)]


ENTRY = ShuffledFrames
