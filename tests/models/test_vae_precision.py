"""Half precision of the VAE changes frames by less than a grey level on average."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from mind_animator.models.latents import decode_latents, encode_latents
from mind_animator.models.load import load_vae, network_dtype
from mind_animator.provenance import ROOT

SD = ROOT / "mind_animator" / "assets" / "models" / "sd"


def test_auto_is_half_precision_on_a_gpu_only():
    assert network_dtype("auto", "cpu") == torch.float32
    assert network_dtype("auto", "cuda") == torch.float16
    assert network_dtype("bfloat16", "cpu") == torch.bfloat16


@pytest.mark.parametrize(
    ("dtype", "latents_error", "grey_levels"), [("float16", 0.003, 0.3), ("bfloat16", 0.03, 2)]
)
def test_error_of_half_precision(dtype, latents_error, grey_levels):
    generator = torch.Generator().manual_seed(0)
    coarse = interpolate(torch.rand(4, 3, 8, 8, generator=generator), 64, mode="bicubic").clamp(0, 1)
    frames = (255 * coarse).permute(0, 2, 3, 1)[None].to(torch.uint8)
    full = load_vae(SD)
    half = load_vae(SD, dtype=network_dtype(dtype, "cpu"))
    latents = encode_latents(full, frames, 4)
    error = (encode_latents(half, frames, 4) - latents).square().mean().sqrt() / latents.std()
    assert 0 < error < latents_error
    shown = [decode_latents(vae, latents, 4).numpy().astype(int) for vae in (full, half)]
    assert 0 < np.abs(shown[0] - shown[1]).mean() < grey_levels
