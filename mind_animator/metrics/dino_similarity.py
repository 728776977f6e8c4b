"""DINO similarity."""

from collections.abc import Callable

import numpy as np

from mind_animator.metrics.base import Description, Metric, Network
from mind_animator.metrics.cosine import cosine
from mind_animator.metrics.networks import per_frame


def _load(model_id_or_path: str, lock: str, device: str) -> Callable[[np.ndarray], np.ndarray]:
    from mind_animator.models.load import load_image_encoder

    found = load_image_encoder(model_id_or_path, lock, device=device)
    return per_frame(lambda images: found.model(images).last_hidden_state[:, 0], found.recipe, device)


class DinoSimilarity(Metric):
    """Mean cosine of the DINOv2 embeddings of ground truth and prediction, frame by frame.

    With the class tokens t_k and p_k of frame k (last layer)::

        mean_k cos(t_k, p_k)

    Trained without labels or captions, DINO depends more on the identity and pose of objects than CLIP does.

    Range: -1 to 1. Not centred: other clips score above 0.

    References
    ----------
    Oquab et al. (2024), "DINOv2: learning robust visual features without supervision", Transactions on Machine Learning
    Research (the network); Ruiz et al. (2023), "DreamBooth", CVPR (the score, with DINO ViT-S/16).
    """

    name, label = "dino_similarity", "DINO similarity"
    low, high, group, order, standard, compact = -1, 1, "content", 21, False, True
    inputs = (Network("dino", "dino", "facebook/dinov2-base", _load),)

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Cosine of each frame, (frame,) float64."""
        return cosine(ground_truth["dino"], prediction["dino"])
