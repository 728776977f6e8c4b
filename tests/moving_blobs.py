"""Simulated data for tests of decoders: coloured blobs that move, their latents, and responses to them.

Position, colour, category and direction are drawn independently. The latents are the frames themselves: a
blob with a colour of ``channels`` numbers on a grey ground.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Blobs:
    """Clips of all splits, in order; ``split`` and ``movie`` by clip."""

    clips: list[str]
    movie: np.ndarray
    split: np.ndarray
    velocity: np.ndarray
    latents: np.ndarray
    clip_embedding_text: np.ndarray
    clip_embedding_image: np.ndarray
    prompt_embedding: np.ndarray
    responses: np.ndarray

    def targets(self, decoder: str, rows: np.ndarray) -> dict[str, np.ndarray]:
        names = (
            ("clip_embedding_text", "clip_embedding_image", "prompt_embedding")
            if decoder == "semantic"
            else ("latents",)
        )
        return {name: getattr(self, name)[rows] for name in names}


def make_blobs(
    movies: int = 5,
    clips: int = 40,
    *,
    seed: int = 0,
    frames: int = 4,
    side: int = 8,
    channels: int = 4,
    voxels: int = 120,
    noise: float = 0.25,
    motion: bool = True,
    prompt_width: int = 12,
) -> Blobs:
    """Simulate clips and responses; the last movie is the test movie."""
    rng = np.random.default_rng(seed)
    count = movies * clips
    movie = np.repeat([f"movie{m}" for m in range(movies)], clips)
    split = np.where(movie == f"movie{movies - 1}", "test", "train")
    angle = rng.uniform(0, 2 * np.pi, count)
    velocity = 0.6 * np.stack([np.cos(angle), np.sin(angle)], 1)
    middle = (side - 1) / 2 + rng.uniform(-1, 1, (count, 2))
    colour = rng.normal(size=(count, channels)) * 0.3 + np.linspace(1, 2, channels)
    category = rng.integers(6, size=count)
    time = np.arange(frames) - (frames - 1) / 2
    centre = middle[:, None] + time[:, None] * velocity[:, None]  # (clip, frame, xy)
    y, x = np.mgrid[:side, :side]
    distance = (x - centre[..., 0, None, None]) ** 2 + (y - centre[..., 1, None, None]) ** 2
    shape = np.exp(-distance / 3)
    latents = shape[:, :, None] * colour[:, None, :, None, None]
    embedding = rng.normal(size=(6, 16))[category]
    clip_embedding_text = embedding
    clip_embedding_image = embedding + 0.3 * rng.normal(size=embedding.shape)
    prompt = embedding @ rng.normal(size=(16, 5 * prompt_width))
    prompt_embedding = np.tanh(prompt).reshape(count, 5, prompt_width)
    patterns = shape.mean(1).reshape(count, -1)
    direction = velocity if motion else np.zeros_like(velocity)
    causes = [patterns * 6, colour * 2, np.eye(6)[category] * 2, direction * 3]
    responses = np.concatenate(causes, axis=1) @ rng.normal(size=(sum(c.shape[1] for c in causes), voxels))
    responses += noise * responses.std() * rng.normal(size=responses.shape)
    train = split == "train"
    responses = (responses - responses[train].mean(0)) / responses[train].std(0)
    names = [f"{name}-{index % clips:05d}" for index, name in enumerate(movie)]
    arrays = (latents, clip_embedding_text, clip_embedding_image, prompt_embedding, responses)
    return Blobs(names, movie, split, velocity, *(array.astype(np.float32) for array in arrays))
