"""Circular correlation of hue."""

import cv2
import numpy as np

from mind_animator.metrics.base import Description, Metric

# [x or y, 256 * hue + saturation]; one step of an 8-bit hue is 2 degrees
_ANGLES = np.arange(256)[:, None] * (np.pi / 90)
_VECTORS = np.stack([f(_ANGLES) * (np.arange(256) / 255) for f in (np.cos, np.sin)]).reshape(2, -1)


class HueCircularCorr(Metric):
    """Circular correlation of hue, weighted by saturation.

    Hue h (an angle) and saturation s (HSV, of RGB frames) give a vector in the colour plane, z = s exp(i h). The score
    is the real part of the Pearson correlation of these complex numbers over the pixels of a frame::

        Re sum (z_t - mean z_t) conj(z_p - mean z_p) / sqrt(sum |z_t - mean z_t|^2  sum |z_p - mean z_p|^2)

    A pixel thus counts by s_t s_p cos(h_t - h_p): grey pixels, whose hue is noise, hardly count, and the zero
    of the hue is irrelevant. Rotating every hue of one side by an angle a multiplies the score by cos a for a
    prediction with the layout of the ground truth; rotating both sides leaves it unchanged. The score of a
    clip is the mean over frames.

    Range: -1 to 1; chance is 0; 0 where either frame has one colour vector throughout (a flat or a grey image).

    References
    ----------
    This project; complex correlation as in Mardia & Jupp (2000), "Directional statistics", Wiley.
    """

    name, label = "hue_circular_corr", "hue, circular correlation"
    low, high, order = -1, 1, 33
    headline = "hue: circular correlation with the ground truth's"

    def describe(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Hue vectors of each frame minus their mean, at unit length, (frame, 2 * height * width) float64."""
        return {"pattern": np.stack([hue_pattern(frame) for frame in frames])}

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Correlation of each frame, (frame,) float64."""
        return np.array([t @ p for t, p in zip(ground_truth["pattern"], prediction["pattern"], strict=True)])


def hue_pattern(frame: np.ndarray) -> np.ndarray:
    """Hue vectors of one frame minus their mean, at unit length: the dot product of two is their correlation.

    Parameters
    ----------
    frame : ndarray of shape (height, width, 3), uint8

    Returns
    -------
    ndarray of shape (2 * height * width,), float64
        All x, then all y; 0 throughout for a frame of one colour vector.
    """
    hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
    colour = (hsv[..., 0].astype(np.uint16) << 8 | hsv[..., 1]).ravel()
    pattern = np.zeros((2, colour.size))
    if (colour != colour[0]).any():
        for vectors, component in zip(_VECTORS, pattern, strict=True):
            np.take(vectors, colour, out=component, mode="clip")
        pattern -= pattern.mean(axis=1, keepdims=True)
        pattern /= np.sqrt(np.vdot(pattern, pattern))
    return pattern.ravel()
