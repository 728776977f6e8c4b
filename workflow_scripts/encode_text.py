"""Text targets of one shard of clips: CLIP text embeddings and the text condition."""

import argparse
import json
import sys
from pathlib import Path

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.captions.tables import read_captions
from mind_animator.config.base import parse_settings
from mind_animator.config.features import FeaturesConfig
from mind_animator.device import use_device
from mind_animator.errors import InputError, run_command
from mind_animator.features.targets import count_cut, text_targets
from mind_animator.models.load import load_clip, load_text_encoder, torch_device


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--captions", type=Path, nargs="+", required=True, help="tables of captions, in order"
    )
    parser.add_argument("--skip", type=int, required=True, help="rows of the first table before the shard")
    parser.add_argument("--count", type=int, required=True, help="clips of the shard")
    parser.add_argument("--clip", required=True, help="folder or hub id")
    parser.add_argument("--stable-diffusion", required=True, help="folder or hub id")
    parser.add_argument("--lock", type=Path, required=True, help="lock file of hub models")
    parser.add_argument("--settings", required=True, help="the features' settings, JSON")
    parser.add_argument("--seed", type=int, required=True, help="of augmented captions")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--features", type=Path, required=True, help="output, HDF5")
    given = parser.parse_args(arguments)

    settings = parse_settings(FeaturesConfig, given.settings)
    device, _ = torch_device(use_device(given.device))
    captions = dict(list(read_captions(given.captions).items())[given.skip : given.skip + given.count])
    if len(captions) != given.count:
        raise InputError(
            f"Expected {given.skip + given.count} captions in {', '.join(map(str, given.captions))}, "
            f"got {given.skip + len(captions)}."
        )
    clip = load_clip(given.clip, given.lock, device=device)
    encoder = load_text_encoder(given.stable_diffusion, given.lock, device=device)
    targets = text_targets(clip, encoder, captions, settings, given.seed)
    texts, context = list(captions.values()), clip.model.config.text_config.max_position_embeddings
    cut = {
        f"embedding ({context} tokens)": count_cut(clip.tokenizer, texts, context),
        f"prompt embedding ({settings.tokens} tokens)": count_cut(encoder.tokenizer, texts, settings.tokens),
    }
    for what, count in cut.items():
        if count:
            print(f"{count} of {len(texts)} captions are cut for the {what}", file=sys.stderr)
    attrs = {"features": settings.model_dump_json(), "captions_cut": json.dumps(cut)}
    write_arrays(given.features, targets, list(captions), attrs)


if __name__ == "__main__":
    run_command(main)
