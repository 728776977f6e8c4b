"""Decode one shard's predicted latents with the VAE alone, for methods without a generator."""

import argparse
import sys

import numpy as np
import torch
from tqdm import tqdm

from mind_animator.artefacts.reconstructions import (
    check_shapes,
    problems_of,
    read_shard,
    write_reconstructions,
)
from mind_animator.device import use_device
from mind_animator.errors import run_command
from mind_animator.models.latents import decode_latents
from mind_animator.models.load import load_vae


def main(arguments: list[str] | None = None) -> None:
    """Read predictions, decode clip by clip, write frames and a video."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", required=True, help="HDF5 file with latents (clip, frame, 4, h, w)")
    parser.add_argument("--model", required=True, help="Stable Diffusion folder, or id on the hub")
    parser.add_argument("--lock", help="lock file of models")
    parser.add_argument("--shard", type=int, required=True, help="index of the first clip")
    parser.add_argument("--shard-size", type=int, required=True, help="number of clips per shard")
    parser.add_argument(
        "--cpu-threads",
        type=int,
        default=1,
        help="number of CPU threads; the last bits of the result depend on it (default: %(default)s)",
    )
    parser.add_argument("--rate", type=float, required=True, help="frames per second of the video")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--frames", required=True, help="HDF5 file of frames to write")
    parser.add_argument("--video", required=True, help="mp4 file to write")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.cpu_threads)
    device = use_device(given.device)
    clips, arrays = read_shard(given.predictions, given.shard, given.shard_size, ["latents"])
    check_shapes(given.predictions, arrays, tokens=1)
    vae = load_vae(given.model, given.lock, device=device)
    frames = []
    title = f"Decoding shard {given.shard:05d}"
    for latents in tqdm(arrays["latents"], desc=title, unit="clip", mininterval=5, file=sys.stderr):
        frames.append(decode_latents(vae, torch.from_numpy(latents)[None], batch=len(latents))[0].numpy())
    problems = problems_of(given.predictions, clips)
    write_reconstructions(given.frames, given.video, clips, np.stack(frames), given.rate, problems)


if __name__ == "__main__":
    run_command(main)
