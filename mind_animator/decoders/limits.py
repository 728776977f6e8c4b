"""What a machine could do at best, so that a step's time can be read as a share of it."""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

# Adam reads the parameter, its gradient and two moments, and writes the parameter and the moments.
ADAM_BYTES = 7 * 4


def seconds_at_the_limit(
    network: nn.Module, forward: Callable[[], Tensor], device: str, autocast: dict[str, Any]
) -> float:
    """Seconds that one training step needs if arithmetic and optimiser traffic run at this machine's speed.

    The sum of (forward and backward operations) / (speed of a large matrix product) and (28 bytes a
    parameter) / (speed of a large copy). Small networks are bound by launches instead and reach a small
    share.

    Parameters
    ----------
    forward : callable
        Computes the loss; it is run once, with its gradient, and changes nothing else.
    """
    dtype = autocast["dtype"] if autocast["enabled"] else torch.float32
    speed, bandwidth = machine_limits(device, dtype)
    trained = [p for p in network.parameters() if p.requires_grad]
    gpus = range(torch.cuda.device_count()) if device != "cpu" else ()
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng(devices=gpus), counter, torch.autocast(**autocast):
        torch.autograd.grad(forward(), trained, allow_unused=True)
    count = sum(p.numel() for p in trained)
    return counter.get_total_flops() / speed + count * ADAM_BYTES / bandwidth


@cache
def machine_limits(device: str, dtype: torch.dtype = torch.float32) -> tuple[float, float]:
    """Operations a second of a large matrix product, and bytes a second of a large copy; best of three."""
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
