"""Upper bound of stage 2: ground-truth latents and prompt embeddings in each link of the generator.

For moving clips, the table states how much of the ground-truth motion survives the VAE, the inflated generator with
the configured settings, single changes of these settings, the published settings, and the first pass. It does not depend on
any decoder and should be measured first with every new generator. ``snakemake oracle`` runs it in a workflow. By hand, for
example with Stable Diffusion 1.5::

    python -m workflow_scripts.measure_oracle --frames results/cc2017/stimuli/seg1.h5 \
        --table results/cc2017/stimuli/seg1.tsv --text results/cc2017/features/clips-00000.text.h5 \
        --model stable-diffusion-v1-5/stable-diffusion-v1-5 --device cuda --settings '{}' --output oracle.tsv
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.base import parse_settings
from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.device import use_device
from mind_animator.diffusion.generator import (
    VideoGenerator,
    check_inputs,
    draw_moving_image,
    invert_batch,
    load_generator,
    reconstruct_batch,
)
from mind_animator.errors import InputError, run_command
from mind_animator.metrics.flow import flows, mean_flow, motion_fidelity
from mind_animator.models.latents import decode_latents, encode_latents
from mind_animator.models.load import load_vae

PUBLISHED = {"strength": 1.0, "guidance_scale": 12.5, "noise_timestep": 200, "noise_into": "inverted"}
PUBLISHED |= {"noise_frames": "independent", "scheduler": "ddim"}
# Single changes of the configured settings; the names of combined changes list all of them.
CHANGES = {
    "noise_frames: shared": {"noise_frames": "shared"},
    "noise_frames: independent": {"noise_frames": "independent"},
    "no fresh noise": {"noise_timestep": 0},
    "no guidance": {"guidance_scale": 1.0},
    "no fresh noise, no guidance": {"noise_timestep": 0, "guidance_scale": 1.0},
    "strength: 0.3": {"strength": 0.3},
    "strength: 0.6": {"strength": 0.6},
    "published settings": PUBLISHED,
    "published settings, noise_frames: shared": PUBLISHED | {"noise_frames": "shared"},
}


def main(arguments: list[str] | None = None) -> None:
    """Read moving clips, process them with every link, write one row per link."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=Path, required=True, help="HDF5 file of a segment's frames")
    parser.add_argument("--table", type=Path, required=True, help="table of the segment's clips")
    parser.add_argument(
        "--text", type=Path, nargs="+", required=True, help="HDF5 files with prompt embeddings"
    )
    parser.add_argument("--model", required=True, help="Stable Diffusion folder, or model id")
    parser.add_argument("--lock", help="lock file of models")
    parser.add_argument("--settings", required=True, help="reconstruction settings, JSON; '{}': as published")
    parser.add_argument("--clips", type=int, default=32, help="number of moving clips (default: %(default)s)")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="random seed of the selection of clips and of the noise (default: 0)",
    )
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="device to compute on (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, required=True, help="table to write")
    given = parser.parse_args(arguments)
    configured = parse_settings(ReconstructionConfig, given.settings).model_copy(update={"motion": "sampled"})
    torch.set_num_threads(configured.cpu_threads)
    device = use_device(given.device)
    clips, frames = moving_clips(given.frames, given.table, given.clips, given.seed)
    prompt_embedding = torch.from_numpy(
        read_arrays(given.text, ["prompt_embedding"], clips)[1]["prompt_embedding"]
    ).float()
    ground_truth = [flows(clip) for clip in frames]
    vae = load_vae(given.model, given.lock, device=device)
    latents = encode_latents(vae, frames, batch=frames.shape[1])
    rows: list[dict] = []

    def add(link: str, shown: np.ndarray, started: float) -> None:
        seconds = (time.monotonic() - started) / len(clips)
        rows.append(
            {"link": link, "clips": len(clips)}
            | motion_fidelity(ground_truth, [flows(clip) for clip in shown])
        )
        rows[-1] |= {"seconds_per_clip": seconds}
        print(f"{link}: cosine {rows[-1]['cosine']:.3f}, {seconds:.2f} s per clip", file=sys.stderr)

    def show(settings: ReconstructionConfig, latents: Tensor) -> np.ndarray:
        """Frames of latents by inversion and sampling."""
        parts = []
        for rows in torch.arange(len(clips)).split(settings.clips_per_batch):
            names = [clips[row] for row in rows]
            own, inverted = latents[rows], None
            if settings.num_inversion_steps:
                inverted = invert_batch(generator, own, settings.inversion(), tokens)
            drawn = reconstruct_batch(
                generator, own, inverted, prompt_embedding[rows], names, settings, seed=given.seed
            )
            parts.append(decode_latents(vae, drawn, batch=drawn.shape[1]))
        return torch.cat(parts).numpy()

    started = time.monotonic()
    add("VAE", decode_latents(vae, latents, batch=frames.shape[1]).numpy(), started)
    tokens = prompt_embedding.shape[1] + 1
    final = configured.final_pass()
    loaded = {"device": device, "seed": given.seed}
    generator = load_generator(given.model, given.lock, frames.shape[1], final, **loaded)
    check_inputs(generator, latents.shape, prompt_embedding.shape[-1])
    for link, settings in variants(final).items():
        started = time.monotonic()
        add(link, show(settings, latents), started)
    started = time.monotonic()
    single = load_generator(given.model, given.lock, 1, configured.image_pass(), **loaded)
    moved = first_pass(single, vae, latents, prompt_embedding, ground_truth, clips, configured, given.seed)
    add("first pass, moved by the true flow", moved.numpy(), started)
    add("first and second pass", show(final, encode_latents(vae, moved, batch=moved.shape[1])), started)
    write_table(given.output, pd.DataFrame(rows))


def moving_clips(frames: Path, table: Path, count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """A random sample of the clips without a scene cut whose mean flow is above the median.

    Returns
    -------
    clips : list of str
    frames : ndarray of shape (clip, frame, height, width, 3), uint8
    """
    known = read_table(table, ("clip", "scene_cut"))
    clips = known.loc[~known["scene_cut"].astype(bool), "clip"].tolist()
    if len(clips) < 2:
        raise InputError(f"Expected at least 2 clips without a scene cut in {table}, got {len(clips)}.")
    shown = read_arrays(frames, ["frames"], clips)[1]["frames"]
    speed = np.array([np.linalg.norm(mean_flow(flows(clip))) for clip in shown])
    moving = np.flatnonzero(speed >= np.median(speed))
    chosen = np.random.default_rng(seed).permutation(moving)[:count]
    return [clips[row] for row in chosen], shown[chosen]


def variants(settings: ReconstructionConfig) -> dict[str, ReconstructionConfig]:
    """Settings of each link that samples all frames: the configured settings and every applicable change."""
    found = {"configured settings": settings}
    for name, change in CHANGES.items():
        changed = settings.model_copy(update=change)
        if changed.steps_fit and changed not in found.values():
            found[name] = changed
    return found


def first_pass(
    generator: VideoGenerator,
    vae: torch.nn.Module,
    latents: Tensor,
    prompt_embedding: Tensor,
    ground_truth: list[np.ndarray],
    clips: list[str],
    settings: ReconstructionConfig,
    seed: int,
) -> Tensor:
    """Frames (clip, frame, height, width, 3) of one image per clip, moved by the ground truth's mean flow per pixel."""
    own = settings.image_pass().model_copy(update={"motion_gain": 1.0})
    flow = torch.from_numpy(np.stack(ground_truth).mean(axis=1)).permute(0, 3, 1, 2)
    tokens = prompt_embedding.shape[1] + 1
    return torch.cat([
        draw_moving_image(
            generator, vae, latents[rows], prompt_embedding[rows], flow[rows], [clips[row] for row in rows], own,
            seed=seed, tokens=tokens,
        )
        for rows in torch.arange(len(clips)).split(own.clips_per_batch)
    ])  # fmt: skip


if __name__ == "__main__":
    run_command(main)
