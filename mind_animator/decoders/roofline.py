"""Roofline model of a training step: the time that it would take at the measured speed of the machine."""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

# Adam reads the parameter, its gradient and two moments, and writes the parameter and the moments.
ADAM_BYTES = 7 * 4


def roofline_seconds(
    network: nn.Module, forward: Callable[[], Tensor], device: str, autocast: dict[str, Any]
) -> float:
    """Seconds of one training step if arithmetic and optimiser traffic ran at the measured machine speed.

    The sum of (forward and backward operations) / (speed of a large matrix product) and (28 bytes per
    parameter) / (bandwidth of a large copy). Small networks are limited by kernel launches and reach a small
    fraction of this speed.

    Parameters
    ----------
    forward : callable
        Computes the loss; called once, with its gradient, without other effects.
    """
    dtype = autocast["dtype"] if autocast["enabled"] else torch.float32
    speed, bandwidth = machine_speed(device, dtype)
    trained = [p for p in network.parameters() if p.requires_grad]
    gpus = range(torch.cuda.device_count()) if device != "cpu" else ()
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng(devices=gpus), counter, torch.autocast(**autocast):
        torch.autograd.grad(forward(), trained, allow_unused=True)
    count = sum(p.numel() for p in trained)
    return counter.get_total_flops() / speed + count * ADAM_BYTES / bandwidth


@cache
def machine_speed(device: str, dtype: torch.dtype = torch.float32) -> tuple[float, float]:
    """Operations per second of a large matrix product, bytes per second of a large copy; best of three."""
    side = 1024 if device == "cpu" else 8192
    matrix = torch.ones(side, side, dtype=dtype, device=device)
    block = torch.ones(16 * side * side, device=device)
    product = _best_seconds(lambda: matrix @ matrix, device)
    copy = _best_seconds(block.clone, device)
    return 2 * side**3 / product, 2 * block.numel() * block.element_size() / copy


def _best_seconds(work: Callable[[], Any], device: str) -> float:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
