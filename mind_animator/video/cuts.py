"""Scene cuts between the sampled frames of a clip.

Neighbouring samples of one shot have most of their colours in common, or at least their layout after a small shift. Two
different shots have neither in common, or have a similar layout with other colours. A pair of neighbouring samples
therefore spans a cut if its colour distance is at least .4, or if its layout distance is at least .45 and its colour
distance is at least .07.

The thresholds were chosen on manually labelled real clips (4 Hz; cuts: colour .15 to .63 with layout .49 to .88; no
cut: colour up to .11 with layout up to .41, or layout up to .50 with colour .03), and no pair of the
synthetic data set is close to them. Known errors: an object that fills the image within one sampling step is marked as
a cut; dissolves longer than that step, and cuts after the last sample of a clip, are not detected.
"""

import cv2
import numpy as np

COLOUR_ALONE = 0.4
COLOUR_BESIDE_LAYOUT = 0.07
LAYOUT = 0.45
_BINS = 8
_COLOUR_SIDE = 64
_LAYOUT_SIDE = 16
_SHIFT = 3


def cut_positions(frames: np.ndarray) -> np.ndarray:
    """Indices k such that a cut lies between frames k and k + 1 of a clip.

    Parameters
    ----------
    frames : array of shape (n_frames, height, width, 3), uint8
    """
    colour, layout = colour_distances(frames), layout_distances(frames)
    return np.flatnonzero((colour >= COLOUR_ALONE) | ((layout >= LAYOUT) & (colour >= COLOUR_BESIDE_LAYOUT)))


def colour_distances(frames: np.ndarray) -> np.ndarray:
    """Half the L1 distance between the colour histograms of neighbouring frames.

    Histograms have 8 x 8 x 8 bins over RGB of the frame reduced to at most 64 x 64 pixels, blurred by one
    bin along each axis, so that a slight change of illumination has little effect.

    Parameters
    ----------
    frames : array of shape (n_frames, height, width, 3), uint8

    Returns
    -------
    array of shape (n_frames - 1,), float64
        0 (the same colours) to 1 (no colour in common).
    """
    histograms = np.stack([_histogram(frame) for frame in frames])
    return np.abs(np.diff(histograms, axis=0)).sum(axis=1) / 2


def layout_distances(frames: np.ndarray) -> np.ndarray:
    """One minus the best correlation of neighbouring frames' brightness over small shifts.

    Frames are reduced to 16 x 16 grey values; shifts reach 3 of these cells in each direction.

    Parameters
    ----------
    frames : array of shape (n_frames, height, width, 3), uint8

    Returns
    -------
    array of shape (n_frames - 1,), float64
        0 (the same layout) to 2; a uniform frame has distance 1 from every other frame.
    """
    side = (_LAYOUT_SIDE, _LAYOUT_SIDE)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    small = np.stack([cv2.resize(frame, side, interpolation=cv2.INTER_AREA) for frame in grey])
    small = small.astype(np.float64)
    best = np.full(len(frames) - 1, -1.0)
    for down in range(-_SHIFT, _SHIFT + 1):
        for right in range(-_SHIFT, _SHIFT + 1):
            before = _overlap(small[:-1], down, right)
            after = _overlap(small[1:], -down, -right)
            best = np.maximum(best, _correlation(before, after))
    return 1 - best


def _overlap(frames: np.ndarray, down: int, right: int) -> np.ndarray:
    """The part of the frames that remains after a shift, flattened and centred."""
    side = frames.shape[1]
    rows = slice(max(down, 0), side + min(down, 0))
    columns = slice(max(right, 0), side + min(right, 0))
    part = frames[:, rows, columns].reshape(len(frames), -1)
    return part - part.mean(axis=1, keepdims=True)


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.divide((first * second).sum(axis=1), scale, out=np.zeros(len(scale)), where=scale > 1e-6)


def _histogram(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    size = (min(width, _COLOUR_SIDE), min(height, _COLOUR_SIDE))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    counts = cv2.calcHist([small], [0, 1, 2], None, [_BINS] * 3, [0, 256] * 3).astype(np.float64)
    for axis in range(3):
        padded = np.concatenate([np.take(counts, [0], axis), counts, np.take(counts, [-1], axis)], axis)
        below, above = (np.take(padded, range(start, start + _BINS), axis) for start in (0, 2))
        counts = (below + 2 * counts + above) / 4
    return counts.ravel() / counts.sum()
