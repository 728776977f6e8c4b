"""``mind-animator workflow``: write the workflow into a folder, where it can be run and modified."""

import shutil
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from mind_animator.cli.options import EXIT_CODES, Formatter
from mind_animator.errors import InputError
from mind_animator.provenance import ROOT

EXAMPLES = """examples:
  mind-animator workflow my_study/

"""
SHARED = "share/mind-animator/"
FILES = ("Snakefile", "config.yaml", "requirements.lock", "rules/*.smk", "config/*.yaml", "envs/*", "slurm/*.*",
         "slurm/bin/*")  # fmt: skip


def add(commands: Any) -> None:
    """Add the command to the parser."""
    help_text = "write the workflow (Snakefile, rules, configs, SLURM profile) into a folder"
    parser = commands.add_parser(
        "workflow",
        help=help_text,
        description=__doc__,
        epilog=EXAMPLES + EXIT_CODES,
        formatter_class=Formatter,
    )
    parser.add_argument("folder", type=Path, help="new or empty folder; run `snakemake` there")
    parser.set_defaults(run=lambda arguments: deploy(arguments.folder))


def deploy(folder: Path) -> None:
    """Copy the files of the workflow, from a checkout or from the installed package, into a folder.

    Raises
    ------
    InputError
        If the folder is not empty, or the installed package does not contain the files.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"Expected a new or empty folder, got {folder}.")
    if (ROOT / "Snakefile").is_file():
        found = {str(path.relative_to(ROOT)): path for pattern in FILES for path in ROOT.glob(pattern)}
    else:
        parts = ((str(file).partition(SHARED)[2], file) for file in distribution("mind-animator").files or ())
        found = {name: Path(file.locate()) for name, file in parts if name}
    if "Snakefile" not in found:
        raise InputError(
            "Expected the workflow's files in the installed package, found none: install it again."
        )
    for name, path in sorted(found.items()):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    print(f"{len(found)} files in {folder}. Next: cd {folder} && snakemake --cores 2")
