"""N-way accuracy of frames by an image classifier."""

from mind_animator.metrics.networks import IMAGE_LOGITS
from mind_animator.metrics.nway import NWay


class ImageNWay(NWay):
    """N-way accuracy of frames by ViT ("2-way-I"), in closed form.

    Targets are the 3 classes that the classifier ranks highest for a frame of the ground truth. With C classes,
    M = C - 3 others, r of them scoring at least as high as the best target in the prediction, and d = n - 1
    distractors drawn at random::

        P(hit) = C(M - r, d) / C(M, d),        1 - r / M for two candidates

    The score of a clip is the mean over its frames.

    Range: 0 to 1. Any of three targets counts, so chance is above 1 / n (3/4 for two candidates and independent
    scores): interpret it relative to its baselines.

    References
    ----------
    Chen, Qing & Zhou (2023), "Cinematic Mindscapes: high-quality video reconstruction from brain activity",
    NeurIPS (the sampled score; `mind_animator.metrics.nway.nway_accuracy`).
    """

    form, form_label, classifier = "image_{n}way", "{n}-way-I", "image classifier"
    published, order = True, 10
    inputs = (IMAGE_LOGITS,)
    headline = "2-way, image classifier: the right one of two classes"
