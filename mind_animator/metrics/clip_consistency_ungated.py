"""CLIP-pcc without its gate."""

import numpy as np

from mind_animator.metrics.base import Description, Metric
from mind_animator.metrics.cosine import neighbour_cosines
from mind_animator.metrics.networks import CLIP_IMAGE


class ClipConsistencyUngated(Metric):
    """Mean cosine of the CLIP embeddings of neighbouring predicted frames ("CLIP-pcc" without its gate).

    With the CLIP image embedding p_k of predicted frame k::

        mean_k cos(p_k, p_{k+1})

    It does not depend on the ground truth: a frozen clip scores 1.

    Range: -1 to 1, higher is smoother.

    References
    ----------
    Gong et al. (2024), "NeuroClips: towards high-fidelity and smooth fMRI-to-video reconstruction", NeurIPS.
    """

    name, label = "clip_consistency_ungated", "CLIP-pcc (ungated)"
    low, high, group, order, paired, compact = -1, 1, "consistency", 51, False, True
    inputs = (CLIP_IMAGE,)

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Cosine of each step of the prediction, (frame - 1,) float64."""
        return neighbour_cosines(prediction["clip_embedding_image"])
