"""What the decoders aim at, clip by clip: embeddings, text condition, latents."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from mind_animator.config.features import FeaturesConfig
from mind_animator.models.embed import embed_pictures, embed_texts, encode_prompts
from mind_animator.models.latents import encode_latents
from mind_animator.models.load import Clip, TextEncoder


def text_targets(
    clip: Clip, encoder: TextEncoder, captions: Sequence[str], settings: FeaturesConfig
) -> dict[str, np.ndarray]:
    """Targets that captions give.

    Returns
    -------
    dict
        ``clip_text`` (clip, dim): CLIP's text embedding, not normalised. ``condition`` (clip, tokens - 1,
        width): the text condition less BOS. float32.
    """
    condition = encode_prompts(encoder, captions, settings.tokens, settings.batch)
    return {
        "clip_text": embed_texts(clip, captions, settings.batch).numpy(),
        "condition": condition[:, 1:].numpy(),
    }


def image_targets(
    clip: Clip, vae: object, clips: Iterable[tuple[str, np.ndarray]], settings: FeaturesConfig, seed: int
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Targets that frames give, a batch of clips at a time.

    ``clip_image`` is the CLIP image embedding (not normalised) of the clip's middle sampled frame, index n
    // 2, the frame that captions are compared with; with ``image: first`` of its first frame, with ``image:
    mean`` the mean over all frames of their normalised embeddings.

    Parameters
    ----------
    clips : iterable of (name, frames (frame, height, width, 3) uint8)
    settings : FeaturesConfig
    seed : int
        With ``latents: sample``, seeds each clip's own noise together with its name.

    Yields
    ------
    name : str
    targets : dict
        ``clip_image`` (dim,), ``latents`` (frame, channel, h, w); float32.
    """
    group: list[tuple[str, np.ndarray]] = []
    for name, frames in clips:
        group.append((name, frames))
        if (len(group) + 1) * len(frames) > settings.batch:
            yield from _group_targets(clip, vae, group, settings, seed)
            group = []
    if group:
        yield from _group_targets(clip, vae, group, settings, seed)


def clip_generator(seed: int, clip: str) -> torch.Generator:
    """A CPU generator that depends on the seed and the clip's name alone."""
    digest = hashlib.sha256(f"{seed}/{clip}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _group_targets(
    clip: Clip, vae: object, group: list[tuple[str, np.ndarray]], settings: FeaturesConfig, seed: int
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    names = [name for name, _ in group]
    frames = np.stack([frames for _, frames in group])
    generators = [clip_generator(seed, name) for name in names] if settings.latents == "sample" else None
    latents = encode_latents(vae, frames, settings.batch, generators).numpy()
    embeddings = _image_embeddings(clip, frames, settings)
    for row, name in enumerate(names):
        yield name, {"clip_image": embeddings[row], "latents": latents[row]}


def _image_embeddings(clip: Clip, frames: np.ndarray, settings: FeaturesConfig) -> np.ndarray:
    n_clips, n_frames = frames.shape[:2]
    if settings.image == "mean":
        every = embed_pictures(clip, frames.reshape(-1, *frames.shape[2:]), settings.batch)
        every = torch.nn.functional.normalize(every, dim=1).unflatten(0, (n_clips, n_frames))
        return every.mean(dim=1).numpy()
    chosen = frames[:, 0 if settings.image == "first" else n_frames // 2]
    return embed_pictures(clip, chosen, max(1, settings.batch // n_frames)).numpy()
