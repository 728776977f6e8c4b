"""The smallest whole run of the synthetic data set through the real command, in a folder of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from mind_animator.config.base import merged

ROOT = Path(__file__).resolve().parents[1]


def write_tiny_demo(folder: Path, root: Path = ROOT, **changes: Any) -> Path:
    """Write the tiny demo's config into a folder, some sections' keys changed, and return its path."""
    values = yaml.safe_load((ROOT / "tests" / "tiny_demo.yaml").read_text())
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]
    values["models"] = {name: str(root / path) for name, path in shipped.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(merged(values, changes), sort_keys=False))
    return path


def snakemake_command(folder: Path, *arguments: str, root: Path = ROOT) -> list[str]:
    """The command that runs the workflow of a repository in a folder that `write_tiny_demo` prepared."""
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile")),
        *(
            "--directory",
            str(folder),
            "--configfile",
            str(folder / "config.yaml"),
            "--cores",
            "1",
            *arguments,
        ),
    ]


def snakemake(
    folder: Path, *arguments: str, root: Path = ROOT, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run the workflow there to its end; the caller looks at the exit status."""
    command = snakemake_command(folder, *arguments, root=root)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout)
