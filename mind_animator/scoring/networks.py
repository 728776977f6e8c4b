"""The frozen models of the scores as functions of frames; a model that is not there leaves its reason."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mind_animator.config.models import ModelsConfig
from mind_animator.errors import InputError
from mind_animator.scoring.score import NOT_ASKED, Networks

if TYPE_CHECKING:
    from torch import Tensor


def open_networks(models: ModelsConfig, *, device: str = "cpu", efficientnet: bool = False) -> Networks:
    """Load what the model-based metrics need: ViT, VideoMAE, CLIP and ViFi-CLIP, float32.

    A model that cannot be had (not in the local cache, not in the lock file, a broken folder) is left out
    with the reason; no other model takes its place. ``efficientnet`` adds the ImageNet classifier of the
    package index, whose scores have a name of their own.
    """
    import torch

    from mind_animator.models import load
    from mind_animator.models.images import ImageRecipe, prepare_images

    def images(frames: np.ndarray, recipe: ImageRecipe) -> "Tensor":
        return prepare_images(torch.from_numpy(np.ascontiguousarray(frames)).to(device), recipe)

    @torch.inference_mode()
    def image_logits(frames: np.ndarray) -> np.ndarray:
        found = opened["image_logits"]
        return found.model(images(frames, found.recipe)).logits.float().cpu().numpy()

    @torch.inference_mode()
    def video_logits(frames: np.ndarray) -> np.ndarray:
        found = opened["video_logits"]
        chosen = frames_for(found.model.config.num_frames, frames.shape[1])
        clips = frames[:, chosen]
        flat = images(clips.reshape(-1, *clips.shape[2:]), found.recipe)
        return found.model(flat.reshape(*clips.shape[:2], *flat.shape[1:])).logits.float().cpu().numpy()

    @torch.inference_mode()
    def clip_embedding_image(frames: np.ndarray) -> np.ndarray:
        found = opened["clip_embedding_image"]
        features = found.model.get_image_features(pixel_values=images(frames, found.recipe))
        return getattr(features, "pooler_output", features).float().cpu().numpy()

    @torch.inference_mode()
    def vifi(frames: np.ndarray) -> np.ndarray:
        found = opened["vifi"]
        return found.model(images(frames, found.recipe)).float().cpu().numpy()

    functions: dict[str, tuple[Callable[..., Any], str, Callable[[np.ndarray], np.ndarray]]] = {
        "image_logits": (load.load_vit, models.vit, image_logits),
        "video_logits": (load.load_videomae, models.videomae, video_logits),
        "clip_embedding_image": (load.load_clip, models.clip, clip_embedding_image),
        "vifi": (load.load_vificlip, models.vificlip, vifi),
    }
    opened: dict[str, Any] = {}
    absent: dict[str, str] = {}
    for name, (loader, place, _) in functions.items():
        try:
            opened[name] = loader(place, models.lock, device=device)
        except InputError as error:
            absent[name] = str(error)
    extra, reason = open_efficientnet(device) if efficientnet else (None, NOT_ASKED)
    absent["efficientnet"] = reason
    return Networks(**{name: functions[name][2] for name in opened}, efficientnet=extra, absent=absent)


def open_efficientnet(device: str = "cpu") -> tuple[Callable[[np.ndarray], np.ndarray] | None, str]:
    """EfficientNet-Lite0's logits as a function of frames, or None and why there is none."""
    from mind_animator.metrics.efficientnet import efficientnet_logits, load_efficientnet_lite0

    try:
        network = load_efficientnet_lite0().to(device)
    except InputError as error:
        return None, str(error)
    return lambda frames: efficientnet_logits(network, frames).numpy(), ""


def frames_for(wanted: int, given: int) -> np.ndarray:
    """Indices of ``wanted`` frames out of ``given``: the one on show at the middle of each of equal spans.

    A video classifier of 16 frames sees each of 8 frames twice.
    """
    return ((np.arange(wanted) + 0.5) * given / wanted).astype(int)
