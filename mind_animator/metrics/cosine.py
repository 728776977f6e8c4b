"""Cosine similarity of embeddings."""

import numpy as np

from mind_animator.metrics.base import NotComputed


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors along the last axis at unit length, float64; refuses vectors that are 0 or not finite."""
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim < 1 or 0 in vectors.shape:
        raise ValueError(f"Expected embeddings (..., dim), none of them empty, got {vectors.shape}.")
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (np.isfinite(length).all() and length.all()):
        raise ValueError("Expected finite embeddings other than 0, got NaN, infinity or a zero vector.")
    return vectors / length


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine similarity along the last axis, broadcast over the others, float64 in [-1, 1]."""
    return (unit(first) * unit(second)).sum(axis=-1)


def neighbour_cosines(embeddings: np.ndarray) -> np.ndarray:
    """Cosines of the embeddings (frame, dim) of neighbouring frames, (frame - 1,) float64."""
    if np.ndim(embeddings) != 2 or len(embeddings) < 2:
        raise NotComputed(
            f"expected embeddings (frame, dim) of at least 2 frames, got {np.shape(embeddings)}"
        )
    return cosine(embeddings[:-1], embeddings[1:])
