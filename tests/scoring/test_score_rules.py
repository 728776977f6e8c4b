"""The rules of scoring, in a dry run: what is scored, beside which baselines and ceiling, and tested how."""

import re
import subprocess
import sys

from mind_animator.provenance import ROOT

METHODS = (
    "methods={swapped: {kind: mind_animator, options: {decoders_from: mind_animator, swap: [motion]}},"
    " no_motion: {kind: mind_animator, options: {decoders_from: mind_animator, without: [motion]}},"
    " theirs: {kind: folder, options: {path: 'FOLDER/sub-{subject}', preset: mind_video}}}"
)


BRIGHTNESS = """
from mind_animator.metrics.base import Metric


class Brightness(Metric):
    name, label = "brightness", "difference of brightness"

    def compare(self, ground_truth, prediction):
        return abs(ground_truth["frames"].mean() - prediction["frames"].mean())
"""


def dry_run(*more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "-n", "-p", "--cores", "2", "--nolock", "--forceall", *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_baselines_oracle_ablations_swap_and_a_folder_are_scored_for_every_subject(tmp_path):
    for subject in "12":
        (tmp_path / f"sub-{subject}").mkdir()
    own = tmp_path / "brightness.py"  # a metric of the user's own
    own.write_text(BRIGHTNESS)
    done = dry_run(
        "results/demo/scores/summary.tsv", "--config", METHODS.replace("FOLDER", str(tmp_path)),
        f"scoring={{metrics: [standard, '{own}']}}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    jobs = {row[1]: int(row[2]) for row in re.finditer(r"^(\w+)\s+(\d+)$", done.stdout, re.MULTILINE)}
    methods = (
        "mind_animator",
        "ridge",
        "flat_mean",
        "frozen",
        "mismatched",
        "shuffled_frames",
        "swapped",
        "no_motion",
        "theirs",
        "stacked_ridge",
    )
    assert jobs["score_method"] == 2 * len(methods)
    assert jobs["score_split_half_oracle"] == 2
    assert jobs["derive_baseline"] == 2 * 5  # four baselines and the folder
    command = next(line for line in done.stdout.splitlines() if "workflow_scripts.test_methods" in line)
    assert "--swaps mind_animator=swapped " in command
    scores = command.split("--scores ")[1].split(" --pairs")[0].split()
    assert sorted(scores) == sorted(
        f"results/demo/scores/{method}/sub-{subject}.parquet"
        for method in (*methods, "split_half_oracle")
        for subject in "12"
    )
    # frame shuffles of baselines say nothing; those of methods and of the oracle do
    scripts = ("encode_ground_truth", "score_method", "score_split_half_oracle", "test_methods")
    for line in done.stdout.splitlines():
        if any(f"workflow_scripts.{script}" in line for script in scripts):
            assert f'"metrics":["standard","{own}"]' in line
        if "workflow_scripts.score_method" in line:
            baseline = re.search(r"--method (\w+)", line)[1] in methods[2:6]
            assert ('"shuffles":0' in line) == baseline
        if "workflow_scripts.score_split_half_oracle" in line:
            assert '"shuffles":100' in line
            assert "--text results/demo/features/" in line and "--image results/demo/features/" in line
        if "workflow_scripts.encode_ground_truth" in line:
            assert '"pair_size":64' in line


def test_the_name_of_the_oracle_is_taken():
    done = dry_run("--config", "methods={split_half_oracle: {kind: ridge}}")
    assert done.returncode != 0
    assert "methods.split_half_oracle: the name is taken" in done.stdout + done.stderr
