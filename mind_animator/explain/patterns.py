"""Activation patterns: the voxels that covary with the outputs of a decoder, with intervals over blocks of clips."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata


def activation_pattern(responses: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Mean absolute activation pattern of a decoder per voxel.

    For a linear decoder y = W'x the pattern of Haufe et al. is A = Cov(x) W Cov(y)^-1. The weights W themselves are
    misleading: a voxel without signal has a large weight if it cancels the noise of another voxel. Since Cov(x) W =
    Cov(x, y), the pattern can be computed without the weights, and the covariance of responses and outputs is also
    defined for non-linear decoders. In terms of the principal components u_k of the outputs, Cov(y) is diagonal. The
    components are not standardised, so that each contributes in proportion to its standard deviation::

        map_j = sum_k |Cov(x_j, u_k)| / sqrt(sum_k Var(u_k))

    Parameters
    ----------
    responses : ndarray of shape (clip, voxel)
    outputs : ndarray of shape (clip, component)
        `leading_components` of a decoder's outputs.

    Returns
    -------
    ndarray of shape (voxel,), float64, in units of the responses, >= 0
        Zero if the outputs do not vary.

    References
    ----------
    Haufe et al. (2014), "On the interpretation of weight vectors of linear models in multivariate
    neuroimaging", NeuroImage 87.
    """
    if responses.ndim != 2 or outputs.ndim != 2 or len(responses) != len(outputs):
        raise ValueError(
            f"Expected responses (clip, voxel) and outputs (clip, component), got {responses.shape} and "
            f"{outputs.shape}."
        )
    centred = outputs - outputs.mean(axis=0, dtype=np.float64)
    spread = np.sqrt(np.square(centred).mean(axis=0).sum())
    if not spread:
        return np.zeros(responses.shape[1])
    x = responses - responses.mean(axis=0, dtype=np.float64)
    return np.abs(x.T @ centred).sum(axis=1) / len(x) / spread


def leading_components(outputs: np.ndarray, count: int = 32) -> np.ndarray:
    """Leading principal components of a decoder's outputs, not standardised.

    Parameters
    ----------
    outputs : ndarray of shape (clip, ...)
    count : int

    Returns
    -------
    ndarray of shape (clip, component), float64
        Fewer components if the outputs have a lower rank.
    """
    flat = outputs.reshape(len(outputs), -1).astype(np.float64)
    centred = flat - flat.mean(axis=0)
    if centred.shape[1] <= len(centred):
        values, vectors = np.linalg.eigh(centred.T @ centred)
        return centred @ vectors[:, _leading(values, count)]
    values, vectors = np.linalg.eigh(centred @ centred.T)
    kept = _leading(values, count)
    return vectors[:, kept] * np.sqrt(values[kept])


def permuted_patterns(
    responses: np.ndarray, outputs: np.ndarray, blocks: np.ndarray, draws: int, generator: np.random.Generator
) -> np.ndarray:
    """Activation patterns with blocks of outputs randomly reassigned to blocks of responses.

    This is the null distribution of the pattern, without any relation of outputs and voxels; drift within blocks is
    preserved.

    Parameters
    ----------
    responses, outputs : ndarrays
        As for `activation_pattern`.
    blocks : ndarray of int, shape (block, offset)
        Rows of each block's clips, in order.
    draws : int
    generator : numpy Generator

    Returns
    -------
    ndarray of shape (draw, voxel), float64
    """
    rows = blocks.ravel()
    return np.stack(
        [
            activation_pattern(responses[rows], outputs[blocks[generator.permutation(len(blocks))].ravel()])
            for _ in range(draws)
        ]
    )


def resampled_patterns(
    responses: np.ndarray, outputs: np.ndarray, blocks: np.ndarray, draws: int, generator: np.random.Generator
) -> np.ndarray:
    """Activation patterns of blocks sampled with replacement, i.e. their variation over stimuli. The
    arguments are those of `permuted_patterns`."""
    picks = (blocks[generator.integers(len(blocks), size=len(blocks))].ravel() for _ in range(draws))
    return np.stack([activation_pattern(responses[rows], outputs[rows]) for rows in picks])


def roi_auc(
    values: np.ndarray, rois: Sequence[str], planted: Sequence[str], others: Sequence[str]
) -> np.ndarray:
    """Probability that a voxel of the planted areas has a higher value than a voxel of the other areas (ties count
    half).

    Parameters
    ----------
    values : ndarray of shape (..., voxel)
    rois : sequence of str of length voxel
        With or without the prefix ``L_`` or ``R_``.
    planted, others : sequences of str
        Names of areas without prefix; an area in both belongs to ``planted``.

    Returns
    -------
    ndarray of shape (...), float64, in [0, 1]; .5 is chance

    Raises
    ------
    ValueError
        If either side has no voxel.
    """
    names = np.array([name[2:] if name[:2] in ("L_", "R_") else name for name in rois])
    inside = np.isin(names, list(planted))
    outside = np.isin(names, list(others)) & ~inside
    n_in, n_out = int(inside.sum()), int(outside.sum())
    if not n_in or not n_out:
        raise ValueError(f"Expected voxels in planted and in other areas, got {n_in} and {n_out}.")
    both = np.concatenate([values[..., inside], values[..., outside]], axis=-1)
    ranks = rankdata(both, axis=-1)[..., :n_in].sum(axis=-1)
    return (ranks - n_in * (n_in + 1) / 2) / (n_in * n_out)


def _leading(values: np.ndarray, count: int) -> np.ndarray:
    """Indices of the largest eigenvalues above rounding error, in descending order."""
    threshold = max(values[-1], 0) * len(values) * np.finfo(np.float64).eps
    return np.flatnonzero(values > threshold)[::-1][:count]
