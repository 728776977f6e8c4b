"""N-way accuracy of clips by a video classifier."""

from mind_animator.metrics.networks import VIDEO_LOGITS
from mind_animator.metrics.nway import NWay


class VideoNWay(NWay):
    """N-way accuracy of clips by VideoMAE ("2-way-V"), in closed form.

    As `image_2way`, from the logits of one video classifier (Kinetics-400) for the clip as a whole, with the 3 classes
    that rank highest for the ground truth as targets::

        P(hit) = C(M - r, d) / C(M, d),        1 - r / M for two candidates

    The action accuracy that NeuroClips publishes is this score with the same classifier.

    Range: 0 to 1. Any of three targets counts, so chance is above 1 / n.

    References
    ----------
    Chen, Qing & Zhou (2023), "Cinematic Mindscapes: high-quality video reconstruction from brain activity",
    NeurIPS (the sampled score).
    """

    form, form_label, classifier = "video_{n}way", "{n}-way-V", "video classifier"
    published, order = True, 11
    inputs = (VIDEO_LOGITS,)
    headline = "2-way, video classifier: the right one of two classes"
