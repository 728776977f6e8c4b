"""VIFI-score."""

import numpy as np

from mind_animator.metrics.base import Description, Metric
from mind_animator.metrics.cosine import cosine, unit
from mind_animator.metrics.networks import VIFI


class VifiScore(Metric):
    """Similarity of two clips for ViFi-CLIP: cosine of the mean image embeddings.

    With the ViFi-CLIP image embeddings t_k and p_k of frame k::

        cos(mean_k t_k / |t_k|, mean_k p_k / |p_k|)

    Range: -1 to 1. Not centred: the ground truth of another clip scores far above 0.

    References
    ----------
    Rasheed, Khattak, Maaz, Khan & Khan (2023), "Fine-tuned CLIP models are efficient video learners", CVPR.
    """

    name, label = "vifi_score", "VIFI-score"
    low, high, published, group, order, paired, compact = -1, 1, True, "content", 20, False, True
    inputs = (VIFI,)

    def describe(self, embeddings: np.ndarray) -> dict[str, np.ndarray]:
        """Mean over frames of the unit embeddings, (dim,) float64."""
        return {"mean": unit(embeddings).mean(axis=0)}

    def compare(self, ground_truth: Description, prediction: Description) -> float:
        """Cosine."""
        return float(cosine(ground_truth["mean"], prediction["mean"]))
