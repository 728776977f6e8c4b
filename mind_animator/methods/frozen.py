"""The baseline without motion: the first frame of another method's reconstruction, repeated."""

import numpy as np

from mind_animator.methods._derived import Derived


class Frozen(Derived):
    """The score of a still image, which is better than that of published methods on end-point error."""

    kind = "frozen"
    shows = "the first reconstructed frame"

    @staticmethod
    def change(frames: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The first frame, repeated."""
        return np.repeat(frames[:1], len(frames), axis=0)


ENTRY = Frozen
