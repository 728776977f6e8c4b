"""A stock image UNet that denoises videos: attention processors are injected, diffusers is not touched.

Frames are stacked along the batch axis. Spatial self-attention becomes *sparse-causal*: the keys and values of
a frame are those of the first frame and of the frame before it,

    frame 1, 2:      softmax(q K_1') V_1
    frame f >= 3:    softmax(q [K_1, K_{f-1}]') [V_1, V_{f-1}]

For frames 1 and 2 both are frame 1; two copies of a key have the weight of one, so one copy is used.
"""

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

TRAINING_TIMESTEPS = 1000


class VideoUNet(nn.Module):
    """Noise prediction for clips of frames by an image UNet, which is changed in place.

    Parameters
    ----------
    unet : UNet2DConditionModel
        A text-conditioned UNet with attention in transformer blocks (Stable Diffusion 1.x and similar).
    frames : int
        Frames per clip.
    group_norm : str
        ``per_frame``: residual blocks and the output normalise each frame by itself, as the image net does.
        ``pooled``: they normalise over all frames of a clip, as the published inflation does (its tensors are
        five-dimensional there; inside transformer blocks frames stay apart). A different network.
    temporal_bias : torch.Generator, optional
        Draws the bias that the published code's untrained temporal attention adds to every transformer block
        (its output weights are zeroed, its bias is not): U(-1/sqrt(width), 1/sqrt(width)) per channel.

    Raises
    ------
    ValueError
        If the net has attention of another kind, fused projections, or was inflated before.

    References
    ----------
    Wu et al. (2023), "Tune-A-Video", ICCV: sparse-causal attention.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        frames: int,
        *,
        group_norm: str = "per_frame",
        temporal_bias: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if frames < 1:
            raise ValueError(f"Expected at least one frame per clip, got {frames}.")
        if group_norm not in ("per_frame", "pooled"):
            raise ValueError(f"Expected group_norm 'per_frame' or 'pooled', got '{group_norm}'.")
        if any(isinstance(p, (SparseCausalAttention, TextAttention)) for p in unet.attn_processors.values()):
            raise ValueError("Expected a stock UNet, got one that was inflated before: load it again.")
        attention = {f"{name}.processor": m for name, m in unet.named_modules() if isinstance(m, Attention)}
        for name, module in attention.items():
            _check_attention(name, module)
        self.unet = unet
        self.frames = frames
        unet.set_attn_processor(
            {
                name: SparseCausalAttention(frames)
                if name.endswith("attn1.processor")
                else TextAttention(frames)
                for name in attention
            }
        )
        if group_norm == "pooled":
            for module in unet.modules():
                if isinstance(module, ResnetBlock2D):
                    module.norm1 = PooledGroupNorm(module.norm1, frames)
                    module.norm2 = PooledGroupNorm(module.norm2, frames)
            unet.conv_norm_out = PooledGroupNorm(unet.conv_norm_out, frames)
        if temporal_bias is not None:
            add_temporal_bias(unet, temporal_bias)
        # On the device: a step of the chain takes its time step from here and copies nothing from the host.
        self.register_buffer(
            "timesteps", torch.arange(TRAINING_TIMESTEPS, device=unet.device), persistent=False
        )

    def forward(self, latents: Tensor, timestep: int | Tensor, prompt_embeds: Tensor) -> Tensor:
        """Predicted noise (or velocity, as the net was trained).

        Parameters
        ----------
        latents : Tensor of shape (clip, frame, channel, h, w)
            Any float type; the net computes in its own.
        timestep : int or Tensor
            One of the training time steps, 0..999, for all.
        prompt_embeds : Tensor of shape (clip, token, width)
            Text condition of each clip, the same for its frames; projected once per clip.

        Returns
        -------
        Tensor of shape (clip, frame, channel, h, w), float32
        """
        self.check()
        if latents.ndim != 5 or latents.shape[1] != self.frames or len(prompt_embeds) != len(latents):
            raise ValueError(
                f"Expected latents (clip, {self.frames}, channel, h, w) and prompt_embeds (clip, token, width), "
                f"got {tuple(latents.shape)} and {tuple(prompt_embeds.shape)}."
            )
        dtype = self.unet.dtype
        noise = self.unet(
            latents.flatten(0, 1).to(dtype),
            self.timesteps[timestep] if isinstance(timestep, int) else timestep,
            encoder_hidden_states=prompt_embeds.to(dtype),
            return_dict=False,
        )[0]
        return noise.float().unflatten(0, latents.shape[:2])

    def check(self) -> None:
        """Raise an error if the network lost its processors: `fuse_qkv_projections` and similar methods drop
        them silently."""
        for name, processor in self.unet.attn_processors.items():
            expected = SparseCausalAttention if name.endswith("attn1.processor") else TextAttention
            if not isinstance(processor, expected):
                raise ValueError(
                    f"Expected {expected.__name__} at {name}, got {type(processor).__name__}: was "
                    "fuse_qkv_projections() or set_attn_processor() called on the inflated net? "
                    "Either removes the attention between frames."
                )


class SparseCausalAttention:
    """Attention processor: keys and values of a frame are those of the first and the previous frame.

    Parameters
    ----------
    frames : int
        Frames per clip; rows of the batch are (clip, frame).
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attention of hidden states (clip x frame, token, width), same shape out."""
        assert encoder_hidden_states is None and attention_mask is None
        frames, heads = self.frames, attn.heads
        rows, tokens, _ = hidden_states.shape
        clips = rows // frames
        # (clip, frame, token, head, width of a head): views of what the projections give
        shape = (clips, frames, tokens, heads, -1)
        query = attn.to_q(hidden_states).view(shape)
        key = attn.to_k(hidden_states).view(shape)
        value = attn.to_v(hidden_states).view(shape)
        lead = min(frames, 2)
        early = F.scaled_dot_product_attention(
            query[:, :lead].reshape(clips, lead * tokens, heads, -1).transpose(1, 2),
            key[:, 0].transpose(1, 2),
            value[:, 0].transpose(1, 2),
        )
        early = early.transpose(1, 2).reshape(clips, lead, tokens, -1)
        if frames <= 2:
            attended = early
        else:
            late = F.scaled_dot_product_attention(
                query[:, 2:].flatten(0, 1).transpose(1, 2),
                _first_and_previous(key).transpose(1, 2),
                _first_and_previous(value).transpose(1, 2),
            )
            late = late.transpose(1, 2).reshape(clips, frames - 2, tokens, -1)
            attended = torch.cat([early, late], dim=1)
        return attn.to_out[1](attn.to_out[0](attended.view(rows, tokens, -1)))


class TextAttention:
    """Attention processor: all frames of a clip attend to one copy of the clip's text.

    Parameters
    ----------
    frames : int
        Frames per clip; rows of the batch are (clip, frame), rows of the text are clips.
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attention of (clip x frame, token, width) to the text (clip, word, text width)."""
        assert attention_mask is None
        rows, tokens, _ = hidden_states.shape
        clips = rows // self.frames
        query = attn.to_q(hidden_states).view(clips, self.frames * tokens, attn.heads, -1)
        key = attn.to_k(encoder_hidden_states).unflatten(2, (attn.heads, -1))
        value = attn.to_v(encoder_hidden_states).unflatten(2, (attn.heads, -1))
        attended = F.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        )
        attended = attended.transpose(1, 2).reshape(rows, tokens, -1)
        return attn.to_out[1](attn.to_out[0](attended))


class PooledGroupNorm(nn.Module):
    """Group normalisation with mean and variance over all frames of a clip.

    Parameters
    ----------
    norm : GroupNorm
        The stock layer, whose parameters are shared.
    frames : int
        Frames per clip; rows of the batch are (clip, frame).
    """

    def __init__(self, norm: nn.GroupNorm, frames: int) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.num_groups, self.eps, self.frames = norm.num_groups, norm.eps, frames

    def forward(self, x: Tensor) -> Tensor:
        """(clip x frame, channel, h, w) -> the same shape; statistics in float32."""
        grouped = x.float().unflatten(0, (-1, self.frames)).unflatten(2, (self.num_groups, -1))
        variance, mean = torch.var_mean(grouped, dim=(1, 3, 4, 5), correction=0, keepdim=True)
        normalised = ((grouped - mean) * torch.rsqrt(variance + self.eps)).flatten(2, 3).flatten(0, 1)
        scaled = normalised * self.weight.float()[:, None, None] + self.bias.float()[:, None, None]
        return scaled.to(x.dtype, memory_format=torch.preserve_format)


def add_temporal_bias(unet: UNet2DConditionModel, generator: torch.Generator) -> None:
    """Add a random bias to the output of every transformer block, in place, as the published code does.

    The temporal attention is at the end of a block, after the feed-forward layer, so its bias is added to that
    of the last map of this layer.
    """
    for module in unet.modules():
        if isinstance(module, BasicTransformerBlock):
            last = module.ff.net[-1]
            bound = last.out_features**-0.5
            values = torch.empty(last.out_features).uniform_(-bound, bound, generator=generator)
            with torch.no_grad():
                last.bias += values.to(last.bias)


def _first_and_previous(x: Tensor) -> Tensor:
    """(clip, frame, token, ...) -> (clip x (frame - 2), 2 token, ...) for frames 3, 4, ..; one copy."""
    first = x[:, :1].expand(-1, x.shape[1] - 2, *x.shape[2:])
    return torch.cat([first, x[:, 1:-1]], dim=2).flatten(0, 1)


def _check_attention(name: str, module: Attention) -> None:
    if module.fused_projections:
        raise ValueError(
            f"Expected separate projections at {name}, got fused ones: call unfuse_qkv_projections()."
        )
    plain = all(
        getattr(module, part, None) is None
        for part in (
            "group_norm",
            "spatial_norm",
            "norm_q",
            "norm_k",
            "norm_cross",
            "add_k_proj",
            "add_q_proj",
        )
    )
    in_block = name.endswith(("attn1.processor", "attn2.processor"))
    standard = module.rescale_output_factor == 1 and not module.residual_connection
    crossed = name.endswith("attn2.processor") == module.is_cross_attention
    if not (plain and in_block and standard and crossed):
        raise ValueError(
            f"Expected plain self- and text attention in transformer blocks, got {name} of another kind."
        )
