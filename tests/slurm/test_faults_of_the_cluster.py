"""Daemons that restart, a node whose daemon dies under a job, no accounting: alone on the cluster."""

import os
import re
import signal
import time
from pathlib import Path

from local_cluster import Cluster
from login_node import LoginNode, wait_until
from slow_training import DECODERS, cpu_seconds, python_of, states


def test_a_controller_that_restarts_disturbs_nothing(slow, alone, figures):
    """slurmctld is away for 15 s, then the accounting for 10 s; the training is held still, to outlive both."""
    cluster = slow.login.cluster
    run = slow.start()
    _, watched = slow.under_way(run)
    os.kill(watched.process, signal.SIGSTOP)
    cluster.stop("slurmctld", signal.SIGKILL)
    time.sleep(15)
    cluster.start_controller()
    cluster.stop("slurmdbd", signal.SIGKILL)
    time.sleep(10)
    cluster.start_accounting_daemon()
    assert cpu_seconds(watched.process) is not None  # nothing ended it meanwhile
    os.kill(watched.process, signal.SIGCONT)
    run.wait()
    assert states(run) == ["COMPLETED"]
    assert slow.in_peace() and "Resuming" not in slow.log()
    watched.ended(0)  # the one process there ever was
    figures("slurmctld restarted", attempts=1)


def test_a_node_whose_daemon_dies_does_not_write_beside_its_heir(slow, alone, figures):
    """The node's slurmd is killed, its job runs on unseen; the next attempt, elsewhere, waits for its end."""
    cluster = slow.login.cluster
    run = slow.start()
    job, watched = slow.under_way(run)
    node = job["NodeList"]
    cluster.stop(f"slurmd-{node}", signal.SIGKILL)
    watched.late_in_an_interval()
    os.kill(watched.process, signal.SIGSTOP)  # the node hangs, its work in the middle
    heir = wait_until(
        lambda: next((j for j in run.jobs() if j["JobID"] != job["JobID"] and j["State"] == "RUNNING"), None),
        "a second attempt",
    )
    assert heir["NodeList"] != node
    second = wait_until(lambda: python_of(heir["JobID"]), "its process")
    time.sleep(8)  # it has read its inputs and would write
    assert Path(f"/proc/{watched.process}").exists() and Path(f"/proc/{second}").exists()
    os.kill(watched.process, signal.SIGKILL)  # the hanging node is switched off
    watched.ended()
    cluster.start_node(node)
    run.wait()
    assert states(run) == ["NODE_FAIL", "COMPLETED"]
    # the heir began where the other had ended, so never wrote beside it
    figures("slurmd killed", attempts=2, **slow.went_on(watched))


def test_a_cluster_without_accounting(login, alone, tmp_path):
    """As docs/cluster.md says: jobs' states from squeue, no account; one job finishes, another fails for good."""
    targets = [f"{DECODERS}/ridge/sub-1/{decoder}" for decoder in ("semantic", "structure")]
    for target in targets:
        (login.path / f"{target}.safetensors").unlink()
    profile = login.path / "slurm/profile.yaml"
    text = profile.read_text().replace("slurm-status-command: sacct", "slurm-status-command: squeue")
    profile.write_text(re.sub(r"^ *slurm_account: .*\n", "", text, flags=re.MULTILINE))
    whole, bare = login.cluster, Cluster(tmp_path / "bare")
    whole.down()
    try:
        bare.up(memory_mb=64_000, cpus=2, accounting=False)
        there = LoginNode(login.path, bare, edit=False)
        failing = [
            "--set-resources",
            "train_part:mem_mb=400 if wildcards.part == 'structure' else 4000",
        ]
        run = there.start(*(f"{target}.safetensors" for target in targets), "--retries", "0", *failing)
        run.wait(status=1)
        assert "accounting_storage/none" in bare.call("scontrol", "show", "config")
        assert [(login.path / f"{target}.safetensors").exists() for target in targets] == [True, False]
        assert "SLURM status is: " in run.text and "results/small/logs/train_part/ridge" in run.text
        there.stop()
    finally:
        bare.down()
        whole.up(memory_mb=64_000, cpus=2)
