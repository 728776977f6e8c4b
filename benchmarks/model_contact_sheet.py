"""A contact sheet for visual inspection of the small models: stills, and the outputs of the models."""

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from mind_animator.synthetic import measure_models, models, scenes

ROWS = ("still", "autoencoder", "from its caption")


def contact_sheet(folder: Path, seed: int = 1, steps: int = 25, guidance: float = 3.0) -> np.ndarray:
    """Draw every noun in two scenes, with the outputs of autoencoder and generator below.

    Parameters
    ----------
    folder : Path
        Folder of the generator in the layout of Stable Diffusion.
    seed : int
        Seed of stills and noise.
    steps : int
        DDIM steps.
    guidance : float
        Weight of classifier-free guidance.

    Returns
    -------
    ndarray (height, width, 3) uint8
        Two blocks of three rows (``ROWS``) and twelve columns.
    """
    rng = np.random.default_rng((seed, 3))
    blocks = []
    for shift in (0, 3):
        shots = [
            replace(scenes.sample_still(rng), noun=noun, scene=scene)
            for noun, scene in zip(
                scenes.NOUNS, itertools.islice(itertools.cycle(scenes.SCENES), shift, None), strict=False
            )
        ]
        frames = np.stack([scenes.render_frame(shot, 0.5, models.IMAGE_SIZE) for shot in shots])
        stills = torch.from_numpy(frames.transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            decoded = measure_models.reconstruct(AutoencoderKL.from_pretrained(folder / "vae").eval(), stills)
        captions = [scenes.caption(shot) for shot in shots]
        made = measure_models.generate(folder, captions, steps, guidance, seed + shift)
        blocks += [_strip(stills), _strip(decoded), _strip(made)]
    return np.concatenate(blocks)


def _strip(frames: Tensor) -> np.ndarray:
    """Frames (frame, 3, 64, 64) side by side, doubled in size, a white line below."""
    strip = np.concatenate(list(frames.permute(0, 2, 3, 1).numpy()), axis=1)
    doubled = cv2.resize(strip, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    return np.pad(doubled, ((0, 4), (0, 0), (0, 0)), constant_values=255)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, help="folder of the generator")
    parser.add_argument("figure", type=Path, help="PNG file to write")
    given = parser.parse_args()
    Image.fromarray(contact_sheet(given.models)).save(given.figure)
