"""What the decoders aim at, clip by clip: embeddings, text condition, latents."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mind_animator.config.features import FeaturesConfig
from mind_animator.features.augment import augment_caption, random_crop, read_synonyms
from mind_animator.models.embed import embed_images, embed_texts, encode_prompts
from mind_animator.models.latents import encode_latents
from mind_animator.models.load import Clip, TextEncoder


def text_targets(
    clip: Clip,
    encoder: TextEncoder,
    captions: Mapping[str, str],
    settings: FeaturesConfig,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Targets that captions give.

    Parameters
    ----------
    captions : mapping of clip to its caption
    settings : FeaturesConfig
    seed : int
        Of augmented captions, together with the clip's name.

    Returns
    -------
    dict
        ``clip_embedding_text`` (clip, dim): CLIP's text embedding, not normalised. ``prompt_embedding`` (clip, tokens - 1,
        width): the text condition less BOS. With ``caption_copies`` also ``clip_embedding_text_copies`` (clip, copy,
        dim) and ``prompt_embedding_copies`` (clip, copy, tokens - 1, width) of augmented captions. float32.
    """

    def embed(texts: Sequence[str]) -> dict[str, np.ndarray]:
        prompt_embedding = encode_prompts(encoder, texts, settings.tokens, settings.batch)
        return {
            "clip_embedding_text": embed_texts(clip, texts, settings.batch).numpy(),
            "prompt_embedding": prompt_embedding[:, 1:].numpy(),
        }

    targets = embed(list(captions.values()))
    if settings.caption_copies:
        synonyms = read_synonyms(settings.synonyms)
        draws = {name: _own_generator(seed, name, "captions") for name in captions}
        texts = [
            augment_caption(caption, draws[name], synonyms)
            for name, caption in captions.items()
            for _ in range(settings.caption_copies)
        ]
        targets |= {
            f"{name}_copies": array.reshape(len(captions), settings.caption_copies, *array.shape[1:])
            for name, array in embed(texts).items()
        }
    return targets


def count_cut(tokenizer: Any, texts: Sequence[str], length: int) -> int:
    """Number of texts that have more than ``length`` tokens, BOS and EOS included, so that their ends are ignored."""
    return sum(len(ids) > length for ids in tokenizer(list(texts), verbose=False).input_ids)


def image_targets(
    clip: Clip, vae: object, clips: Iterable[tuple[str, np.ndarray]], settings: FeaturesConfig, seed: int
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Targets that frames give, a batch of clips at a time.

    ``clip_embedding_image`` is the CLIP image embedding (not normalised) of the clip's middle sampled frame, index n
    // 2, the frame that captions are compared with; with ``image: first`` of its first frame, with ``image:
    mean`` the mean over all frames of their normalised embeddings.

    Parameters
    ----------
    clips : iterable of (name, frames (frame, height, width, 3) uint8)
    settings : FeaturesConfig
    seed : int
        With ``latents: sample`` and with ``crops``, seeds each clip's own draws together with its name.

    Yields
    ------
    name : str
    targets : dict
        ``clip_embedding_image`` (dim,), ``latents`` (frame, channel, h, w); with ``crops`` also ``clip_embedding_image_crops``
        (crop, dim) of random crops of the clip's frame (the middle one with ``image: mean``). float32.
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
    targets = {"clip_embedding_image": _image_embeddings(clip, frames, settings), "latents": latents}
    if settings.crops:
        shown = frames[:, _image_frame(settings, frames.shape[1])]
        draws = [_own_generator(seed, name, "crops") for name in names]
        crops = [
            random_crop(frame, draw)
            for frame, draw in zip(shown, draws, strict=True)
            for _ in range(settings.crops)
        ]
        found = embed_images(clip, np.stack(crops), settings.batch).unflatten(0, (len(names), -1))
        targets["clip_embedding_image_crops"] = found.numpy()
    for row, name in enumerate(names):
        yield name, {target: array[row] for target, array in targets.items()}


def _image_embeddings(clip: Clip, frames: np.ndarray, settings: FeaturesConfig) -> np.ndarray:
    n_clips, n_frames = frames.shape[:2]
    if settings.image == "mean":
        every = embed_images(clip, frames.reshape(-1, *frames.shape[2:]), settings.batch)
        every = torch.nn.functional.normalize(every, dim=1).unflatten(0, (n_clips, n_frames))
        return every.mean(dim=1).numpy()
    chosen = frames[:, _image_frame(settings, n_frames)]
    return embed_images(clip, chosen, max(1, settings.batch // n_frames)).numpy()


def _image_frame(settings: FeaturesConfig, frames: int) -> int:
    return 0 if settings.image == "first" else frames // 2


def _own_generator(seed: int, clip: str, purpose: str) -> np.random.Generator:
    """Draws that depend on the seed, the clip's name and their purpose alone."""
    digest = hashlib.sha256(f"{seed}/{clip}/{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
