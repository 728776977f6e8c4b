"""N-way identification accuracy ("2-way-I", "50-way-V", ...) in closed form.

The field draws n - 1 distractor classes at random 20 to 100 times. What is drawn follows a hypergeometric
law, so its expectation can simply be computed.
"""

from functools import cache
from math import comb

import torch
from torch import Tensor

N_TARGETS = 3


def nway_accuracy(scores: Tensor, target: Tensor, *, n_way: int, top_k: int = 1) -> Tensor:
    """Probability that one of the target classes is among the best ``top_k`` of ``n_way`` candidates.

    A trial draws d = n_way - 1 distractors without replacement from the M = C - G classes that are no target.
    It is a hit if fewer than k = top_k of them score at least as high as the best target class. With r such
    rivals among the M::

        P(hit) = sum_{j < k} C(r, j) C(M - r, d - j) / C(M, d)

    which is 1 - r / M for two candidates.

    Parameters
    ----------
    scores : Tensor of shape (..., n_classes), float32 or float64
        Logits, or anything that grows with the class probability; a float16 softmax ties at zero.
    target : LongTensor of shape (..., n_targets)
        Distinct classes that count as right.
    n_way : int
        Candidates of a trial, the target included.
    top_k : int
        Worst rank that counts as a hit.

    Returns
    -------
    Tensor of shape (...,), float64
        In [0, 1], higher is better; for one target and no ties chance is top_k / n_way. Ties lose.

    References
    ----------
    Chen, Qing & Zhou (2023), "Cinematic Mindscapes: high-quality video reconstruction from brain activity",
    NeurIPS (the sampled score).
    """
    if scores.ndim != target.ndim or scores.shape[:-1] != target.shape[:-1] or scores.ndim < 1:
        raise ValueError(
            f"Expected scores (..., n_classes) and target (..., n_targets), got {tuple(scores.shape)} and "
            f"{tuple(target.shape)}."
        )
    if scores.numel() == 0 or not scores.is_floating_point() or not torch.isfinite(scores).all():
        raise ValueError(
            f"Expected finite scores, at least one, got {scores.dtype} with NaN, infinity or nothing."
        )
    population = scores.shape[-1] - target.shape[-1]
    if not 1 <= top_k < n_way <= population + 1:
        raise ValueError(
            f"Expected 1 <= top_k < n_way <= {population + 1}, got top_k={top_k}, n_way={n_way}."
        )
    ordered = target.sort(-1).values
    wrong = (ordered[..., :1] < 0) | (ordered[..., -1:] >= scores.shape[-1])
    wrong = wrong.squeeze(-1) | (ordered.diff(dim=-1) == 0).any(-1)
    if wrong.any():
        raise ValueError(
            f"Expected distinct target classes in 0..{scores.shape[-1] - 1}, got {target[wrong][0].tolist()}."
        )
    best = scores.gather(-1, target).amax(-1, keepdim=True)
    rivals = (scores >= best).scatter(-1, target, False).sum(-1)
    return _hit_probability(population, n_way - 1, top_k)[rivals.cpu()]


@cache
def _hit_probability(population: int, draws: int, top_k: int) -> Tensor:
    """P(fewer than ``top_k`` rivals drawn) for every number of rivals 0..population, float64.

    A quotient of whole numbers, hence right to the last digit.
    """
    total = comb(population, draws)
    ways = (
        sum(comb(rivals, j) * comb(population - rivals, draws - j) for j in range(top_k))
        for rivals in range(population + 1)
    )
    return torch.tensor([way / total for way in ways], dtype=torch.float64)


def top_classes(scores: Tensor, n_targets: int = N_TARGETS) -> Tensor:
    """Classes that the ground truth's scores rank highest, (..., n_targets) int64: the published targets."""
    if not 1 <= n_targets < scores.shape[-1]:
        raise ValueError(f"Expected 1 to {scores.shape[-1] - 1} targets, got {n_targets}.")
    return scores.topk(n_targets, dim=-1).indices


def nway_image(
    ground_truth_scores: Tensor,
    prediction_scores: Tensor,
    *,
    n_way: int,
    top_k: int = 1,
    n_targets: int = N_TARGETS,
) -> Tensor:
    """N-way accuracy of a clip, frame by frame ("2-way-I"): targets are the top classes of each true frame.

    Parameters
    ----------
    ground_truth_scores, prediction_scores : Tensor of shape (..., frame, n_classes)
        Logits of an image classifier.

    Returns
    -------
    Tensor of shape (...,), float64
        Mean over frames, in [0, 1], higher is better. With three targets of which any one counts, chance is
        above top_k / n_way (3/4 for two candidates where scores are independent): read it beside its baseline.

    References
    ----------
    As `nway_accuracy`, which holds the formula.
    """
    _check_scores(ground_truth_scores, prediction_scores)
    target = top_classes(ground_truth_scores, n_targets)
    return nway_accuracy(prediction_scores, target, n_way=n_way, top_k=top_k).mean(-1)


def nway_video(
    ground_truth_scores: Tensor,
    prediction_scores: Tensor,
    *,
    n_way: int,
    top_k: int = 1,
    n_targets: int = N_TARGETS,
) -> Tensor:
    """N-way accuracy of a clip as a whole ("2-way-V"), from one row of logits a clip.

    Parameters
    ----------
    ground_truth_scores, prediction_scores : Tensor of shape (..., n_classes)
        Logits of a video classifier.

    Returns
    -------
    Tensor of shape (...,), float64
        As `nway_image`, of the clip's one row.

    References
    ----------
    As `nway_accuracy`, which holds the formula.
    """
    _check_scores(ground_truth_scores, prediction_scores)
    target = top_classes(ground_truth_scores, n_targets)
    return nway_accuracy(prediction_scores, target, n_way=n_way, top_k=top_k)


def _check_scores(ground_truth: Tensor, prediction: Tensor) -> None:
    if ground_truth.shape != prediction.shape:
        raise ValueError(
            f"Expected scores of one shape, got {tuple(ground_truth.shape)} (ground truth) and {tuple(prediction.shape)}."
        )
    if not torch.isfinite(ground_truth).all():
        raise ValueError("Expected finite ground truth scores, got NaN or infinity.")
