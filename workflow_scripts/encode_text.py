"""Text targets of one shard of clips: CLIP text embeddings and the text condition."""

import json
import sys

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.captions.tables import read_captions
from mind_animator.config.features import FeaturesConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.device import use_device
from mind_animator.errors import InputError, run_command
from mind_animator.features.targets import count_cut, text_targets
from mind_animator.models.load import load_clip, load_text_encoder, torch_device
from workflow_scripts.stages import Device, Inputs, Output, Param, command


def encode_text(
    *,
    captions: Inputs,
    skip: Param[int],
    n_clips: Param[int],
    models: Param[ModelsConfig],
    settings: Param[FeaturesConfig],
    seed: Param[int],
    device: Param[Device] = "cpu",
    features: Output,
) -> None:
    """
    Parameters
    ----------
    captions
        Tables of captions in order (TSV).
    skip
        Rows of the first table that come before the shard.
    n_clips
        Clips of the shard.
    models
        Ids or folders of `clip` and `stable_diffusion`, and the lock file.
    settings
        Settings of the features (config.features).
    seed
        Random seed of augmented captions.
    device
        Device to compute on.
    features
        CLIP text embeddings and prompt embeddings (HDF5).
    """
    place, _ = torch_device(use_device(device))
    texts = dict(list(read_captions(captions).items())[skip : skip + n_clips])
    if len(texts) != n_clips:
        raise InputError(
            f"Expected {skip + n_clips} captions in {', '.join(map(str, captions))}, got {skip + len(texts)}."
        )
    embedder = load_clip(models.clip, models.lock, device=place)
    encoder = load_text_encoder(models.stable_diffusion, models.lock, device=place)
    targets = text_targets(embedder, encoder, texts, settings, seed)
    written, context = list(texts.values()), embedder.model.config.text_config.max_position_embeddings
    cut = {
        f"embedding ({context} tokens)": count_cut(embedder.tokenizer, written, context),
        f"prompt embedding ({settings.tokens} tokens)": count_cut(
            encoder.tokenizer, written, settings.tokens
        ),
    }
    for what, count in cut.items():
        if count:
            print(f"{count} of {len(written)} captions are cut for the {what}", file=sys.stderr)
    attrs = {"features": settings.model_dump_json(), "captions_cut": json.dumps(cut)}
    write_arrays(features, targets, list(texts), attrs)


main = command(encode_text)

if __name__ == "__main__":
    run_command(main)
