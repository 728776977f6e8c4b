"""Measure this machine's accelerator: bf16 matrix products, TFLOP/s. The plan uses the measured speed."""

import time

import torch

from mind_animator.artefacts.files import write_json
from mind_animator.errors import InputError, run_command
from workflow_scripts.stages import Device, Output, Param, command


def measure_gpu(
    *,
    device: Param[Device] = "cuda",
    size: int = 8192,
    seconds: float = 5.0,
    gpu: Output,
) -> None:
    """
    Parameters
    ----------
    device
        Device to compute on.
    size
        Rows and columns of the matrices.
    seconds
        Duration of the measurement in seconds.
    gpu
        Measured speed (JSON).
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("Expected a CUDA device, got none; run this on a GPU node.")
    left, right = torch.randn(2, size, size, device=device).bfloat16()
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    left @ right  # the first product loads and selects kernels
    products, started = 0, _now(device)
    while (elapsed := _now(device) - started) < seconds:
        left @ right
        products += 1
    rate = 2 * size**3 * products / elapsed / 1e12
    print(f"{name}: {rate:.1f} TFLOP/s over {products} products of {size} x {size}, bf16")
    write_json(gpu, {"device": name, "tflops": rate, "size": size, "products": products})


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


main = command(measure_gpu)

if __name__ == "__main__":
    run_command(main)
