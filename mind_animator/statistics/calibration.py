"""Calibration of tests: false-positive rates on simulated nulls, with their intervals."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from mind_animator.statistics.blocks import block_labels
from mind_animator.statistics.permutation import sign_flip_test
from mind_animator.statistics.published import wilcoxon_of_bootstrap_means


def binomial_interval(hits: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) confidence interval of a rate.

    References
    ----------
    Clopper & Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26.
    """
    if not 0 <= hits <= trials or trials < 1 or not 0 < level < 1:
        raise ValueError(f"Expected 0 <= hits <= trials and 0 < level < 1, got {hits}, {trials} and {level}.")
    interval = stats.binomtest(hits, trials).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Null:
    """Two equally good methods on the same clips.

    A clip's score is the sum of the difficulty of the clip (shared by the methods) and of independent noise of
    the method; both are Gaussian, and neighbouring clips of a movie are correlated (first-order
    autoregression).

    Attributes
    ----------
    n_movies, clips_per_movie : int
    hardness : float
        Standard deviation of the shared difficulty, relative to that of the noise of a method.
    autocorrelation : float
        Correlation of neighbouring clips, in [0, 1).
    """

    n_movies: int = 5
    clips_per_movie: int = 240
    hardness: float = 1.0
    autocorrelation: float = 0.3

    def movies(self) -> list[str]:
        """The movie of each clip."""
        return [f"movie{m}" for m in range(self.n_movies) for _ in range(self.clips_per_movie)]

    def draw(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the two methods, each (clip,) float64."""
        noise = generator.standard_normal((3, self.n_movies, self.clips_per_movie))
        noise[..., 1:] *= np.sqrt(1 - self.autocorrelation**2)
        for t in range(1, self.clips_per_movie):
            noise[..., t] += self.autocorrelation * noise[..., t - 1]
        shared, first, second = noise.reshape(3, -1)
        return self.hardness * shared + first, self.hardness * shared + second


@dataclass(frozen=True)
class Calibration:
    """P values of each test on the same simulated nulls.

    Attributes
    ----------
    p : dict of name to ndarray of shape (null,)
    """

    p: dict[str, np.ndarray]

    def rejections(self, alpha: float = 0.05) -> list[dict]:
        """One row per test: rejections, nulls, rate and its 95 % interval (low, high)."""
        rows = []
        for test, p in self.p.items():
            hits = int((p <= alpha).sum())
            low, high = binomial_interval(hits, len(p))
            rows.append(
                {
                    "test": test,
                    "rejections": hits,
                    "nulls": len(p),
                    "rate": hits / len(p),
                    "low": low,
                    "high": high,
                }
            )
        return rows


def calibrate(
    null: Null, *, n_nulls: int = 1000, block: int = 10, n_permutations: int = 999, seed: int
) -> Calibration:
    """Run the paired test and the published one on simulated nulls.

    Parameters
    ----------
    null : Null
    n_nulls : int
    block : int
        Clips per block of `sign_flip_test`.
    n_permutations : int
    seed : int
        Each simulated null has a separate generator, so that the first ``n`` are the same for any ``n_nulls``.

    Returns
    -------
    Calibration
        Tests ``paired_sign_flip`` and ``wilcoxon_of_bootstrap_means``.
    """
    if n_nulls < 1:
        raise ValueError(f"Expected at least one null, got {n_nulls}.")
    blocks = block_labels(null.movies(), block)
    p: dict[str, list[float]] = {"paired_sign_flip": [], "wilcoxon_of_bootstrap_means": []}
    for child in np.random.SeedSequence(seed).spawn(n_nulls):
        generator = np.random.default_rng(child)
        first, second = null.draw(generator)
        result = sign_flip_test(first - second, blocks, n_permutations=n_permutations, generator=generator)
        p["paired_sign_flip"].append(result.p)
        p["wilcoxon_of_bootstrap_means"].append(
            wilcoxon_of_bootstrap_means(first, second, generator=generator)
        )
    return Calibration({test: np.array(values) for test, values in p.items()})
