"""Features of captions: CLIP text embeddings and prompt embeddings."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mind_animator.config.features import FeaturesConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.features.base import Provider, clip_rng
from mind_animator.provenance import in_package

if TYPE_CHECKING:
    from mind_animator.models.load import Clip, TextEncoder


class Text(Provider):
    """``clip_embedding_text`` and ``prompt_embedding``, with augmented copies if the config requests them."""

    kind = "text"
    source = "captions"
    models: ClassVar = ("clip", "stable_diffusion")

    def arrays(self) -> tuple[str, ...]:
        own = ("clip_embedding_text", "prompt_embedding")
        return (*own, *(f"{name}_copies" for name in own if self.config.caption_copies))

    def settings(self) -> str:
        return self.config.model_dump_json(include={"tokens", "batch", "caption_copies", "synonyms"})

    @property
    def seeded(self) -> bool:
        return self.config.caption_copies > 0

    def files(self) -> list[str]:
        table = self.config.synonyms or in_package("mind_animator/features/synonyms.tsv")
        return [table] if self.config.caption_copies else []

    @classmethod
    def compute(
        cls,
        settings: str,
        clips: Iterable[tuple[str, str]],
        models: ModelsConfig,
        *,
        seed: int,
        device: str,
        notes: dict[str, str],
    ) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
        from mind_animator.models.load import load_clip, load_text_encoder

        chosen, captions = FeaturesConfig.model_validate_json(settings), dict(clips)
        clip = load_clip(models.clip, models.lock, device=device)
        encoder = load_text_encoder(models.stable_diffusion, models.lock, device=device)
        texts, context = list(captions.values()), clip.model.config.text_config.max_position_embeddings
        cut = {
            f"embedding ({context} tokens)": count_cut(clip.tokenizer, texts, context),
            f"prompt embedding ({chosen.tokens} tokens)": count_cut(encoder.tokenizer, texts, chosen.tokens),
        }
        for what, count in cut.items():
            if count:
                print(f"{count} of {len(texts)} captions are cut for the {what}.", file=sys.stderr)
        notes["captions_cut"] = json.dumps(cut)
        targets = text_targets(clip, encoder, captions, chosen, seed)
        for row, name in enumerate(captions):
            yield name, {target: array[row] for target, array in targets.items()}


ENTRY = Text


def text_targets(
    clip: "Clip",
    encoder: "TextEncoder",
    captions: Mapping[str, str],
    settings: FeaturesConfig,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Features of captions.

    Parameters
    ----------
    captions : mapping of clip to its caption
    settings : FeaturesConfig
    seed : int
        Seeds the augmented captions, together with the name of the clip.

    Returns
    -------
    dict
        ``clip_embedding_text`` (clip, dim): CLIP text embedding, not normalised. ``prompt_embedding`` (clip,
        tokens - 1, width): without BOS. With ``caption_copies`` also ``clip_embedding_text_copies`` (clip, copy,
        dim) and ``prompt_embedding_copies`` (clip, copy, tokens - 1, width) of augmented captions. float32.
    """
    from mind_animator.features.augment import augment_caption, read_synonyms
    from mind_animator.models.embed import embed_texts, encode_prompts

    def embed(texts: Sequence[str]) -> dict[str, np.ndarray]:
        prompt_embedding = encode_prompts(encoder, texts, settings.tokens, settings.batch)
        return {
            "clip_embedding_text": embed_texts(clip, texts, settings.batch).numpy(),
            "prompt_embedding": prompt_embedding[:, 1:].numpy(),
        }

    targets = embed(list(captions.values()))
    if settings.caption_copies:
        synonyms = read_synonyms(settings.synonyms)
        rngs = {name: clip_rng(seed, name, "captions") for name in captions}
        texts = [
            augment_caption(caption, rngs[name], synonyms)
            for name, caption in captions.items()
            for _ in range(settings.caption_copies)
        ]
        targets |= {
            f"{name}_copies": array.reshape(len(captions), settings.caption_copies, *array.shape[1:])
            for name, array in embed(texts).items()
        }
    return targets


def count_cut(tokenizer: Any, texts: Sequence[str], length: int) -> int:
    """Number of texts that have more than ``length`` tokens, BOS and EOS included, so that their ends are ignored."""
    return sum(len(ids) > length for ids in tokenizer(list(texts), verbose=False).input_ids)
