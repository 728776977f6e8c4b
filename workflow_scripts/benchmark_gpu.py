"""Measure every GPU stage on this machine (``mind-animator benchmark-gpu``); the plan uses the speeds."""

from mind_animator.benchmark.lines import Machine
from mind_animator.benchmark.run import benchmark, to_table
from mind_animator.benchmark.shapes import SHAPES
from mind_animator.device import use_device
from mind_animator.errors import run_command
from workflow_scripts.stages import Device, Output, Param, command


def benchmark_gpu(
    *,
    device: Param[Device] = "cuda",
    shapes: str = "full",
    seconds: float = 10.0,
    minutes: float = 10.0,
    gpu: Output,
) -> None:
    """
    Parameters
    ----------
    device
        Device to measure.
    shapes
        Sizes: full (the paper's) or small.
    seconds
        Duration of each speed measurement, seconds.
    minutes
        No measurement is begun after this time; run the stage again to go on.
    gpu
        Measured speeds (JSON); table, figure and finished lines are written into the same folder.
    """
    machine = Machine(use_device(device), SHAPES[shapes])
    result = benchmark(machine, gpu.parent, seconds=seconds, minutes=minutes)
    print(to_table(result["lines"]).to_string(index=False, na_rep="", float_format="{:.4g}".format))


main = command(benchmark_gpu)

if __name__ == "__main__":
    run_command(main)
