"""What clusters do to a run, one fault a test, on a real SLURM with the project's own trainings and reconstructions.

Each working copy has everything but the products that its test asks for. After each fault: nothing is lost (the
weights have the bits of a training that was left in peace), nothing half-written stands under a product's name,
what was finished is not made again, and no more work is repeated than lies between two saves of the state.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from conftest import SMALL, LoginNode, Run, locked, state_epochs, wait_until

from mind_animator.artefacts.files import read_json

CONFIG = "faults.yaml"
DECODERS = "results/small/decoders"
SLOW = f"{DECODERS}/slow/sub-1/semantic"
STATE = f"{SLOW}.safetensors.state"
SAVE_SECONDS = 1.0
EPOCHS = 240


@pytest.fixture
def peace(login: LoginNode) -> bytes:
    """Weights of the slow training when nothing happens to it, made on this machine; its config in the copy."""
    write_config(login.path)
    shared = login.cluster.folder.parent / "peace"
    with locked(shared.with_suffix(".lock")):
        if not shared.exists():
            login.start(f"{SLOW}.safetensors", config=CONFIG, executor="local").wait()
            shutil.move(login.path / f"{SLOW}.safetensors", shared)
            shutil.rmtree(login.path / DECODERS / "slow")
    return shared.read_bytes()


def write_config(folder: Path, **changes) -> None:
    """The small world with a training of its own that lasts long enough to be hit."""
    config = yaml.safe_load((folder / SMALL).read_text())
    config["methods"]["slow"] = {
        "kind": "mind_animator",
        "options": {
            "preset": "best",
            "semantic": {
                "optimisation": {"epochs": EPOCHS, "patience": None, "save_seconds": SAVE_SECONDS},
            },
        },
    }
    (folder / CONFIG).write_text(yaml.safe_dump(config | changes))


def training_under_way(login: LoginNode, run: Run, epochs: int = 5) -> dict[str, str]:
    """SLURM's row of the slow training once some epochs are in its state."""
    state = login.path / STATE
    wait_until(lambda: state_epochs(state) >= epochs or run.process.poll() is not None, "a state")
    assert run.process.poll() is None, run.text[-3000:]
    return wait_until(lambda: run.running("train_decoder"), "a running training")


def went_on(login: LoginNode, peace: bytes, saved: int) -> int:
    """Assert that the training went on from its state and lost nothing; the epoch after which it did."""
    log = (login.path / "results/small/logs/train_decoder/slow/sub-1-semantic.log").read_text()
    line = next((line for line in log.splitlines() if line.startswith("Resuming after epoch ")), None)
    assert line, log
    resumed = int(line.split()[3])
    assert resumed >= saved
    record = read_json(login.path / f"{SLOW}.json")
    assert [row["epoch"] for row in record["history"]] == list(range(EPOCHS + 1))
    assert (login.path / f"{SLOW}.safetensors").read_bytes() == peace
    left = [p.name for p in (login.path / f"{SLOW}.json").parent.iterdir() if p.is_file()]
    assert sorted(left) == ["semantic.json", "semantic.safetensors"]  # no state, no lock, no part
    return resumed


def longest_epoch(login: LoginNode) -> float:
    return max(row["seconds"] for row in read_json(login.path / f"{SLOW}.json")["history"])


def repeated_seconds(login: LoginNode, ended: float, stored: float) -> float:
    """Work between the last save and the end; asserted to be at most one interval and the epoch it waits for."""
    lost = ended - stored
    assert lost <= SAVE_SECONDS + 2 * longest_epoch(login) + 1, lost  # + 1: writing the state, and clocks
    return round(lost, 2)


def python_of(job: str, script: str = "train_decoder") -> int | None:
    """Process of a script that runs as part of a SLURM job."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            inside = f"SLURM_JOB_ID={job}".encode() in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if inside and f"workflow_scripts.{script}".encode() in words and words[0].endswith(b"python"):
            return int(entry.name)
    return None


def ended_at(process: int, seconds: float = 60) -> float:
    """When a process was seen to have ended."""
    wait_until(lambda: not Path(f"/proc/{process}").exists(), "the end of a process", seconds)
    return time.time()


def states(run: Run, rule: str = "train_decoder") -> list[str]:
    """End states of a run's jobs of a rule, first attempt first."""
    return [job["State"].split()[0] for job in run.jobs(rule)]


def megabytes(job: dict[str, str]) -> int:
    """Memory that SLURM set aside for a job."""
    return int(re.search(r"mem=(\d+)M", job["AllocTRES"])[1])


def test_a_cancelled_training_goes_on(login, peace, undisturbed, figures):
    run = login.start(f"{SLOW}.safetensors", config=CONFIG)
    job = training_under_way(login, run)
    process = python_of(job["JobID"])
    login.cluster.call("scancel", job["JobID"])
    ended = ended_at(process)
    stored, saved = (login.path / STATE).stat().st_mtime, state_epochs(login.path / STATE)
    run.wait()
    assert states(run) == ["CANCELLED", "COMPLETED"]
    resumed = went_on(login, peace, saved)
    assert resumed == saved
    # the second attempt asked for twice the time and memory
    first, second = run.jobs()
    assert int(second["TimelimitRaw"]) == 2 * int(first["TimelimitRaw"])
    assert megabytes(second) == 2 * megabytes(first)
    figures(
        "scancel", attempts=2, resumed_after_epoch=resumed, repeated_s=repeated_seconds(login, ended, stored)
    )


def test_a_training_at_its_time_limit_gets_more(login, peace, undisturbed, figures):
    """The training is held still until SLURM's own clock ends it, as a slow disk might hold it."""
    run = login.start(
        f"{SLOW}.safetensors", "--set-resources", "train_decoder:runtime=attempt", config=CONFIG
    )
    job = training_under_way(login, run)
    process = python_of(job["JobID"])
    os.kill(process, signal.SIGSTOP)
    ended = time.time()
    stored, saved = (login.path / STATE).stat().st_mtime, state_epochs(login.path / STATE)
    run.wait()
    assert states(run) == ["TIMEOUT", "COMPLETED"]
    assert [job["TimelimitRaw"] for job in run.jobs()] == ["1", "2"]
    resumed = went_on(login, peace, saved)
    figures(
        "time limit",
        attempts=2,
        resumed_after_epoch=resumed,
        repeated_s=repeated_seconds(login, ended, stored),
    )


def test_out_of_memory_is_tried_again_with_more(login, peace, undisturbed, figures):
    run = login.start(
        f"{SLOW}.safetensors",
        "--set-resources",
        "train_decoder:mem_mb=400 + 2000 * (attempt - 1)",
        config=CONFIG,
    )
    run.wait()
    jobs = run.jobs()
    assert states(run)[0] in ("OUT_OF_MEMORY", "FAILED") and states(run)[-1] == "COMPLETED"
    assert [megabytes(job) for job in jobs] == [400, 2400]
    said = next((login.path / "logs/slurm").rglob(f"{jobs[0]['JobID']}.log")).read_text()
    assert "memory" in said.lower(), said
    assert (login.path / f"{SLOW}.safetensors").read_bytes() == peace
    figures("out of memory", attempts=len(jobs), resumed_after_epoch=None, repeated_s=0)


def test_a_job_that_fails_for_good_stops_no_other(login, undisturbed, figures):
    """Subject 2 has a response that is not a number; subject 1 and the other subjects still finish."""
    write_config(login.path, dataset=small_dataset(login.path, ["1", "2", "3"]))
    for subject in ("2", "3"):
        shutil.copytree(
            login.path / "results/small/fmri/sub-1", login.path / f"results/small/fmri/sub-{subject}"
        )
    with h5py.File(login.path / "results/small/fmri/sub-2/responses.h5", "r+") as file:
        file["responses"][3, 5] = np.nan
    shutil.rmtree(login.path / DECODERS / "ridge")
    targets = [f"{DECODERS}/ridge/sub-{subject}/semantic.safetensors" for subject in "123"]
    run = login.start(*targets, "--retries", "1", config=CONFIG).wait(status=1)
    assert [(login.path / target).exists() for target in targets] == [True, False, True]
    assert sorted(states(run)) == ["COMPLETED", "COMPLETED", "FAILED", "FAILED"]
    assert "results/small/logs/train_decoder/ridge/sub-2-semantic.log" in run.text
    assert "Expected finite responses, got nan at training clip 3, voxel 5" in run.text
    figures("fails for good", attempts=2, resumed_after_epoch=None, repeated_s=0)


def small_dataset(folder: Path, subjects: list[str]) -> dict:
    return yaml.safe_load((folder / SMALL).read_text())["dataset"] | {"subjects": subjects}


def test_a_full_scratch_leaves_no_half_of_a_product(login, undisturbed, figures):
    """Frames of a shard go to a disk of 1 MB that is full before the end; once there is room, all is made."""
    folder = login.path / "results/small/reconstructions/mind_animator/sub-1"
    whole = {path.name: path.read_bytes() for path in folder.glob("clips-00000.h5")}
    shutil.rmtree(folder)
    folder.mkdir()
    mount(folder, "1m")
    try:
        run = login.start(f"{folder.relative_to(login.path)}/clips-00000.h5", "--retries", "1")
        wait_until(
            lambda: "FAILED" in states(run, "reconstruct_clips") or run.process.poll() is not None,
            "a failure",
        )
        assert "Expected room on the disk" in log_of(run, "reconstruct_clips")
        assert [path.name for path in folder.iterdir() if path.suffix in (".h5", ".mp4")] == []
        subprocess.run(["mount", "-o", "remount,size=256m", str(folder)], check=True)
        run.wait()
        assert {path.name: path.read_bytes() for path in folder.glob("*.h5")} == whole
        assert sorted(path.name for path in folder.iterdir()) == ["clips-00000.h5", "clips-00000.mp4"]
    finally:
        login.stop()
        subprocess.run(["umount", "-l", str(folder)], check=True)
    figures("full scratch", attempts=2, resumed_after_epoch=None, repeated_s=0)


def mount(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)


def log_of(run: Run, rule: str) -> str:
    """What a failed job's log said, as snakemake shows it (show-failed-logs) or as it still lies there."""
    logs = (run.place.path / "results/small/logs" / rule).rglob("*.log")
    return run.text + "".join(path.read_text() for path in logs)


def test_a_killed_snakemake_finds_its_orphans(login, peace, undisturbed, figures):
    """SIGKILL on the login node: one job finishes on its own, one still runs when the run is started again."""
    shutil.rmtree(login.path / DECODERS / "ridge")
    quick = f"{DECODERS}/ridge/sub-1/semantic.safetensors"
    targets = [f"{SLOW}.safetensors", quick]
    killed = login.start(*targets, config=CONFIG)
    training_under_way(login, killed, epochs=1)
    killed.stop(signal.SIGKILL)
    wait_until((login.path / quick).exists, "the end of an orphan")
    orphans = killed.jobs()
    slow = next(job for job in orphans if "slow" in job["wildcards"])
    wait_until(
        lambda: "COMPLETED" in [job["State"] for job in killed.jobs()], "accounting of the finished orphan"
    )
    process, made = python_of(slow["JobID"]), (login.path / quick).stat().st_mtime_ns
    assert process, "Expected an orphan that still runs."
    login.start("--unlock", config=CONFIG).wait()
    again = login.start(*targets, config=CONFIG)
    ended = ended_at(process)
    stored, saved = (login.path / STATE).stat().st_mtime, state_epochs(login.path / STATE)
    again.wait()
    assert f"Cancelling 1 jobs of a run that was killed: {slow['JobID']}" in again.text
    was = {job["JobID"]: job for job in killed.jobs()}[slow["JobID"]]
    assert was["State"].startswith("CANCELLED")
    assert [job["State"] for job in again.jobs()] == ["COMPLETED"]  # the finished one is not made again
    assert again.jobs()[0]["Submit"] >= was["End"]
    assert (login.path / quick).stat().st_mtime_ns == made
    resumed = went_on(login, peace, saved)
    figures(
        "snakemake killed",
        attempts=2,
        resumed_after_epoch=resumed,
        repeated_s=repeated_seconds(login, ended, stored),
    )


def test_an_interrupted_run_cancels_and_goes_on(login, peace, undisturbed, figures):
    """Ctrl-C on the login node: jobs are cancelled; the same command goes on from the state."""
    run = login.start(f"{SLOW}.safetensors", config=CONFIG)
    job = training_under_way(login, run)
    process = python_of(job["JobID"])
    run.stop(signal.SIGINT)
    ended = ended_at(process)
    stored, saved = (login.path / STATE).stat().st_mtime, state_epochs(login.path / STATE)
    assert not (login.path / f"{SLOW}.safetensors").exists()
    login.start(f"{SLOW}.safetensors", config=CONFIG).wait()
    resumed = went_on(login, peace, saved)
    figures(
        "Ctrl-C", attempts=2, resumed_after_epoch=resumed, repeated_s=repeated_seconds(login, ended, stored)
    )


def test_a_controller_that_restarts_disturbs_nothing(login, peace, alone, figures):
    run = login.start(f"{SLOW}.safetensors", config=CONFIG)
    training_under_way(login, run)
    login.cluster.stop("slurmctld", signal.SIGKILL)
    time.sleep(15)
    login.cluster.start_controller()
    run.wait()
    assert states(run) == ["COMPLETED"]
    assert (login.path / f"{SLOW}.safetensors").read_bytes() == peace
    figures("slurmctld restarted", attempts=1, resumed_after_epoch=None, repeated_s=0)


def test_a_node_whose_daemon_dies_does_not_write_beside_its_heir(login, peace, alone, figures):
    """The node's slurmd is killed, its job runs on unseen; the next attempt, elsewhere, waits for its end."""
    run = login.start(f"{SLOW}.safetensors", config=CONFIG)
    job = training_under_way(login, run)
    node, process = job["NodeList"], python_of(job["JobID"])
    login.cluster.stop(f"slurmd-{node}", signal.SIGKILL)
    os.kill(process, signal.SIGSTOP)  # the node hangs, its work in the middle
    stopped = time.time()
    heir = wait_until(
        lambda: next((j for j in run.jobs() if j["JobID"] != job["JobID"] and j["State"] == "RUNNING"), None),
        "a second attempt",
    )
    assert heir["NodeList"] != node
    second = wait_until(lambda: python_of(heir["JobID"]), "its process")
    assert Path(f"/proc/{process}").exists()
    time.sleep(8)  # it has read its inputs and would write
    assert Path(f"/proc/{second}").exists()
    login.cluster.start_node(node)  # which is told that the job is no longer its own
    ended_at(process)
    stored, saved = (login.path / STATE).stat().st_mtime, state_epochs(login.path / STATE)
    run.wait()
    assert states(run) == ["NODE_FAIL", "COMPLETED"]
    resumed = went_on(login, peace, saved)
    assert resumed == saved  # the heir began where the other had ended, so never wrote beside it
    figures(
        "slurmd killed",
        attempts=2,
        resumed_after_epoch=resumed,
        repeated_s=repeated_seconds(login, stopped, stored),
    )
