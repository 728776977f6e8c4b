"""Transformers over patches of voxels: masked pre-training, and decoding of text conditions from a window of
volumes."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mind_animator.decoders.semantic import info_nce

# Seed of the masks in validation: the same in every epoch.
VALIDATION_SEED = 0


def voxel_order(rois: np.ndarray | None, coordinates: np.ndarray | None, voxels: int) -> np.ndarray:
    """Order in which neighbouring voxels share a patch: by ROI, and within a ROI along its longest axis.

    Parameters
    ----------
    rois : ndarray of shape (voxel,), str, optional
        None: the order of the data.
    coordinates : ndarray of shape (voxel, 3), optional
        Millimetres; None: the order of the data within a ROI.
    voxels : int

    Returns
    -------
    ndarray of shape (voxel,), int
    """
    if rois is None:
        return np.arange(voxels)
    parts = []
    for roi in np.unique(rois):
        own = np.flatnonzero(rois == roi)
        if coordinates is not None and len(own) > 1:
            centred = coordinates[own] - coordinates[own].mean(0)
            axis = np.linalg.svd(centred, full_matrices=False)[2][0]
            axis = axis * np.sign(axis[np.abs(axis).argmax()])
            own = own[np.argsort(centred @ axis, kind="stable")]
        parts.append(own)
    return np.concatenate(parts)


def to_patches(values: np.ndarray, order: np.ndarray, size: int) -> np.ndarray:
    """Volumes (..., voxel) as patches (..., patch, size); the first voxels are repeated to fill the last patch."""
    padded = np.resize(order, -(-len(order) // size) * size)
    return np.ascontiguousarray(values[..., padded], np.float32).reshape(*values.shape[:-1], -1, size)


def positions(count: int, width: int) -> Tensor:
    """Fixed sine and cosine codes (position, width) of Vaswani et al. (2017), "Attention is all you need"."""
    rate = 10_000 ** (-torch.arange(0, width, 2) / width)
    angle = torch.arange(count)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)[:, :width]


class Attention(nn.Module):
    """Multi-head self-attention over the last axis but one; leading axes are independent sequences."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self.qkv(x).unflatten(-1, (3, self.heads, -1)).transpose(-2, -4).unbind(-3)
        attended = functional.scaled_dot_product_attention(queries, keys, values)
        return self.outward(attended.transpose(-2, -3).flatten(-2))


class Block(nn.Module):
    """Attention over patches, with ``temporal`` also over volumes, and an MLP, each added to its input.

    The output of the temporal attention is zero at the start.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, temporal: bool = False) -> None:
        super().__init__()
        hidden = round(mlp_ratio * width)
        self.spatial_norm, self.spatial = nn.LayerNorm(width), Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.temporal = None
        if temporal:
            self.temporal_norm, self.temporal = nn.LayerNorm(width), Attention(width, heads)
            nn.init.zeros_(self.temporal.outward.weight)
            nn.init.zeros_(self.temporal.outward.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (clip, volume, patch, width) to tokens of the same shape."""
        x = x + self.spatial(self.spatial_norm(x))
        if self.temporal is not None:
            over_time = self.temporal_norm(x).transpose(1, 2)
            x = x + self.temporal(over_time).transpose(1, 2)
        return x + self.mlp(self.mlp_norm(x))


class PatchEncoder(nn.Module):
    """Patches (clip, volume, patch, voxel) to tokens (clip, volume, patch, width), for any number of patches.

    Parameters
    ----------
    patch : int
        Voxels per patch.
    width, depth, heads, mlp_ratio
        Of the transformer.
    temporal : bool
        Attention over volumes in every block.
    """

    def __init__(
        self, patch: int, width: int, depth: int, heads: int, mlp_ratio: float, temporal: bool = False
    ) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(patch, width)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio, temporal) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, patches: Tensor, kept: Tensor | None = None) -> Tensor:
        """Tokens of all patches, or of the patches ``kept`` (clip, patch)."""
        x = self.embed(patches) + positions(patches.shape[-2], self.width).to(patches)
        if kept is not None:
            x = x.gather(2, kept[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class MaskedAutoencoder(nn.Module):
    """Masked pre-training: a fraction of the patches is encoded, and the values of the others are predicted.

    Parameters
    ----------
    encoder : PatchEncoder
    patch : int
        Voxels per patch.
    width, depth, heads : int
        Of the decoder.
    mask : float
        Fraction of the patches that are hidden from the encoder.
    subjects : int
        Number of subjects; a batch contains ``patches/0``, ``patches/1``, ... (clip, 1, patch, voxel).

    References
    ----------
    He et al. (2022), "Masked autoencoders are scalable vision learners", CVPR.
    """

    def __init__(
        self,
        encoder: PatchEncoder,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        mask: float,
        subjects: int,
    ) -> None:
        super().__init__()
        self.encoder, self.mask, self.subjects = encoder, mask, subjects
        self.input_layer = nn.Linear(encoder.width, width)
        self.hidden = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(Block(width, heads, 4) for _ in range(depth))
        self.norm, self.outward = nn.LayerNorm(width), nn.Linear(width, patch)

    def loss(self, batch: Mapping[str, Tensor], rng: torch.Generator | None, epoch: int) -> Tensor:
        """Mean squared error of the masked patches, mean over subjects."""
        losses = []
        for subject in range(self.subjects):
            patches = batch[f"patches/{subject}"]
            clips, _, count, _ = patches.shape
            device = patches.device
            generator = rng or torch.Generator(device).manual_seed(VALIDATION_SEED)
            order = torch.rand(clips, count, generator=generator, device=device).argsort(dim=1)
            visible = max(1, round((1 - self.mask) * count))
            kept, masked = order[:, :visible], order[:, visible:]
            tokens = self.input_layer(self.encoder(patches, kept))[:, 0]
            x = self.hidden.expand(clips, count, -1).scatter(
                1, kept[..., None].expand(-1, -1, tokens.shape[2]), tokens
            )
            x = (x + positions(count, tokens.shape[2]).to(x))[:, None]
            for block in self.blocks:
                x = block(x)
            predicted = self.outward(self.norm(x))[:, 0]
            rows = masked[..., None].expand(-1, -1, patches.shape[-1])
            losses.append(functional.mse_loss(predicted.gather(1, rows), patches[:, 0].gather(1, rows)))
        return torch.stack(losses).mean()


class WindowDecoder(nn.Module):
    """A window of volumes to a prompt embedding and to the embedding of a contrastive model.

    The head mixes the tokens of all volumes and patches to the tokens of the prompt (linear), then changes their
    width (linear, GELU, linear with a residual connection).

    Parameters
    ----------
    encoder : PatchEncoder
        With temporal attention.
    tokens : int
        Volumes times patches.
    prompt : sequence of int (token, width)
    embedding : int
        Width of the contrastive embeddings.
    dropout : float
        Of the encoder's tokens, in training.
    temperature : float
        Initial temperature of the contrast.
    prompt_weight : float
        Weight of the squared error of the standardised prompt embedding, added to the contrast.
    """

    def __init__(
        self,
        encoder: PatchEncoder,
        tokens: int,
        prompt: Sequence[int],
        embedding: int,
        dropout: float = 0.0,
        temperature: float = 0.07,
        prompt_weight: float = 0.0,
    ) -> None:
        super().__init__()
        length, width = prompt
        self.encoder, self.prompt_weight = encoder, prompt_weight
        self.dropout = nn.Dropout(dropout)
        self.head = nn.ModuleDict(
            {
                "tokens": nn.Linear(tokens, length),
                "width": nn.Linear(encoder.width, width),
                "residual": nn.Linear(width, width),
            }
        )
        self.embed = nn.Linear(length * width, embedding)
        self.log_scale = nn.Parameter(torch.tensor(1 / temperature).log())
        self.register_buffer("prompt_mean", torch.zeros(length, width))
        self.register_buffer("prompt_sd", torch.ones(()))

    def standardise(self, prompts: Tensor) -> None:
        """Measure the mean and the standard deviation of prompt embeddings (clip, token, width)."""
        self.prompt_mean.copy_(prompts.mean(0))
        self.prompt_sd.copy_((prompts - self.prompt_mean).square().mean().sqrt())

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (clip, volume, patch, voxel) to prompts (clip, token, width) and embeddings (clip, embedding)."""
        tokens = self.dropout(self.encoder(window)).flatten(1, 2).transpose(1, 2)
        x = functional.gelu(self.head["width"](self.head["tokens"](tokens).transpose(1, 2)))
        x = x + self.head["residual"](x)
        return self.prompt_mean + self.prompt_sd * x, self.embed(x.flatten(1))

    def loss(self, batch: Mapping[str, Tensor], rng: torch.Generator | None, epoch: int) -> Tensor:
        """``.5 CLIP(f, text) + .5 CLIP(f, image)`` plus the weighted squared error of the prompt embedding."""
        prompts, embeddings = self(batch["window"])
        same = torch.arange(len(prompts), device=prompts.device)
        loss = sum(info_nce(embeddings, batch[kind], self.log_scale, same) / 2 for kind in ("text", "image"))
        error = functional.mse_loss(prompts, batch["prompt"]) / self.prompt_sd**2
        return loss + self.prompt_weight * error
