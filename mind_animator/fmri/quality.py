"""Quality of responses: noise ceilings, and cross-correlation with the stimulus over lags."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def noise_ceiling(reliability: np.ndarray, n_repeats: int) -> np.ndarray:
    """Highest correlation that a perfect prediction can reach with the mean of ``n_repeats`` repeats (1: a
    single repeat).

    With r the mean correlation between two repeats (Spearman-Brown)::

        ceiling = sqrt(n r / (1 + (n - 1) r)),    0 where r <= 0

    References
    ----------
    Spearman (1910) and Brown (1910), British Journal of Psychology 3; Lage-Castellanos et al. (2019), PLOS
    Computational Biology 15.
    """
    if n_repeats < 1:
        raise ValueError(f"Expected at least one repeat, got {n_repeats}.")
    r = np.clip(np.nan_to_num(np.asarray(reliability, np.float64)), 0, 1)
    return np.sqrt(n_repeats * r / (1 + (n_repeats - 1) * r))


def cross_correlation(
    responses: Sequence[np.ndarray], feature: Sequence[np.ndarray], shifts: Sequence[int]
) -> np.ndarray:
    """Mean squared correlation over voxels between responses and a stimulus feature for each shift.

    At shift s the response of clip k + s is paired with the feature of clip k. Both are centred over the paired
    clips, and no clip is paired with one of another segment.

    Parameters
    ----------
    responses : sequence of ndarray (clip, voxel)
        One array per segment.
    feature : sequence of ndarray (clip,)
        One array per segment.
    shifts : sequence of int
        In clips; positive if the response is later than the feature.

    Returns
    -------
    ndarray (shift,) float64
        In [0, 1]; about 1 / number of clips if there is no relation.

    Raises
    ------
    ValueError
        If responses and feature differ in length, or a shift leaves fewer than 3 clips of a segment.
    """
    lengths = [len(values) for values in feature]
    if [len(values) for values in responses] != lengths:
        raise ValueError(
            f"Expected as many clips as the feature's {lengths}, got {[len(r) for r in responses]}."
        )
    farthest = max(abs(shift) for shift in shifts)
    if farthest > min(lengths) - 3:
        raise ValueError(f"Expected shifts of at most {min(lengths) - 3} clips, got {farthest}.")
    values = np.empty(len(shifts))
    for index, shift in enumerate(shifts):
        late = [r[max(shift, 0) : len(r) + min(shift, 0)] for r in responses]
        early = [f[max(-shift, 0) : len(f) - max(shift, 0)].astype(np.float64) for f in feature]
        count = sum(len(part) for part in early)
        mean = sum(part.sum() for part in early) / count
        early = [part - mean for part in early]
        product = sum(e @ r for e, r in zip(early, late, strict=True))
        total = sum(r.sum(axis=0, dtype=np.float64) for r in late)
        square = sum(np.einsum("cv,cv->v", r, r, dtype=np.float64) for r in late)
        scale = (square - total**2 / count) * sum(part @ part for part in early)
        values[index] = np.divide(product**2, scale, out=np.zeros_like(scale), where=scale > 0).mean()
    return values


@dataclass(frozen=True)
class LagCurve:
    """The lag at which responses follow a feature best.

    Attributes
    ----------
    lags : ndarray (lag,) float64
        Seconds between a clip's onset and its volume.
    correlation : ndarray (lag,) float64
        Root of the mean squared correlation over voxels.
    chance : float
        95th percentile of the highest correlation within an equal number of neighbouring lags far from the true ones.
    null_level : float
        Mean of the same far lags.
    peak : float
        Lag of the highest correlation, seconds.
    """

    lags: np.ndarray
    correlation: np.ndarray
    chance: float
    null_level: float
    peak: float

    @property
    def clear(self) -> bool:
        """Whether the peak exceeds the chance level."""
        return bool(self.correlation.max() > self.chance)

    def fraction_at(self, lag: float) -> float:
        """Squared correlation above ``null_level`` at the lag nearest to ``lag``, as a fraction of that at the peak."""
        above = self.correlation**2 - self.null_level**2
        return float(above[np.argmin(np.abs(self.lags - lag))] / above.max())


def lag_curve(
    responses: Sequence[np.ndarray],
    feature: Sequence[np.ndarray],
    *,
    lag: float,
    clip_seconds: float,
    first: float = -4.0,
    last: float = 14.0,
) -> LagCurve:
    """Cross-correlation of responses and a feature over lags.

    Responses are already aligned to the clips at ``lag``, so that shift s corresponds to ``lag + s clip_seconds``. The
    chance level is computed from windows of the same number of shifts at which no response is possible: the feature is
    rolled within each segment by at least 30 s beyond the range of lags (less if segments are short).

    Parameters
    ----------
    responses, feature : sequence of ndarray
        As in `cross_correlation`.
    lag : float
        Lag at which the clips were aligned, seconds.
    clip_seconds : float
        Seconds between the onsets of clips.
    first, last : float
        Range of lags, seconds; lags that the number of clips does not allow are excluded.
    """
    shortest = min(len(values) for values in feature)
    reach = max(shortest // 6, 1)
    shifts = np.arange(
        int(np.ceil((first - lag) / clip_seconds)), int(np.floor((last - lag) / clip_seconds)) + 1
    )
    shifts = shifts[np.abs(shifts) <= reach]
    squared = cross_correlation(responses, feature, shifts)
    far = min(int(np.ceil(30 / clip_seconds)), reach) + int(np.abs(shifts).max())
    rolls = np.arange(far, shortest - far + 1)
    rolled = np.concatenate(
        [np.stack([np.roll(values, roll) for roll in rolls]) for values in feature], axis=1
    )
    rolled = rolled - rolled.mean(axis=1, keepdims=True)
    joined = np.concatenate(list(responses))
    scale = joined.var(axis=0, dtype=np.float64) * len(joined) * (rolled[0] @ rolled[0])
    product = rolled.astype(joined.dtype) @ joined
    null = np.divide(product**2, scale, out=np.zeros(product.shape), where=scale > 0).mean(axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(null, min(len(shifts), len(null)))
    return LagCurve(
        lags=lag + shifts * clip_seconds,
        correlation=np.sqrt(squared),
        chance=float(np.sqrt(np.quantile(windows.max(axis=1), 0.95))),
        null_level=float(np.sqrt(null.mean())),
        peak=float(lag + shifts[int(np.argmax(squared))] * clip_seconds),
    )


def clip_features(frames: np.ndarray) -> dict[str, float]:
    """Features of a clip that are suitable for estimating the lag.

    Parameters
    ----------
    frames : ndarray (frame, height, width, 3) uint8

    Returns
    -------
    dict
        ``luminance``: mean grey level in [0, 1]; ``contrast``: standard deviation of grey levels over pixels;
        ``motion_energy``: root mean squared change of grey levels between neighbouring frames.
    """
    grey = frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    change = np.diff(grey, axis=0)
    return {
        "luminance": float(grey.mean()),
        "contrast": float(grey.std(axis=(1, 2)).mean()),
        "motion_energy": float(np.sqrt(np.mean(change**2))),
    }
