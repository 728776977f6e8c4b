"""Draw the rule graph of a target as SVG."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from mind_animator.artefacts.files import atomic
from mind_animator.errors import InputError, run_command
from mind_animator.provenance import ROOT
from mind_animator.report.dag import dag_svg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="resolved configuration, as JSON text")
    parser.add_argument("--target", default="all")
    parser.add_argument("--svg", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(arguments.config)
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
            *("--configfile", str(config), "--rulegraph", "dot", "--nolock", "--forceall"),
            *("--quiet", "all", "--", arguments.target),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(
            f"Expected the rule graph of '{arguments.target}', got: {done.stderr.strip()[-500:]}"
        )
    with atomic(arguments.svg) as temporary:
        temporary.write_text(dag_svg(done.stdout))


if __name__ == "__main__":
    run_command(main)
