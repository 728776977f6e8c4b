"""Hue-pcc as published."""

import cv2
import numpy as np

from mind_animator.metrics.base import Description, Metric

N_FRAMES = 6


class HueCosPublished(Metric):
    """Hue similarity as published ("Hue-pcc"): a cosine, of OpenCV hues with red and blue exchanged.

    With h = the 8-bit hue (0..179) that ``BGR2HSV`` makes of an RGB frame, the mean over the first 6 frames::

        h_t . h_p / (|h_t| |h_p|)

    Computed for comparison with the literature only: hue is an angle, so its cosine similarity with an arbitrary zero
    means little, and independent noise scores about .75. `hue_circular_corr` corrects this.

    Range: 0 to 1; a frame whose hue is 0 throughout (e.g. grey) counts 0.

    References
    ----------
    Lu et al. (2025), "Animate Your Thoughts: Reconstruction of Dynamic Natural Vision from Human Brain
    Activity", ICLR.
    """

    name, label = "hue_cos_published", "Hue-pcc (published: a cosine)"
    low, high, published, order, paired = 0, 1, True, 32, False

    def describe(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Hues of each frame at unit length."""
        hues = np.stack(
            [cv2.cvtColor(frame, cv2.COLOR_BGR2HSV)[..., 0].ravel() for frame in frames[:N_FRAMES]]
        ).astype(np.float64)
        length = np.sqrt(np.einsum("fp,fp->f", hues, hues))[:, None]
        return {"hue": np.divide(hues, length, out=hues, where=length > 0)}

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Cosine of each frame, (frame,) float64."""
        return np.einsum("fp,fp->f", ground_truth["hue"], prediction["hue"])
