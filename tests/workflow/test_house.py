"""The house is kept: import contracts, formats, lint, and a dry run of the demo."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str) -> subprocess.CompletedProcess:
    program = Path(sys.executable).with_name(command[0])
    return subprocess.run(
        [str(program) if program.exists() else shutil.which(command[0]), *command[1:]],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        ("lint-imports",),
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("snakefmt", "--check", "Snakefile", "rules"),
    ],
    ids=lambda command: " ".join(command),
)
def test_checks_pass(command: tuple[str, ...]):
    done = run(*command)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_dry_run_of_the_demo_reaches_every_stage(tmp_path: Path):
    done = run(
        "snakemake",
        "-n",
        "--cores",
        "2",
        "--nolock",
        "--forceall",
        "--ignore-incomplete",
        "--quiet",
        "rules",
        "--",
        "all",
        "demo_truth",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for rule in ("make_movie", "simulate_training_runs", "segment_movie", "caption_clips", "preprocess_subject",
                 "encode_frames", "train_decoder", "predict", "invert_latents", "reconstruct_clips", "score_method",
                 "explain_decoder", "make_report", "test_brain"):  # fmt: skip
        assert rule in done.stdout + done.stderr, rule


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("seed=x", "Expected 'config.seed': Input should be a valid integer"),
        ("sead=1", "Expected only known keys, got 'config.sead'"),
        ("dataset={subjects: ['9']}", "Expected dataset.subjects to be of"),
        ("dataset={name: nowhere}", "Expected dataset.name to be one of"),
        ("methods={other: {kind: magic}}", "Expected methods.other.kind to be one of"),
    ],
)
def test_a_mistake_in_the_config_is_one_clear_error_before_any_work(change: str, text: str):
    done = run("snakemake", "-n", "--cores", "1", "--nolock", "--config", change)
    assert done.returncode != 0
    assert text in done.stdout + done.stderr


def test_no_machine_s_paths_are_committed():
    tracked = run("git", "ls-files").stdout.split()
    roots = ("/" + "work/", "/" + "root/", "/" + "home/")
    for name in tracked:
        path = ROOT / name
        if path.suffix in (".py", ".smk", ".yaml", ".md", ".toml", ".json", ".sh") and path.is_file():
            text = path.read_text()
            assert not [root for root in roots if root in text], name
