"""Cosine similarity of dense optical flow."""

import numpy as np

from mind_animator.metrics.base import Description, Metric
from mind_animator.metrics.flow import FLOW


class MotionCosine(Metric):
    """Cosine similarity of the optical flows of two clips, pixel by pixel (the motion cosine that DecoFuse reports).

    With the flow f of one step as one vector over pixels and both directions (Farneback)::

        f_t . f_p / (|f_t| |f_p|)

    The score of a clip is the mean over its steps. It depends on where motion is; `flow_cosine` depends on
    the direction of the mean motion only. DecoFuse computes flow with another estimator, so its value of .212
    is not comparable to the digit.

    Range: -1 to 1; chance is 0 where direction is independent of content; 0 for a step in which either clip is still.

    References
    ----------
    Li et al. (2025), "DecoFuse: decomposing and fusing the 'what', 'where', and 'how' for brain-inspired fMRI-to-video
    decoding", arXiv 2504.00432.
    """

    name, label = "motion_cosine", "motion cosine"
    low, high, group, order, standard = -1, 1, "motion", 44, False
    inputs = (FLOW,)

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Cosine of each step, (frame - 1,) float64."""
        steps = [
            [step.astype(np.float64).ravel() for step in side["flow"]] for side in (ground_truth, prediction)
        ]
        lengths = [np.linalg.norm(t) * np.linalg.norm(p) for t, p in zip(*steps, strict=True)]
        products = [t @ p for t, p in zip(*steps, strict=True)]
        return np.array([d / n if n > 0 else 0.0 for d, n in zip(products, lengths, strict=True)])
