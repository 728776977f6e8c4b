"""``mind-animator benchmark-gpu``: speed, memory and numerical agreement of every GPU stage on this machine."""

import argparse
from pathlib import Path
from typing import Any

from mind_animator.cli.options import EXIT_CODES, Formatter, positive

DESCRIPTION = """Measure every GPU stage of the workflow on this machine: clips per second, TFLOP/s and the fraction of
the measured limit, peak memory, and the error of half precision, TF32 and compilation against float32 on the CPU.

Networks have random weights of the true shapes, which have the speed of the real ones. What was measured is kept: the
command resumes where it was interrupted. `snakemake plan` reads gpu.json."""
EXAMPLES = """examples:
  mind-animator benchmark-gpu --out gpu/
  mind-animator benchmark-gpu --out gpu/ --stable-diffusion stable-diffusion-v1-5/stable-diffusion-v1-5
  mind-animator benchmark-gpu --out cpu/ --device cpu --shapes small --seconds 0.1

"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "benchmark-gpu",
        help="measure every GPU stage of the workflow on this machine",
        description=DESCRIPTION,
        epilog=EXAMPLES + EXIT_CODES,
        formatter_class=Formatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.json, gpu.tsv and gpu.png")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="device to measure")
    parser.add_argument(
        "--shapes",
        choices=["full", "small"],
        default="full",
        help="sizes of the paper, or small ones for a test",
    )
    parser.add_argument(
        "--stable-diffusion", metavar="ID_OR_PATH", help="real weights (default: random ones)"
    )
    parser.add_argument("--lock", default="models.lock.json", help="lock file of models, for an id")
    parser.add_argument("--seconds", type=positive, default=10.0, help="duration of each speed measurement")
    parser.add_argument(
        "--minutes",
        type=positive,
        default=10.0,
        help="begin no measurement after this time; run again to go on",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Measure and print the table."""
    from mind_animator.device import use_device

    use_device(arguments.device)
    from mind_animator.benchmark.lines import Machine
    from mind_animator.benchmark.run import benchmark, to_table
    from mind_animator.benchmark.shapes import SHAPES

    machine = Machine(arguments.device, SHAPES[arguments.shapes], arguments.stable_diffusion, arguments.lock)
    result = benchmark(machine, arguments.out, seconds=arguments.seconds, minutes=arguments.minutes)
    print(to_table(result["lines"]).to_string(index=False, na_rep="", float_format="{:.4g}".format))
    print(f"\nWritten: gpu.json, gpu.tsv and gpu.png in {arguments.out}")
