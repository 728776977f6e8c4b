"""Upper bound of stage 2: ground-truth latents and prompt embeddings in each link of the generator.

For moving clips, the table states how much of the ground-truth motion survives the VAE, the inflated generator with
the configured settings, single changes of these settings, the published settings, and the first pass. It does not
depend on any decoder and should be measured first with every new generator. ``snakemake oracle`` runs it in a
workflow. By hand, for example with Stable Diffusion 1.5::

    python -m workflow_scripts.measure_oracle --frames results/cc2017/stimuli/seg1.h5 \
        --table results/cc2017/stimuli/seg1.tsv --text results/cc2017/features/clips-00000.text.h5 \
        --model stable-diffusion-v1-5/stable-diffusion-v1-5 --device cuda --settings '{}' --links oracle.tsv
"""

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.device import use_device
from mind_animator.diffusion.generator import (
    VideoGenerator,
    check_inputs,
    draw_moving_image,
    invert_batch,
    load_generator,
    reconstruct_batch,
    with_clips_per_batch,
)
from mind_animator.errors import InputError, run_command
from mind_animator.metrics.flow import flows, mean_flow, motion_fidelity
from mind_animator.models.latents import decode_latents, encode_latents
from mind_animator.models.load import load_vae, network_dtype
from workflow_scripts.stages import Device, Input, Inputs, Output, Param, command

PUBLISHED = {"strength": None, "guidance_scale": 12.5, "noise_timestep": 200, "noise_into": "inverted"}
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


def measure_oracle(
    *,
    frames: Input,
    table: Input,
    text: Inputs,
    model: Param[str],
    lock: Param[str] | None = None,
    settings: Param[ReconstructionConfig],
    clips: int = 32,
    seed: Param[int] = 0,
    device: Param[Device] = "cpu",
    links: Output,
) -> None:
    """
    Parameters
    ----------
    frames
        Frames of a segment (HDF5).
    table
        Table of the segment's clips (TSV).
    text
        Prompt embeddings of these clips (HDF5).
    model
        Id or folder of Stable Diffusion.
    lock
        Lock file of the models.
    settings
        Settings of the generator (config.reconstruction); '{}': as published.
    clips
        Number of moving clips.
    seed
        Random seed of the selection of clips and of the noise.
    device
        Device to compute on.
    links
        Output: one row per link (TSV).
    """
    configured = settings.model_copy(update={"motion": "sampled"})
    torch.set_num_threads(configured.cpu_threads)
    target = use_device(device)
    names, movies = moving_clips(frames, table, clips, seed)
    embeddings = read_arrays(text, ["prompt_embedding"], names)[1]["prompt_embedding"]
    prompt_embedding = torch.from_numpy(embeddings).float()
    ground_truth = [flows(clip) for clip in movies]
    vae = load_vae(model, lock, device=target, dtype=network_dtype(configured.vae_precision, target))
    n_frames = movies.shape[1]
    latents = encode_latents(vae, movies, batch=n_frames)
    rows: list[dict] = []

    def add(link: str, shown: np.ndarray, started: float) -> None:
        seconds = (time.monotonic() - started) / len(names)
        fidelity = motion_fidelity(ground_truth, [flows(clip) for clip in shown])
        rows.append({"link": link, "clips": len(names)} | fidelity | {"seconds_per_clip": seconds})
        print(f"{link}: cosine {fidelity['cosine']:.3f}, {seconds:.2f} s per clip", file=sys.stderr)

    def show(settings: ReconstructionConfig, latents: Tensor) -> np.ndarray:
        """Frames of latents by inversion and sampling."""
        parts = []
        for batch in torch.arange(len(names)).split(settings.clips_per_batch):
            own, inverted = latents[batch], None
            if settings.num_inversion_steps:
                inverted = invert_batch(generator, own, settings.inversion(), tokens)
            drawn = reconstruct_batch(
                generator, own, inverted, prompt_embedding[batch], [names[row] for row in batch], settings, seed=seed
            )  # fmt: skip
            parts.append(decode_latents(vae, drawn, batch=drawn.shape[1]))
        return torch.cat(parts).numpy()

    started = time.monotonic()
    add("VAE", decode_latents(vae, latents, batch=n_frames).numpy(), started)
    tokens = prompt_embedding.shape[1] + 1
    final = configured.final_pass()
    generator = load_generator(model, lock, n_frames, final, device=target, seed=seed)
    check_inputs(generator, latents.shape, prompt_embedding.shape[-1])
    final = with_clips_per_batch(generator, final, latents.shape, tokens)
    configured = configured.model_copy(update={"clips_per_batch": final.clips_per_batch})
    for link, changed in variants(final).items():
        started = time.monotonic()
        add(link, show(changed, latents), started)
    started = time.monotonic()
    single = load_generator(model, lock, 1, configured.image_pass(), device=target, seed=seed)
    moved = first_pass(single, vae, latents, prompt_embedding, ground_truth, names, configured, seed)
    add("first pass, moved by the true flow", moved.numpy(), started)
    add("first and second pass", show(final, encode_latents(vae, moved, batch=n_frames)), started)
    write_table(links, pd.DataFrame(rows))


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


main = command(measure_oracle)

if __name__ == "__main__":
    run_command(main)
