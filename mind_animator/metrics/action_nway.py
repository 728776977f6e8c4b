"""N-way accuracy of actions with six frames, as published."""

from collections.abc import Callable

import numpy as np

from mind_animator.errors import InputError
from mind_animator.metrics.base import Network
from mind_animator.metrics.networks import video_network
from mind_animator.metrics.nway import NWay

N_FRAMES = 6


def _load(model_id_or_path: str, lock: str, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """VideoMAE for clips of 6 frames: its position embeddings are a fixed function of the position, so the
    first ones."""
    from mind_animator.models.load import load_videomae

    found = load_videomae(model_id_or_path, lock, device=device)
    if found.model.config.num_frames < N_FRAMES:
        raise InputError(
            f"Expected a network of at least {N_FRAMES} frames at '{model_id_or_path}', got "
            f"{found.model.config.num_frames}."
        )
    embeddings = found.model.videomae.embeddings
    patches = embeddings.position_embeddings.shape[1] * N_FRAMES // found.model.config.num_frames
    embeddings.position_embeddings = embeddings.position_embeddings[:, :patches]
    return video_network(lambda images: found.model(images).logits, found.recipe, N_FRAMES, device)


class ActionNWay(NWay):
    """N-way accuracy of actions by VideoMAE on 6 frames, the score of clips that NeuroClips publishes.

    As `video_2way`, except for the number of frames: the network of `video_2way` receives 16 frames (frames of
    the clip are repeated), whereas here it is built for 6 frames, as in the published evaluation::

        P(hit) = C(M - r, d) / C(M, d),        1 - r / M for two candidates

    The published score draws the distractors 100 times and compares softmax values in half precision.

    Range: 0 to 1. Any of three targets counts, so chance is above 1 / n.

    References
    ----------
    Gong et al. (2024), "NeuroClips: towards high-fidelity and smooth fMRI-to-video reconstruction", NeurIPS.
    """

    form, form_label, classifier = "action_{n}way", "{n}-way action, 6 frames", "video classifier"
    published, order, standard = True, 13, False
    inputs = (Network("action_logits", "videomae", "MCG-NJU/videomae-base-finetuned-kinetics", _load),)
