"""Frames as tensors, for methods that learn them: reading, conversion, and the embedding of a reconstruction."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mind_animator.methods.base import PredictionInputs, TrainingData
from mind_animator.models.embed import embed_images
from mind_animator.models.load import load_clip
from mind_animator.video.decode import resize_frame

# Clips or images per forward pass without gradients (`mind_animator.models.embed.in_batches`).
BATCH = 32


def read_frames(data: TrainingData, size: int) -> Tensor:
    """Frames (clip, frame, size, size, 3) uint8 of the training clips."""
    first = data.frames.read(data.clips[0], "frames")
    out = np.empty((len(data.clips), len(first), size, size, 3), np.uint8)
    for row, clip in enumerate(data.clips):
        for number, frame in enumerate(data.frames.read(clip, "frames")):
            out[row, number] = resize_frame(frame, size)
    return torch.from_numpy(out)


def as_images(frames: Tensor) -> Tensor:
    """Bytes (clip, frame, height, width, 3) to (clip, frame, 3, height, width) in [0, 1]."""
    return frames.movedim(-1, 2).float() / 255


def as_frames(images: Tensor) -> np.ndarray:
    """(clip, frame, 3, height, width) in [0, 1] to bytes (clip, frame, height, width, 3)."""
    return (images * 255).round().byte().movedim(2, -1).cpu().numpy()


def embed_frames(frames: np.ndarray, inputs: PredictionInputs) -> np.ndarray:
    """Mean over frames of the normalised CLIP image embeddings, (clip, embedding); ``inputs.models`` names ``clip``."""
    clip = load_clip(inputs.models["clip"], inputs.lock, device=inputs.device)
    embeddings = normalize(embed_images(clip, frames.reshape(-1, *frames.shape[2:]), BATCH), dim=1)
    return embeddings.reshape(*frames.shape[:2], -1).mean(dim=1).numpy()
