"""The motion decoder (Consistency Motion Generator): responses and earlier frames to the next frame.

Three networks: one token a frame (as released), patches with attention over earlier frames and several fMRI
tokens (the paper's description, and ``best``), and a frame at a time without earlier frames (the ablation).
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mind_animator.config.decoders import MotionConfig
from mind_animator.decoders.flow import linear_clip
from mind_animator.decoders.layers import Decoder, Residual, initialise, repeat_subjects

Cache = list[tuple[Tensor, Tensor]]


class Attention(nn.Module):
    """Multi-head attention with biases, heads of any width.

    Parameters
    ----------
    width, context : int
        Widths of the queries' and of the keys' tokens.
    heads, head_width : int
    """

    def __init__(self, width: int, context: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, heads * head_width)
        self.key = nn.Linear(context, heads * head_width)
        self.value = nn.Linear(context, heads * head_width)
        self.out = nn.Linear(heads * head_width, width)

    def project(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (clip, head, token, head width) of context tokens (clip, token, context)."""
        return self._split(self.key(context)), self._split(self.value(context))

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None = None) -> Tensor:
        """Attend from tokens (clip, token, width); ``visible`` (..., token, key) is True where a key is
        seen."""
        query = self._split(self.query(tokens))
        mixed = functional.scaled_dot_product_attention(query, keys, values, attn_mask=visible)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


def sinusoids(length: int, width: int) -> Tensor:
    """Positions (length, width): sines and cosines of wavelengths from 2 pi to 20,000 pi."""
    angle = torch.arange(length)[:, None] * torch.exp(-math.log(1e4) * torch.arange(0, width, 2) / width)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]


def causal_mask(
    clips: int, frames: int, kept: float, draw: torch.Generator | None, device: torch.device | str
) -> Tensor:
    """Sparse causal mask: a frame sees itself, the first frame, and a random share of those between.

    Parameters
    ----------
    clips, frames : int
    kept : float in [0, 1]
        Share of the frames between that stays visible; 1 is plainly causal.
    draw : Generator, optional
        Needed where 0 < kept < 1.

    Returns
    -------
    BoolTensor of shape (clip, frame, frame), True = seen: [clip, query, key]
    """
    causal = torch.ones(frames, frames, dtype=torch.bool, device=device).tril()
    always = torch.eye(frames, dtype=torch.bool, device=device)
    always[:, 0] = True
    chance = torch.full((clips, frames, frames), float(kept), device=device)
    if 0 < kept < 1:
        chance = chance - torch.rand(chance.shape, generator=draw, device=device)
    return causal & (always | (chance > 0))


class FrameBlock(nn.Module):
    """A layer of the released decoder: x + LN(dropout(sublayer(x))) for attention to earlier frames, to the
    one fMRI token, and a feed-forward part."""

    def __init__(self, settings: MotionConfig, width: int) -> None:
        super().__init__()
        shape = (settings.heads, settings.head_width)
        self.earlier = Attention(width, width, *shape)
        self.brain = Attention(width, width, *shape)
        self.feed = nn.Sequential(
            nn.Linear(width, settings.hidden),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden, width),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(settings.dropout)

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, seen: Tensor, brain: tuple[Tensor, Tensor]
    ) -> Tensor:
        x = x + self.norms[0](self.drop(self.earlier(x, keys, values, seen)))
        x = x + self.norms[1](self.drop(self.brain(x, *brain)))
        return x + self.norms[2](self.drop(self.feed(x)))

    def own(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of this layer's input."""
        return self.earlier.project(x)


class PatchBlock(nn.Module):
    """Temporal module (attention to all patches of the earlier frames seen), spatial module (cross-attention
    to the fMRI tokens), feed-forward part; each on its normed input, added to it."""

    def __init__(self, settings: MotionConfig) -> None:
        super().__init__()
        width, shape = settings.token_width, (settings.heads, settings.head_width)
        self.earlier = Attention(width, width, *shape)
        self.brain = Attention(width, width, *shape)
        self.feed = nn.Sequential(
            nn.Linear(width, settings.hidden), nn.GELU(), nn.Linear(settings.hidden, width)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(settings.dropout)

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, seen: Tensor, brain: tuple[Tensor, Tensor]
    ) -> Tensor:
        x = x + self.drop(self.earlier(self.norms[0](x), keys, values, seen))
        x = x + self.drop(self.brain(self.norms[1](x), *brain))
        return x + self.drop(self.feed(self.norms[2](x)))

    def own(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of this layer's input."""
        return self.earlier.project(self.norms[0](x))


class MotionDecoder(Decoder):
    """Responses and a first frame to a clip's latents.

    Parameters
    ----------
    settings : MotionConfig
    voxels : sequence of int, one a subject
    latent : tuple of int
        (frame, channel, h, w) of a clip.
    sizes : mapping, optional
        Components and width of the linear path's targets ``first, change, flow, part``.
    """

    def __init__(
        self,
        settings: MotionConfig,
        voxels: Sequence[int],
        latent: tuple[int, int, int, int],
        sizes: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(settings, voxels, sizes)
        self.latent = tuple(latent)
        frames, channels, height, breadth = self.latent
        flat = channels * height * breadth
        width = settings.width
        self.body = nn.Sequential(
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(settings.dropout_in),
            *(
                Residual(
                    nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(settings.dropout)
                )
                for _ in range(settings.blocks)
            ),
        )
        if settings.network == "frame_tokens":
            self.patches, token = 1, flat
            self.brain = nn.Linear(width, flat)
            self.layers = nn.ModuleList(FrameBlock(settings, flat) for _ in range(settings.layers))
            self.final = nn.LayerNorm(flat)
        elif settings.network == "patch_tokens":
            side = settings.patch
            if height % side or breadth % side:
                raise ValueError(f"Expected latents of a multiple of patch {side}, got {height} x {breadth}.")
            self.patches, token = (height // side) * (breadth // side), settings.token_width
            count = 1 if settings.guidance == "single_token" else settings.fmri_tokens
            self.brain = nn.Linear(width, count * token)
            self.into = nn.Linear((2 if self.path else 1) * channels * side * side, token)
            self.place = nn.Parameter(torch.zeros(self.patches, token))
            self.layers = nn.ModuleList(PatchBlock(settings) for _ in range(settings.layers))
            self.final = nn.LayerNorm(token)
            self.out = nn.Linear(token, channels * side * side)
        else:
            self.patches, token = 1, 0
            self.layers = nn.ModuleList()
            self.out = nn.Sequential(nn.Linear(width + width, width), nn.GELU(), nn.Linear(width, flat))
            self.register_buffer("times", sinusoids(frames, width), persistent=False)
            return
        self.register_buffer("times", sinusoids(frames, token), persistent=False)
        if self.path:
            self.register_buffer("gains", torch.zeros(2))
            self.register_buffer("speed", torch.ones(()))
            self.register_buffer("part_range", torch.tensor([0.0, 1.0]))

    def reset(self, generator: torch.Generator) -> None:
        """Draw the starting weights."""
        initialise(self, generator, zero=[self.out] if self.path else [])
        if self.settings.network == "patch_tokens":
            nn.init.normal_(self.place, std=0.5, generator=generator)

    def forward(self, inputs: Tensor, frames: Tensor, seen: Tensor, moved: Tensor | None = None) -> Tensor:
        """Next frame after each frame given: all frames at once, as in training.

        Parameters
        ----------
        inputs : Tensor of shape (clip, ...)
            Of `Decoder.inputs`.
        frames : Tensor of shape (clip, frame, channel, h, w)
            Frames 1..k.
        seen : BoolTensor of shape (clip, frame, frame)
            `causal_mask`.
        moved : Tensor of shape (clip, frame, channel, h, w), optional
            With the linear path, its change from each frame to the next (`linear_steps`).

        Returns
        -------
        Tensor of shape (clip, frame, channel, h, w)
            Prediction of frames 2..k + 1.
        """
        hidden = self.body(self.hidden(inputs))
        if self.settings.network == "per_frame":
            return self._per_frame(hidden, range(1, frames.shape[1] + 1))
        x = self._tokens(frames, moved, range(frames.shape[1]))
        visible = self._visible(seen)
        brain = self._brain(hidden)
        for layer in self.layers:
            x = layer(x, *layer.own(x), visible, layer.brain.project(brain))
        return self._frames(x, frames, moved)

    @torch.no_grad()
    def generate(self, inputs: Tensor, first: Tensor, *, cached: bool = True) -> Tensor:
        """Decode a clip frame by frame from its first frame.

        Parameters
        ----------
        inputs : Tensor of shape (clip, ...)
        first : Tensor of shape (clip, channel, h, w)
        cached : bool
            Keep the keys and values of earlier frames instead of computing them anew for every frame.

        Returns
        -------
        Tensor of shape (clip, frame, channel, h, w)
            The first frame included.
        """
        count = self.latent[0]
        if self.settings.network == "per_frame":
            later = self._per_frame(self.body(self.hidden(inputs)), range(1, count))
            return torch.cat([first[:, None], later], dim=1)
        kept = 1.0 if self.settings.inference_mask == "causal" else 0.0
        seen = causal_mask(1, count - 1, kept, None, first.device)
        steps = self.linear_steps(inputs, first) if self.path else None
        frames = first[:, None]
        hidden = self.body(self.hidden(inputs))
        brain = self._brain(hidden)
        guides = [layer.brain.project(brain) for layer in self.layers]
        kept_keys: list[tuple[Tensor, Tensor] | None] = [None] * len(self.layers)
        for index in range(count - 1):
            if not cached:
                moved = None if steps is None else steps[:, : index + 1]
                out = self(inputs, frames, seen[:, : index + 1, : index + 1], moved)
                frames = torch.cat([frames, out[:, -1:]], dim=1)
                continue
            last = frames[:, -1:]
            moved = None if steps is None else steps[:, index : index + 1]
            x = self._tokens(last, moved, range(index, index + 1))
            visible = self._visible(seen[:, index : index + 1, : index + 1])
            for place, layer in enumerate(self.layers):
                keys, values = layer.own(x)
                if kept_keys[place] is not None:
                    keys = torch.cat([kept_keys[place][0], keys], dim=2)
                    values = torch.cat([kept_keys[place][1], values], dim=2)
                kept_keys[place] = keys, values
                x = layer(x, keys, values, visible, guides[place])
            frames = torch.cat([frames, self._frames(x, last, moved)], dim=1)
        return frames

    def linear_steps(self, inputs: Tensor, first: Tensor) -> Tensor:
        """Changes from frame to frame that the linear path predicts for a given first frame.

        The first frame is moved by the decoded flow f, and the decoded change c is added::

            base_t = warp(first, gain_0 (t - 1) f) + gain_1 c_t,    step_t = base_(t+1) - base_t

        Parameters
        ----------
        inputs : Tensor of shape (clip, score)
        first : Tensor of shape (clip, channel, h, w)

        Returns
        -------
        Tensor of shape (clip, frame - 1, channel, h, w)
        """
        flow, change = self.decoded_motion(inputs)
        return linear_clip(first, flow * self.gains[0], change * self.gains[1]).diff(dim=1)

    def decoded_motion(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The linear path's flow (clip, 2, cell, cell) and change (clip, frame - 1, channel, h, w)."""
        cells = self.settings.cells
        flow = self.path.target(inputs, "flow").unflatten(1, (2, cells, cells))
        frames, *shape = self.latent
        return flow, self.path.target(inputs, "change").unflatten(1, (frames - 1, *shape))

    def decoded_flow(self, inputs: Tensor) -> Tensor:
        """The flow by which an image of the clip is to be moved: the linear path's velocity in the part that moves.

        ``speed x velocity(p) x part(p)``; the decoded part is stretched so that the range of `part_range` becomes
        [0, 1], and clipped.

        Returns
        -------
        Tensor of shape (clip, 2, h, w)
            Latent pixels a frame.
        """
        height, width = self.latent[2:]
        velocity, _ = self.decoded_motion(inputs)
        fine = functional.interpolate(velocity, (height, width), mode="bilinear", align_corners=False)
        low, high = self.part_range
        part = ((self.path.target(inputs, "part") - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
        return self.speed * fine * part.unflatten(1, (1, height, width))

    def loss(self, batch: Mapping[str, Tensor], draw: torch.Generator | None, epoch: int) -> Tensor:
        """Mean squared error of next frames.

        Training shows each frame a random share of the earlier frames; validation shows what inference does.

        Parameters
        ----------
        batch : mapping
            Inputs, and ``latents`` (clip, frame, channel, h, w); with the linear path also
            ``decoded/{subject}`` (clip, channel, h, w): the first frame decoded with the clip's movie left
            out; with ``mask_drawn: once``, ``mask`` (clip, frame, frame), the same for every clip.
        """
        settings = self.settings
        inputs = self.batch_inputs(batch, draw, epoch)
        latents = repeat_subjects(batch["latents"], inputs)
        clips, count = len(latents), self.latent[0]
        earlier, moved = latents[:, :-1], None
        if draw is None:
            seen = causal_mask(1, count - 1, float(settings.inference_mask == "causal"), None, latents.device)
        elif settings.mask_drawn == "once":
            seen = repeat_subjects(batch["mask"], inputs)
        else:
            seen = causal_mask(clips, count - 1, settings.mask_kept, draw, latents.device)
        if self.path:
            decoded = torch.cat([batch[name] for name in sorted(batch) if name.startswith("decoded/")])
            share = settings.decoded_share if draw is not None else 1.0
            use = torch.rand(clips, generator=draw, device=latents.device) < share if draw else None
            first = decoded if use is None else torch.where(use[:, None, None, None], decoded, latents[:, 0])
            moved = self.linear_steps(inputs, first)
            followed = torch.cat([first[:, None], first[:, None] + moved[:, :-1].cumsum(1)], dim=1)
            earlier = (
                followed if use is None else torch.where(use[:, None, None, None, None], followed, earlier)
            )
        out = self(inputs, earlier, seen, moved)
        start = settings.first_loss - 2
        return functional.mse_loss(out[:, start:], latents[:, start + 1 :])

    def _per_frame(self, hidden: Tensor, frames: Sequence[int]) -> Tensor:
        parts = [
            self.out(torch.cat([hidden, self.times[frame].expand(len(hidden), -1)], dim=1))
            for frame in frames
        ]
        return torch.stack(parts, dim=1).unflatten(2, self.latent[1:])

    def _brain(self, hidden: Tensor) -> Tensor:
        """fMRI tokens (clip, token, width)."""
        return self.brain(hidden).unflatten(1, (-1, self.times.shape[1]))

    def _visible(self, seen: Tensor) -> Tensor:
        """Frame mask to token mask (clip, 1, token, token)."""
        seen = seen.repeat_interleave(self.patches, 1).repeat_interleave(self.patches, 2)
        return seen[:, None]

    def _tokens(self, frames: Tensor, moved: Tensor | None, indices: range) -> Tensor:
        """Frames (clip, frame, channel, h, w) to tokens (clip, frame * patch, width) with their positions."""
        times = self.times[list(indices)]
        if self.settings.network == "frame_tokens":
            return frames.flatten(2) + times
        content = frames if moved is None else torch.cat([frames, moved], dim=2)
        tokens = self.into(fold_patches(content, self.settings.patch))  # (clip, frame, patch, width)
        return (tokens + times[:, None] + self.place).flatten(1, 2)

    def _frames(self, tokens: Tensor, frames: Tensor, moved: Tensor | None) -> Tensor:
        """Tokens to next frames: as they are (released), or added to the frame that they follow."""
        if self.settings.network == "frame_tokens":
            return self.final(tokens).unflatten(2, self.latent[1:])
        patches = self.out(self.final(tokens)).unflatten(1, (-1, self.patches))
        out = frames + unfold_patches(patches, self.latent[1:], self.settings.patch)
        return out if moved is None else out + moved


def fold_patches(frames: Tensor, side: int) -> Tensor:
    """(clip, frame, channel, h, w) to (clip, frame, patch, channel * side * side), patches row by row."""
    folded = frames.unflatten(4, (-1, side)).unflatten(
        3, (-1, side)
    )  # clip, frame, c, rows, side, columns, side
    return folded.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 6).flatten(2, 3)


def unfold_patches(patches: Tensor, shape: Sequence[int], side: int) -> Tensor:
    """The inverse of `fold_patches` for frames of (channel, h, w)."""
    channels, height, width = shape
    grid = patches.unflatten(2, (height // side, width // side)).unflatten(4, (channels, side, side))
    return grid.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)
