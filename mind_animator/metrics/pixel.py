"""Pixel metrics: SSIM, PSNR and hue. Frames in, one number a frame (or a clip) out; no model is asked."""

import cv2
import numpy as np

from mind_animator.metrics.frames import check_frames, check_pair

WINDOW = 7
PSNR_CAP = 100.0
HUE_FRAMES = 6
_STRIP = 1 << 15
_LUMINANCE = (0.01 * 255) ** 2
_CONTRAST = (0.03 * 255) ** 2


def ssim(ground_truth: np.ndarray, prediction: np.ndarray, sums: np.ndarray | None = None) -> np.ndarray:
    r"""Structural similarity of each frame, equal to scikit-image's (7 x 7 window, RGB, data range 255).

    With means :math:`\mu` and sample (n - 1) variances over each whole window inside the frame::

        SSIM = mean of (2 mu_t mu_p + C1) (2 cov + C2) / ((mu_t^2 + mu_p^2 + C1) (var_t + var_p + C2)),
        C1 = (.01 * 255)^2,  C2 = (.03 * 255)^2

    The window sums are integers, hence exact; only the last quotient is rounded (float32).

    Parameters
    ----------
    ground_truth, prediction : ndarray of shape (..., frame, height, width, 3), uint8
        RGB, at least 7 x 7 pixels.
    sums : ndarray, optional
        `window_sums` of the ground truth, where it meets several predictions; the same values, to the last bit.

    Returns
    -------
    ndarray of shape (..., frame), float64
        In [-1, 1], higher is better, 1 for equal frames. The score of a clip is its mean over frames.

    References
    ----------
    Wang, Bovik, Sheikh & Simoncelli (2004), "Image quality assessment: from error visibility to structural
    similarity", IEEE Transactions on Image Processing 13.
    """
    check_pair(ground_truth, prediction)
    shape = ground_truth.shape[-3:]
    frames = ground_truth.reshape(-1, *shape)
    kept = (window_sums(frame[None])[0] for frame in frames)
    if sums is not None:
        inner = _inner(shape)
        if sums.shape != (*ground_truth.shape[:-3], *inner) or sums.dtype != np.int32:
            raise ValueError(
                f"Expected sums {(*ground_truth.shape[:-3], *inner)} int32, got {sums.shape} {sums.dtype}."
            )
        kept = sums.reshape(-1, *inner)
    values = [_ssim(t, p, s) for t, p, s in zip(frames, prediction.reshape(-1, *shape), kept, strict=True)]
    return np.reshape(values, ground_truth.shape[:-3])


def window_sums(frames: np.ndarray) -> np.ndarray:
    """Sums over every 7 x 7 window inside a frame: all that SSIM asks of the ground truth alone.

    Parameters
    ----------
    frames : ndarray of shape (..., frame, height, width, 3), uint8

    Returns
    -------
    ndarray of shape (..., frame, height - 6, width - 6, 3), int32
        Grey levels, exact.
    """
    check_frames(frames)
    shape = frames.shape[-3:]
    sums = np.empty((*frames.shape[:-3], *_inner(shape)), np.int32)
    rows = _rows(shape)
    pairs = zip(frames.reshape(-1, *shape), sums.reshape(-1, *_inner(shape)), strict=True)
    for frame, place in pairs:
        for top in range(0, len(place), rows):
            place[top : top + rows] = _window_sum(frame[top : top + rows + WINDOW - 1])
    return sums


def _inner(shape: tuple[int, ...]) -> tuple[int, int, int]:
    height, width, channels = shape
    if min(height, width) < WINDOW:
        raise ValueError(f"Expected frames of at least {WINDOW} x {WINDOW} pixels, got {shape}.")
    return height - WINDOW + 1, width - WINDOW + 1, channels


def _rows(shape: tuple[int, ...]) -> int:
    return max(8, _STRIP // shape[1])  # a strip's sums stay in the cache


def _ssim(ground_truth: np.ndarray, prediction: np.ndarray, sums: np.ndarray) -> float:
    rows, total = _rows(ground_truth.shape), 0.0
    for top in range(0, len(sums), rows):
        strip = slice(top, top + rows + WINDOW - 1)
        total += _ssim_sum(ground_truth[strip], prediction[strip], sums[top : top + rows])
    return total / sums.size


def _ssim_sum(ground_truth: np.ndarray, prediction: np.ndarray, t: np.ndarray) -> float:
    n = WINDOW * WINDOW
    difference = cv2.absdiff(ground_truth, prediction)
    p = _window_sum(prediction)
    product = _window_sum(cv2.multiply(ground_truth, prediction, dtype=cv2.CV_16U))
    squares = _window_sum(cv2.multiply(difference, difference, dtype=cv2.CV_16U))
    # int32 throughout: no term below exceeds 2 * 49^2 * 255^2 = 3.2e8
    means = t * p
    powers = t * t + p * p
    covariance = n * product - means
    variances = n * (squares + 2 * product) - powers  # sum (t - p)^2 + 2 t p = sum t^2 + p^2
    c1, c2 = np.float32(n * n * _LUMINANCE), np.float32(n * (n - 1) * _CONTRAST)
    above = ((2 * means).astype(np.float32) + c1) * ((2 * covariance).astype(np.float32) + c2)
    below = (powers.astype(np.float32) + c1) * (variances.astype(np.float32) + c2)
    above /= below
    return float(above.sum(dtype=np.float64))


def _window_sum(image: np.ndarray) -> np.ndarray:
    """Exact sums over every 7 x 7 window that lies inside the image, int32."""
    margin = WINDOW // 2
    sums = cv2.boxFilter(image, cv2.CV_32S, (WINDOW, WINDOW), normalize=False)
    return sums[margin:-margin, margin:-margin]


def psnr(ground_truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each frame: 20 log10(255 / sqrt(MSE)), at most 100.

    Parameters
    ----------
    ground_truth, prediction : ndarray of shape (..., frame, height, width, 3), uint8

    Returns
    -------
    ndarray of shape (..., frame), float64
        Decibels in [0, 100], higher is better; equal frames score the cap. The score of a clip is its mean.

    References
    ----------
    Lu et al. (2025), "Animate Your Thoughts: Reconstruction of Dynamic Natural Vision from Human Brain
    Activity", ICLR (the cap, and the mean over frames).
    """
    check_pair(ground_truth, prediction)
    shape = ground_truth.shape[-3:]
    pairs = zip(ground_truth.reshape(-1, *shape), prediction.reshape(-1, *shape), strict=True)
    squared = np.array([cv2.norm(t, p, cv2.NORM_L2SQR) for t, p in pairs]) / np.prod(shape)
    with np.errstate(divide="ignore"):
        decibels = 10 * np.log10(255.0**2 / squared)
    return np.minimum(decibels, PSNR_CAP).reshape(ground_truth.shape[:-3])


def hue_cos_published(ground_truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Hue similarity as published ("Hue-pcc"): a cosine, of OpenCV hues that take red for blue.

    With h = the 8-bit hue (0..179) that ``BGR2HSV`` makes of an RGB frame, the mean over the first 6 frames::

        h_t . h_p / (|h_t| |h_p|)

    Kept for comparison with the literature only: the hue is an angle, so its cosine similarity with an
    arbitrary zero means little, and independent noise scores about .75. `hue_circular_corr` is the sound one.

    Parameters
    ----------
    ground_truth, prediction : ndarray of shape (..., frame, height, width, 3), uint8
        Clips of fewer than 6 frames are used whole.

    Returns
    -------
    ndarray of shape (...,), float64
        In [0, 1], higher is better; a frame whose hue is 0 throughout (e.g. grey) counts 0.

    References
    ----------
    Lu et al. (2025), "Animate Your Thoughts: Reconstruction of Dynamic Natural Vision from Human Brain
    Activity", ICLR.
    """
    check_pair(ground_truth, prediction)
    ground_truth, prediction = ground_truth[..., :HUE_FRAMES, :, :, :], prediction[..., :HUE_FRAMES, :, :, :]
    shape = ground_truth.shape[-3:]
    pairs = zip(ground_truth.reshape(-1, *shape), prediction.reshape(-1, *shape), strict=True)
    return np.reshape([_hue_cos(t, p) for t, p in pairs], ground_truth.shape[:-3]).mean(axis=-1)


def _hue_cos(ground_truth: np.ndarray, prediction: np.ndarray) -> float:
    hue_t, hue_p = (
        cv2.cvtColor(frame, cv2.COLOR_BGR2HSV)[..., 0].ravel().astype(np.float64)
        for frame in (ground_truth, prediction)
    )
    norm = np.sqrt(hue_t @ hue_t) * np.sqrt(hue_p @ hue_p)
    return float(hue_t @ hue_p / norm) if norm else 0.0


def hue_circular_corr(
    ground_truth: np.ndarray, prediction: np.ndarray, patterns: np.ndarray | None = None
) -> np.ndarray:
    """Circular correlation of hue, weighted by saturation, of each frame.

    Hue h (an angle) and saturation s (HSV, of RGB frames) make a vector in the colour plane,
    z = s exp(i h). The score is the real part of the Pearson correlation of these complex numbers over the
    pixels of a frame::

        Re sum (z_t - mean z_t) conj(z_p - mean z_p) / sqrt(sum |z_t - mean z_t|^2  sum |z_p - mean z_p|^2)

    so that a pixel counts by s_t s_p cos(h_t - h_p): grey pixels, whose hue is noise, hardly count, and no
    hue is first or last. Turning every hue of one side by an angle a multiplies the score by cos a for a
    prediction with the ground truth's layout; turning both sides leaves it as it is.

    Parameters
    ----------
    ground_truth, prediction : ndarray of shape (..., frame, height, width, 3), uint8
    patterns : ndarray of shape (..., frame, 2 * height * width), optional
        `hue_pattern` of the ground truth's frames, where it meets several predictions.

    Returns
    -------
    ndarray of shape (..., frame), float64
        In [-1, 1], higher is better; chance is 0; 0 where either frame has one colour vector throughout (a
        flat or a grey image). The score of a clip is its mean.

    References
    ----------
    This project's own; complex correlation as in Mardia & Jupp (2000), "Directional statistics", Wiley.
    """
    check_pair(ground_truth, prediction)
    shape = ground_truth.shape[-3:]
    kept = map(hue_pattern, ground_truth.reshape(-1, *shape))
    if patterns is not None:
        expected = (*ground_truth.shape[:-3], 2 * shape[0] * shape[1])
        if patterns.shape != expected:
            raise ValueError(f"Expected patterns {expected}, got {patterns.shape}.")
        kept = patterns.reshape(-1, expected[-1])
    pairs = zip(kept, prediction.reshape(-1, *shape), strict=True)
    return np.reshape([pattern @ hue_pattern(p) for pattern, p in pairs], ground_truth.shape[:-3])


def hue_pattern(frame: np.ndarray) -> np.ndarray:
    """A frame's hue vectors (`hue_circular_corr`) less their mean, at unit length: a dot product correlates two.

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
        for vectors, component in zip(_HUE_VECTORS, pattern, strict=True):
            np.take(vectors, colour, out=component, mode="clip")
        pattern -= pattern.mean(axis=1, keepdims=True)
        pattern /= np.sqrt(np.vdot(pattern, pattern))
    return pattern.ravel()


# [x or y, 256 * hue + saturation]; an 8-bit hue counts 2 degrees
_ANGLES = np.arange(256)[:, None] * (np.pi / 90)
_HUE_VECTORS = np.stack([f(_ANGLES) * (np.arange(256) / 255) for f in (np.cos, np.sin)]).reshape(2, -1)
