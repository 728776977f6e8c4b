"""PSNR."""

import cv2
import numpy as np

from mind_animator.metrics.base import Description, Metric

CAP = 100.0


class Psnr(Metric):
    """Peak signal-to-noise ratio of frames: decibels, at most 100.

    With the mean squared error MSE over the pixels and channels of a frame::

        PSNR = min(20 log10(255 / sqrt(MSE)), 100)

    The score of a clip is the mean over its frames.

    Range: 0 to 100 dB; equal frames score the cap.

    References
    ----------
    Lu et al. (2025), "Animate Your Thoughts: Reconstruction of Dynamic Natural Vision from Human Brain
    Activity", ICLR (the cap, and the mean over frames).
    """

    name, label, unit = "psnr", "PSNR", "dB"
    low, high, published, order, paired = 0, 100, True, 31, False

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Ratio of each frame, (frame,) float64, dB."""
        frames = ground_truth["frames"]
        pairs = zip(frames, prediction["frames"], strict=True)
        squared = np.array([cv2.norm(t, p, cv2.NORM_L2SQR) for t, p in pairs]) / frames[0].size
        with np.errstate(divide="ignore"):
            return np.minimum(10 * np.log10(255.0**2 / squared), CAP)
