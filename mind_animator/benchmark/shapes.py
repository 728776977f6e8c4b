"""The frozen networks with random weights, in their true shapes and in small ones of the same classes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

SD15_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
}
FLAN_T5_XXL = {
    "model_type": "t5",
    "d_model": 4096,
    "d_ff": 10240,
    "num_heads": 64,
    "num_layers": 24,
    "num_decoder_layers": 24,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
}


@dataclass(frozen=True)
class Shapes:
    """Sizes of everything that is measured.

    Attributes
    ----------
    name : str
    frames, size, steps, tokens : int
        Frames per clip, their height and width in pixels, steps of the sampler, tokens of the text condition.
    clips, voxels : int
        Training clips of one subject, and voxels.
    unet, vae, clip, vit, videomae, blip2, vificlip : mapping
        Arguments of the networks' configs. The defaults of the libraries are the published shapes of CLIP ViT-B/32,
        ViT-B/16 and VideoMAE-B.
    product : int
        Rows of the square matrices whose product gives the speed limit.
    """

    name: str
    frames: int
    size: int
    steps: int
    tokens: int
    clips: int
    voxels: int
    product: int
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    vificlip: Mapping[str, int]
    clip: Mapping[str, Any] = field(default_factory=dict)
    vit: Mapping[str, Any] = field(default_factory=dict)
    videomae: Mapping[str, Any] = field(default_factory=dict)
    blip2: Mapping[str, Any] = field(default_factory=dict)


FULL = Shapes(
    name="full",
    frames=8,
    size=512,
    steps=50,
    tokens=20,
    clips=4320,
    voxels=4500,
    product=8192,
    unet={"sample_size": 64, "cross_attention_dim": 768},  # the defaults are otherwise those of SD 1.5
    vae=SD15_VAE,
    vit={"num_labels": 1000},
    videomae={"num_labels": 400},
    blip2={"text_config": FLAN_T5_XXL, "image_token_index": 3},
    vificlip={"size": 224, "patch": 16, "width": 768, "layers": 12, "dim": 512},
)

_TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL = Shapes(
    name="small",
    frames=3,
    size=64,
    steps=4,
    tokens=5,
    clips=64,
    voxels=50,
    product=256,
    unet={
        "sample_size": 8, "cross_attention_dim": 32, "block_out_channels": (32, 32), "norm_num_groups": 8,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "layers_per_block": 1, "attention_head_dim": 4,
    },
    vae=SD15_VAE | {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4},
    clip={
        "text_config": _TINY, "vision_config": _TINY | {"image_size": 32, "patch_size": 16}, "projection_dim": 16,
    },
    vit=_TINY | {"image_size": 32, "num_labels": 10},
    videomae=_TINY | {"image_size": 32, "num_labels": 10},
    blip2={
        "vision_config": _TINY | {"image_size": 28}, "num_query_tokens": 4, "image_token_index": 3,
        "qformer_config": _TINY | {"encoder_hidden_size": 32},
        "text_config": {"model_type": "t5", "d_model": 32, "d_ff": 64, "d_kv": 16, "num_heads": 2, "num_layers": 2},
    },
    vificlip={"size": 32, "patch": 16, "width": 64, "layers": 2, "dim": 16},
)  # fmt: skip
SHAPES = {"full": FULL, "small": SMALL}


def build(make: Callable[[], nn.Module], device: str, dtype: torch.dtype) -> Any:
    """A frozen network with random weights, made on its device in its precision: no second copy exists."""
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with torch.device(device):
            network = make()
    finally:
        torch.set_default_dtype(default)
    return network.to(device, dtype).requires_grad_(False).eval()


def build_unet(shapes: Shapes, device: str, dtype: torch.dtype) -> Any:
    """A UNet2DConditionModel."""
    from diffusers import UNet2DConditionModel

    return build(lambda: UNet2DConditionModel(**shapes.unet), device, dtype)


def build_vae(shapes: Shapes, device: str, dtype: torch.dtype) -> Any:
    """An AutoencoderKL."""
    from diffusers import AutoencoderKL

    return build(lambda: AutoencoderKL(**shapes.vae), device, dtype)


def build_transformer(kind: str, config: Mapping[str, Any], device: str, dtype: torch.dtype) -> Any:
    """A class of transformers by its name, from arguments of its config."""
    import transformers

    model = getattr(transformers, kind)
    return build(lambda: model(model.config_class(**config)), device, dtype)
