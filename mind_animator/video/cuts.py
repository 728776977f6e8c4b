"""Scene cuts between the sampled frames of a clip.

Two neighbouring samples of a shot share most of their colours even where things move, and two shots seldom do. A cut
is a pair of neighbours whose colour histograms overlap by less than half **and** that differ at least twice as much
as the clip's median pair, so that fire, flashes or a fast pan do not make every pair a cut. Dissolves longer than a
sampling step and cuts between shots of like colours are missed; a cut after a clip's last sample cannot be seen.
"""

import cv2
import numpy as np

CUT_DISTANCE = 0.5
CUT_CONTRAST = 2.0
_BINS = 8
_SIDE = 64


def frame_distances(frames: np.ndarray) -> np.ndarray:
    """Half the L1 distance between the colour histograms of neighbouring frames.

    Histograms have 8 x 8 x 8 bins over RGB of the frame reduced to at most 64 x 64 pixels, blurred by one bin along each
    axis so that a slight change of light moves little mass.

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


def cut_places(frames: np.ndarray, distance: float = CUT_DISTANCE, contrast: float = CUT_CONTRAST) -> np.ndarray:
    """Indices k such that a cut lies between frames k and k + 1 of a clip.

    Parameters
    ----------
    frames : array of shape (n_frames, height, width, 3), uint8
    distance : float
        Least histogram distance of a cut.
    contrast : float
        Least ratio to the clip's median distance.
    """
    distances = frame_distances(frames)
    return np.flatnonzero((distances >= distance) & (distances >= contrast * np.median(distances)))


def _histogram(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    small = cv2.resize(frame, (min(width, _SIDE), min(height, _SIDE)), interpolation=cv2.INTER_AREA)
    counts = cv2.calcHist([small], [0, 1, 2], None, [_BINS] * 3, [0, 256] * 3).astype(np.float64)
    for axis in range(3):
        padded = np.concatenate([np.take(counts, [0], axis), counts, np.take(counts, [-1], axis)], axis)
        below, above = (np.take(padded, range(start, start + _BINS), axis) for start in (0, 2))
        counts = (below + 2 * counts + above) / 4
    return counts.ravel() / counts.sum()
