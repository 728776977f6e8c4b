"""Draw the rule graph of a target as SVG."""

import subprocess
import sys
import tempfile
from pathlib import Path

from mind_animator.artefacts.files import atomic
from mind_animator.errors import InputError, run_command
from mind_animator.report.dag import dag_svg
from workflow_scripts.stages import Output, Param, command


def draw_dag(
    *,
    config: Param[str],
    snakefile: Param[Path],
    target: str = "all",
    svg: Output,
) -> None:
    """
    Parameters
    ----------
    config
        The whole configuration as JSON.
    snakefile
        Snakefile of the workflow.
    target
        Target of the workflow.
    svg
        The figure (SVG).
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_text(config)
        dry_run = [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(snakefile)),
            *("--configfile", str(file), "--rulegraph", "dot", "--nolock", "--forceall"),
            *("--quiet", "all", "--", target),
        ]
        done = subprocess.run(dry_run, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"Expected the rule graph of '{target}', got: {done.stderr.strip()[-500:]}")
    with atomic(svg) as temporary:
        temporary.write_text(dag_svg(done.stdout))


main = command(draw_dag)

if __name__ == "__main__":
    run_command(main)
