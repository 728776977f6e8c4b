"""Names, units and directions of the metrics of decoded features, which `mind_animator.scoring.decoded` computes."""

import re
from collections.abc import Sequence
from typing import Self

from mind_animator.metrics.base import Description, Metric


class _Decoded(Metric):
    """A metric of decoded features: listed in tables, computed from predictions before any video exists."""

    standard = paired = False

    @classmethod
    def variants(cls, n_ways: Sequence[int]) -> list[Metric]:
        return []

    def compare(self, ground_truth: Description, prediction: Description) -> float:
        raise NotImplementedError("scores of decoded features are computed by mind_animator.scoring.decoded")


class Retrieval(_Decoded):
    """Retrieval of the clip's own CLIP embedding by the decoded one, among the embeddings of all candidates.

    With b candidates nearer to the decoded embedding (cosine) than the clip's own and t candidates as near::

        rank = 1 + b + t / 2,        top-k = min(max((k - b) / (t + 1), 0), 1)

    so that chance of top-k is k / candidates, ties included. ``_large``: among further candidates, too.
    ``_centred``: the mean embedding of the training clips is subtracted from all embeddings first, since their common
    direction makes one candidate the nearest of many queries (the published ranks are not centred). The two-way
    accuracy is the fraction of the other candidates that are farther than the clip's own, chance 0.5::

        two-way = 1 - (b + t / 2) / (candidates - 1)

    Range: rank from 1, lower is better; top-k 0 to 1; cosine -1 to 1.

    References
    ----------
    Lu et al. (2025), "Animate Your Thoughts: Reconstruction of Dynamic Natural Vision from Human Brain
    Activity", ICLR (top-10 and top-100; ties at random are from this project).
    """

    name, label, group = "retrieval", "retrieval", "retrieval"

    def __init__(self, name: str = "retrieval_text_rank") -> None:
        self.name = name
        kind, _, measure = name.removeprefix("retrieval_").rpartition("_")
        words = kind.replace("_", ", ")
        if measure == "rank":
            self.label, self.unit, self.low, self.higher_is_better = (
                f"retrieval rank ({words})",
                "rank",
                1,
                False,
            )
        elif measure == "cosine":
            self.label, self.low, self.high = f"embedding cosine ({words})", -1, 1
        elif measure == "2way":
            self.label, self.low, self.high = f"two-way identification ({words})", 0, 1
        else:
            self.label, self.low, self.high = f"top-{measure[3:]} ({words})", 0, 1
            self.published = "centred" not in kind
        if name == "retrieval_image_top10":
            self.headline = "retrieval: the right clip among the ten nearest"

    @classmethod
    def named(cls, name: str) -> Self | None:
        """E.g. ``retrieval_text_rank``, ``retrieval_image_large_top10``, ``retrieval_text_cosine``."""
        return cls(name) if re.fullmatch(r"retrieval_\w+_(rank|cosine|2way|top\d+)", name) else None


class TargetFit(_Decoded):
    """Agreement of a decoder's output with its own target, the mean target of all clips subtracted from both.

    With t and p the target and the prediction minus the mean target, as one vector per clip::

        corr = t . p / (|t| |p|),        R2 = 1 - |t - p|^2 / mean over clips of |t|^2

    ``trainr2``: the same R2, with the mean target of the training clips in place of that of the test clips.

    The target of the motion decoder is the ``change``: the latents of a clip minus their mean over its
    frames. A frozen clip scores 0. ``change_reversed`` is the prediction with its frames reversed and
    ``change_swapped`` the prediction of a clip of the next block: negative controls. ``flow_cosine`` compares
    the mean decoded flow of a clip with the velocity of what moves in the latents of the ground truth
    (``flow_swapped``: a clip of the next block).

    Range: corr and cosine -1 to 1; R2 up to 1, 0 for the mean target.

    References
    ----------
    This project.
    """

    name, label, group = "target", "fit of decoder targets", "targets"

    def __init__(self, name: str = "target_semantic_corr") -> None:
        self.name = name
        kind, _, measure = name.removeprefix("target_").rpartition("_")
        kind = kind.replace("_", ", ")
        self.high = 1
        if measure == "corr":
            self.label, self.low = f"correlation with the {kind} target", -1
        elif measure == "cosine":
            self.label, self.low = f"cosine with the {kind} target", -1
        else:
            against = " against the training mean" if measure == "trainr2" else ""
            self.label = f"R2 of the {kind} target{against}"

    @classmethod
    def named(cls, name: str) -> Self | None:
        """E.g. ``target_semantic_corr`` and ``target_change_swapped_r2``."""
        return cls(name) if re.fullmatch(r"target_\w+_(corr|r2|trainr2|cosine)", name) else None
