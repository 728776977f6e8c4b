"""Print what a run will take: jobs, GPU-hours and bytes per rule, before anything is started."""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from mind_animator.artefacts.files import read_json
from mind_animator.cost import CONSTANTS, Constant, Scale, cost_table
from mind_animator.errors import InputError, run_command

JOB_ROW = re.compile(r"^(\w+)\s+(\d+)$")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="resolved configuration, as JSON text")
    parser.add_argument("--scale", required=True, help="sizes (mind_animator.cost.Scale), as JSON text")
    parser.add_argument(
        "--fetched",
        default="{}",
        help="rule: [bytes that each rule fetches, archives of unstated size], JSON",
    )
    parser.add_argument("--gpu", type=Path, help="what measure_gpu wrote on your GPU")
    parser.add_argument("--efficiency", type=float, help="share of the GPU that your jobs reach")
    parser.add_argument("--target", default="all")
    arguments = parser.parse_args()
    constants = dict(CONSTANTS)
    if arguments.gpu:
        gpu = read_json(arguments.gpu)
        constants["gpu"] = Constant(gpu["tflops"], "TFLOP/s", "measured", f"your {gpu['device']}")
    if arguments.efficiency is not None:
        if not 0 < arguments.efficiency <= 1:
            raise InputError(f"Expected --efficiency in (0, 1], got {arguments.efficiency}.")
        constants["efficiency"] = Constant(arguments.efficiency, "share of the GPU", "yours", "given")
    fetched = json.loads(arguments.fetched)
    table = cost_table(
        count_jobs(arguments.config, arguments.target),
        Scale(**json.loads(arguments.scale)),
        constants,
        {rule: stated for rule, (stated, _) in fetched.items()},
    )
    for name in ("fetched_bytes", "kept_bytes"):
        table[name.replace("bytes", "GiB")] = table.pop(name) / 1024**3
    print(table.to_string(index=False, float_format="{:.2f}".format))
    if unstated := sum(unknown for _, unknown in fetched.values()):
        print(
            f"\nFetched bytes are those that publishers state; {unstated} files of unstated size come on top,"
        )
        print("fetched and kept (an archive goes once it is unpacked, what was in it stays).")
    print("\nThe models that pin_models fetches come on top (about 60 GB at full size, most of it BLIP-2).")
    print("\nConstants:")
    for name, constant in constants.items():
        print(f"  {name:16} {constant.value:10.4g} {constant.unit:20} {constant.source:9} {constant.note}")


def count_jobs(config: str, target: str) -> dict[str, int]:
    """Jobs of each rule in the whole DAG of a target, as a dry run counts them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(config)
        command = [sys.executable, "-m", "snakemake", "--configfile", str(path), "-n", "--nolock", "--forceall",
                   "--quiet", "rules", "--", target]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(
            f"Expected a dry run of '{target}', got: {(done.stderr or done.stdout).strip()[-500:]}"
        )
    rows = [JOB_ROW.match(line.strip()) for line in (done.stdout + done.stderr).splitlines()]
    jobs = {row[1]: int(row[2]) for row in rows if row and row[1] not in ("total", "all")}
    if not jobs:
        raise InputError(f"Expected jobs in the dry run of '{target}', found none.")
    return jobs


if __name__ == "__main__":
    run_command(main)
