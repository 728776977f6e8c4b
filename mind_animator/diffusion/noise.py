"""Noise of a clip, from one generator per clip, so that it depends on neither batch, shard nor device."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def clip_generator(seed: int, clip: str) -> torch.Generator:
    """Generator of one clip, seeded by (seed, clip name); on the CPU, so that the noise is the same on every device."""
    digest = hashlib.sha256(f"{seed}/{clip}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:7], "big"))


def draw_noise(
    generators: Sequence[torch.Generator], shape: tuple[int, ...], *, across_frames: str = "independent"
) -> Tensor:
    """Standard normal noise, one generator per clip.

    Parameters
    ----------
    generators : sequence of Generator
        One generator per clip; each is advanced.
    shape : tuple (frame, channel, h, w)
    across_frames : str
        ``independent`` for every frame, or ``shared``: the same noise for all frames of a clip.

    Returns
    -------
    Tensor of shape (clip, frame, channel, h, w), float32
    """
    if across_frames not in ("independent", "shared"):
        raise ValueError(f"Expected noise 'independent' or 'shared' across frames, got '{across_frames}'.")
    drawn = (1, *shape[1:]) if across_frames == "shared" else shape
    clips = [torch.randn(drawn, generator=generator).expand(shape) for generator in generators]
    return torch.stack(clips)


def mix_noise(
    inverted: Tensor,
    noise: Tensor,
    amount: float,
    *,
    clean: Tensor | None = None,
    level: float | None = None,
) -> Tensor:
    """Mix fresh noise into inverted latents, with the variance preserved.

    With ``amount`` a = alpha-bar of the time step at which noise is added, as published::

        x = sqrt(a) inverted + sqrt(1 - a) noise

    This also attenuates the image content that remains in ``inverted``. Given the ``clean`` latents z and the
    noise ``level`` b of the inverted ones, only their noise part is mixed::

        e = (inverted - sqrt(b) z) / sqrt(1 - b)
        x = sqrt(b) z + sqrt(1 - b) (sqrt(a) e + sqrt(1 - a) noise)

    so that a = 1 gives the pure inversion and a = 0 a noised latent. At b = 0 the two formulas are identical.

    Parameters
    ----------
    inverted, noise, clean : Tensor, same shape
    amount, level : float
        alpha-bar, in [0, 1].
    """
    if clean is None:
        return amount**0.5 * inverted + (1 - amount) ** 0.5 * noise
    image = level**0.5 * clean
    return image + amount**0.5 * (inverted - image) + ((1 - amount) * (1 - level)) ** 0.5 * noise
