"""Jobs that are cancelled, or run out of time or memory, or whose node is drained (see slow_training.py)."""

import os
import signal

from login_node import state_epochs, wait_until
from slow_training import STATE, megabytes, states


def test_a_cancelled_training_goes_on(slow, undisturbed, figures):
    run = slow.start()
    job, watched = slow.under_way(run)
    slow.login.cluster.call("scancel", job["JobID"])
    watched.ended()
    run.wait()
    assert states(run) == ["CANCELLED", "COMPLETED"]
    # the second attempt asked for twice the time and memory
    first, second = run.jobs()
    assert int(second["TimelimitRaw"]) == 2 * int(first["TimelimitRaw"])
    assert megabytes(second) == 2 * megabytes(first)
    figures("scancel", attempts=2, **slow.went_on(watched))


def test_a_training_on_a_drained_node_goes_on(slow, undisturbed, figures):
    """The node gets no new jobs, the training runs on; then whoever drained the node ends what is left on it."""
    call = slow.login.cluster.call
    run = slow.start()
    job, watched = slow.under_way(run)
    node = job["NodeList"]
    try:
        call("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
        assert "draining" in call("sinfo", "-h", "-n", node, "-o", "%T")
        reached = state_epochs(slow.login.path / STATE)
        wait_until(lambda: state_epochs(slow.login.path / STATE) > reached + 3, "a training that runs on")
        call("scontrol", "requeue", job["JobID"])  # refused: only this run submits a job again
        watched.late_in_an_interval()
        call("scancel", job["JobID"])
        watched.ended()
        second = wait_until(
            lambda: len(run.jobs()) == 2 and run.running("train_part"), "a second attempt", 240
        )
    finally:
        call("scontrol", "update", f"nodename={node}", "state=resume")
    assert second["NodeList"] != node
    assert "Restarts=0" in call("scontrol", "show", "job", job["JobID"])
    run.wait()
    assert states(run) == ["CANCELLED", "COMPLETED"]
    figures("node drained", attempts=2, **slow.went_on(watched))


def test_a_training_at_its_time_limit_gets_more(slow, undisturbed, figures):
    """The training is held still until SLURM's own clock ends it, as a slow disk might hold it."""
    run = slow.start("--set-resources", "train_part:runtime=attempt")
    _, watched = slow.under_way(run)
    watched.late_in_an_interval()
    os.kill(watched.process, signal.SIGSTOP)
    watched.ended(180)
    run.wait()
    assert states(run) == ["TIMEOUT", "COMPLETED"]
    assert [job["TimelimitRaw"] for job in run.jobs()] == ["1", "2"]
    figures("time limit", attempts=2, **slow.went_on(watched))


def test_out_of_memory_is_tried_again_with_more(slow, undisturbed, figures):
    """SLURM's own limit ends the first attempt; the kernel (SIGKILL) the second, in the middle of its work."""
    run = slow.start("--set-resources", "train_part:mem_mb=400 + 2000 * (attempt - 1)")
    _, watched = slow.under_way(run, attempt=2)
    watched.late_in_an_interval()
    os.kill(watched.process, signal.SIGKILL)
    watched.ended()
    run.wait()
    jobs = run.jobs()
    assert states(run)[0] in ("OUT_OF_MEMORY", "FAILED") and states(run)[1:] == ["FAILED", "COMPLETED"]
    assert [megabytes(job) for job in jobs] == [400, 2400, 4400]
    log = next((slow.login.path / "logs/slurm").rglob(f"{jobs[0]['JobID']}.log")).read_text()
    assert "memory" in log.lower(), log
    figures("out of memory", attempts=3, **slow.went_on(watched))
