"""The motion decoder: responses and a first frame to the latents of a clip.

Three networks: `FrameTokenDecoder` (one token per frame, as released), `PatchTokenDecoder` (patches with
attention to earlier frames and to several fMRI tokens: the description of the paper, and `ridge_residual`), and
`PerFrameDecoder` (each frame on its own, without earlier frames: the ablation of the paper).
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mind_animator.config.decoders import MotionConfig
from mind_animator.decoders.checkpoint import Checkpoint
from mind_animator.decoders.flow import choose_gains, linear_clip, motion_mask, moving_flow
from mind_animator.decoders.layers import Decoder, Residual, by_subject, initialise, repeat_subjects

# Quantiles, over pixels and clips, of the decoded motion mask that are mapped to 0 and 1.
MASK_QUANTILES = (0.75, 0.95)


class Attention(nn.Module):
    """Multi-head attention with biases and heads of any width.

    Parameters
    ----------
    width, context : int
        Widths of the query tokens and of the key tokens.
    heads, head_width : int
    dropout : float
        Of the attention weights, in training.
    """

    def __init__(self, width: int, context: int, heads: int, head_width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, heads * head_width)
        self.key = nn.Linear(context, heads * head_width)
        self.value = nn.Linear(context, heads * head_width)
        self.out = nn.Linear(heads * head_width, width)

    def project(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (clip, head, token, head width) of context tokens (clip, token, context)."""
        return self._split(self.key(context)), self._split(self.value(context))

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None = None) -> Tensor:
        """Attend from tokens (clip, token, width); ``visible`` (..., token, key) is True for keys to attend to."""
        query = self._split(self.query(tokens))
        mixed = functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=visible, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


def sinusoids(length: int, width: int) -> Tensor:
    """Positions (length, width): sines and cosines of wavelengths from 2 pi to 20,000 pi."""
    angle = torch.arange(length)[:, None] * torch.exp(-math.log(1e4) * torch.arange(0, width, 2) / width)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]


def causal_mask(
    clips: int,
    frames: int,
    keep_ratio: float,
    rng: torch.Generator | None,
    device: torch.device | str,
    *,
    mask_own: bool = False,
) -> Tensor:
    """Sparse causal mask: each frame attends to itself, to the first frame, and to a random fraction of the
    frames between.

    Parameters
    ----------
    clips, frames : int
    keep_ratio : float in [0, 1]
        Fraction of the frames between that stays visible; 1 is an ordinary causal mask.
    rng : Generator, optional
        Required if 0 < keep_ratio < 1.
    mask_own : bool
        The released code's rule: from the third frame on a frame's own position is masked like those between.

    Returns
    -------
    BoolTensor of shape (clip, frame, frame), True = visible: [clip, query, key]
    """
    causal = torch.ones(frames, frames, dtype=torch.bool, device=device).tril()
    always = torch.eye(frames, dtype=torch.bool, device=device)
    if mask_own:
        always[2:] = False
    always[:, 0] = True
    chance = torch.full((clips, frames, frames), float(keep_ratio), device=device)
    if 0 < keep_ratio < 1:
        chance = chance - torch.rand(chance.shape, generator=rng, device=device)
    return causal & (always | (chance > 0))


class FrameBlock(nn.Module):
    """Layer of the released decoder: x + LN(dropout(sublayer(x))) for attention to earlier frames, attention to
    the one fMRI token, and a feed-forward sublayer."""

    def __init__(self, settings: MotionConfig, width: int) -> None:
        super().__init__()
        shape = (settings.heads, settings.head_width, settings.dropout_attention)
        self.earlier = Attention(width, width, *shape)
        self.fmri = Attention(width, width, *shape)
        self.feed = nn.Sequential(
            nn.Linear(width, settings.hidden),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden, width),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(settings.dropout)

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, visible: Tensor, fmri: tuple[Tensor, Tensor]
    ) -> Tensor:
        x = x + self.norms[0](self.drop(self.earlier(x, keys, values, visible)))
        x = x + self.norms[1](self.drop(self.fmri(x, *fmri)))
        return x + self.norms[2](self.drop(self.feed(x)))

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the input of this layer."""
        return self.earlier.project(x)


class PatchBlock(nn.Module):
    """Temporal module (attention to all patches of the visible frames), spatial module (cross-attention to the
    fMRI tokens), and a feed-forward sublayer; each with a residual connection, and normalised before (``norm: pre``)
    or after (``post``) the sublayer."""

    def __init__(self, settings: MotionConfig) -> None:
        super().__init__()
        width = settings.token_width
        shape = (settings.heads, settings.head_width, settings.dropout_attention)
        self.earlier = Attention(width, width, *shape)
        self.fmri = Attention(width, width, *shape)
        self.feed = nn.Sequential(
            nn.Linear(width, settings.hidden), nn.GELU(), nn.Linear(settings.hidden, width)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(settings.dropout)
        self.pre = settings.norm == "pre"

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, visible: Tensor, fmri: tuple[Tensor, Tensor]
    ) -> Tensor:
        sublayers = (
            lambda x: self.earlier(x, keys, values, visible),
            lambda x: self.fmri(x, *fmri),
            self.feed,
        )
        for sublayer, norm in zip(sublayers, self.norms, strict=True):
            x = x + (self.drop(sublayer(norm(x))) if self.pre else norm(self.drop(sublayer(x))))
        return x

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the input of this layer."""
        return self.earlier.project(self.norms[0](x) if self.pre else x)


class MotionDecoder(Decoder):
    """Base of the motion decoders: the fMRI encoder, its targets and its loss.

    Parameters
    ----------
    settings : MotionConfig
    shapes : mapping
        ``voxels``, ``latent`` (frame, channel, h, w), and ``sizes`` of the linear baseline's targets
        ``first, change, flow, mask``.
    """

    def __init__(self, settings: MotionConfig, shapes: Mapping[str, Any]) -> None:
        super().__init__(settings, shapes)
        self.latent = tuple(shapes["latent"])
        width = settings.width
        dropout = settings.dropout if settings.dropout_encoder is None else settings.dropout_encoder
        self.body = nn.Sequential(
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(settings.dropout_in),
            *(
                Residual(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout))
                for _ in range(settings.blocks)
            ),
        )

    @classmethod
    def build(cls, settings: MotionConfig, shapes: Mapping[str, Any]) -> "MotionDecoder":
        return NETWORKS[settings.network](settings, shapes)

    @classmethod
    def measure(cls, targets: Mapping[str, Tensor]) -> dict[str, Any]:
        return {"latent": list(targets["latents"].shape[1:])}

    @classmethod
    def prepare(
        cls, settings: MotionConfig, targets: Mapping[str, Tensor], checkpoint: Checkpoint
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The latents; for the linear baseline also the change from the first frame, the flow and the motion
        mask."""
        latents = targets["latents"]
        first = {"first": latents[:, 0].flatten(1)}
        if settings.linear is None:
            return {"latents": latents}, first
        change = (latents[:, 1:] - latents[:, :1]).flatten(1)
        flow = _flow_targets(latents, settings.flow_grid_size, checkpoint).flatten(1)
        return {"latents": latents}, first | {
            "change": change, "flow": flow, "mask": motion_mask(latents).flatten(1)
        }  # fmt: skip

    def calibrate(
        self,
        data: Mapping[str, Tensor],
        baseline_targets: Mapping[str, Tensor],
        rows: np.ndarray,
        rng: torch.Generator,
        checkpoint: Checkpoint,
    ) -> dict[str, Tensor]:
        """With ``mask_drawn: once``: the attention mask of the whole training."""
        if self.settings.mask_drawn != "once":
            return {}
        mask = self._mask(1, self.settings.mask_keep_ratio, rng, "cpu")
        return {"mask": mask.expand(len(data["latents"]), -1, -1)}

    def forward(self, inputs: Tensor, frames: Tensor, visible: Tensor, steps: Tensor | None = None) -> Tensor:
        """The next frame after each given frame, all at once, as in training.

        Parameters
        ----------
        inputs : Tensor of shape (clip, ...)
            From `Decoder.inputs`.
        frames : Tensor of shape (clip, frame, channel, h, w)
            Frames 1..k.
        visible : BoolTensor of shape (clip, frame, frame)
            From `causal_mask`.
        steps : Tensor of shape (clip, frame, channel, h, w), optional
            With the linear baseline, its change from each frame to the next.

        Returns
        -------
        Tensor of shape (clip, frame, channel, h, w)
            Predicted frames 2..k + 1.
        """
        raise NotImplementedError

    def generate(self, inputs: Tensor, first: Tensor, *, cached: bool = True) -> Tensor:
        """Latents of a clip (clip, frame, channel, h, w), decoded frame by frame from its first frame.

        Parameters
        ----------
        inputs : Tensor of shape (clip, ...)
        first : Tensor of shape (clip, channel, h, w)
        cached : bool
            Reuse keys and values of earlier frames instead of recomputing them for every frame.
        """
        raise NotImplementedError

    def predict(self, inputs: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """``latents`` (clip, frame, channel, h, w) from the first frame ``first`` (clip, channel, h, w)."""
        return {"latents": self.generate(inputs, given["first"])}

    def loss(self, batch: Mapping[str, Tensor], rng: torch.Generator | None, epoch: int) -> Tensor:
        """Mean squared error of the next frames.

        In training each frame attends to a random fraction of the earlier frames; in validation, to those that
        it attends to at inference. With ``autoregressive_validation`` the validation clips are generated from their
        first frames.

        Parameters
        ----------
        batch : mapping
            Inputs and ``latents`` (clip, frame, channel, h, w); with ``mask_drawn: once``, ``mask`` (clip,
            frame, frame), the same for every clip.
        """
        inputs = self.batch_inputs(batch, rng, epoch)
        latents = repeat_subjects(batch["latents"], inputs)
        start = self.settings.first_loss_frame - 1
        # with gradients only where the cost of a training step is measured
        if rng is None and self.settings.autoregressive_validation and not torch.is_grad_enabled():
            return functional.mse_loss(self.generate(inputs, latents[:, 0])[:, start:], latents[:, start:])
        visible = self._visible_frames(batch, latents, inputs, rng)
        earlier, steps = self._earlier_frames(batch, latents, inputs, rng)
        out = self(inputs, earlier, visible, steps)
        return functional.mse_loss(out[:, start - 1 :], latents[:, start:])

    def _visible_frames(
        self, batch: Mapping[str, Tensor], latents: Tensor, inputs: Tensor, rng: torch.Generator | None
    ) -> Tensor:
        settings = self.settings
        if rng is None:
            return self._inference_mask(latents.device)
        if settings.mask_drawn == "once":
            return repeat_subjects(batch["mask"], inputs)
        return self._mask(len(latents), settings.mask_keep_ratio, rng, latents.device)

    def _mask(
        self, clips: int, keep_ratio: float, rng: torch.Generator | None, device: torch.device | str
    ) -> Tensor:
        """`causal_mask` of all frames that are predicted from."""
        count, own = self.latent[0] - 1, self.settings.mask_own
        return causal_mask(clips, count, keep_ratio, rng, device, mask_own=own)

    def _inference_mask(self, device: torch.device | str) -> Tensor:
        """The attention mask (1, frame, frame) of validation and inference."""
        return self._mask(1, float(self.settings.inference_mask == "causal"), None, device)

    def _earlier_frames(
        self, batch: Mapping[str, Tensor], latents: Tensor, inputs: Tensor, rng: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        """Frames that the next ones are predicted from, and the linear baseline's changes between them."""
        return latents[:, :-1], None


class PerFrameDecoder(MotionDecoder):
    """Each frame from the responses and its time alone, without earlier frames."""

    def __init__(self, settings: MotionConfig, shapes: Mapping[str, Any]) -> None:
        super().__init__(settings, shapes)
        width, flat = settings.width, torch.Size(self.latent[1:]).numel()
        self.out = nn.Sequential(nn.Linear(width + width, width), nn.GELU(), nn.Linear(width, flat))
        self.register_buffer("times", sinusoids(self.latent[0], width), persistent=False)

    @property
    def noam_width(self) -> int:
        """Width of the hidden layer of a frame."""
        return self.settings.token_width

    def forward(self, inputs: Tensor, frames: Tensor, visible: Tensor, steps: Tensor | None = None) -> Tensor:
        return self._decode(inputs, range(1, frames.shape[1] + 1))

    @torch.no_grad()
    def generate(self, inputs: Tensor, first: Tensor, *, cached: bool = True) -> Tensor:
        return torch.cat([first[:, None], self._decode(inputs, range(1, self.latent[0]))], dim=1)

    def _decode(self, inputs: Tensor, frames: Sequence[int]) -> Tensor:
        hidden = self.body(self.hidden(inputs))
        parts = [
            self.out(torch.cat([hidden, self.times[frame].expand(len(hidden), -1)], dim=1))
            for frame in frames
        ]
        return torch.stack(parts, dim=1).unflatten(2, self.latent[1:])


class TokenDecoder(MotionDecoder):
    """Base of the transformers: frames to tokens, layers with attention to earlier frames, tokens to frames.

    Attributes
    ----------
    patches : int
        Tokens per frame.
    layers : ModuleList of FrameBlock or PatchBlock
    fmri : Linear
        Hidden units to fMRI tokens.
    """

    patches: int = 1
    layers: nn.ModuleList
    fmri: nn.Linear

    def forward(self, inputs: Tensor, frames: Tensor, visible: Tensor, steps: Tensor | None = None) -> Tensor:
        x = self._tokens(frames, steps, range(frames.shape[1]))
        token_mask = self._token_mask(visible)
        fmri = self._fmri_tokens(inputs)
        for layer in self.layers:
            x = layer(x, *layer.keys_values(x), token_mask, layer.fmri.project(fmri))
        return self._frames(x, frames, steps)

    @torch.no_grad()
    def generate(self, inputs: Tensor, first: Tensor, *, cached: bool = True) -> Tensor:
        count = self.latent[0]
        visible = self._inference_mask(first.device)
        steps = self._linear_steps(inputs, first)
        frames = first[:, None]
        fmri = self._fmri_tokens(inputs)
        guides = [layer.fmri.project(fmri) for layer in self.layers]
        cache: list[tuple[Tensor, Tensor] | None] = [None] * len(self.layers)
        for index in range(count - 1):
            if not cached:
                own = None if steps is None else steps[:, : index + 1]
                out = self(inputs, frames, visible[:, : index + 1, : index + 1], own)
                frames = torch.cat([frames, out[:, -1:]], dim=1)
                continue
            last = frames[:, -1:]
            own = None if steps is None else steps[:, index : index + 1]
            x = self._tokens(last, own, range(index, index + 1))
            token_mask = self._token_mask(visible[:, index : index + 1, : index + 1])
            for number, layer in enumerate(self.layers):
                keys, values = layer.keys_values(x)
                if cache[number] is not None:
                    keys = torch.cat([cache[number][0], keys], dim=2)
                    values = torch.cat([cache[number][1], values], dim=2)
                cache[number] = keys, values
                x = layer(x, keys, values, token_mask, guides[number])
            frames = torch.cat([frames, self._frames(x, last, own)], dim=1)
        return frames

    def _linear_steps(self, inputs: Tensor, first: Tensor) -> Tensor | None:
        """Changes from frame to frame (clip, frame - 1, channel, h, w) of the linear baseline, if there is one."""
        return None

    def _fmri_tokens(self, inputs: Tensor) -> Tensor:
        """fMRI tokens (clip, token, width)."""
        return self.fmri(self.body(self.hidden(inputs))).unflatten(1, (-1, self.times.shape[1]))

    def _token_mask(self, visible: Tensor) -> Tensor:
        """Frame mask to token mask (clip, 1, token, token)."""
        return visible.repeat_interleave(self.patches, 1).repeat_interleave(self.patches, 2)[:, None]

    def _tokens(self, frames: Tensor, steps: Tensor | None, indices: range) -> Tensor:
        """Frames (clip, frame, channel, h, w) to tokens (clip, frame * patch, width) with their positions."""
        raise NotImplementedError

    def _frames(self, tokens: Tensor, frames: Tensor, steps: Tensor | None) -> Tensor:
        """Tokens to the frames that follow ``frames``."""
        raise NotImplementedError


class FrameTokenDecoder(TokenDecoder):
    """One token per frame and one fMRI token; frames are predicted directly (released code)."""

    def __init__(self, settings: MotionConfig, shapes: Mapping[str, Any]) -> None:
        super().__init__(settings, shapes)
        flat = torch.Size(self.latent[1:]).numel()
        self.fmri = nn.Linear(settings.width, flat)
        self.layers = nn.ModuleList(FrameBlock(settings, flat) for _ in range(settings.layers))
        self.drop = nn.Dropout(settings.dropout_positions)
        self.final = nn.LayerNorm(flat)
        self.register_buffer("times", sinusoids(self.latent[0], flat), persistent=False)

    @property
    def noam_width(self) -> int:
        """Width of a frame token: channel * h * w."""
        return self.times.shape[1]

    def _tokens(self, frames: Tensor, steps: Tensor | None, indices: range) -> Tensor:
        return self.drop(frames.flatten(2) + self.times[list(indices)])

    def _frames(self, tokens: Tensor, frames: Tensor, steps: Tensor | None) -> Tensor:
        return self.final(tokens).unflatten(2, self.latent[1:])


class PatchTokenDecoder(TokenDecoder):
    """Patches as tokens and several fMRI tokens; predicts the change from each frame to the next, or that frame.

    With the linear baseline, it corrects the changes that the baseline predicts: the first frame moved by the
    decoded flow, plus the decoded change.
    """

    def __init__(self, settings: MotionConfig, shapes: Mapping[str, Any]) -> None:
        super().__init__(settings, shapes)
        frames, channels, height, breadth = self.latent
        side, token = settings.patch, settings.token_width
        if height % side or breadth % side:
            raise ValueError(f"Expected latents of a multiple of patch {side}, got {height} x {breadth}.")
        self.patches = (height // side) * (breadth // side)
        count = 1 if settings.guidance == "single_token" else settings.fmri_tokens
        self.fmri = nn.Linear(settings.width, count * token)
        self.into = nn.Linear((2 if self.linear_baseline else 1) * channels * side * side, token)
        self.position = nn.Parameter(torch.zeros(self.patches, token))
        self.layers = nn.ModuleList(PatchBlock(settings) for _ in range(settings.layers))
        self.drop = nn.Dropout(settings.dropout_positions)
        self.final = nn.LayerNorm(token)
        self.out = nn.Linear(token, channels * side * side)
        self.register_buffer("times", sinusoids(frames, token), persistent=False)
        if self.linear_baseline:
            self.register_buffer("gains", torch.zeros(2))
            self.register_buffer("speed", torch.ones(()))
            self.register_buffer("mask_range", torch.tensor([0.0, 1.0]))

    @property
    def noam_width(self) -> int:
        """Width of a patch token."""
        return self.settings.token_width

    def reset(self, generator: torch.Generator) -> None:
        """Draw the initial weights."""
        initialise(self, generator, zero=[self.out] if self.linear_baseline else [])
        nn.init.normal_(self.position, std=0.5, generator=generator)

    def calibrate(
        self,
        data: Mapping[str, Tensor],
        baseline_targets: Mapping[str, Tensor],
        rows: np.ndarray,
        rng: torch.Generator,
        checkpoint: Checkpoint,
    ) -> dict[str, Tensor]:
        """Gains, speed and range of the motion mask from out-of-fold predictions; the decoded first frames
        ``decoded/{subject}``."""
        extra: dict[str, Tensor] = {}
        if self.linear_baseline:
            pcs = by_subject(data, "pcs")
            first = [self.linear_baseline.target(own, "first").unflatten(1, self.latent[1:]) for own in pcs]
            extra |= {f"decoded/{subject}": own for subject, own in enumerate(first)}
            estimate = partial(self._estimate, data["latents"][rows], baseline_targets["flow"][rows],
                               [own[rows] for own in pcs], [own[rows] for own in first])  # fmt: skip
            for name, value in checkpoint.cached("gains", estimate).items():
                getattr(self, name).copy_(value)
        return extra | super().calibrate(data, baseline_targets, rows, rng, checkpoint)

    def _estimate(
        self, latents: Tensor, flow: Tensor, pcs: Sequence[Tensor], first: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        decoded, change = (torch.cat(parts) for parts in zip(*map(self.decoded_motion, pcs), strict=True))
        targets = latents.repeat(len(pcs), 1, 1, 1, 1)
        gains = choose_gains(torch.cat(list(first)), decoded, change, targets)
        speed = torch.ones(())
        if self.settings.rescale_flow:
            speed = (flow.square().mean() / decoded.square().mean()).sqrt()
        mask = torch.cat([self.linear_baseline.target(own, "mask") for own in pcs]).flatten()
        return {"gains": gains, "speed": speed, "mask_range": order_statistics(mask, MASK_QUANTILES)}

    def predict(self, inputs: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """``latents``; with the linear baseline also ``flow`` (clip, 2, h, w), latent pixels per frame."""
        out = super().predict(inputs, **given)
        return out | {"flow": self.decoded_flow(inputs)} if self.linear_baseline else out

    def decoded_motion(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The linear baseline's flow (clip, 2, row, column) and change (clip, frame - 1, channel, h, w)."""
        grid = self.settings.flow_grid_size
        flow = self.linear_baseline.target(inputs, "flow").unflatten(1, (2, grid, grid))
        frames, *shape = self.latent
        return flow, self.linear_baseline.target(inputs, "change").unflatten(1, (frames - 1, *shape))

    def decoded_flow(self, inputs: Tensor) -> Tensor:
        """Flow field for moving a still image of the clip: ``speed x velocity(p) x mask(p)``.

        The decoded motion mask is rescaled so that `mask_range` becomes [0, 1], and clipped.

        Returns
        -------
        Tensor of shape (clip, 2, h, w)
            Latent pixels per frame.
        """
        height, width = self.latent[2:]
        velocity, _ = self.decoded_motion(inputs)
        fine = functional.interpolate(velocity, (height, width), mode="bilinear", align_corners=False)
        low, high = self.mask_range
        mask = ((self.linear_baseline.target(inputs, "mask") - low) / (high - low).clamp(min=1e-6)).clamp(
            0, 1
        )
        return self.speed * fine * mask.unflatten(1, (1, height, width))

    def _linear_steps(self, inputs: Tensor, first: Tensor) -> Tensor | None:
        """Changes from frame to frame that the linear baseline predicts for a given first frame.

        The first frame is moved by the decoded flow f, and the decoded change c is added::

            base_t = warp(first, gain_0 (t - 1) f) + gain_1 c_t,    step_t = base_(t+1) - base_t
        """
        if not self.linear_baseline:
            return None
        flow, change = self.decoded_motion(inputs)
        return linear_clip(first, flow * self.gains[0], change * self.gains[1]).diff(dim=1)

    def _earlier_frames(
        self, batch: Mapping[str, Tensor], latents: Tensor, inputs: Tensor, rng: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        """With the linear baseline, the frames of some clips are decoded ones (scheduled sampling); in
        validation, of all clips."""
        earlier = latents[:, :-1]
        if not self.linear_baseline:
            return earlier, None
        first = torch.cat(by_subject(batch, "decoded"))
        use = None
        if rng is not None:
            uniform = torch.rand(len(latents), generator=rng, device=latents.device)
            use = (uniform < self.settings.scheduled_sampling_prob)[:, None, None, None]
            first = torch.where(use, first, latents[:, 0])
        steps = self._linear_steps(inputs, first)
        decoded = torch.cat([first[:, None], first[:, None] + steps[:, :-1].cumsum(1)], dim=1)
        return decoded if use is None else torch.where(use[:, None], decoded, earlier), steps

    def _tokens(self, frames: Tensor, steps: Tensor | None, indices: range) -> Tensor:
        content = frames if steps is None else torch.cat([frames, steps], dim=2)
        tokens = self.into(fold_patches(content, self.settings.patch))  # (clip, frame, patch, width)
        return self.drop((tokens + self.times[list(indices)][:, None] + self.position).flatten(1, 2))

    def _frames(self, tokens: Tensor, frames: Tensor, steps: Tensor | None) -> Tensor:
        patches = self.out(self.final(tokens)).unflatten(1, (-1, self.patches))
        out = unfold_patches(patches, self.latent[1:], self.settings.patch)
        if self.settings.output == "change":
            out = frames + out
        return out if steps is None else out + steps


NETWORKS: dict[str, type[MotionDecoder]] = {
    "frame_tokens": FrameTokenDecoder,
    "patch_tokens": PatchTokenDecoder,
    "per_frame": PerFrameDecoder,
}


def _flow_targets(latents: Tensor, grid: int, checkpoint: Checkpoint, batch: int = 256) -> Tensor:
    """`moving_flow` in batches, each of them cached."""
    parts = []
    for start, own in zip(range(0, len(latents), batch), latents.split(batch), strict=True):
        step = checkpoint.cached(f"flow-{start:06d}", lambda own=own: {"flow": moving_flow(own, grid)})
        parts.append(step["flow"])
    return torch.cat(parts)


def order_statistics(values: Tensor, fractions: Sequence[float]) -> Tensor:
    """Order statistics; torch.quantile accepts at most 16 million values."""
    ordered = values.sort().values
    return ordered[[round(fraction * (len(ordered) - 1)) for fraction in fractions]]


def fold_patches(frames: Tensor, side: int) -> Tensor:
    """Frames (clip, frame, channel, h, w) to patches (clip, frame, patch, channel * side * side), in row order."""
    folded = frames.unflatten(4, (-1, side)).unflatten(
        3, (-1, side)
    )  # clip, frame, c, rows, side, columns, side
    return folded.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 6).flatten(2, 3)


def unfold_patches(patches: Tensor, shape: Sequence[int], side: int) -> Tensor:
    """The inverse of `fold_patches` for frames of (channel, h, w)."""
    channels, height, width = shape
    grid = patches.unflatten(2, (height // side, width // side)).unflatten(4, (channels, side, side))
    return grid.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)
