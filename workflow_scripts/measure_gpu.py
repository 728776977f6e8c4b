"""Measure this machine's accelerator: bf16 matrix products, TFLOP/s. The plan takes its figure from the file."""

import argparse
import time
from pathlib import Path

import torch

from mind_animator.artefacts.files import write_json
from mind_animator.errors import InputError, run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", type=int, default=8192, help="rows and columns of the matrices")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise InputError("Expected a CUDA device, got none; run this on a GPU node.")
    left, right = torch.randn(2, arguments.size, arguments.size, device=arguments.device).bfloat16()
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    left @ right  # the first product loads and picks kernels
    products, started = 0, _now(arguments.device)
    while (elapsed := _now(arguments.device) - started) < arguments.seconds:
        left @ right
        products += 1
    rate = 2 * arguments.size**3 * products / elapsed / 1e12
    print(f"{name}: {rate:.1f} TFLOP/s over {products} products of {arguments.size} x {arguments.size}, bf16")
    write_json(
        arguments.output, {"device": name, "tflops": rate, "size": arguments.size, "products": products}
    )


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    run_command(main)
