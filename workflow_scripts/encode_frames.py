"""Image targets of one shard of clips: CLIP image embeddings and the VAE's latents of every frame."""

import argparse
from pathlib import Path

from tqdm import tqdm

from mind_animator.artefacts.arrays import iterate_clips, shard_of
from mind_animator.artefacts.streams import write_stream
from mind_animator.config.base import parse_settings
from mind_animator.config.features import FeaturesConfig
from mind_animator.device import use_device
from mind_animator.errors import run_command
from mind_animator.features.targets import image_targets
from mind_animator.models.load import load_clip, load_vae, torch_device


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--frames", type=Path, nargs="+", required=True, help="segments' frames, HDF5, in order"
    )
    parser.add_argument("--skip", type=int, required=True, help="clips of the first segment before the shard")
    parser.add_argument("--count", type=int, required=True, help="clips of the shard")
    parser.add_argument("--clip", required=True, help="folder or hub id")
    parser.add_argument("--stable-diffusion", required=True, help="folder or hub id")
    parser.add_argument("--lock", type=Path, required=True, help="lock file of hub models")
    parser.add_argument("--settings", required=True, help="the features' settings, JSON")
    parser.add_argument("--seed", type=int, required=True, help="of sampled latents and of crops")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--features", type=Path, required=True, help="output, HDF5")
    given = parser.parse_args(arguments)

    settings = parse_settings(FeaturesConfig, given.settings)
    device, _ = torch_device(use_device(given.device))
    names = shard_of(given.frames, given.skip, given.count)
    clip = load_clip(given.clip, given.lock, device=device)
    vae = load_vae(given.stable_diffusion, given.lock, device=device)
    clips = iterate_clips(given.frames, "frames", names)
    targets = image_targets(clip, vae, clips, settings, given.seed)
    with write_stream(given.features, names, {"features": settings.model_dump_json()}) as stream:
        progress = tqdm(targets, total=len(names), desc="features", unit="clip", mininterval=5)
        for row, (_, arrays) in enumerate(progress):
            stream.write(row, arrays)


if __name__ == "__main__":
    run_command(main)
