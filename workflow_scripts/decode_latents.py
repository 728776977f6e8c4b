"""Decode one shard's predicted latents by the VAE alone: the reconstruction of methods without a generator."""

import argparse
import sys

import numpy as np
import torch
from tqdm import tqdm

from mind_animator.artefacts.reconstructions import check_shapes, read_shard, write_reconstructions
from mind_animator.diffusion.generator import check_device
from mind_animator.diffusion.sample import decode_frames
from mind_animator.errors import run_command
from mind_animator.models.load import load_vae


def main() -> None:
    """Read predictions, decode clip by clip, write frames and a video."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", required=True, help="HDF5 file with latents (clip, frame, 4, h, w)")
    parser.add_argument("--model", required=True, help="Stable Diffusion folder, or id on the hub")
    parser.add_argument("--lock", help="lock file of models")
    parser.add_argument("--shard", type=int, required=True, help="index of the first clip")
    parser.add_argument("--shard-size", type=int, required=True, help="clips of a shard")
    parser.add_argument("--rate", type=float, required=True, help="frames a second of the video")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--frames", required=True, help="HDF5 file of frames to write")
    parser.add_argument("--video", required=True, help="mp4 file to write")
    arguments = parser.parse_args()
    clips, arrays = read_shard(arguments.predictions, arguments.shard, arguments.shard_size, ["latents"])
    check_shapes(arguments.predictions, arrays, tokens=1)
    check_device(arguments.device)
    vae = load_vae(arguments.model, arguments.lock, device=arguments.device)
    frames = []
    title = f"Decoding shard {arguments.shard:05d}"
    for latents in tqdm(arrays["latents"], desc=title, unit="clip", mininterval=5, file=sys.stderr):
        frames.append(decode_frames(vae, torch.from_numpy(latents)[None].to(arguments.device))[0].numpy())
    write_reconstructions(arguments.frames, arguments.video, clips, np.stack(frames), arguments.rate)


if __name__ == "__main__":
    run_command(main)
