"""Folders of random-weight models in the very formats that the loaders read."""

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
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


def save_small_generator(folder: Path, source: Path) -> Path:
    """The Stable Diffusion folder ``source`` with a smaller UNet and VAE of random weights, for trainings in tests."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("unet", "vae"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        UNet2DConditionModel(
            sample_size=8,
            down_block_types=("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2,
            block_out_channels=(8, 16),
            layers_per_block=1,
            cross_attention_dim=synthetic_models.WIDTH,
            attention_head_dim=2,
            norm_num_groups=4,
        ).save_pretrained(folder / "unet")
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(4, 4, 8, 8),
            layers_per_block=1,
            norm_num_groups=4,
        ).save_pretrained(folder / "vae")
    return folder


def _spread(model: torch.nn.Module) -> None:
    """Widen weights that initialisation leaves near zero, so that outputs depend visibly on their inputs."""
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.mul_(4)
