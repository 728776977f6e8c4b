"""Fréchet distance of VideoMAE features."""

from collections.abc import Callable

import numpy as np

from mind_animator.metrics.base import Network
from mind_animator.metrics.frechet import FrechetDistance
from mind_animator.metrics.networks import video_network


def _load(model_id_or_path: str, lock: str, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """VideoMAE's features before its classifier, (clip, feature) float32."""
    from mind_animator.models.load import load_videomae

    found = load_videomae(model_id_or_path, lock, device=device)

    def embed(images):
        hidden = found.model.videomae(images)[0].mean(1)
        return hidden if found.model.fc_norm is None else found.model.fc_norm(hidden)

    return video_network(embed, found.recipe, found.model.config.num_frames, device)


class FvdVideomae(FrechetDistance):
    """Fréchet video distance with VideoMAE features (Kinetics-400) in place of I3D.

    With means m and covariances S of the features of all clips (before the classifier)::

        |m_t - m_p|^2 + tr(S_t + S_p - 2 (S_t S_p)^(1/2))

    A score of the set: it depends on the number of clips and is biased upwards for test sets of this field.
    The note in the table states the distance between two random halves of the ground truth. Values are not
    comparable with FVD of I3D features. It does not compare a clip with its own ground truth: `mismatched`
    scores as the method does.

    Range: >= 0, lower is better.

    References
    ----------
    Unterthiner et al. (2018), "Towards accurate generative models of video: a new metric &
    challenges", arXiv 1812.01717 (FVD); Ge et al. (2024), "On the content bias in Fréchet video distance",
    CVPR (features of VideoMAE).
    """

    name, label, order, enough, what, published = "fvd_videomae", "FVD (VideoMAE)", 61, 2_048, "clips", False
    inputs = (Network("video_features", "videomae", "MCG-NJU/videomae-base-finetuned-kinetics", _load),)
