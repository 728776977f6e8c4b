"""Features of frames: CLIP image embeddings and the VAE's latents."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mind_animator.config.features import FeaturesConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.features.base import Provider, clip_rng

if TYPE_CHECKING:
    import torch

    from mind_animator.models.load import Clip


class Image(Provider):
    """``clip_embedding_image`` and ``latents``, with embeddings of crops if the config requests them."""

    kind = "image"
    source = "frames"
    models: ClassVar = ("clip", "stable_diffusion")

    def arrays(self) -> tuple[str, ...]:
        crops = ("clip_embedding_image_crops",) if self.config.crops else ()
        return ("clip_embedding_image", "latents", *crops)

    def settings(self) -> str:
        return self.config.model_dump_json(include={"latents", "image", "batch", "vae_precision", "crops"})

    @property
    def seeded(self) -> bool:
        return self.config.latents == "sample" or self.config.crops > 0

    @classmethod
    def compute(
        cls,
        settings: str,
        clips: Iterable[tuple[str, np.ndarray]],
        models: ModelsConfig,
        *,
        seed: int,
        device: str,
        notes: dict[str, str],
    ) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
        from mind_animator.models.load import load_clip, load_vae, network_dtype

        chosen = FeaturesConfig.model_validate_json(settings)
        clip = load_clip(models.clip, models.lock, device=device)
        dtype = network_dtype(chosen.vae_precision, device)
        vae = load_vae(models.stable_diffusion, models.lock, device=device, dtype=dtype)
        yield from image_targets(clip, vae, clips, chosen, seed)


ENTRY = Image


def image_targets(
    clip: "Clip", vae: object, clips: Iterable[tuple[str, np.ndarray]], settings: FeaturesConfig, seed: int
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Features of frames, one batch of clips at a time.

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
        ``clip_embedding_image`` (dim,), ``latents`` (frame, channel, h, w); with ``crops`` also
        ``clip_embedding_image_crops`` (crop, dim) of random crops of the clip's frame (the middle one with
        ``image: mean``). float32.
    """
    group: list[tuple[str, np.ndarray]] = []
    for name, frames in clips:
        group.append((name, frames))
        if (len(group) + 1) * len(frames) > settings.batch:
            yield from _group_targets(clip, vae, group, settings, seed)
            group = []
    if group:
        yield from _group_targets(clip, vae, group, settings, seed)


def clip_generator(seed: int, clip: str) -> "torch.Generator":
    """A CPU generator that depends on the seed and the clip's name alone."""
    import torch

    digest = hashlib.sha256(f"{seed}/{clip}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _group_targets(
    clip: "Clip", vae: object, group: list[tuple[str, np.ndarray]], settings: FeaturesConfig, seed: int
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    from mind_animator.features.augment import random_crop
    from mind_animator.models.embed import embed_images
    from mind_animator.models.latents import encode_latents

    names = [name for name, _ in group]
    frames = np.stack([frames for _, frames in group])
    generators = [clip_generator(seed, name) for name in names] if settings.latents == "sample" else None
    latents = encode_latents(vae, frames, settings.batch, generators).numpy()
    targets = {"clip_embedding_image": _image_embeddings(clip, frames, settings), "latents": latents}
    if settings.crops:
        shown = frames[:, _image_frame(settings, frames.shape[1])]
        rngs = [clip_rng(seed, name, "crops") for name in names]
        crops = [
            random_crop(frame, rng)
            for frame, rng in zip(shown, rngs, strict=True)
            for _ in range(settings.crops)
        ]
        found = embed_images(clip, np.stack(crops), settings.batch).unflatten(0, (len(names), -1))
        targets["clip_embedding_image_crops"] = found.numpy()
    for row, name in enumerate(names):
        yield name, {target: array[row] for target, array in targets.items()}


def _image_embeddings(clip: "Clip", frames: np.ndarray, settings: FeaturesConfig) -> np.ndarray:
    import torch

    from mind_animator.models.embed import embed_images

    n_clips, n_frames = frames.shape[:2]
    if settings.image == "mean":
        every = embed_images(clip, frames.reshape(-1, *frames.shape[2:]), settings.batch)
        every = torch.nn.functional.normalize(every, dim=1).unflatten(0, (n_clips, n_frames))
        return every.mean(dim=1).numpy()
    chosen = frames[:, _image_frame(settings, n_frames)]
    return embed_images(clip, chosen, max(1, settings.batch // n_frames)).numpy()


def _image_frame(settings: FeaturesConfig, frames: int) -> int:
    return 0 if settings.image == "first" else frames // 2
