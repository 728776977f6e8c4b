"""Is the signal there, and is it where the config says: noise ceilings and cross-correlation over lags."""

from collections.abc import Sequence

import numpy as np


def noise_ceiling(reliability: np.ndarray, n_repeats: int) -> np.ndarray:
    """Highest correlation that a perfect prediction can reach with the mean of ``n_repeats`` repeats.

    With r the mean correlation between two repeats (Spearman-Brown)::

        ceiling = sqrt(n r / (1 + (n - 1) r)),    0 where r <= 0

    References
    ----------
    Spearman (1910) and Brown (1910), British Journal of Psychology 3; Lage-Castellanos et al. (2019), PLOS
    Computational Biology 15.
    """
    if n_repeats < 2:
        raise ValueError(f"Expected at least 2 repeats, got {n_repeats}.")
    r = np.clip(np.nan_to_num(np.asarray(reliability, np.float64)), 0, 1)
    return np.sqrt(n_repeats * r / (1 + (n_repeats - 1) * r))


def cross_correlation(
    responses: Sequence[np.ndarray], feature: Sequence[np.ndarray], shifts: Sequence[int]
) -> np.ndarray:
    """Mean squared correlation over voxels between responses and a stimulus feature, by shift.

    At shift s the response of clip k + s meets the feature of clip k; both are centred over the clips that meet,
    and no clip meets one of another segment.

    Parameters
    ----------
    responses : sequence of ndarray (clip, voxel)
        One a segment.
    feature : sequence of ndarray (clip,)
        One a segment.
    shifts : sequence of int
        In clips; positive where the response comes later.

    Returns
    -------
    ndarray (shift,) float64
        In [0, 1]; about 1 / number of clips where there is nothing.
    """
    if [len(r) for r in responses] != [len(f) for f in feature]:
        raise ValueError(
            f"Expected the feature's clips to be {[len(r) for r in responses]}, got {[len(f) for f in feature]}."
        )
    shortest = min(len(f) for f in feature)
    if max(map(abs, shifts)) > shortest - 3:
        raise ValueError(f"Expected shifts below {shortest - 2} clips, got {max(map(abs, shifts))}.")
    values = np.empty(len(shifts))
    for index, shift in enumerate(shifts):
        late = [r[max(shift, 0) : len(r) + min(shift, 0)] for r in responses]
        early = np.concatenate([f[max(-shift, 0) : len(f) - max(shift, 0)] for f in feature]).astype(
            np.float64
        )
        early = early - early.mean()
        count = len(early)
        product = sum(
            e @ r for e, r in zip(np.split(early, np.cumsum([len(r) for r in late])[:-1]), late, strict=True)
        )
        total = sum(r.sum(axis=0, dtype=np.float64) for r in late)
        square = sum(np.einsum("cv,cv->v", r, r, dtype=np.float64) for r in late)
        scale = (square - total**2 / count) * (early @ early)
        squared = np.divide(product**2, scale, out=np.zeros_like(scale), where=scale > 0)
        values[index] = squared.mean()
    return values


def clip_features(frames: np.ndarray) -> dict[str, float]:
    """Features of a clip that a lag can be seen with.

    Parameters
    ----------
    frames : ndarray (frame, height, width, 3) uint8

    Returns
    -------
    dict
        ``luminance``: mean grey level in [0, 1]; ``contrast``: deviation of grey levels over pixels;
        ``motion_energy``: root mean squared change of grey level from frame to frame.
    """
    grey = frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    change = np.diff(grey, axis=0)
    return {
        "luminance": float(grey.mean()),
        "contrast": float(grey.std(axis=(1, 2)).mean()),
        "motion_energy": float(np.sqrt(np.mean(change**2))),
    }
