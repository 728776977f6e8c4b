"""Clips per second of inversion and guided sampling, as a fraction of the limit of the machine (roofline).

    python -m benchmarks.reconstruction --device cuda --clips 8 --size 512
    python -m benchmarks.reconstruction --device cpu --clips 1 --size 256 --frames 4 --forwards 2

The network has the shapes of Stable Diffusion 1.5 and random weights, which do not affect its speed. A few forward passes
of one padded batch are timed and multiplied by the number of passes per clip. The limit is the speed of a large matrix
product in the same precision, measured immediately before; the operations are counted on the network itself. The row is
printed and, if a file is given, appended to it.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from mind_animator.diffusion.inflate import VideoUNet

SHAPES = json.loads((Path(__file__).parent / "sd15_unet.json").read_text())
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def main() -> None:
    """Measure and print one row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    parser.add_argument("--precision", choices=list(PRECISIONS), help="float32 on a CPU, float16 on CUDA")
    parser.add_argument("--clips", type=int, default=8, help="clips of a padded batch")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=512, help="height and width of a frame, pixels")
    parser.add_argument("--steps", type=int, default=50, help="steps of sampling and of inversion")
    parser.add_argument("--forwards", type=int, default=5, help="timed guided forward passes")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--output", type=Path, help="JSON lines to append to")
    given = parser.parse_args()
    device = torch.device(given.device)
    dtype = PRECISIONS[given.precision or ("float32" if given.device == "cpu" else "float16")]
    side = given.size // 8
    work = count_work(given.frames, side)
    torch.manual_seed(0)
    with device:
        unet = UNet2DConditionModel(**SHAPES).to(dtype).eval().requires_grad_(False)
    if given.device == "cuda":
        unet.to(memory_format=torch.channels_last)
    video = VideoUNet(unet, given.frames)
    if given.compile:
        unet.compile(dynamic=False)
    # A guided step: the conditional and unconditional branches in one forward pass.
    latents = torch.randn(2 * given.clips, given.frames, 4, side, side, device=device)
    condition = torch.randn(2 * given.clips, 20, SHAPES["cross_attention_dim"], device=device)
    limit = matrix_speed(device, dtype)
    with torch.inference_mode():
        video(latents, 500, condition)  # choice of kernels, compilation
        started = now(device)
        for _ in range(given.forwards):
            video(latents, 500, condition)
        seconds = (now(device) - started) / given.forwards
    # One guided step is two forward passes of a clip, one step of inversion is one.
    clip_seconds = seconds / (2 * given.clips) * 3 * given.steps
    row = {
        "device": torch.cuda.get_device_name() if given.device == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "precision": str(dtype).removeprefix("torch."),
        "compile": given.compile,
        "clips": given.clips,
        "frames": given.frames,
        "size": given.size,
        "steps": given.steps,
        "tflop_per_clip": work * 3 * given.steps / 1e12,
        "clips_per_second": 1 / clip_seconds,
        "tflops": work * 2 * given.clips / seconds / 1e12,
        "limit_tflops": limit / 1e12,
        "roofline_fraction": work * 2 * given.clips / seconds / limit,
    }
    if given.device == "cuda":
        row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    print(json.dumps(row, indent=1))
    if given.output:
        with open(given.output, "a") as stream:
            stream.write(json.dumps(row) + "\n")


def count_work(frames: int, side: int) -> int:
    """Floating-point operations of one forward pass of one clip, counted on tensors without data."""
    with torch.device("meta"):
        video = VideoUNet(UNet2DConditionModel(**SHAPES).eval(), frames)
        latents, condition = torch.empty(1, frames, 4, side, side), torch.empty(1, 20, 768)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            video(latents, torch.tensor(500), condition)
    return counter.get_total_flops()


def matrix_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product, which is the limit."""
    size = 2048 if device.type == "cpu" else 8192
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    left @ right
    started, products = now(device), 0
    while now(device) - started < 2:
        left @ right
        products += 1
    return 2 * size**3 * products / (now(device) - started)


def now(device: torch.device) -> float:
    """Time in seconds after all work on the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
