"""On a finished run of the demo (`bootstrap.py demo`): nothing is repeated that need not be, and what must be is.

Collected only where results/demo/report/index.html is there.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def dry_run(*arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "2", "--nolock", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def jobs(text: str) -> dict[str, int]:
    return {row[1]: int(row[2]) for row in re.finditer(r"^(\w+)\s+(\d+)$", text, re.MULTILINE)}


def test_a_second_run_has_nothing_to_do():
    assert "Nothing to be done" in dry_run("all")


def test_a_checkout_s_new_times_rerun_nothing():
    for path in (*ROOT.glob("workflow_scripts/*.py"), *ROOT.glob("rules/*.smk"), ROOT / "Snakefile"):
        path.touch()
    assert "Nothing to be done" in dry_run("all")


def test_a_changed_hyperparameter_retrains_its_decoder_alone_and_says_why():
    change = "methods={mind_animator: {options: {semantic: {optimisation: {epochs: 3}}}}}"
    text = dry_run("all", "--config", change)
    found = jobs(text)
    assert found["train_decoder"] == 2  # one a subject
    assert "encode_frames" not in found and "preprocess_subject" not in found
    assert "Params have changed since last execution" in text


def test_one_file_of_one_subject_builds_that_subject_alone():
    text = dry_run("--forceall", "--", "results/demo/predictions/mind_animator/sub-2.h5")
    assert "sub-1" not in text
    assert jobs(text)["train_decoder"] == 3
