"""N-way identification accuracy in closed form, on which the n-way metrics are built.

The field draws n - 1 distractor classes at random 20 to 100 times. The number of distractors that beat the target
follows a hypergeometric law, so the expectation is computed exactly.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cache
from math import comb
from typing import ClassVar, Self

import numpy as np

from mind_animator.metrics.base import Description, Metric, NotComputed

N_TARGETS = 3


def nway_accuracy(scores: np.ndarray, target: np.ndarray, *, n_way: int, top_k: int = 1) -> np.ndarray:
    """Probability that one of the target classes is among the best ``top_k`` of ``n_way`` candidates.

    A trial draws d = n_way - 1 distractors without replacement from the M = C - G classes that are no target.
    It is a hit if fewer than k = top_k of them score at least as high as the best target class. With r such
    distractors among the M::

        P(hit) = sum_{j < k} C(r, j) C(M - r, d - j) / C(M, d)

    which is 1 - r / M for two candidates.

    Parameters
    ----------
    scores : ndarray of shape (..., n_classes), float32 or float64
        Logits, or anything that grows with the class probability; a float16 softmax ties at zero.
    target : integer ndarray of shape (..., n_targets)
        Distinct classes that count as right.
    n_way : int
        Candidates of a trial, the target included.
    top_k : int
        Worst rank that counts as a hit.

    Returns
    -------
    ndarray of shape (...,), float64
        In [0, 1], higher is better; for one target and no ties chance is top_k / n_way. Ties lose.

    References
    ----------
    Chen, Qing & Zhou (2023), "Cinematic Mindscapes: high-quality video reconstruction from brain activity",
    NeurIPS (the sampled score).
    """
    if scores.ndim != target.ndim or scores.shape[:-1] != target.shape[:-1] or scores.ndim < 1:
        raise ValueError(
            f"Expected scores (..., n_classes) and target (..., n_targets), got {scores.shape} and {target.shape}."
        )
    if not scores.size or scores.dtype.kind != "f" or not np.isfinite(scores).all():
        raise ValueError(
            f"Expected finite scores, at least one, got {scores.dtype} with NaN, infinity or nothing."
        )
    classes = scores.shape[-1]
    population = classes - target.shape[-1]
    if not 1 <= top_k < n_way <= population + 1:
        raise ValueError(
            f"Expected 1 <= top_k < n_way <= {population + 1}, got top_k={top_k}, n_way={n_way}."
        )
    ordered = np.sort(target, axis=-1)
    wrong = (ordered[..., 0] < 0) | (ordered[..., -1] >= classes) | (np.diff(ordered) == 0).any(-1)
    if wrong.any():
        raise ValueError(
            f"Expected distinct target classes in 0..{classes - 1}, got {target[wrong][0].tolist()}."
        )
    of_targets = np.take_along_axis(scores, target, -1)
    best = of_targets.max(-1, keepdims=True)
    rivals = np.count_nonzero(scores >= best, axis=-1) - np.count_nonzero(of_targets >= best, axis=-1)
    return _hit_probability(population, n_way - 1, top_k)[rivals]


@cache
def _hit_probability(population: int, draws: int, top_k: int) -> np.ndarray:
    """P(fewer than ``top_k`` rivals drawn) for every number of rivals 0..population, float64.

    Quotients of whole numbers, each rounded once.
    """
    total = comb(population, draws)
    ways = (
        sum(comb(rivals, j) * comb(population - rivals, draws - j) for j in range(top_k))
        for rivals in range(population + 1)
    )
    return np.array([way / total for way in ways])


def top_classes(scores: np.ndarray, n_targets: int = N_TARGETS) -> np.ndarray:
    """Classes with the highest scores, (..., n_targets) int64: the published targets, from the ground truth."""
    if not 1 <= n_targets < scores.shape[-1]:
        raise ValueError(f"Expected 1 to {scores.shape[-1] - 1} targets, got {n_targets}.")
    return np.argpartition(scores, -n_targets, axis=-1)[..., -n_targets:]


class NWay(Metric):
    """Base of the n-way accuracies: logits of a classifier in, `nway_accuracy` out.

    Attributes
    ----------
    form : str
        Name with ``{n}`` for the number of candidates; ``form_label`` the same of the label.
    classifier : str
        What messages call the classifier.
    """

    form: ClassVar[str]
    form_label: ClassVar[str]
    classifier: ClassVar[str]
    low, high, group, compact = 0, 1, "content", True

    def __init__(self, n_way: int = 2) -> None:
        self.n_way = n_way
        self.name, self.label = self.form.format(n=n_way), self.form_label.format(n=n_way)
        self.paired = n_way == 2 and self.paired

    @classmethod
    def variants(cls, n_ways: Sequence[int]) -> list[Metric]:
        """One metric for each number of candidates."""
        return [cls(n_way) for n_way in n_ways]

    @classmethod
    def named(cls, name: str) -> Self | None:
        """The metric with the number of candidates that the name states."""
        before, after = cls.form.split("{n}")
        count = name.removeprefix(before).removesuffix(after)
        return cls(int(count)) if count.isdigit() and cls.form.format(n=count) == name else None

    def describe(self, logits: np.ndarray) -> dict[str, np.ndarray]:
        """Logits, and the classes that rank highest."""
        if self.n_way > (classes := logits.shape[-1]) - N_TARGETS + 1:
            raise NotComputed(f"the {self.classifier} has {classes} classes")
        return {"logits": logits, "top": top_classes(logits)}

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Accuracy of each frame, or of the clip."""
        return nway_accuracy(prediction["logits"], ground_truth["top"], n_way=self.n_way)

    def compare_many(self, ground_truth: Description, predictions: Sequence[Description]) -> np.ndarray:
        """Accuracies (prediction,) float64."""
        logits = np.stack([prediction["logits"] for prediction in predictions])
        target = np.broadcast_to(ground_truth["top"], (*logits.shape[:-1], N_TARGETS))
        return nway_accuracy(logits, target, n_way=self.n_way).reshape(len(logits), -1).mean(axis=1)

    @property
    @abstractmethod
    def inputs(self) -> tuple:
        """The network whose logits are compared."""
