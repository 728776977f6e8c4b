"""Print what a run will take: jobs, GPU-hours and bytes per rule, before anything is started."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from mind_animator.artefacts.files import read_json
from mind_animator.cost import CONSTANTS, Constant, Scale, cost_table
from mind_animator.errors import InputError, run_command
from workflow_scripts.stages import Param, command

JOB_ROW = re.compile(r"^(\w+)\s+(\d+)$")


def plan_run(
    *,
    config: Param[str],
    scale: Param[str],
    fetched: Param[str] = "{}",
    gpu: Param[Path] | None = None,
    efficiency: float | None = None,
    target: str = "all",
) -> None:
    """
    Parameters
    ----------
    config
        The whole configuration as JSON.
    scale
        Sizes that the costs depend on (mind_animator.cost.Scale) as JSON.
    fetched
        Per rule: bytes to fetch, and number of files of unknown size, as JSON.
    gpu
        Speed of your GPU as measured by measure_gpu (JSON).
    efficiency
        Fraction of the GPU's speed that your jobs reach.
    target
        Target of the workflow.
    """
    constants = dict(CONSTANTS)
    if gpu:
        speed = read_json(gpu)
        constants["gpu"] = Constant(speed["tflops"], "TFLOP/s", "measured", f"your {speed['device']}")
    if efficiency is not None:
        if not 0 < efficiency <= 1:
            raise InputError(f"--efficiency = {efficiency}: must be greater than 0 and at most 1.")
        constants["efficiency"] = Constant(efficiency, "share of the GPU", "yours", "given")
    to_fetch = json.loads(fetched)
    table = cost_table(
        count_jobs(config, target),
        Scale(**json.loads(scale)),
        constants,
        {rule: stated for rule, (stated, _) in to_fetch.items()},
    )
    for name in ("fetched_bytes", "kept_bytes"):
        table[name.replace("bytes", "GiB")] = table.pop(name) / 1024**3
    print(table.to_string(index=False, float_format="{:.2f}".format))
    if unstated := sum(unknown for _, unknown in to_fetch.values()):
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
        dry_run = [sys.executable, "-m", "snakemake", "--configfile", str(path), "-n", "--nolock", "--forceall",
                   "--quiet", "rules", "--", target]  # fmt: skip
        done = subprocess.run(dry_run, capture_output=True, text=True)
    if done.returncode:
        raise InputError(
            f"Expected a dry run of '{target}', got: {(done.stderr or done.stdout).strip()[-500:]}"
        )
    rows = [JOB_ROW.match(line.strip()) for line in (done.stdout + done.stderr).splitlines()]
    jobs = {row[1]: int(row[2]) for row in rows if row and row[1] not in ("total", "all")}
    if not jobs:
        raise InputError(f"Expected jobs in the dry run of '{target}', found none.")
    return jobs


main = command(plan_run)

if __name__ == "__main__":
    run_command(main)
