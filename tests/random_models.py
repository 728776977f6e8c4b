"""Folders of random-weight models in the very formats that the loaders read."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPTextModel

from mind_animator.models.vificlip import PREFIX, ViFiClipImageEncoder
from mind_animator.synthetic import models as synthetic_models


def save_random_models(folder: Path, seed: int = 0) -> Path:
    """Write clip, blip2, sd, vit, videomae and vificlip under ``folder``, with weights drawn from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        clip = synthetic_models.build_clip()
        _spread(clip)
        clip.save_pretrained(folder / "clip")
        synthetic_models.build_clip_processor().save_pretrained(folder / "clip")
        blip2 = synthetic_models.build_blip2()
        _spread(blip2)
        blip2.save_pretrained(folder / "blip2")
        synthetic_models.build_blip2_processor().save_pretrained(folder / "blip2")
        synthetic_models.build_vae().save_pretrained(folder / "sd" / "vae")
        synthetic_models.build_unet().save_pretrained(folder / "sd" / "unet")
        synthetic_models.build_scheduler().save_pretrained(folder / "sd" / "scheduler")
        text = CLIPTextModel(clip.config.text_config)
        _spread(text)
        text.save_pretrained(folder / "sd" / "text_encoder")
        synthetic_models.build_clip_tokenizer().save_pretrained(folder / "sd" / "tokenizer")
        synthetic_models.build_vit().save_pretrained(folder / "vit")
        synthetic_models.build_vit_processor().save_pretrained(folder / "vit")
        synthetic_models.build_videomae().save_pretrained(folder / "videomae")
        synthetic_models.build_videomae_processor().save_pretrained(folder / "videomae")
        encoder = ViFiClipImageEncoder(size=64, patch=8, width=128, layers=2, dim=64)
        (folder / "vificlip").mkdir(parents=True)
        weights = {PREFIX + name: value.contiguous() for name, value in encoder.state_dict().items()}
        save_file(weights, folder / "vificlip" / "model.safetensors")
    return folder


def _spread(model: torch.nn.Module) -> None:
    """Widen weights that initialisation leaves near zero, so that outputs depend visibly on their inputs."""
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.mul_(4)
