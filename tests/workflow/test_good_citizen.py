"""On a real, tiny run: nothing is repeated that need not be, what must be is, and what was killed goes on."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest
from tiny_demo import ROOT, snakemake, snakemake_command, write_tiny_demo

SEMANTIC = "results/decoders/mind_animator/sub-1/semantic"
NOTHING = "Nothing to be done"
# A training that lasts long enough to be killed in its middle.
LONG = {"epochs": 600, "patience": None, "keep": "last", "checkpoint_interval": 0}
# All that follows from a decoder's weights.
AFTER_TRAINING = {
    "predict": 1, "draw_first_pass": 1, "invert_latents": 1, "reconstruct_clips": 1, "explain_decoder": 1,
    "draw_maps": 1, "score_method": 1,
    "score_retrieval": 1, "test_methods": 1, "build_leaderboard": 1, "draw_contact_sheet": 1, "make_report": 1,
    "all": 1, "record_provenance": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's code and models whose files a test may touch and edit."""
    folder = tmp_path_factory.mktemp("house")
    for name in ("rules", "envs", "slurm", "workflow_scripts", "mind_animator"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


@pytest.fixture(scope="module")
def run(house: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    write_tiny_demo(folder, house)
    done = snakemake(folder, "--quiet", "rules", root=house)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture
def plan(house: Path, run: Path) -> Callable[..., str]:
    """What a dry run says, with a method's options of one decoder changed."""

    def dry_run(*arguments: str, **options: dict) -> str:
        write_tiny_demo(run, house, methods={"mind_animator": {"options": options}})
        done = snakemake(run, "-n", *arguments, root=house)
        write_tiny_demo(run, house)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    return dry_run


def jobs(text: str) -> dict[str, int]:
    table = text.split("Job stats:")[1].split("\n\n")[0]
    return {row[1]: int(row[2]) for row in re.finditer(r"^(\w+) +(\d+)$", table, re.M) if row[1] != "total"}


def edited(path: Path, old: str, new: str) -> str:
    """Replace text in a file and return what the file held."""
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new, 1))
    return before


def test_a_second_run_has_nothing_to_do(house: Path, run: Path):
    done = snakemake(run, root=house)
    assert done.returncode == 0 and NOTHING in done.stdout + done.stderr


def test_a_checkout_reruns_nothing(house: Path, plan: Callable[..., str]):
    for path in (path for path in house.rglob("*") if path.is_file()):
        path.touch()
    assert NOTHING in plan()


def test_a_comment_reruns_nothing(house: Path, plan: Callable[..., str]):
    for name in ("mind_animator/decoders/fit.py", "workflow_scripts/segment_movie.py", "rules/decode.smk"):
        path = house / name
        path.write_text(path.read_text() + "\n# A comment.\n")
    edited(
        house / "mind_animator/errors.py", '"""The exception', '"""A docstring in other words. The exception'
    )
    assert NOTHING in plan()


def test_changed_logic_reruns_its_users_and_what_follows_and_says_why(house: Path, plan: Callable[..., str]):
    path = house / "workflow_scripts/draw_contact_sheet.py"
    before = edited(path, "GAP = 3, 6, 6", "GAP = 3, 6, 8")
    text = plan()
    path.write_text(before)
    assert jobs(text) == {"draw_contact_sheet": 1, "make_report": 1, "all": 1}
    assert "Params have changed since last execution" in text


@pytest.mark.parametrize("decoder", ["semantic", "structure", "motion"])
def test_a_changed_hyperparameter_retrains_its_decoder_and_what_follows_and_says_why(
    plan: Callable[..., str], decoder: str
):
    text = plan(**{decoder: {"optimisation": {"epochs": 3}}})
    assert jobs(text) == {"train_part": 1, "draw_dag": 1, **AFTER_TRAINING}
    assert f"results/decoders/mind_animator/sub-1/{decoder}.safetensors" in text
    assert "Params have changed since last execution" in text


def test_changed_weights_of_a_model_rerun_its_users(house: Path, plan: Callable[..., str]):
    path = house / "mind_animator/assets/models/vit/model.safetensors"
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    text = plan()
    path.write_bytes(before)
    assert jobs(text)["encode_ground_truth"] == jobs(text)["score_method"] == 1
    assert not {"train_part", "caption_clips", "encode_features"} & set(jobs(text))


def test_one_subject_s_target_builds_that_subject_alone(house: Path, run: Path):
    write_tiny_demo(run, house, dataset={"subjects": ["1", "2"]})
    done = snakemake(run, "-n", "results/predictions/mind_animator/sub-2.h5", root=house)
    write_tiny_demo(run, house)
    text = done.stdout + done.stderr
    expected = jobs(text)
    assert (
        expected["simulate_training_runs"] == 2 and expected["train_part"] == 3 and expected["predict"] == 1
    )
    assert not {"caption_clips", "encode_features", "segment_movie", "score_method"} & set(expected)
    assert "sub-1" not in text and "subject1" not in text


@pytest.fixture(scope="module")
def straight(house: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Weights of the long training that nothing interrupts."""
    folder = with_long_training(run, tmp_path_factory.mktemp("straight") / "run", house)
    done = snakemake(folder, f"{SEMANTIC}.safetensors", root=house)
    assert done.returncode == 0, done.stderr[-3000:]
    return (folder / f"{SEMANTIC}.safetensors").read_bytes()


def with_long_training(run: Path, folder: Path, house: Path) -> Path:
    shutil.copytree(run, folder)
    write_tiny_demo(
        folder, house, methods={"mind_animator": {"options": {"semantic": {"optimisation": LONG}}}}
    )
    return folder


def wait_for_stores(state: Path, count: int, process: subprocess.Popen) -> None:
    """Until the resumable state has been seen in so many versions."""
    seen, until = set(), time.monotonic() + 180
    while len(seen) < count:
        assert process.poll() is None and time.monotonic() < until
        if state.exists():
            seen.add(state.stat().st_mtime_ns)
        time.sleep(0.01)


def kill_training(process: subprocess.Popen) -> None:
    """SIGKILL to the training alone, as the system does for want of memory."""
    children = psutil.Process(process.pid).children(recursive=True)
    next(child for child in reversed(children) if "workflow_scripts.train_part" in child.cmdline()).kill()


def press_ctrl_c(process: subprocess.Popen) -> None:
    """SIGINT to all processes of the terminal's foreground."""
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.parametrize("interrupt", [kill_training, press_ctrl_c])
def test_an_interrupted_training_goes_on_to_the_same_weights(
    house: Path, run: Path, straight: bytes, tmp_path: Path, interrupt: Callable[[subprocess.Popen], None]
):
    folder = with_long_training(run, tmp_path / "run", house)
    command = snakemake_command(folder, f"{SEMANTIC}.safetensors", root=house)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # a terminal's foreground heeds Ctrl-C, also where these tests run in some shell's background
    heeding = ["env", "--default-signal=INT", *command]
    process = subprocess.Popen(heeding, cwd=folder, start_new_session=True, **quiet)
    state = folder / f"{SEMANTIC}.safetensors.checkpoint"
    wait_for_stores(state / "fit.safetensors", 12, process)  # two an epoch: after its one step, at its end
    interrupt(process)
    assert process.wait(60) != 0
    assert state.exists() and not (folder / f"{SEMANTIC}.safetensors").exists()
    done = snakemake(folder, f"{SEMANTIC}.safetensors", root=house)
    assert done.returncode == 0, done.stderr[-3000:]
    log = folder / "results/logs/train_part/mind_animator/sub-1-semantic.log"
    assert int(re.search(r"Resuming after epoch (\d+) ", log.read_text())[1]) >= 5
    assert (folder / f"{SEMANTIC}.safetensors").read_bytes() == straight
    assert not state.exists()


def test_snakemake_s_own_report_holds_the_page(house: Path, run: Path, tmp_path: Path):
    page = tmp_path / "report.html"
    done = snakemake(run, "--report", str(page), root=house)
    assert done.returncode == 0, done.stderr[-3000:]
    text = page.read_text()
    assert "index.html" in text and "make_report" in text


def test_a_study_reuses_a_finished_run_and_writes_table_tests_and_figure(house: Path, run: Path):
    study = {
        "name": "scarcity", "question": "Does it grow?", "method": {"kind": "ridge"}, "x": "training.minutes",
        "factors": {"training.minutes": [0.5, None]}, "log_x": True, "ceiling": {"training.minutes": "all"},
    }  # fmt: skip
    write_tiny_demo(run, house, study=study)
    done = snakemake(run, "--", "study", root=house)
    write_tiny_demo(run, house)
    assert done.returncode == 0, done.stderr[-3000:]
    text = done.stdout + done.stderr
    assert set(jobs(text)) == {"train_part", "predict", "score_retrieval", "summarise_study", "study"}
    scores = pd.read_csv(run / "results/studies/scarcity.tsv", sep="\t")
    assert sorted(scores["minutes"].unique()) == pytest.approx([0.5, 40 * 2 / 60])
    assert len(scores) == 2 * 3
    tests = pd.read_csv(run / "results/studies/scarcity_tests.tsv", sep="\t")
    assert set(tests["test"]) == {"trend"}
    record = json.loads((run / "results/decoders/scarcity_0_5/sub-1/semantic.json").read_text())
    assert record["clips"]["fit"] == 15
    assert (run / "results/studies/scarcity.png").is_file()
