"""End-point error as published."""

import numpy as np

from mind_animator.metrics.base import Description, Metric
from mind_animator.metrics.flow import FLOW_PUBLISHED, end_point_errors


class EpePublished(Metric):
    """End-point error as published: greys with the weights of red and blue exchanged.

    As `epe`, from greys that ``BGR2GRAY`` makes of RGB frames::

        EPE = mean |f_t - f_p|

    It depends on the size and the rate of the frames, and a frozen clip beats most reconstructions: read it beside
    `epe_relative`.

    Range: >= 0 pixels per frame.

    References
    ----------
    Lu et al. (2025), "Animate Your Thoughts: Reconstruction of Dynamic Natural Vision from Human Brain
    Activity", ICLR.
    """

    name, label, unit = "epe_published", "EPE (published)", "pixel/frame"
    low, higher_is_better, published, group, order, paired = 0, False, True, "motion", 40, False
    inputs = (FLOW_PUBLISHED,)

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Error of each step, (frame - 1,) float64, pixels per frame."""
        return end_point_errors(ground_truth["flow_published"], prediction["flow_published"])
