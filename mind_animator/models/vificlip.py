"""The image encoder of ViFi-CLIP: an OpenAI-CLIP vision transformer read from a published training checkpoint.

**Not tested on the published file**, which was not available. The loader follows a description of its keys
(``model`` -> ``module.image_encoder.*``) and is strict, so that any difference raises an error instead of giving
wrong values.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mind_animator.errors import InputError

PREFIX = "module.image_encoder."
HEAD_WIDTH = 64  # as in all CLIP vision transformers


class ViFiClipImageEncoder(nn.Module):
    """The vision transformer of CLIP with the parameter names of OpenAI.

    A frame is divided into patches, a class token is prepended, and learnt position embeddings are added. Blocks of
    pre-norm self-attention and QuickGELU perceptrons follow. The class token is normalised and projected.

    Parameters
    ----------
    size, patch : int
        Height and width of a frame and of a patch, pixels.
    width, layers, dim : int
        Width of the tokens, number of blocks, dimension of the embedding.
    heads : int, optional
        Attention heads; ``width // 64`` by default, as in CLIP.

    References
    ----------
    Radford et al. (2021), "Learning transferable visual models from natural language supervision", ICML.
    Rasheed et al. (2023), "Fine-tuned CLIP models are efficient video learners", CVPR.
    """

    def __init__(
        self, *, size: int, patch: int, width: int, layers: int, dim: int, heads: int | None = None
    ) -> None:
        super().__init__()
        self.size = size
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn((size // patch) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(
            [_Block(width, heads or max(1, width // HEAD_WIDTH)) for _ in range(layers)]
        )
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, dim))

    def forward(self, images: Tensor) -> Tensor:
        """Embed normalised images (image, 3, size, size); returns (image, dim), not normalised."""
        tokens = self.conv1(images).flatten(2).transpose(1, 2)
        head = self.class_embedding.expand(len(tokens), 1, -1)
        tokens = self.ln_pre(torch.cat([head, tokens], dim=1) + self.positional_embedding)
        for block in self.transformer.resblocks:
            tokens = block(tokens)
        return self.ln_post(tokens[:, 0]) @ self.proj


class _QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", _QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.ln_1(tokens)
        tokens = tokens + self.attn(normed, normed, normed, need_weights=False)[0]
        return tokens + self.mlp(self.ln_2(tokens))


def read_checkpoint(path: Path | str) -> dict[str, Tensor]:
    """Weights of the image encoder without the prefix, from ``.safetensors`` or a training checkpoint ``.pth``.

    A checkpoint is read as data only (``weights_only=True``). The settings that the training code stores with the
    weights (a ``yacs`` node) are read as a plain dictionary; any other object is rejected.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors: Mapping[str, Any] = load_file(path)
        except SafetensorError as error:
            raise InputError(f"Expected whole safetensors in {path}, got: {error}.") from None
    else:
        tensors = _read_pickle(path)
    found = {key.removeprefix(PREFIX): value for key, value in tensors.items() if key.startswith(PREFIX)}
    if not found:
        raise InputError(f"Expected keys '{PREFIX}*' in {path}, got {sorted(tensors)[:4]}.")
    return found


def build_encoder(weights: Mapping[str, Tensor], where: Path | str) -> ViFiClipImageEncoder:
    """Build the encoder with the architecture implied by the weights, and load them strictly."""
    try:
        width, _, patch, _ = weights["conv1.weight"].shape
        tokens = weights["positional_embedding"].shape[0]
        dim = weights["proj"].shape[1]
        layers = 1 + max(
            int(key.split(".")[2]) for key in weights if key.startswith("transformer.resblocks.")
        )
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"Expected an OpenAI-CLIP image encoder under '{PREFIX}' in {where}, got no {error}."
        ) from None
    grid = round((tokens - 1) ** 0.5)
    if grid**2 != tokens - 1:
        raise InputError(f"Expected a square grid of positions in {where}, got {tokens - 1} patches.")
    with torch.device("meta"):
        encoder = ViFiClipImageEncoder(size=grid * patch, patch=patch, width=width, layers=layers, dim=dim)
    try:
        encoder.load_state_dict(
            {key: value.float() for key, value in weights.items()}, strict=True, assign=True
        )
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise InputError(
            f"Expected exactly an image encoder's weights in {where}, got: {' '.join(lines)}"
        ) from None
    return encoder


def _read_pickle(path: Path) -> Mapping[str, Any]:
    from pickle import UnpicklingError

    # the settings node is a dictionary with attributes; it is replaced by an OrderedDict and not used
    node = (OrderedDict, "yacs.config.CfgNode")
    try:
        with torch.serialization.safe_globals([node]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, IndexError, KeyError) as error:
        reason = re.search(r"WeightsUnpickler error: ?\s*(.+)", str(error))
        message = reason.group(1) if reason else f"{type(error).__name__} {error}".splitlines()[0]
        raise InputError(f"Expected a checkpoint of tensors in {path}, got: {message}") from None
    if not isinstance(content, Mapping) or not isinstance(content.get("model"), Mapping):
        raise InputError(f"Expected an entry 'model' in the checkpoint {path}, found none.")
    return content["model"]
