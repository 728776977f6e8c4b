"""Pixel correlation."""

import numpy as np

from mind_animator.metrics.base import Description, Metric


class PixCorr(Metric):
    """Pearson correlation of the pixel values of frames ("PixCorr").

    With the values t and p of all pixels and channels of a frame, each minus its mean::

        t . p / (|t| |p|)

    The score of a clip is the mean over its frames.

    Range: -1 to 1; chance is not 0, since images share their layout (e.g. a bright sky above): interpret it
    relative to its baselines. 0 where either frame is of one value throughout.

    References
    ----------
    Scotti et al. (2023), "Reconstructing the mind's eye: fMRI-to-image with contrastive learning and diffusion priors",
    NeurIPS (there of images of 425 pixels).
    """

    name, label = "pixcorr", "PixCorr"
    low, high, published, order, standard = -1, 1, True, 34, False

    def describe(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Values of each frame minus their mean, at unit length, (frame, value) float32."""
        values = frames.reshape(len(frames), -1).astype(np.float64)
        values -= values.mean(axis=1, keepdims=True)
        length = np.linalg.norm(values, axis=1, keepdims=True)
        return {"values": np.divide(values, length, out=values, where=length > 0).astype(np.float32)}

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Correlation of each frame, (frame,) float64."""
        pairs = zip(ground_truth["values"], prediction["values"], strict=True)
        return np.array([float(t @ p) for t, p in pairs])
