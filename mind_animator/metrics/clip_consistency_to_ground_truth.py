"""CLIP similarity to the ground truth."""

import numpy as np

from mind_animator.metrics.base import Description, Metric
from mind_animator.metrics.cosine import cosine
from mind_animator.metrics.networks import CLIP_IMAGE


class ClipConsistencyToGroundTruth(Metric):
    """Mean cosine of the CLIP embeddings of ground truth and prediction, frame by frame.

    With the CLIP image embeddings t_k and p_k of frame k::

        mean_k cos(t_k, p_k)

    Range: -1 to 1.

    References
    ----------
    This project (not part of the published score).
    """

    name, label = "clip_consistency_to_ground_truth", "CLIP similarity to the ground truth"
    low, high, group, order, paired, compact = -1, 1, "consistency", 52, False, True
    inputs = (CLIP_IMAGE,)

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Cosine of each frame, (frame,) float64."""
        return cosine(ground_truth["clip_embedding_image"], prediction["clip_embedding_image"])
