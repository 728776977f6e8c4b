"""The frozen networks of the published metrics as functions of frames. Imports torch only when a network is loaded."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mind_animator.metrics.base import Network

if TYPE_CHECKING:
    from torch import Tensor

    from mind_animator.models.images import ImageRecipe

Function = Callable[[np.ndarray], np.ndarray]


def per_frame(embed: "Callable[[Tensor], Tensor]", recipe: "ImageRecipe", device: str) -> Function:
    """A network of images as a function of clips: frames are prepared as the recipe states and embedded.

    Parameters
    ----------
    embed : callable
        images (n, 3, height, width) float32 on ``device`` -> (n, ...).
    recipe : ImageRecipe
    device : str

    Returns
    -------
    callable
        clips (clip, frame, height, width, 3) uint8 -> (clip, frame, ...) float32.
    """
    import torch

    from mind_animator.models.images import prepare_images

    @torch.inference_mode()
    def embedded(clips: np.ndarray) -> np.ndarray:
        flat = torch.from_numpy(np.ascontiguousarray(clips.reshape(-1, *clips.shape[2:])))
        found = embed(prepare_images(flat.to(device), recipe)).float().cpu().numpy()
        return found.reshape(*clips.shape[:2], *found.shape[1:])

    return embedded


def frames_for(count: int, given: int) -> np.ndarray:
    """Indices of ``count`` frames out of ``given``: the one shown in the middle of each of equal spans.

    A video classifier of 16 frames sees each of 8 frames twice.
    """
    return ((np.arange(count) + 0.5) * given / count).astype(int)


def _load_image_classifier(model_id_or_path: str, lock: str, device: str) -> Function:
    from mind_animator.models.load import load_vit

    found = load_vit(model_id_or_path, lock, device=device)
    return per_frame(lambda images: found.model(images).logits, found.recipe, device)


def video_network(
    embed: "Callable[[Tensor], Tensor]", recipe: "ImageRecipe", count: int, device: str
) -> Function:
    """A network of videos as a function of clips.

    Parameters
    ----------
    embed : callable
        images (clip, count, 3, height, width) float32 on ``device`` -> (clip, ...).
    recipe : ImageRecipe
    count : int
        Frames that the network takes (`frames_for`).
    device : str

    Returns
    -------
    callable
        clips (clip, frame, height, width, 3) uint8 -> (clip, ...) float32.
    """
    import torch

    from mind_animator.models.images import prepare_images

    @torch.inference_mode()
    def embedded(clips: np.ndarray) -> np.ndarray:
        chosen = clips[:, frames_for(count, clips.shape[1])]
        flat = torch.from_numpy(np.ascontiguousarray(chosen.reshape(-1, *chosen.shape[2:])))
        images = prepare_images(flat.to(device), recipe)
        return embed(images.reshape(*chosen.shape[:2], *images.shape[1:])).float().cpu().numpy()

    return embedded


def _load_video_classifier(model_id_or_path: str, lock: str, device: str) -> Function:
    from mind_animator.models.load import load_videomae

    found = load_videomae(model_id_or_path, lock, device=device)
    return video_network(
        lambda images: found.model(images).logits, found.recipe, found.model.config.num_frames, device
    )


def _load_clip(model_id_or_path: str, lock: str, device: str) -> Function:
    from mind_animator.models.load import load_clip

    found = load_clip(model_id_or_path, lock, device=device)

    def embed(images: "Tensor") -> "Tensor":
        features = found.model.get_image_features(pixel_values=images)
        return getattr(features, "pooler_output", features)

    return per_frame(embed, found.recipe, device)


def _load_vificlip(model_id_or_path: str, lock: str, device: str) -> Function:
    from mind_animator.models.load import load_vificlip

    found = load_vificlip(model_id_or_path, lock, device=device)
    return per_frame(found.model, found.recipe, device)


IMAGE_LOGITS = Network("image_logits", "vit", "google/vit-base-patch16-224", _load_image_classifier)
VIDEO_LOGITS = Network(
    "video_logits", "videomae", "MCG-NJU/videomae-base-finetuned-kinetics", _load_video_classifier
)
CLIP_IMAGE = Network("clip_embedding_image", "clip", "openai/clip-vit-base-patch32", _load_clip)
VIFI = Network("vifi", "vificlip", "k400_seed1_vifi_clip_base2novel.pth", _load_vificlip)
