"""Agreement of the direction of motion."""

import numpy as np

from mind_animator.metrics.base import Description, Metric
from mind_animator.metrics.flow import FLOW, mean_flow


class FlowCosine(Metric):
    """Cosine of the angle between the mean flow vectors of two clips.

    With the mean flow m over the frames and pixels of a clip (Farneback)::

        m_t . m_p / (|m_t| |m_p|)

    Range: -1 to 1; chance is 0; 0 where either clip does not move (it has no direction).

    References
    ----------
    This project.
    """

    name, label = "flow_cosine", "cosine of mean flows"
    low, high, group, order, compact = -1, 1, "motion", 43, True
    inputs, by_clip = (FLOW,), ("mean_flow",)
    headline = "motion: cosine of mean flow with the ground truth's"

    def describe(self, flow: np.ndarray) -> dict[str, np.ndarray]:
        """Mean flow (2,), pixels per frame."""
        return {"mean_flow": mean_flow(flow)}

    def compare(self, ground_truth: Description, prediction: Description) -> float:
        """Cosine."""
        t, p = ground_truth["mean_flow"], prediction["mean_flow"]
        norm = np.linalg.norm(t) * np.linalg.norm(p)
        return float(t @ p / norm) if norm > 0 else 0.0
