"""SSIM."""

import cv2
import numpy as np

from mind_animator.metrics.base import Description, Metric, NotComputed

WINDOW = 7
_STRIP = 40_000  # values of one strip of a frame: its sums stay in the cache
_N = WINDOW * WINDOW
_LUMINANCE = np.float32(_N * _N * (0.01 * 255) ** 2)
_CONTRAST = np.float32(_N * (_N - 1) * (0.03 * 255) ** 2)


class Ssim(Metric):
    r"""Structural similarity of frames, equal to scikit-image's (7 x 7 window, RGB, data range 255).

    With means :math:`\mu` and sample (n - 1) variances over each whole window inside the frame::

        SSIM = mean of (2 mu_t mu_p + C1) (2 cov + C2) / ((mu_t^2 + mu_p^2 + C1) (var_t + var_p + C2)),
        C1 = (.01 * 255)^2,  C2 = (.03 * 255)^2

    The window sums are integers, hence exact; only the quotient is rounded (float32). The score of a clip is the mean
    over its frames.

    Range: -1 to 1, 1 for equal frames.

    References
    ----------
    Wang, Bovik, Sheikh & Simoncelli (2004), "Image quality assessment: from error visibility to structural
    similarity", IEEE Transactions on Image Processing 13.
    """

    name, label = "ssim", "SSIM"
    low, high, published, order = -1, 1, True, 30
    headline = "SSIM: structural similarity to the ground truth"

    def describe(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Window sums of each frame and 49^2 times their variances, int32: no value exceeds 3.2e8."""
        count, height, width, channels = frames.shape
        if min(height, width) < WINDOW:
            raise NotComputed(
                f"expected frames of at least {WINDOW} x {WINDOW} pixels, got {width} x {height}"
            )
        sums = np.empty((count, height - WINDOW + 1, width - WINDOW + 1, channels), np.int32)
        variances = np.empty_like(sums)
        for index, whole, inner in _strips(frames.shape):
            strip, total = frames[index, whole], sums[index, inner]
            total[...] = _window_sum(strip)
            squares = _window_sum(np.multiply(strip, strip, dtype=np.uint16))
            variance = np.multiply(squares, _N, out=variances[index, inner])
            variance -= total * total
        return {"frames": frames, "sums": sums, "variances": variances}

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Similarity of each frame, (frame,) float64."""
        frames, predicted = ground_truth["frames"], prediction["frames"]
        total = np.zeros(len(frames))
        for index, whole, inner in _strips(frames.shape):
            product = _window_sum(np.multiply(frames[index, whole], predicted[index, whole], dtype=np.uint16))
            t, p = ground_truth["sums"][index, inner], prediction["sums"][index, inner]
            means, powers = t * p, t * t
            powers += p * p
            covariances = product * _N
            covariances -= means
            above = covariances.astype(np.float32)
            above *= 2
            above += _CONTRAST
            factor = means.astype(np.float32)
            factor *= 2
            factor += _LUMINANCE
            above *= factor
            below = powers.astype(np.float32)
            below += _LUMINANCE
            factor = (ground_truth["variances"][index, inner] + prediction["variances"][index, inner]).astype(
                np.float32
            )
            factor += _CONTRAST
            below *= factor
            above /= below
            total[index] += above.sum(dtype=np.float64)
        return total / ground_truth["sums"][0].size


def _strips(shape: tuple[int, ...]) -> list[tuple[int, slice, slice]]:
    """Frame, rows of pixels and rows of windows of each strip."""
    count, height, width, channels = shape
    rows = max(16, _STRIP // (width * channels))
    return [
        (index, slice(top, top + rows + WINDOW - 1), slice(top, top + rows))
        for index in range(count)
        for top in range(0, height - WINDOW + 1, rows)
    ]


def _window_sum(image: np.ndarray) -> np.ndarray:
    """Exact sums over every 7 x 7 window inside the image, int32."""
    margin = WINDOW // 2
    sums = cv2.boxFilter(image, cv2.CV_32S, (WINDOW, WINDOW), normalize=False)
    return sums[margin:-margin, margin:-margin]
