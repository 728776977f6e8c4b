"""Captions of whole clips: the first and last frames are captioned, and the captions are compared with the
middle frame."""

import numpy as np

from mind_animator.captions.blip2 import describe_images
from mind_animator.captions.joining import cosine, join_captions
from mind_animator.config.captions import CaptionsConfig
from mind_animator.models.embed import embed_images, embed_texts
from mind_animator.models.load import Blip2, Clip

COLUMNS = ("clip", "caption", "first", "last", "similarity_first", "similarity_last", "joined")


def clips_per_group(settings: CaptionsConfig) -> int:
    """Number of clips whose first and last frames fill one batch."""
    return max(1, settings.batch // 2)


def caption_group(
    blip2: Blip2, clip: Clip, names: list[str], frames: np.ndarray, settings: CaptionsConfig, seed: int
) -> list[dict[str, object]]:
    """Caption a group of clips.

    Parameters
    ----------
    names : list of str
        At most `clips_per_group` clips.
    frames : array of shape (clip, 3, height, width, 3), uint8
        First, middle and last sampled frame of each clip.
    settings : CaptionsConfig
    seed : int

    Returns
    -------
    list of dict
        One row per clip with the columns of ``R/captions``.
    """
    n_clips, group = len(names), clips_per_group(settings)
    outer = np.concatenate([frames[:, 0], frames[:, 2]])
    captions = describe_images(
        blip2, outer, prompt=settings.prompt, max_new_tokens=settings.max_new_tokens, batch=2 * group
    )
    first, last = captions[:n_clips], captions[n_clips:]
    middle = embed_images(clip, frames[:, 1], group).numpy()
    texts = embed_texts(clip, captions, 2 * group).numpy()
    similarity_first = cosine(middle, texts[:n_clips])
    similarity_last = cosine(middle, texts[n_clips:])
    rows = []
    for row, name in enumerate(names):
        caption, joined = join_captions(
            name, first[row], last[row], similarity_first[row], similarity_last[row],
            agreement=settings.agreement, seed=seed,
        )  # fmt: skip
        similarities = (float(similarity_first[row]), float(similarity_last[row]))
        rows.append(
            dict(zip(COLUMNS, (name, caption, first[row], last[row], *similarities, joined), strict=True))
        )
    return rows


def three_frames(frames: np.ndarray) -> np.ndarray:
    """First, middle (index n // 2) and last sampled frame of a clip (frame, height, width, 3)."""
    return frames[[0, len(frames) // 2, len(frames) - 1]]
