"""The uninformative baseline: every frame is the mean colour of the training frames."""

from collections.abc import Iterator, Sequence

import numpy as np

from mind_animator.artefacts.arrays import iterate_clips
from mind_animator.config.base import Strict
from mind_animator.methods.base import Method, ReconstructionInputs


class Options(Strict):
    """No options."""


class FlatMean(Method):
    """A still image of one colour: the score of a prediction without any information."""

    kind = "flat_mean"
    shows = "the mean colour of the training movies"
    Options = Options
    reconstruction = "frames"
    frames_from = "training"

    @classmethod
    def reconstruct(
        cls,
        settings: str,
        clips: Sequence[str],
        inputs: ReconstructionInputs,
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the same frames for every clip; ``files`` are the stimuli of the training segments."""
        total, pixels, shape = np.zeros(3), 0, None
        for _, frames in iterate_clips(inputs.files, "frames"):
            total += frames.sum(axis=(0, 1, 2), dtype=np.int64)
            pixels += frames[..., 0].size
            shape = frames.shape
        flat = np.broadcast_to(np.rint(total / pixels).astype(np.uint8), shape)
        for clip in clips:
            yield clip, flat.copy()


ENTRY = FlatMean
