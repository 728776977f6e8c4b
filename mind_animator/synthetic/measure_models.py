"""Performance of the small models on stills and clips that were not used for training."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import (
    Blip2ForConditionalGeneration,
    Blip2Processor,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
    VideoMAEForVideoClassification,
    ViTForImageClassification,
)

from mind_animator.synthetic import models, scenes
from mind_animator.synthetic.train_models import SEED, draw_clips, draw_stills, normalise

EVALUATION = 99


@torch.no_grad()
def measure(name: str, folder: Path, beside: Path, count: int = 240) -> dict[str, float]:
    """Evaluate a shipped model on new stills or clips.

    Parameters
    ----------
    name : str
        One of ``NAMES``.
    folder : Path
        Folder of the model.
    beside : Path
        Folder of the other models; its image classifier evaluates the images of the generator.
    count : int
        Number of stills; half as many clips.

    Returns
    -------
    dict of float
        Accuracies as fractions in [0, 1], signal-to-noise ratios in dB.
    """
    if name not in NAMES:
        raise ValueError(f"Expected the model to be one of {NAMES}, got {name!r}")
    measures = _sd(folder, count, beside / "vit") if name == "sd" else _MEASURES[name](folder, count)
    return {key: round(float(value), 4) for key, value in measures.items()}


def _vae(folder: Path, count: int) -> dict[str, Tensor]:
    vae = AutoencoderKL.from_pretrained(folder).eval()
    stills = draw_stills(count, SEED, EVALUATION)
    decoded = reconstruct(vae, stills.frames)
    error = (decoded.float() - stills.frames.float()).square()
    inside = stills.alpha[:, None] > 127
    objects = (error * inside).sum((1, 2, 3)) / (3 * inside.sum((1, 2, 3)))
    decibel = [20 * np.log10(255) - 10 * value.log10().mean() for value in (error.mean((1, 2, 3)), objects)]
    return {"psnr": decibel[0], "psnr_object": decibel[1]}


def reconstruct(vae: AutoencoderKL, frames: Tensor) -> Tensor:
    """Frames (frame, 3, 64, 64) uint8 reconstructed by the autoencoder from its posterior mean."""
    parts = [vae.decode(vae.encode(normalise(part)).latent_dist.mean).sample for part in frames.split(32)]
    return to_bytes(torch.cat(parts))


def to_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def _vit(folder: Path, count: int) -> dict[str, Tensor]:
    vit = ViTForImageClassification.from_pretrained(folder).eval()
    stills = draw_stills(count, SEED, EVALUATION)
    return _pair_accuracy(
        image_logits(vit, stills.frames), stills.noun, stills.scene, "scene", len(scenes.SCENES)
    )


def image_logits(vit: nn.Module, frames: Tensor) -> Tensor:
    """Logits (frame, 72) of frames (frame, 3, 64, 64) uint8."""
    return torch.cat([vit(pixel_values=normalise(part)).logits for part in frames.split(64)])


def _pair_accuracy(
    logits: Tensor, first: Tensor, second: Tensor, name: str, seconds: int
) -> dict[str, Tensor]:
    best = logits.argmax(-1)
    right_first, right_second = best // seconds == first, best % seconds == second
    both = right_first & right_second
    return {
        "noun": right_first.float().mean(),
        name: right_second.float().mean(),
        "both": both.float().mean(),
    }


def _videomae(folder: Path, count: int) -> dict[str, Tensor]:
    videomae = VideoMAEForVideoClassification.from_pretrained(folder).eval()
    clips = draw_clips(count // 2, SEED, EVALUATION)
    logits = torch.cat([videomae(pixel_values=normalise(part)).logits for part in clips.frames.split(16)])
    return _pair_accuracy(logits, clips.noun, clips.octant, "direction", scenes.OCTANTS)


def _clip(folder: Path, count: int) -> dict[str, Tensor]:
    clip, tokenizer = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    stills = draw_stills(count, SEED, EVALUATION)
    images = torch.cat(
        [clip.get_image_features(normalise(part)).pooler_output for part in stills.frames.split(64)]
    )
    return _caption_accuracy(images, clip, tokenizer, stills.noun, stills.scene)


def _caption_accuracy(
    images: Tensor, clip: CLIPModel, tokenizer: CLIPTokenizer, noun: Tensor, scene: Tensor
) -> dict:
    """Accuracy of selecting among the 72 captions by cosine similarity."""
    texts = [f"{'an' if word[0] in 'aeiou' else 'a'} {word} {phrase}"
            for word in scenes.NOUNS for phrase in scenes.PHRASES.values()]  # fmt: skip
    tokens = tokenizer(
        texts, padding="max_length", max_length=models.CONDITION_TOKENS, return_tensors="pt"
    ).input_ids
    text = functional.normalize(clip.get_text_features(tokens).pooler_output, dim=-1)
    return _pair_accuracy(
        functional.normalize(images, dim=-1) @ text.T, noun, scene, "scene", len(scenes.SCENES)
    )


def _vificlip(folder: Path, count: int) -> dict[str, Tensor]:
    """Nearest-centroid accuracy of clip embeddings; half of the clips determine the centroids."""
    from mind_animator.models.load import load_vificlip

    encoder = load_vificlip(folder).model
    clips = draw_clips(count, SEED, EVALUATION)
    frames = clips.frames[:, ::4]
    embedded = torch.cat([encoder(normalise(part.flatten(0, 1))) for part in frames.split(32)])
    video = functional.normalize(embedded, dim=-1).unflatten(0, frames.shape[:2]).mean(1)
    half, found = count // 2, {}
    for name, labels, classes in (("noun", clips.noun, scenes.NOUNS), ("scene", clips.scene, scenes.SCENES)):
        centres = torch.stack([video[:half][labels[:half] == index].mean(0) for index in range(len(classes))])
        best = (video[half:] @ functional.normalize(centres, dim=-1).T).argmax(-1)
        found[name] = (best == labels[half:]).float().mean()
    return found


def _blip2(folder: Path, count: int) -> dict[str, Tensor]:
    blip2 = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    processor = Blip2Processor.from_pretrained(folder)
    stills = draw_stills(count, SEED, EVALUATION)
    answers = []
    for part in stills.frames.split(60):
        images = list(part.permute(0, 2, 3, 1).numpy())
        inputs = processor(images, text=[models.QUESTION] * len(images), return_tensors="pt")
        answers += processor.batch_decode(
            blip2.generate(**inputs, max_new_tokens=12), skip_special_tokens=True
        )
    return caption_accuracy(answers, stills.shots)


def caption_accuracy(answers: list[str], shots: list[scenes.Shot]) -> dict[str, Tensor]:
    """Fractions of answers that contain the noun of the shot, contain its scene, and equal its caption exactly."""
    pairs = list(zip(answers, shots, strict=True))
    fractions = {
        "noun": [f" {shot.noun} " in f" {answer} " for answer, shot in pairs],
        "scene": [scenes.PHRASES[shot.scene] in answer for answer, shot in pairs],
        "exact": [answer.strip() == scenes.caption(shot) for answer, shot in pairs],
    }
    return {key: torch.tensor(values).float().mean() for key, values in fractions.items()}


def _sd(folder: Path, count: int, evaluator: Path) -> dict[str, Tensor]:
    """Accuracy of the classifier on images generated from captions, and quality of the autoencoder."""
    stills = draw_stills(count // 2, SEED, EVALUATION)
    made = generate(folder, [scenes.caption(shot) for shot in stills.shots])
    logits = image_logits(ViTForImageClassification.from_pretrained(evaluator).eval(), made)
    recognised = _pair_accuracy(logits, stills.noun, stills.scene, "scene", len(scenes.SCENES))
    return recognised | _vae(folder / "vae", count)


@torch.no_grad()
def generate(
    folder: Path,
    prompts: list[str],
    steps: int = 25,
    guidance: float = 3.0,
    seed: int = 0,
    negative: str = "",
) -> Tensor:
    """Generate an image for each prompt by DDIM with classifier-free guidance.

    Returns
    -------
    Tensor (prompt, 3, 64, 64) uint8
    """
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae").eval()
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").eval()
    text = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(steps)
    tokens = tokenizer(
        [*prompts, negative], padding="max_length", max_length=models.CONDITION_TOKENS, return_tensors="pt"
    ).input_ids
    conditions = text(tokens).last_hidden_state
    conditions = torch.cat([conditions[-1:].expand(len(prompts), -1, -1), conditions[:-1]])
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(
        len(prompts), *(models.LATENT_CHANNELS, *(models.LATENT_SIZE,) * 2), generator=generator
    )
    for time in scheduler.timesteps:
        unconditional, conditional = unet(torch.cat([latents] * 2), time, conditions).sample.chunk(2)
        latents = scheduler.step(
            unconditional + guidance * (conditional - unconditional), time, latents
        ).prev_sample
    parts = [vae.decode(part / vae.config.scaling_factor).sample for part in latents.split(32)]
    return to_bytes(torch.cat(parts))


_MEASURES = {
    "vae": _vae,
    "vit": _vit,
    "clip": _clip,
    "vificlip": _vificlip,
    "blip2": _blip2,
    "videomae": _videomae,
}
NAMES = (*_MEASURES, "sd")
