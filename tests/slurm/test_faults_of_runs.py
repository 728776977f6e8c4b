"""Runs that are killed or interrupted, a subject that fails for good, a full disk (see slow_training.py)."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import h5py
import numpy as np
import yaml
from login_node import SMALL, Run, state_epochs, wait_until
from slow_training import (
    CONFIG,
    DECODERS,
    SLOW,
    STATE,
    ended_at,
    python_of,
    repeated_seconds,
    states,
    training_under_way,
    went_on,
    write_config,
)


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
    os.killpg(run.process.pid, signal.SIGINT)  # as a terminal does
    ended = ended_at(process)
    run.process.wait()
    stored, saved = (login.path / STATE).stat().st_mtime, state_epochs(login.path / STATE)
    assert not (login.path / f"{SLOW}.safetensors").exists()
    login.start(f"{SLOW}.safetensors", config=CONFIG).wait()
    resumed = went_on(login, peace, saved)
    figures(
        "Ctrl-C", attempts=2, resumed_after_epoch=resumed, repeated_s=repeated_seconds(login, ended, stored)
    )


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
