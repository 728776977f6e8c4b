"""Embeddings of images and texts by frozen encoders, in batches of constant, padded shape.

The result of a network for one item may differ in the last bits between batch shapes, but not between batches of the
same shape. The last batch is therefore padded with copies of its last item, so that results do not depend on the
division of clips into shards.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mind_animator.models.images import prepare_images
from mind_animator.models.load import Clip, TextEncoder


@torch.inference_mode()
def in_batches(network: Callable[[Tensor], Tensor], items: Tensor | np.ndarray, batch: int) -> Tensor:
    """Apply a network to items in batches of exactly ``batch`` items; the last one is padded, and the padding
    is dropped.

    Parameters
    ----------
    network : callable
        Tensor (batch, ...) -> Tensor (batch, ...).
    items : Tensor or array of shape (item, ...)
        At least one.
    batch : int

    Returns
    -------
    Tensor of shape (item, ...), on the CPU, float32
    """
    items = torch.as_tensor(items)
    if not len(items):
        raise ValueError("Expected one item or more, got none.")
    results = []
    for start in range(0, len(items), batch):
        part = items[start : start + batch]
        short = batch - len(part)
        padded = torch.cat([part, part[-1:].expand(short, *part.shape[1:])]) if short else part
        results.append(network(padded)[: len(part)].float().cpu())
    return torch.cat(results)


def embed_images(clip: Clip, frames: Tensor | np.ndarray, batch: int) -> Tensor:
    """CLIP image embeddings, not normalised.

    Parameters
    ----------
    frames : Tensor or array of shape (image, height, width, 3), uint8
    batch : int
        Images per forward pass.

    Returns
    -------
    Tensor of shape (image, dim), float32, on the CPU
    """

    def network(part: Tensor) -> Tensor:
        images = prepare_images(part.to(clip.model.device), clip.recipe)
        return clip.model.get_image_features(images.to(clip.model.dtype)).pooler_output

    return in_batches(network, frames, batch)


def embed_texts(clip: Clip, texts: Sequence[str], batch: int) -> Tensor:
    """CLIP text embeddings, not normalised; longer texts are truncated at 77 tokens.

    Returns
    -------
    Tensor of shape (text, dim), float32, on the CPU
    """
    limit = clip.model.config.text_config.max_position_embeddings
    tokens = tokenize(clip.tokenizer, texts, limit)

    def network(part: Tensor) -> Tensor:
        ids, mask = part.to(clip.model.device).unbind(dim=1)
        return clip.model.get_text_features(ids, attention_mask=mask).pooler_output

    return in_batches(network, tokens, batch)


def encode_prompts(encoder: TextEncoder, texts: Sequence[str], tokens: int, batch: int) -> Tensor:
    """Prompt embeddings of Stable Diffusion: the last hidden states of the text encoder, including BOS.

    Texts are padded or truncated to ``tokens`` tokens, including BOS and EOS; as in Stable Diffusion, no attention mask
    is applied to the padding.

    Returns
    -------
    Tensor of shape (text, tokens, width), float32, on the CPU
        Token 0 is BOS, whose hidden state is the same for every text.
    """
    ids = tokenize(encoder.tokenizer, texts, tokens)[:, 0]

    def network(part: Tensor) -> Tensor:
        return encoder.model(part.to(encoder.model.device)).last_hidden_state

    return in_batches(network, ids, batch)


def tokenize(tokenizer: Any, texts: Sequence[str], length: int) -> Tensor:
    """Token ids and attention mask (text, 2, length), int64, padded or truncated to one length."""
    tokens = tokenizer(
        list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    return torch.stack([tokens.input_ids, tokens.attention_mask], dim=1)
