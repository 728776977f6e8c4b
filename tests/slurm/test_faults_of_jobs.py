"""Jobs that are cancelled, or run out of time or memory (see slow_training.py)."""

import os
import signal
import time

from login_node import state_epochs
from slow_training import (
    CONFIG,
    SLOW,
    STATE,
    ended_at,
    megabytes,
    python_of,
    repeated_seconds,
    states,
    training_under_way,
    went_on,
)


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
