"""Metrics of embeddings that a frozen model made: VIFI score and CLIP consistency."""

import numpy as np

VIFI_GATE = 0.6


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine similarity along the last axis, broadcast over the others, float64 in [-1, 1]."""
    first, second = _unit(first), _unit(second)
    return (first * second).sum(axis=-1)


def vifi_score(ground_truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Similarity of two clips to ViFi-CLIP: cosine of the means over frames of unit image embeddings.

    ``cos(mean_k t_k / |t_k|, mean_k p_k / |p_k|)``.

    Parameters
    ----------
    ground_truth, prediction : ndarray of shape (..., frame, dim)
        Image embeddings of the frames, of any length; the two may differ in their number of frames.

    Returns
    -------
    ndarray of shape (...,), float64
        In [-1, 1], higher is better. Not centred: another clip's ground truth scores far above 0.

    References
    ----------
    Rasheed, Khattak, Maaz, Khan & Khan (2023), "Fine-tuned CLIP models are efficient video learners", CVPR.
    """
    return cosine(_unit(ground_truth).mean(axis=-2), _unit(prediction).mean(axis=-2))


def clip_consistency_ungated(prediction: np.ndarray) -> np.ndarray:
    """Mean cosine of the CLIP embeddings of neighbouring predicted frames ("CLIP-pcc" without its gate).

    ``mean_k cos(p_k, p_{k+1})``. It asks nothing of the ground truth: a frozen clip scores 1.

    Parameters
    ----------
    prediction : ndarray of shape (..., frame, dim)

    Returns
    -------
    ndarray of shape (...,), float64
        In [-1, 1], higher is smoother.

    References
    ----------
    Gong et al. (2024), "NeuroClips: towards high-fidelity and smooth fMRI-to-video reconstruction", NeurIPS.
    """
    if np.ndim(prediction) < 2 or np.shape(prediction)[-2] < 2:
        raise ValueError(
            f"Expected embeddings (..., frame, dim) of at least 2 frames, got {np.shape(prediction)}."
        )
    return cosine(prediction[..., :-1, :], prediction[..., 1:, :]).mean(axis=-1)


def clip_consistency_gated(prediction: np.ndarray, vifi: np.ndarray) -> np.ndarray:
    """`clip_consistency_ungated` where the clip's VIFI score exceeds .6, else 0 ("CLIP-pcc" as published).

    Parameters
    ----------
    prediction : ndarray of shape (..., frame, dim)
    vifi : ndarray of shape (...,)
        From `vifi_score`.

    Returns
    -------
    ndarray of shape (...,), float64
        In [-1, 1], higher is better; mostly a count of clips that pass the gate.

    References
    ----------
    Lu et al. (2025), "Animate Your Thoughts: Reconstruction of Dynamic Natural Vision from Human Brain
    Activity", ICLR.
    """
    value = clip_consistency_ungated(prediction)
    vifi = np.asarray(vifi, np.float64)
    if vifi.shape != value.shape or not np.isfinite(vifi).all():
        raise ValueError(f"Expected one finite VIFI score a clip {value.shape}, got {vifi.shape}.")
    return np.where(vifi > VIFI_GATE, value, 0.0)


def clip_consistency_to_ground_truth(ground_truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Mean cosine of the CLIP embeddings of ground truth and prediction, frame by frame: ``mean_k cos(t_k, p_k)``.

    Parameters
    ----------
    ground_truth, prediction : ndarray of shape (..., frame, dim)

    Returns
    -------
    ndarray of shape (...,), float64
        In [-1, 1], higher is better.

    References
    ----------
    This project's own: what the published score leaves out.
    """
    if np.shape(ground_truth) != np.shape(prediction):
        raise ValueError(
            f"Expected embeddings of one shape, got {np.shape(ground_truth)} and {np.shape(prediction)}."
        )
    return cosine(ground_truth, prediction).mean(axis=-1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim < 1 or 0 in vectors.shape:
        raise ValueError(f"Expected embeddings (..., dim), none of them empty, got {vectors.shape}.")
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (np.isfinite(length).all() and length.all()):
        raise ValueError("Expected finite embeddings other than 0, got NaN, infinity or a zero vector.")
    return vectors / length
