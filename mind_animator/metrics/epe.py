"""End-point error of optical flow."""

import numpy as np

from mind_animator.metrics.base import Description, Metric
from mind_animator.metrics.flow import FLOW, end_point_errors, shuffle_table, shuffled_errors


class Epe(Metric):
    """End-point error of the optical flows of two clips (greys from RGB frames, no flow between equal frames).

    The mean over steps and pixels of the distance of the flow vectors (Farneback)::

        EPE = mean |f_t - f_p|

    Range: >= 0 pixels per frame; a frozen prediction scores the mean speed of the ground truth.

    References
    ----------
    Baker et al. (2011), "A database and evaluation methodology for optical flow", International Journal of
    Computer Vision 92.
    """

    name, label, unit = "epe", "EPE", "pixel/frame"
    low, higher_is_better, group, order = 0, False, "motion", 41
    inputs = (FLOW,)

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Error of each step, (frame - 1,) float64, pixels per frame."""
        return end_point_errors(ground_truth["flow"], prediction["flow"])

    def shuffled(self, ground_truth: Description, frames: np.ndarray, orders: np.ndarray) -> np.ndarray:
        """Errors of the predicted frames in other orders, (order,) float64."""
        return shuffled_errors(shuffle_table(ground_truth["flow"], frames), orders)
