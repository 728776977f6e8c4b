"""Functional alignment of subjects who saw the same clips: the shared response model."""

from collections.abc import Sequence

import numpy as np


def shared_response(
    responses: Sequence[np.ndarray], n_components: int, *, n_iterations: int = 100, tolerance: float = 1e-7
) -> tuple[list[np.ndarray], np.ndarray]:
    """Deterministic shared response model: one orthonormal basis per subject.

    With X_i the responses of subject i, alternately until the error changes by less than ``tolerance``::

        minimise sum_i |X_i - S W_i^T|^2   subject to   W_i^T W_i = I
        W_i = U V^T of the singular value decomposition X_i^T S = U D V^T,     S = mean_i X_i W_i

    The iteration starts from the principal components of the concatenated voxels of all subjects. New
    responses Y_i of the same subject are mapped into the shared space by ``Y_i @ W_i``.

    Parameters
    ----------
    responses : sequence of ndarray of shape (clip, voxel_i)
        At least two subjects with the same clips in the same order; each voxel should have mean 0 and
        standard deviation 1 over these clips. Only training clips must be used.
    n_components : int
        Dimension of the shared space; at most the number of clips and the number of voxels of each subject.
    n_iterations : int
        Maximum number of iterations.
    tolerance : float
        Relative change of the error at which the iteration ends.

    Returns
    -------
    bases : list of ndarray of shape (voxel_i, n_components), float64
    shared : ndarray of shape (clip, n_components), float64

    Raises
    ------
    ValueError
        If there are fewer than two subjects, clips differ, a value is not finite, or there are too many components.

    References
    ----------
    Chen, Chen, Yeshurun, Hasson, Haxby & Ramadge (2015), "A reduced-dimension fMRI shared response model",
    NeurIPS 28.
    """
    data = [np.asarray(own, np.float64) for own in responses]
    shapes = [own.shape for own in data]
    if len(data) < 2 or any(own.ndim != 2 or len(own) != len(data[0]) for own in data):
        raise ValueError(f"Expected two subjects or more with the same clips (clip, voxel), got {shapes}.")
    if not all(np.isfinite(own).all() for own in data):
        raise ValueError("Expected finite responses, got NaN or infinity.")
    most = min(min(shape) for shape in shapes)
    if not 1 <= n_components <= most:
        raise ValueError(
            f"Expected 1 to {most} components (clips, voxels of each subject), got {n_components}."
        )
    values, vectors = np.linalg.eigh(sum(own @ own.T for own in data))
    shared = vectors[:, ::-1][:, :n_components] * np.sqrt(
        np.maximum(values[::-1][:n_components], 0) / len(data)
    )
    total = sum(np.square(own).sum() for own in data)
    error = np.inf
    for _ in range(n_iterations):
        bases = [_orthonormal(own.T @ shared) for own in data]
        shared = np.mean([own @ basis for own, basis in zip(data, bases, strict=True)], axis=0)
        # |X - S W'|^2 = |X|^2 - 2 <X W, S> + |S|^2, summed over subjects
        before, error = error, total - len(data) * np.square(shared).sum()
        if before - error <= tolerance * total:
            break
    return bases, shared


def _orthonormal(matrix: np.ndarray) -> np.ndarray:
    """The nearest matrix with orthonormal columns."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right
