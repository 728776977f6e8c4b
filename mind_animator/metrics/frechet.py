"""Distances between the distributions of features of two sets of clips, on which `fid` and `fvd_videomae` are built."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mind_animator.metrics.base import Description, NotComputed, SetMetric, SetScore


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared Fréchet distance of two Gaussian distributions with the means and covariances of two samples.

    With means m and covariances S::

        |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))

    With S_i = R_i^T R_i, tr (S_1 S_2)^(1/2) is the sum of the singular values of R_1 R_2^T: no root of a
    singular matrix is taken, however few samples there are.

    Parameters
    ----------
    first, second : ndarray of shape (sample, feature)
        At least two samples each.

    Returns
    -------
    float
        At least 0, in squared units of the features.
    """
    roots, means, traces = [], [], []
    for sample in (first, second):
        sample = np.asarray(sample, np.float64)
        if sample.ndim != 2 or len(sample) < 2:
            raise NotComputed(f"needs at least 2 samples per side, got {len(sample)}")
        means.append(sample.mean(axis=0))
        centred = (sample - means[-1]) / np.sqrt(len(sample) - 1)
        traces.append(np.vdot(centred, centred))
        roots.append(np.linalg.qr(centred, mode="r") if len(centred) > centred.shape[1] else centred)
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return float(max(((means[0] - means[1]) ** 2).sum() + traces[0] + traces[1] - 2 * shared, 0.0))


class FrechetDistance(SetMetric):
    """Base of Fréchet distances: features (sample, feature) per clip in, one distance per set out.

    Attributes
    ----------
    enough : int
        Samples from which on the bias is usually considered small.
    what : str
        What one sample is.
    """

    enough: ClassVar[int]
    what: ClassVar[str]
    low, higher_is_better, published, standard = 0, False, True, False

    def compare_sets(
        self, ground_truths: Sequence[Description], predictions: Sequence[Description]
    ) -> SetScore:
        """Distance, and how far apart two random halves of the ground truth are (the shuffled-ground-truth
        baseline)."""
        (key,) = ground_truths[0]
        sides = [[np.atleast_2d(clip[key]) for clip in side] for side in (ground_truths, predictions)]
        true, predicted = (np.concatenate(side) for side in sides)
        value = frechet_distance(true, predicted)
        note = ""
        if len(true) < self.enough:
            note = (
                f"{len(true)} {self.what}, {true.shape[1]} features: with fewer than {self.enough} the distance is "
                "biased upwards; compare only sets of the same size"
            )
        if len(ground_truths) > 3:
            order = np.random.default_rng(0).permutation(len(ground_truths))
            halves = [[sides[0][row] for row in part] for part in np.array_split(order, 2)]
            baseline = frechet_distance(*map(np.concatenate, halves))
            size = len(ground_truths) // 2
            note += f"{'; ' if note else ''}two random halves of the ground truth, {size} clips each: {baseline:.4g}"
        return SetScore(value, len(ground_truths), note)

    @property
    @abstractmethod
    def inputs(self) -> tuple:
        """The network whose features are compared."""
