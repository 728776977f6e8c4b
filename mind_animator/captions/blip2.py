"""Captions of images by BLIP-2."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mind_animator.errors import InputError
from mind_animator.models.images import prepare_images
from mind_animator.models.load import Blip2


@torch.inference_mode()
def describe_images(
    blip2: Blip2, frames: Tensor | np.ndarray, *, prompt: str, max_new_tokens: int, batch: int
) -> list[str]:
    """Caption every image with BLIP-2 by greedy decoding.

    Parameters
    ----------
    blip2 : Blip2
    frames : Tensor or array of shape (image, height, width, 3), uint8
    prompt : str
        The prompt, e.g. ``Question: What does this image describe? Answer:``.
    max_new_tokens : int
        Maximum length of a caption in tokens.
    batch : int
        Images per forward pass; the last batch is padded, so that a caption does not depend on the other images.

    Returns
    -------
    list of str
        One line per image; runs of white space are replaced by one space.
    """
    frames = torch.as_tensor(frames)
    model = blip2.model
    question = torch.tensor([_question_tokens(blip2, prompt)] * batch, device=model.device)
    answers: list[str] = []
    for start in range(0, len(frames), batch):
        part = frames[start : start + batch]
        padded = torch.cat([part, part[-1:].expand(batch - len(part), *part.shape[1:])])
        images = prepare_images(padded.to(model.device), blip2.recipe).to(model.dtype)
        tokens = model.generate(
            images,
            question,
            torch.ones_like(question),
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_new_tokens,
        )
        if not model.language_model.config.is_encoder_decoder:
            tokens = tokens[:, question.shape[1] :]
        texts = blip2.tokenizer.batch_decode(tokens[: len(part)], skip_special_tokens=True)
        answers += [" ".join(text.split()) for text in texts]
    return answers


def _question_tokens(blip2: Blip2, prompt: str) -> list[int]:
    """Placeholder tokens for the image queries, followed by the prompt, as in the published processor."""
    config: Any = blip2.model.config
    if config.image_token_id is None:
        where = config.name_or_path
        raise InputError(f"Expected 'image_token_index' in the BLIP-2 config of {where}, found none.")
    return [config.image_token_id] * config.num_query_tokens + list(blip2.tokenizer(prompt).input_ids)
