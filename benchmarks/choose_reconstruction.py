"""Comparison of reconstruction settings on training movies, each decoded by decoders trained without it.

    python -m benchmarks.choose_reconstruction --config config.yaml --subjects 1 2 --folds seg1,seg5 seg3,seg7

Run the workflow up to ``decode`` first. In each fold the decoders are trained without the movies of the fold, which are
then decoded; test movies are not read. A seeded sample of the decoded clips is reconstructed with every setting. The
table gives `mind_animator.metrics.flow.motion_fidelity` over the clips of all folds and subjects: the cosine over clips
that move (no scene cut, mean flow above the median), and the relative end-point error over all and over moving clips.
The chosen setting has the lowest mean of the two errors among the settings whose cosine is at most .01 below the
highest one. The method must have the option ``mask_quantiles``.
"""

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config import Config
from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.datasets import open_dataset
from mind_animator.diffusion.generator import (
    draw_moving_image,
    invert_batch,
    load_generator,
    reconstruct_batch,
)
from mind_animator.diffusion.memory import CPU_CLIPS
from mind_animator.errors import InputError, run_command
from mind_animator.methods.base import open_methods
from mind_animator.metrics.flow import flows, mean_flow, motion_fidelity
from mind_animator.models.latents import decode_latents, encode_latents
from mind_animator.models.load import load_vae
from mind_animator.video.warp import move_image
from workflow_scripts import predict, train_part
from workflow_scripts.reconstruct_response import read_config

# Quantiles between which the decoded motion mask rises from 0 to 1, and factors of the decoded flow.
MASKS = ((0.5, 0.85), (0.7, 0.9), (0.75, 0.95), (0.85, 0.95))
GAINS = (1.0, 1.5, 2.0)
# Settings of the second pass, tried with the chosen mask and factor.
PASSES = ({"noise_frames": "shared"}, {"noise_frames": "independent"}, {"noise_timestep": 0})


def main(arguments: list[str] | None = None) -> None:
    """Train for each fold, reconstruct with every setting, and print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="configuration of a finished run")
    parser.add_argument("--method", help="(default: report.headline of the configuration)")
    parser.add_argument("--subjects", nargs="+", default=["1"], help="(default: %(default)s)")
    parser.add_argument("--folds", nargs="+", required=True, help="held-out training movies, comma-separated")
    parser.add_argument("--clips", type=int, default=32, help="clips per fold (default: %(default)s)")
    parser.add_argument("--no-sampling", action="store_true", help="compare the first pass only")
    parser.add_argument("--output", type=Path, help="table to write")
    given = parser.parse_args(arguments)
    config = read_config(given.config)
    torch.set_num_threads(config.reconstruction.cpu_threads)
    samples, name = [], given.method or config.report.headline
    for subject, fold in itertools.product(given.subjects, given.folds):
        with tempfile.TemporaryDirectory() as folder:
            samples.append(decode_fold(config, name, subject, fold, given.clips, Path(folder)))
    clips = [clip for sample in samples for clip in sample["clips"]]
    arrays = {
        name: torch.cat([sample[name] for sample in samples]) for name in ("latents", "prompt_embedding")
    }
    ground_truth = [flows(clip) for sample in samples for clip in sample["frames"]]
    cut = np.concatenate([sample["cut"] for sample in samples])
    speed = np.array([np.linalg.norm(mean_flow(flow)) for flow in ground_truth])
    moving = np.flatnonzero((speed >= np.median(speed[~cut])) & ~cut)
    rows = []

    def add(name: str, frames: Tensor) -> None:
        shown = [flows(clip) for clip in frames.numpy()]
        own, every = (
            motion_fidelity([ground_truth[row] for row in chosen], [shown[row] for row in chosen])
            for chosen in (moving, range(len(clips)))
        )
        rows.append({"setting": name, **own, "epe_relative_all": every["epe_relative"]})
        print(f"{name}: {rows[-1]}", file=sys.stderr)

    generator = Generator(config, clips, arrays)
    images = generator.draw_images()
    drawn: dict[str, Tensor] = {}
    for mask in MASKS:
        flow = torch.cat([sample["flow"][mask] for sample in samples])
        for gain in GAINS:
            name = f"first pass, mask {mask[0]:g} to {mask[1]:g}, gain {gain:g}"
            drawn[name] = move_image(images, gain * flow, arrays["latents"].shape[1])
            add(name, drawn[name])
    best = choose(pd.DataFrame(rows))
    print(f"chosen: {best}")
    for change in () if given.no_sampling else PASSES:
        add(f"second pass after it, {change}", generator.sample(drawn[best], change))
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    if given.output:
        write_table(given.output, table)


def choose(table: pd.DataFrame) -> str:
    """The setting with the lowest mean relative error among those whose cosine is at most .01 below the highest."""
    near = table[table["cosine"] >= table["cosine"].max() - 0.01]
    error = (near["epe_relative"] + near["epe_relative_all"]) / 2
    return str(near.loc[error.idxmin(), "setting"])


class Generator:
    """The generator of a configuration, applied to the sampled clips in padded batches."""

    def __init__(self, config: Config, clips: list[str], arrays: dict[str, Tensor]) -> None:
        self.settings, self.seed = config.reconstruction, config.seed
        self.model, self.lock, self.device = config.models.stable_diffusion, config.models.lock, config.device
        self.clips, self.arrays, self.tokens = clips, arrays, config.features.tokens
        self.vae = load_vae(self.model, self.lock, device=self.device)

    def load(self, frames: int, settings: ReconstructionConfig):
        return load_generator(self.model, self.lock, frames, settings, device=self.device, seed=self.seed)

    def batches(self) -> Iterator[tuple[Tensor, list[str]]]:
        size = self.settings.clips_per_batch
        for rows in torch.arange(len(self.clips)).split(CPU_CLIPS if size == "auto" else size):
            yield rows, [self.clips[row] for row in rows]

    def draw_images(self) -> Tensor:
        """One image (height, width, 3) per clip, as the first pass draws it."""
        settings = self.settings.image_pass().model_copy(update={"motion_gain": 0.0})
        generator = self.load(1, settings)
        parts = []
        for rows, names in self.batches():
            latents, text = self.arrays["latents"][rows], self.arrays["prompt_embedding"][rows]
            still = torch.zeros(len(rows), 2, *latents.shape[-2:])
            parts.append(
                draw_moving_image(
                    generator,
                    self.vae,
                    latents,
                    text,
                    still,
                    names,
                    settings,
                    seed=self.seed,
                    tokens=self.tokens,
                )[:, 0]
            )
        return torch.cat(parts)

    def sample(self, frames: Tensor, change: dict) -> Tensor:
        """The second pass: encode, invert and sample frames (clip, frame, height, width, 3)."""
        settings = self.settings.final_pass().model_copy(update={"motion": "sampled", **change})
        generator, parts = self.load(frames.shape[1], settings), []
        for rows, names in self.batches():
            latents = encode_latents(self.vae, frames[rows], batch=frames.shape[1])
            inverted = invert_batch(generator, latents, settings.inversion(), self.tokens)
            text = self.arrays["prompt_embedding"][rows]
            sampled = reconstruct_batch(generator, latents, inverted, text, names, settings, seed=self.seed)
            parts.append(decode_latents(self.vae, sampled, batch=frames.shape[1]))
        return torch.cat(parts)


def decode_fold(config: Config, name: str, subject: str, fold: str, count: int, folder: Path) -> dict:
    """Train without the movies of a fold, decode them, and sample clips.

    Returns
    -------
    dict
        ``clips``; ``frames``; ``cut`` (clip,) bool; ``latents, prompt_embedding``; ``flow`` by the quantiles of the
        motion mask.
    """
    results, left_out = Path(config.results), fold.split(",")
    method, dataset = open_methods(config.methods)[name], open_dataset(config.dataset)
    segments = [segment.id for segment in dataset.segments if segment.split == "train"]
    clips = pd.concat([read_table(results / f"stimuli/{segment}.tsv") for segment in segments])
    missing = set(left_out) - set(clips["movie"])
    if missing:
        raise InputError(f"Expected training movies in --folds, got {sorted(missing)}.")
    clips = clips.assign(split=np.where(clips["movie"].isin(left_out), "test", "train"))
    write_table(folder / "clips.tsv", clips)
    responses = str(results / f"fmri/sub-{subject}/responses.h5")
    features = [str(path) for path in sorted((results / "features").glob("clips-*.h5"))]
    weights: list[str] = []
    for part in method.parts:
        path = folder / f"{part.name}.safetensors"
        train_part.main([
            "--kind", method.kind, "--part", part.name, "--settings", method.training_settings(part.name),
            "--subjects", subject, "--responses", responses, "--clips", str(folder / "clips.tsv"),
            "--needs", part.needs.model_dump_json(), "--features", *features, "--t-r", str(dataset.tr),
            "--seed", str(config.seed), "--weights", str(path), "--record", str(path.with_suffix(".json")),
        ])  # fmt: skip
        weights.append(f"{part.name}={path}")
    settings = json.loads(method.prediction_settings())
    for number, mask in enumerate(MASKS):
        predict.main([
            "--kind", method.kind, "--settings", json.dumps(settings | {"mask_quantiles": mask}), "--weights", *weights,
            "--needs", method.needs.model_dump_json(), "--subject", subject, "--responses", responses,
            "--clips", str(folder / "clips.tsv"), "--t-r", str(dataset.tr), "--seed", str(config.seed),
            "--predictions", str(folder / f"predictions-{number}.h5"),
        ])  # fmt: skip
    held_out = clips[clips["split"] == "test"]
    chosen = held_out.iloc[np.sort(np.random.default_rng(config.seed).permutation(len(held_out))[:count])]
    names = chosen["clip"].tolist()
    stimuli = [results / f"stimuli/{segment}.h5" for segment in dict.fromkeys(chosen["segment"])]
    arrays = read_arrays(folder / "predictions-0.h5", ["latents", "prompt_embedding"], names)[1]
    flow = {
        mask: torch.from_numpy(read_arrays(folder / f"predictions-{number}.h5", ["flow"], names)[1]["flow"])
        for number, mask in enumerate(MASKS)
    }
    return {
        "clips": names,
        "frames": read_arrays(stimuli, ["frames"], names)[1]["frames"],
        "cut": chosen["scene_cut"].astype(bool).to_numpy(),
        "flow": flow,
        **{key: torch.from_numpy(array) for key, array in arrays.items()},
    }


if __name__ == "__main__":
    run_command(main)
