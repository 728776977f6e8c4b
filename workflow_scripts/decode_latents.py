"""Decode one shard's predicted latents with the VAE alone, for methods without a generator."""

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
from mind_animator.config.reconstruction import Precision
from mind_animator.device import use_device
from mind_animator.errors import run_command
from mind_animator.models.latents import decode_latents as decode
from mind_animator.models.load import load_vae, network_dtype
from workflow_scripts.stages import Device, Input, Output, Param, Wildcard, command


def decode_latents(
    *,
    predictions: Input,
    model: Param[str],
    lock: Param[str] | None = None,
    shard: Wildcard[int],
    shard_size: Param[int],
    vae_precision: Param[Precision] = "auto",
    cpu_threads: Param[int] = 1,
    rate: Param[float],
    device: Param[Device] = "cpu",
    frames: Output,
    video: Output,
) -> None:
    """
    Parameters
    ----------
    predictions
        Predictions of a method, with latents (clip, frame, channel, h, w) (HDF5).
    model
        Id or folder of Stable Diffusion.
    lock
        Lock file of the models.
    shard
        Index of the first clip of the shard.
    shard_size
        Number of clips per shard.
    vae_precision
        Precision of the VAE (config.reconstruction.vae_precision).
    cpu_threads
        Number of CPU threads; the last bits of the result depend on it.
    rate
        Frames per second of the video.
    device
        Device to compute on.
    frames
        Output: frames (HDF5).
    video
        Output: video for viewing (mp4).
    """
    torch.set_num_threads(cpu_threads)
    target = use_device(device)
    clips, arrays = read_shard(predictions, shard, shard_size, ["latents"])
    check_shapes(predictions, arrays, tokens=1)
    vae = load_vae(model, lock, device=target, dtype=network_dtype(vae_precision, target))
    shown = []
    title = f"Decoding shard {shard:05d}"
    for latents in tqdm(arrays["latents"], desc=title, unit="clip", mininterval=5, file=sys.stderr):
        shown.append(decode(vae, torch.from_numpy(latents)[None], batch=len(latents))[0].numpy())
    write_reconstructions(frames, video, clips, np.stack(shown), rate, problems_of(predictions, clips))


main = command(decode_latents)

if __name__ == "__main__":
    run_command(main)
