"""Simulated subjects of the synthetic data set: cortical responses to movies of known content.

The parameters of the scenes drive named areas of the 32k fs_LR cortex:

- *structure* (V1, V2, V3, V4): luminance, two colour contrasts and the figure (the pixels covered by the object) of a
  16 x 16 image of the scene, filtered by receptive fields that are arranged retinotopically on the flat cortex (left
  hemisphere, right half of the image);
- *motion* (V1, MT, MST, V3A): speed times a tuning curve over directions;
- *semantics* (LO1-3, PIT, FFC, VVC, PH, VMV1-3, TPOJ1-3): a random code of noun and scene.

The neural drive has a rate of 4 Hz, is convolved with the canonical haemodynamic response and is sampled at
the *end* of the acquisition of each volume. A volume whose acquisition starts 4 s after the onset of a clip
then ends 5 s after the middle of that 2-s clip, where the response peaks. No network output is used in the
simulation, so that the decoding targets never drive the responses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import gamma

import numpy as np

from mind_animator.artefacts.cortex import N_GRAYORDINATES, flat_coordinates, roi_names
from mind_animator.synthetic import scenes

PLANTED: Mapping[str, tuple[str, ...]] = {
    "structure": ("V1", "V2", "V3", "V4"),
    "motion": ("V1", "MT", "MST", "V3A"),
    "semantics": (
        "LO1", "LO2", "LO3", "PIT", "FFC", "VVC", "PH", "VMV1", "VMV2", "VMV3", "TPOJ1", "TPOJ2", "TPOJ3",
    ),
}  # fmt: skip
SIGNALS = ("full", "no_motion", "none")
TR = 2.0
RATE = 4.0  # neural drive, Hz
FROZEN = 12.0  # seconds for which the first and the last frame are shown before and after a movie
IMAGE = 16  # height and width of the image that drives the structure areas
BASELINE, UNIT = (
    10_000.0,
    100.0,
)  # mean of the volumes, and size of one standard deviation of a response (1 %)

_FIELD = {"V1": 0.05, "V2": 0.07, "V3": 0.09, "V4": 0.13}  # receptive fields, frame widths
# fractions of luminance, red-green, blue-yellow and figure
_CHANNELS = {
    "V1": (1.0, 0.8, 0.8, 0.4),
    "V2": (1.0, 0.8, 0.8, 0.6),
    "V3": (1.0, 0.8, 0.8, 0.8),
    "V4": (0.6, 1.0, 1.0, 0.8),
}
_GAIN = {"V2": 1.15, "V3": 1.15, "V4": 1.15, "MT": 1.4, "MST": 1.3, "V3A": 1.1}
_MOTION_IN_V1 = 0.7
_AUTOCORRELATION = 0.35
_SHARED = 4  # number of noise components shared by many vertices
_BLOCK = 4096


@dataclass(frozen=True)
class SimulatedSubject:
    """Weights of one simulated subject.

    Attributes
    ----------
    rows : ndarray (driven,) int64
        Cortical grayordinates that are driven by any feature, ascending.
    weights : dict of str to ndarray (feature, driven) float32
        ``structure`` (1024), ``motion`` (5), ``semantics`` (18): response of a vertex to one unit of each feature. Over
        a long movie the standard deviation of the response of a vertex is about its gain.
    """

    rows: np.ndarray
    weights: dict[str, np.ndarray]


def canonical_response(seconds: np.ndarray) -> np.ndarray:
    """SPM's canonical haemodynamic response, per second::

        h(t) = t^5 exp(-t) / 5! - t^15 exp(-t) / (6 x 15!),    t >= 0, divided by its integral 5 / 6

    The peak is at 5 s, the undershoot at 15.7 s.
    """
    t = np.maximum(np.asarray(seconds, np.float64), 0)
    return (t**5 / gamma(6) - t**15 / (6 * gamma(16))) * np.exp(-t) * 6 / 5


def volume_times(n_volumes: int, recording_start: float) -> np.ndarray:
    """Time of each volume, i.e. the end of its acquisition, in seconds since the start of the movie."""
    return recording_start + TR * np.arange(1, n_volumes + 1)


def drive(shots: list[scenes.Shot], signal: str = "full") -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Neural drive during a movie, including its frozen first and last frames.

    Parameters
    ----------
    shots : list of Shot
    signal : str
        ``full``; ``no_motion`` (no motion drive, and the object of a shot stays at its mid-shot position); ``none`` (no
        drive at all).

    Returns
    -------
    times : ndarray (time,)
        Middles of bins of 0.25 s, in seconds since the start of the movie, from 12 s before to 12 s after the movie.
    features : dict of ndarray (time, feature) float32
        ``structure``: luminance, red-green and blue-yellow contrast of each pixel, in [-1, 1], and the opacity of the
        object; ``motion``: relative speed times (1, cos d, sin d, cos 2d, sin 2d) of direction d; ``semantics``:
        indicators of noun and of scene. Features that the signal excludes are 0.
    """
    if signal not in SIGNALS:
        raise ValueError(f"Expected the signal to be one of {SIGNALS}, got {signal!r}.")
    end = shots[-1].offset
    times = np.arange(-FROZEN, end + FROZEN, 1 / RATE) + 0.5 / RATE
    features = {
        "structure": np.zeros((len(times), 4 * IMAGE**2), np.float32),
        "motion": np.zeros((len(times), 5), np.float32),
        "semantics": np.zeros((len(times), len(scenes.NOUNS) + len(scenes.SCENES)), np.float32),
    }
    if signal == "none":
        return times, features
    shown = np.clip(times, 0, end - 0.5 / RATE)
    number = np.searchsorted([shot.onset for shot in shots], shown, side="right") - 1
    for index, shot in enumerate(shots):
        rows = np.flatnonzero(number == index)
        still = signal == "no_motion" or shot.speed == 0
        within = np.full(len(rows), shot.duration / 2) if still else shown[rows] - shot.onset
        moments, inverse = np.unique(within, return_inverse=True)  # a still image is drawn once
        images = [_seen(shot, float(moment)).ravel() for moment in moments]
        features["structure"][rows] = np.array(images)[inverse] if images else 0
        features["semantics"][rows, scenes.NOUNS.index(shot.noun)] = 1
        features["semantics"][rows, len(scenes.NOUNS) + scenes.SCENES.index(shot.scene)] = 1
        if signal == "full":
            d, speed = shot.direction, shot.speed / scenes.SPEED_RANGE[1]
            moving = rows[(times[rows] >= 0) & (times[rows] < end)]
            features["motion"][moving] = speed * np.array(
                (1, np.cos(d), np.sin(d), np.cos(2 * d), np.sin(2 * d))
            )
    return times, features


def haemodynamics(
    times: np.ndarray, features: Mapping[str, np.ndarray], volumes: np.ndarray
) -> dict[str, np.ndarray]:
    """Features convolved with the canonical response and sampled at the volumes' times, (volume, feature)."""
    kernel = (canonical_response(volumes[:, None] - times) / RATE).astype(np.float32)
    return {name: kernel @ feature for name, feature in features.items()}


def simulate_subject(seed: int, subject: int) -> SimulatedSubject:
    """Generate a simulated subject: retinotopic layout, tuning, codes and gains.

    Parameters
    ----------
    seed : int
        Seed of the synthetic data set.
    subject : int
        Number of the subject; each subject has a separate random stream.
    """
    rng = np.random.default_rng((seed, subject, 1))
    names = roi_names()
    bare = np.strings.slice(names, 2, None)
    driven = sorted({roi for rois in PLANTED.values() for roi in rois})
    rows = np.flatnonzero(np.isin(bare, driven))
    weights = {
        "structure": np.zeros((4 * IMAGE**2, len(rows)), np.float32),
        "motion": np.zeros((5, len(rows)), np.float32),
        "semantics": np.zeros((len(scenes.NOUNS) + len(scenes.SCENES), len(rows)), np.float32),
    }
    flat = flat_coordinates()
    for roi in PLANTED["structure"]:
        for side in "LR":
            columns = np.flatnonzero(names[rows] == f"{side}_{roi}")
            centres = _retinotopy(flat[rows[columns]], side, rng)
            weights["structure"][:, columns] = _receptive_fields(centres, roi, rng)
    columns = np.flatnonzero(np.isin(bare[rows], PLANTED["motion"]))
    preferred = rng.uniform(0, 2 * np.pi, len(columns))
    weights["motion"][:, columns] = [
        0.4 * rng.standard_normal(len(columns)),
        np.cos(preferred),
        np.sin(preferred),
        0.3 * np.cos(2 * preferred),
        0.3 * np.sin(2 * preferred),
    ]
    columns = np.flatnonzero(np.isin(bare[rows], PLANTED["semantics"]))
    angle = rng.uniform(0, np.pi / 2, len(columns))
    nouns = rng.standard_normal((len(scenes.NOUNS), len(columns))) * np.sin(angle)
    settings = rng.standard_normal((len(scenes.SCENES), len(columns))) * np.cos(angle)
    weights["semantics"][:, columns] = np.concatenate([nouns, settings])
    gains = np.exp(0.3 * rng.standard_normal(len(rows)))
    gains *= [_GAIN.get(roi, 1.0) for roi in bare[rows]]
    return SimulatedSubject(rows, _scaled(weights, gains, bare[rows]))


def responses(subject: SimulatedSubject, convolved: Mapping[str, np.ndarray]) -> np.ndarray:
    """Noise-free response of the driven vertices, (driven, volume) float32, in standard deviations."""
    return sum(subject.weights[name].T @ feature.T for name, feature in convolved.items())


def simulate_run(
    subject: SimulatedSubject, signal: np.ndarray, noise: float, rng: np.random.Generator
) -> np.ndarray:
    """One run: signal, autocorrelated noise, drifts and a baseline.

    Parameters
    ----------
    subject : SimulatedSubject
    signal : ndarray (driven, volume) float32
        Noise-free responses from `responses`.
    noise : float
        Standard deviation of the noise (without drifts), relative to that of the response.
    rng : Generator
        Random generator of the run.

    Returns
    -------
    ndarray (91282, volume) float32
        All grayordinates; subcortical ones have no signal. The mean is about 10,000, and one standard deviation of the
        response is 100.
    """
    n_volumes = signal.shape[1]
    own = np.sqrt(0.85).astype(np.float32) * _autoregression(n_volumes, _AUTOCORRELATION)
    common = rng.standard_normal((_SHARED, n_volumes), np.float32) @ _autoregression(n_volumes, 0.7).T
    time = np.linspace(-1, 1, n_volumes)
    waves = [np.cos(np.pi * k * (time + 1) / 2 + rng.uniform(0, 2 * np.pi)) for k in (5, 6)]
    slow = np.array([time, time**2 - 1 / 3, time**3 - 0.6 * time, *waves], np.float32)
    courses = np.concatenate([common, slow])
    size = np.array([np.sqrt(0.15 / _SHARED)] * _SHARED + [1.5, 1.0, 0.7, 0.15, 0.15], np.float32)
    series = np.empty((N_GRAYORDINATES, n_volumes), np.float32)
    for start in range(0, N_GRAYORDINATES, _BLOCK):
        block = series[start : start + _BLOCK]
        white = rng.standard_normal(block.shape, np.float32)
        np.matmul(white, own.T, out=block)
        block += (rng.standard_normal((len(block), len(courses)), np.float32) * size) @ courses
        block *= np.float32(noise)
        first, last = np.searchsorted(subject.rows, (start, start + len(block)))
        block[subject.rows[first:last] - start] += signal[first:last]
        block *= np.float32(UNIT)
        block += np.float32(BASELINE) * (1 + 0.1 * rng.standard_normal((len(block), 1), np.float32))
    return series


def _scaled(weights: dict[str, np.ndarray], gains: np.ndarray, rois: np.ndarray) -> dict[str, np.ndarray]:
    """Scale weights so that the standard deviation of each vertex over a long movie of all combinations is its gain."""
    times, features = drive(scenes.sample_movie(0, 480.0, "all"))
    convolved = haemodynamics(times, features, volume_times(245, 2.0))
    scaled = {}
    for name, weight in weights.items():
        deviation = (convolved[name] @ weight).std(axis=0)
        fraction = np.where(rois == "V1", _MOTION_IN_V1, 1.0) if name == "motion" else 1.0
        scaled[name] = (
            weight * np.divide(gains * fraction, deviation, where=deviation > 0, out=0 * gains)
        ).astype(np.float32)
    return scaled


def _seen(shot: scenes.Shot, time: float) -> np.ndarray:
    """Input channels (4, height, width): luminance and contrasts in [-1, 1], and opacity of the object."""
    red, green, blue = np.moveaxis(scenes.render_frame(shot, time, IMAGE).astype(np.float32) / 255, -1, 0)
    luminance = 2 * (0.299 * red + 0.587 * green + 0.114 * blue) - 1
    figure = scenes.object_alpha(shot, time, IMAGE)
    return np.stack([luminance, red - green, blue - (red + green) / 2, figure])


def _retinotopy(flat: np.ndarray, side: str, rng: np.random.Generator) -> np.ndarray:
    """Centres (x, y) of the receptive fields, in frame widths, of the vertices of an area on the flat map.

    The patch of the area is rotated by a subject-specific angle and spread evenly over the half of the image that is
    contralateral to the hemisphere, slightly beyond the vertical midline.
    """
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = (flat - flat.mean(axis=0)) @ turn
    spread = turned.argsort(axis=0).argsort(axis=0) / max(len(flat) - 1, 1)
    spread = np.clip(spread + 0.02 * rng.standard_normal(spread.shape), 0, 1)
    spread[:, 0] = 0.54 * spread[:, 0] + (0.46 if side == "L" else 0.0)
    return spread


def _receptive_fields(centres: np.ndarray, roi: str, rng: np.random.Generator) -> np.ndarray:
    """Weights (channel x pixel, vertex) of Gaussian receptive fields, each with a random mixture of the channels."""
    middles = (np.arange(IMAGE) + 0.5) / IMAGE
    width = 2 * _FIELD[roi] ** 2
    across = np.exp(-((middles[:, None] - centres[:, 0]) ** 2) / width)  # (column, vertex)
    down = np.exp(-((middles[:, None] - centres[:, 1]) ** 2) / width)  # (row, vertex)
    field = (down[:, None] * across[None]).reshape(IMAGE**2, -1)
    field /= field.sum(axis=0)
    mixture = rng.standard_normal((4, len(centres))) * np.array(_CHANNELS[roi])[:, None]
    return (mixture[:, None] * field[None]).reshape(4 * IMAGE**2, -1)


def _autoregression(length: int, coefficient: float) -> np.ndarray:
    """Matrix that converts white noise to stationary AR(1) noise of unit variance, (length, length) float32."""
    age = np.arange(length)[:, None] - np.arange(length)
    powers = np.where(age >= 0, float(coefficient) ** np.maximum(age, 0), 0.0)
    powers[:, 1:] *= np.sqrt(1 - coefficient**2)
    return powers.astype(np.float32)
