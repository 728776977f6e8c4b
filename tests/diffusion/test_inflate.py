"""The inflated net against the stock one and against slow definitions of its parts."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import nn

from mind_animator.diffusion.inflate import PooledGroupNorm, SparseCausalAttention, TextAttention, VideoUNet


def stock_noise(unet, latents, timestep, condition):
    """The image net on every frame by itself."""
    frames = latents.shape[1]
    flat = unet(latents.flatten(0, 1), timestep, condition.repeat_interleave(frames, 0), return_dict=False)[0]
    return flat.unflatten(0, latents.shape[:2])


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 8])
def test_static_clip_equals_the_stock_net(fresh_unet, normal, frames):
    latents = normal(2, 1, 4, 8, 8).expand(-1, frames, -1, -1, -1).contiguous()
    condition = normal(2, 20, 128)
    video = VideoUNet(fresh_unet(), frames)
    expected = stock_noise(fresh_unet(), latents, 500, condition)
    torch.testing.assert_close(video(latents, 500, condition), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_moving_clip_does_not(fresh_unet, normal):
    latents, condition = normal(1, 8, 4, 8, 8), normal(1, 20, 128)
    difference = VideoUNet(fresh_unet(), 8)(latents, 500, condition) - stock_noise(
        fresh_unet(), latents, 500, condition
    )
    assert difference[:, 0].abs().max() < 1e-5  # the first frame sees itself alone
    assert difference[:, 1:].abs().amax(dim=(0, 2, 3, 4)).min() > 1e-3


@torch.no_grad()
def test_earlier_frames_never_see_later_ones(fresh_unet, normal):
    video = VideoUNet(fresh_unet(), 5)
    latents, condition = normal(2, 5, 4, 8, 8), normal(2, 20, 128)
    changed = latents.clone()
    changed[:, 2] += normal(2, 4, 8, 8)
    before, after = video(latents, 300, condition), video(changed, 300, condition)
    assert torch.equal(before[:, :2], after[:, :2])
    moved = (before - after).abs().amax(dim=(0, 2, 3, 4))
    assert moved[2] > 0
    assert moved[3] > 0
    # Frame 5 attends to frames 1 and 4 of the layer below, where frame 4 has changed.
    assert moved[4] > 0


def attention(normal, cross=None):
    module = Attention(query_dim=32, heads=4, dim_head=8, cross_attention_dim=cross)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * normal(*parameter.shape))
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize("frames", [1, 2, 3, 6])
def test_sparse_causal_attention_by_its_definition(normal, frames):
    module, hidden = attention(normal), normal(2 * frames, 9, 32)
    before = hidden.clone()
    result = SparseCausalAttention(frames)(module, hidden).view(2, frames, 9, 32)
    assert torch.equal(hidden, before)
    clips = hidden.double().view(2, frames, 9, 32)
    project = copy.deepcopy(module).double()
    for clip in range(2):
        for frame in range(frames):
            # As published: two copies of frame 1 for frames 1 and 2.
            seen = torch.cat([clips[clip, 0], clips[clip, max(frame - 1, 0)]])
            query = project.to_q(clips[clip, frame]).view(9, 4, 8)
            key, value = project.to_k(seen).view(18, 4, 8), project.to_v(seen).view(18, 4, 8)
            weight = torch.einsum("qhd,khd->hqk", query, key).div(8**0.5).softmax(-1)
            expected = project.to_out[0](torch.einsum("hqk,khd->qhd", weight, value).reshape(9, 32))
            torch.testing.assert_close(result[clip, frame].double(), expected, atol=2e-6, rtol=1e-5)


def test_text_attention_is_that_of_repeated_texts(normal):
    module, hidden, text = attention(normal, cross=16), normal(6, 9, 32), normal(2, 5, 16)
    result = TextAttention(3)(module, hidden, text)
    expected = module(hidden, text.repeat_interleave(3, 0))  # the stock processor
    torch.testing.assert_close(result, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("frames", [1, 4])
def test_pooled_group_norm_is_that_of_five_dimensions(normal, frames):
    norm = nn.GroupNorm(4, 12, eps=1e-5)
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(0))
    nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(1))
    x = 3 + 2 * normal(2 * frames, 12, 5, 7)
    five = x.unflatten(0, (2, frames)).transpose(1, 2)  # (clip, channel, frame, h, w)
    expected = F.group_norm(five, 4, norm.weight, norm.bias, norm.eps).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(PooledGroupNorm(norm, frames)(x), expected, atol=5e-6, rtol=1e-5)
    if frames == 1:
        torch.testing.assert_close(PooledGroupNorm(norm, 1)(x), norm(x), atol=5e-6, rtol=1e-5)


@torch.no_grad()
def test_pooling_over_frames_is_another_network(fresh_unet, normal):
    latents, condition = normal(1, 6, 4, 8, 8), normal(1, 20, 128)
    latents[:, 3:] *= 3  # frames of unequal contrast
    per_frame = VideoUNet(fresh_unet(), 6)(latents, 300, condition)
    pooled = VideoUNet(fresh_unet(), 6, group_norm="pooled")(latents, 300, condition)
    assert (per_frame - pooled).abs().max() > 1e-2
    # Pooling lets every frame see every other, the first one too: a change of the last frame reaches it.
    changed = latents.clone()
    changed[:, -1] += 1
    net = VideoUNet(fresh_unet(), 6, group_norm="pooled")
    assert (net(latents, 300, condition) - net(changed, 300, condition))[:, 0].abs().max() > 1e-4
    # A static clip has the same statistics either way.
    static = latents[:, :1].expand(-1, 6, -1, -1, -1)
    torch.testing.assert_close(
        net(static, 300, condition), VideoUNet(fresh_unet(), 6)(static, 300, condition), atol=2e-5, rtol=0
    )


@torch.no_grad()
def test_temporal_bias_is_what_untrained_temporal_attention_adds(fresh_unet, normal):
    latents, condition = normal(1, 3, 4, 8, 8), normal(1, 20, 128)
    biased = VideoUNet(fresh_unet(), 3, temporal_bias=torch.Generator().manual_seed(5))
    # The published way: one more layer at the end of each block, its weights zero, its bias not.
    net = fresh_unet()
    generator = torch.Generator().manual_seed(5)
    count = 0
    for module in net.modules():
        if isinstance(module, BasicTransformerBlock):
            width = module.norm1.normalized_shape[0]
            bias = torch.empty(width).uniform_(-(width**-0.5), width**-0.5, generator=generator)
            module.register_forward_hook(lambda module, given, output, bias=bias: output + bias)
            count += 1
    assert count >= 5
    expected = VideoUNet(net, 3)(latents, 300, condition)
    result = biased(latents, 300, condition)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
    assert (result - VideoUNet(fresh_unet(), 3)(latents, 300, condition)).abs().max() > 1e-2


@torch.no_grad()
def test_fused_projections_are_refused_before_and_after(fresh_unet, normal):
    fused = fresh_unet()
    fused.fuse_qkv_projections()
    with pytest.raises(ValueError, match=r"Expected separate projections at .*attn.*, got fused ones"):
        VideoUNet(fused, 4)
    video = VideoUNet(fresh_unet(), 4)
    video.unet.fuse_qkv_projections()
    text = (
        r"Expected SparseCausalAttention at .*attn1\.processor, got FusedAttnProcessor2_0: was "
        + re.escape("fuse_qkv_projections() or set_attn_processor() called on the inflated net?")
    )
    with pytest.raises(ValueError, match=text):
        video(normal(1, 4, 4, 8, 8), 10, normal(1, 20, 128))
    video.unet.unfuse_qkv_projections()
    video(normal(1, 4, 4, 8, 8), 10, normal(1, 20, 128))


def test_wrong_use_is_named(fresh_unet, normal):
    unet = fresh_unet()
    video = VideoUNet(unet, 4)
    with pytest.raises(ValueError, match=r"Expected a stock UNet, got one that was inflated before"):
        VideoUNet(unet, 4)
    with pytest.raises(ValueError, match=r"Expected latents \(clip, 4, channel, h, w\) and prompt_embeds"):
        video(normal(1, 5, 4, 8, 8), 10, normal(1, 20, 128))
    with pytest.raises(ValueError, match=r"Expected group_norm 'per_frame' or 'pooled', got 'other'\."):
        VideoUNet(fresh_unet(), 4, group_norm="other")
    with pytest.raises(ValueError, match=r"Expected at least one frame per clip, got 0\."):
        VideoUNet(fresh_unet(), 0)


@torch.no_grad()
def test_half_precision_comes_back_as_float32(fresh_unet, normal):
    latents, condition = normal(1, 3, 4, 8, 8), normal(1, 20, 128)
    exact = VideoUNet(fresh_unet(), 3)(latents, 300, condition)
    half = VideoUNet(fresh_unet().to(torch.bfloat16), 3)(latents, 300, condition)
    assert half.dtype == torch.float32
    assert (half - exact).abs().mean() < 0.03 * exact.abs().mean()  # bfloat16 keeps 8 bits: 0.4 % a layer


@torch.no_grad()
def test_channels_last_changes_nothing_but_the_layout(fresh_unet, normal):
    latents, condition = normal(2, 3, 4, 8, 8), normal(2, 20, 128)
    for group_norm in ("per_frame", "pooled"):
        plain = VideoUNet(fresh_unet(), 3, group_norm=group_norm)(latents, 300, condition)
        last = VideoUNet(fresh_unet().to(memory_format=torch.channels_last), 3, group_norm=group_norm)
        torch.testing.assert_close(last(latents, 300, condition), plain, atol=2e-5, rtol=0)


@torch.no_grad()
def test_injected_parts_compile_into_one_graph(fresh_unet, normal):
    latents, condition = normal(1, 3, 4, 8, 8), normal(1, 20, 128)
    video = VideoUNet(fresh_unet(), 3, group_norm="pooled")
    expected = [video(latents, timestep, condition) for timestep in (300, 320)]
    video.unet.compile(backend="eager", fullgraph=True, dynamic=False)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for timestep, noise in zip((300, 320), expected, strict=True):
            torch.testing.assert_close(video(latents, timestep, condition), noise, atol=1e-5, rtol=0)
