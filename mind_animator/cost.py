"""Cost of a run: GPU-hours and bytes per rule, computed from constants with stated sources."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

Source = Literal["measured", "computed", "yours"]

# Widths of CLIP ViT-B/32's embedding and of the prompt embedding of SD 1.5.
EMBEDDING, PROMPT_WIDTH = 512, 768


@dataclass(frozen=True)
class Constant:
    """A constant of the cost model and its source.

    Attributes
    ----------
    source : str
        ``measured`` (on the GPU or files that ``note`` names), ``computed`` (from shapes) or ``yours`` (a
        setting of the user, with a stated default).
    """

    value: float
    unit: str
    source: Source
    note: str


# Work of one unit at full size (512 px, 8 frames, SD 1.5, BLIP-2 flan-t5-xxl). A forward of n parameters on m
# tokens costs 2 n m floating-point operations.
CONSTANTS: dict[str, Constant] = {
    "unet_forward": Constant(
        0.798, "TFLOP/frame", "computed", "SD 1.5, 64 x 64 latents, 20 tokens (counted on meta tensors)"
    ),
    "cross_frame": Constant(
        0.092, "TFLOP/frame", "computed", "keys and values of the first and previous frame"
    ),
    "vae_encode": Constant(
        1.117, "TFLOP/frame", "computed", "AutoencoderKL encoder at 512 px (counted likewise)"
    ),
    "vae_decode": Constant(
        2.515, "TFLOP/frame", "computed", "AutoencoderKL decoder at 512 px (counted likewise)"
    ),
    "caption": Constant(
        1.2, "TFLOP/image", "computed", "2 n m: ViT-g 1.0 B x 257, T5 encoder 4.8 B x 42, decoder 6.3 B x 20"
    ),
    "semantic_step": Constant(0.028, "TFLOP/step", "computed", "batch 64, forward and backward"),
    "structure_step": Constant(0.009, "TFLOP/step", "computed", "batch 64, forward and backward"),
    "motion_step": Constant(0.663, "TFLOP/step", "computed", "batch 64, forward and backward"),
    "score": Constant(
        1.0,
        "TFLOP/clip",
        "computed",
        "2 n m: ViT-B/16, ViFi-CLIP B/16 (35 GFLOP) and CLIP B/32 (9 GFLOP) on 8 frames, VideoMAE-B (360 GFLOP)",
    ),
    "packed": Constant(
        0.6, "fraction of raw bytes", "yours", "default for movies; the demo's drawn movies take .24"
    ),
    "gpu": Constant(788.0, "TFLOP/s", "measured", "bf16 matrix products on one NVIDIA H200"),
    "efficiency": Constant(0.3, "fraction of the GPU", "yours", "default; measure yours with benchmark_gpu"),
    "load": Constant(60.0, "s/job", "yours", "start of a job: imports and one model load"),
}


@dataclass(frozen=True)
class Scale:
    """Sizes on which the costs depend; all are known without the data.

    Attributes
    ----------
    subjects, clips, test_clips : int
    frames : int
        Frames per clip.
    size, scored_size, pair_size : int
        Height and width in pixels of the stimuli's frames, of the compared frames, and of the frames of pair scores.
    voxels : int
        Selected voxels, summed over subjects.
    vertices : int
        Voxels or vertices of a preprocessed volume.
    tokens, caption_copies, crops : int
        Tokens of the prompt embedding; augmented captions and crops per clip.
    num_inference_steps, num_inversion_steps : int
    generators, vaes, methods, predicting : int
        Number of methods whose videos the generator makes, or the VAE's decoder alone; of all methods; of those
        that make predictions.
    training_steps : mapping of part name to float
        Optimiser steps of each trained part, summed over methods and subjects.
    weights : int
        Bytes of all weights.
    """

    subjects: int
    clips: int
    test_clips: int
    frames: int
    size: int
    scored_size: int
    pair_size: int
    voxels: int
    vertices: int
    tokens: int
    caption_copies: int
    crops: int
    num_inference_steps: int
    num_inversion_steps: int
    generators: int
    vaes: int
    methods: int
    predicting: int
    training_steps: Mapping[str, float]
    weights: int


def cost_table(
    jobs: Mapping[str, int],
    scale: Scale,
    constants: Mapping[str, Constant] = CONSTANTS,
    fetched: Mapping[str, int] | None = None,
    measured: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """One row per rule: ``rule, jobs, gpu_hours, fetched_bytes, kept_bytes``; the last row is the total.

    Parameters
    ----------
    jobs : mapping of rule name to int
        Jobs of each rule in the DAG that a dry run shows.
    scale : Scale
    constants : mapping
        `CONSTANTS`, or those of the user's GPU and efficiency.
    fetched : mapping of rule name to bytes, optional
        Fetched files are kept in addition to results; archives count as the files that they contain, of the same
        size.
    measured : mapping of line to float, optional
        Measured TFLOP/s of lines of ``benchmark-gpu`` (see `measured_speeds`), in place of GPU x efficiency.

    Notes
    -----
    Compute time = work / (GPU x efficiency) + start-up of each job, for rules that use a GPU. The work of frames
    scales with their area: (size / 512)^2; rules with little work (predictions, maps) cost their start-up.
    """
    area = (scale.size / 512) ** 2
    latents = 4 * (scale.size // 8) ** 2 * 4
    frames, test = scale.clips * scale.frames, scale.test_clips * scale.frames * scale.subjects
    unet = constants["unet_forward"].value + constants["cross_frame"].value
    measured, general = measured or {}, constants["gpu"].value * constants["efficiency"].value

    def seconds(line: str, tflop: float) -> float:
        return tflop / measured.get(line, general)

    training = sum(
        seconds(f"train_{part}", constants.get(f"{part}_step", constants["motion_step"]).value * steps)
        for part, steps in scale.training_steps.items()
    )
    work = {
        "caption_clips": seconds("caption", 2 * scale.clips * constants["caption"].value),
        "encode_features": seconds("vae_encode", frames * area * constants["vae_encode"].value),
        "train_part": training,
        "predict": 0.0,
        "explain_decoder": 0.0,
        "decode_latents": seconds("vae_decode", test * area * scale.vaes * constants["vae_decode"].value),
        "encode_ground_truth": seconds("scoring_networks", scale.test_clips * constants["score"].value),
        "score_method": seconds(
            "scoring_networks", scale.test_clips * scale.subjects * scale.methods * constants["score"].value
        ),
        # one image per clip by about as many steps as the second pass, and all frames encoded
        "draw_first_pass": test
        * area
        * scale.generators
        * (
            seconds(
                "sampling", (scale.num_inversion_steps + 2 * scale.num_inference_steps) * unet / scale.frames
            )
            + seconds("vae_encode", constants["vae_encode"].value)
        ),
        "invert_latents": seconds(
            "inversion", test * area * scale.num_inversion_steps * unet * scale.generators
        ),
        "reconstruct_clips": test
        * area
        * scale.generators
        * (
            seconds("sampling", 2 * scale.num_inference_steps * unet)
            + seconds("vae_decode", constants["vae_decode"].value)
        ),
    }
    packed = constants["packed"].value
    video = scale.frames * scale.size**2 * 3 * packed  # bytes per clip
    text = 4 * (EMBEDDING + (scale.tokens - 1) * PROMPT_WIDTH)
    made = scale.generators + scale.vaes
    kept = {
        "segment_movie": scale.clips * video,
        "encode_features": scale.clips * text * (1 + scale.caption_copies)
        + frames * latents
        + scale.clips * 4 * EMBEDDING * (1 + scale.crops),
        # responses, the two halves of test clips; five maps
        "preprocess_subject": 4 * scale.voxels * (scale.clips + 2 * scale.test_clips)
        + 17 * scale.vertices * scale.subjects,
        "train_part": scale.weights,
        "predict": scale.predicting * (test * latents + scale.test_clips * scale.subjects * (latents + text)),
        "draw_first_pass": test * latents * scale.generators,
        "invert_latents": test * latents * scale.generators,
        "reconstruct_clips": scale.test_clips * scale.subjects * video * scale.generators,
        "decode_latents": scale.test_clips * scale.subjects * video * scale.vaes,
        "derive_baseline": scale.test_clips * scale.subjects * video * (scale.methods - made),
        "encode_ground_truth": scale.test_clips * _ground_truth_bytes(scale, packed),
    }
    fetched = fetched or {}
    rows = []
    for rule, count in sorted(jobs.items()):
        busy = work[rule] + count * constants["load"].value if rule in work else 0.0
        got = fetched.get(rule, 0)
        rows.append((rule, count, busy / 3600, got, round(kept.get(rule, 0)) + got))
    table = pd.DataFrame(rows, columns=["rule", "jobs", "gpu_hours", "fetched_bytes", "kept_bytes"])
    total = table[["jobs", "gpu_hours", "fetched_bytes", "kept_bytes"]].sum()
    return pd.concat([table, pd.DataFrame([{"rule": "total", **total}])], ignore_index=True).astype(
        {"jobs": int, "fetched_bytes": int, "kept_bytes": int}
    )


def measured_speeds(lines: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """TFLOP/s of lines of ``benchmark-gpu`` at full size, in terms of the work in `CONSTANTS`.

    Parameters
    ----------
    lines : mapping of name to row
        ``lines`` of ``gpu.json``.
    """
    speeds = {name: row["tflops"] for name, row in lines.items() if row.get("tflops")}
    for name, row in lines.items():
        part = name.removeprefix("train_")
        if part != name and row.get("seconds"):
            speeds[name] = CONSTANTS[f"{part}_step"].value * row["clips"] / 64 / row["seconds"]
    return speeds


def _ground_truth_bytes(scale: Scale, packed: float) -> float:
    """Bytes per clip of the ground-truth file: frames, flow, and the descriptions of the standard metrics."""
    size, pair, steps = scale.scored_size**2, scale.pair_size**2, scale.frames - 1
    windows = (scale.pair_size - 6) ** 2 * 3
    return (
        scale.frames * 3 * packed * (size + pair)
        + 2 * steps * 2 * 4 * size  # two definitions of flow
        + steps * 2 * 4 * pair
        + scale.frames * (2 * 4 * windows + 2 * 8 * pair)  # sums and variances of SSIM; hue as a pattern
        + 4 * (scale.frames * (1000 + 2 * EMBEDDING) + 400)  # class logits, CLIP and ViFi-CLIP embeddings
    )
