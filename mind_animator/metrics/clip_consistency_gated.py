"""CLIP-pcc as published."""

import numpy as np

from mind_animator.metrics.base import Description, Metric
from mind_animator.metrics.cosine import cosine, neighbour_cosines, unit
from mind_animator.metrics.networks import CLIP_IMAGE, VIFI

GATE = 0.6


class ClipConsistencyGated(Metric):
    """`clip_consistency_ungated` where the VIFI-score of the clip exceeds .6, else 0 ("CLIP-pcc" as published).

    With the CLIP image embedding p_k of predicted frame k::

        mean_k cos(p_k, p_{k+1})  if VIFI-score > .6,  0 otherwise

    Range: -1 to 1; mostly the fraction of clips that pass the gate.

    References
    ----------
    Lu et al. (2025), "Animate Your Thoughts: Reconstruction of Dynamic Natural Vision from Human Brain
    Activity", ICLR.
    """

    name, label = "clip_consistency_gated", "CLIP-pcc (gated)"
    low, high, published, group, order, paired, compact = -1, 1, True, "consistency", 50, False, True
    inputs = (CLIP_IMAGE, VIFI)

    def describe(self, embeddings: np.ndarray, vifi: np.ndarray) -> dict[str, np.ndarray]:
        """CLIP embeddings, and the mean of the unit ViFi-CLIP embeddings."""
        return {"clip_embedding_image": embeddings, "vifi": unit(vifi).mean(axis=0)}

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Cosine of each step of the prediction, (frame - 1,) float64, or zeros."""
        return neighbour_cosines(prediction["clip_embedding_image"]) * (
            cosine(ground_truth["vifi"], prediction["vifi"]) > GATE
        )
