"""The significance test of published evaluations. It is invalid and provided for comparison only."""

import numpy as np
from scipy import stats


def wilcoxon_of_bootstrap_means(
    first: np.ndarray, second: np.ndarray, *, n_bootstraps: int = 100, generator: np.random.Generator
) -> float:
    """Wilcoxon signed-rank test between bootstrap means of two methods, as published.

    The clips of each method are sampled with replacement ``n_bootstraps`` times, unpaired; the test then
    compares the two lists of means. It tests whether the means of the two *samples* differ, which is always
    the case: its p decreases with ``n_bootstraps``, and it rejects most true nulls
    (`mind_animator.statistics.calibration`).

    Parameters
    ----------
    first, second : ndarray of shape (clip,)
        Scores of two methods.
    n_bootstraps : int
    generator : numpy Generator

    Returns
    -------
    float
        The two-sided p as published; 1 if all means are equal.
    """
    means = []
    for values in (first, second):
        values = np.asarray(values, np.float64)
        if values.ndim != 1 or not values.size or not np.isfinite(values).all():
            raise ValueError(f"Expected finite scores (clip,), got {values.shape} or NaN.")
        drawn = generator.integers(len(values), size=(n_bootstraps, len(values)))
        means.append(values[drawn].mean(axis=1))
    difference = means[0] - means[1]
    return float(stats.wilcoxon(difference).pvalue) if difference.any() else 1.0
