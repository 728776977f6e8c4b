"""A controller that restarts, and a node whose daemon dies under a job: alone on the cluster (see slow_training.py)."""

import os
import signal
import time
from pathlib import Path

from login_node import state_epochs, wait_until
from slow_training import (
    CONFIG,
    SLOW,
    STATE,
    ended_at,
    python_of,
    repeated_seconds,
    states,
    training_under_way,
    went_on,
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
