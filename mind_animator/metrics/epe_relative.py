"""End-point error relative to the motion of the ground truth."""

import numpy as np

from mind_animator.metrics.base import Description, Metric
from mind_animator.metrics.flow import FLOW, end_point_errors, speeds


class EpeRelative(Metric):
    """End-point error as a multiple of the ground truth's own motion.

    The end-point error divided by the speed of the ground truth, the mean length of its flow vectors::

        EPE / speed

    It does not depend on the size and the rate of the frames. A frozen prediction scores 1; a score below 1
    means that the predicted motion is better than no motion. The score of a set weights every clip by the speed
    of its ground truth, which makes it a ratio of means::

        sum speed (EPE / speed) / sum speed = sum EPE / sum speed

    because a plain mean over clips would be dominated by clips that hardly move.

    Range: >= 0; undefined where the ground truth does not move.

    References
    ----------
    This project.
    """

    name, label = "epe_relative", "EPE / speed of the ground truth"
    low, higher_is_better, group, order, paired, weighted = 0, False, "motion", 42, False, True
    inputs = (FLOW,)
    undefined = "undefined: the ground truth does not move"

    def describe(self, flow: np.ndarray) -> dict[str, np.ndarray]:
        """The flow and its mean speed."""
        return {"flow": flow, "speed": speeds(flow).mean()}

    def compare(self, ground_truth: Description, prediction: Description) -> float:
        """Ratio, nan where the ground truth does not move."""
        error = end_point_errors(ground_truth["flow"], prediction["flow"]).mean()
        return float(error / ground_truth["speed"]) if ground_truth["speed"] > 0 else np.nan

    def weight(self, ground_truth: Description) -> float:
        """Mean speed of the ground truth, pixels per frame."""
        return float(ground_truth["speed"])
