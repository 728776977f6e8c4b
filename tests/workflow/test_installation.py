"""The wheel scores videos in an environment of its own, and brings the workflow."""

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mind_animator.provenance import ROOT

# the interpreter behind the virtual environment; like bootstrap.py, these tests need its pip
PIP = [getattr(sys, "_base_executable", sys.executable), "-m", "pip"]
SOURCES = ("mind_animator", "workflow_scripts", "rules", "config", "envs", "slurm")


def run(*command: str | Path, **options) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = os.pathsep.join([str(Path(command[0]).parent), environment["PATH"]])
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, **options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


def environment(folder: Path) -> Path:
    """The interpreter of a new environment with nothing in it."""
    run(PIP[0], "-m", "venv", "--without-pip", folder)
    return folder / "bin/python"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "Snakefile", "config.yaml", "requirements.lock", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source)
    run(
        *PIP,
        "--python",
        sys.executable,
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        built,
        source,
    )
    return next(built.glob("*.whl"))


def test_the_base_package_scores_gifs_in_an_environment_of_its_own(wheel: Path, tmp_path: Path, rng):
    python = environment(tmp_path / "env")
    run(*PIP, "--python", python, "install", "-q", "--no-compile", wheel)
    for folder in ("ground_truth", "prediction"):
        (tmp_path / folder).mkdir()
        for clip in range(3):
            frames = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
            images = [Image.fromarray(frame).resize((32, 32), Image.Resampling.NEAREST) for frame in frames]
            images[0].save(
                tmp_path / folder / f"{clip}.gif", save_all=True, append_images=images[1:], duration=500
            )
    output = run(python.parent / "mind-animator", "score", "--ground-truth", "ground_truth",
               "--pred", "mine=prediction", "--permutations", "99", "--out", "scores", cwd=tmp_path)  # fmt: skip
    assert "torch is not installed (pip install 'mind-animator[workflow]')" in output
    summary = pd.read_csv(tmp_path / "scores/summary.tsv", sep="\t")
    own = summary[(summary["method"] == "mine") & (summary["metric"] == "ssim")]
    assert np.isfinite(own["mean"].iloc[0])


def test_the_workflow_is_deployed_from_the_wheel(wheel: Path, tmp_path: Path):
    """Installed without its dependencies into an environment that borrows those of this one."""
    python = environment(tmp_path / "env")
    run(*PIP, "--python", python, "install", "-q", "--no-deps", "--no-compile", wheel)
    packages = next((tmp_path / "env/lib").glob("python*/site-packages"))
    borrowed = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (packages / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    run(python.parent / "mind-animator", "workflow", tmp_path / "study")
    output = run(
        python,
        "-m",
        "snakemake",
        "-n",
        "--cores",
        "1",
        "--quiet",
        "rules",
        "--",
        "all",
        cwd=tmp_path / "study",
    )
    assert "train_part" in output and "make_report" in output
    run(
        python, "-m", "snakemake", "--cores", "1", "--", "results/demo/report/dag.svg", cwd=tmp_path / "study"
    )
    found = run(python, "-c", "import mind_animator; print(mind_animator.__file__)", cwd=tmp_path / "study")
    assert str(tmp_path / "env") in found
