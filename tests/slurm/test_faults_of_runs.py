"""Runs that are killed or interrupted, and a subject that fails for good (see slow_training.py)."""

import os
import shutil
import signal

import h5py
import numpy as np
import yaml
from login_node import SMALL, wait_until
from slow_training import CONFIG, DECODERS, SLOW, states, write_config


def test_a_killed_snakemake_finds_its_orphans(slow, undisturbed, figures):
    """SIGKILL on the login node: one job finishes on its own, one still runs when the run is started again."""
    login, quick = slow.login, f"{DECODERS}/ridge/sub-1/semantic.safetensors"
    shutil.rmtree(login.path / DECODERS / "ridge")
    killed = slow.start(quick)
    wait_until(lambda: len(killed.jobs()) == 2, "both jobs")
    killed.stop(signal.SIGKILL)
    orphan = next(job for job in killed.jobs() if "slow" in job["wildcards"])
    watched = slow.watch(orphan)
    os.kill(watched.process, signal.SIGSTOP)  # held still, to outlive the other, which may have to queue
    wait_until((login.path / quick).exists, "the end of an orphan")
    wait_until(
        lambda: "COMPLETED" in [job["State"] for job in killed.jobs()], "accounting of the finished orphan"
    )
    made = (login.path / quick).stat().st_mtime_ns
    login.start("--unlock", config=CONFIG).wait()
    again = slow.start(quick)
    watched.ended()
    again.wait()
    assert f"Cancelling 1 jobs of a run that was killed: {orphan['JobID']}" in again.text
    was = {job["JobID"]: job for job in killed.jobs()}[orphan["JobID"]]
    assert was["State"].startswith("CANCELLED")
    assert [job["State"] for job in again.jobs()] == ["COMPLETED"]  # the finished one is not made again
    assert again.jobs()[0]["Submit"] >= was["End"]
    assert (login.path / quick).stat().st_mtime_ns == made
    figures("snakemake killed", attempts=2, **slow.went_on(watched))


def test_an_interrupted_run_cancels_and_goes_on(slow, undisturbed, figures):
    """Ctrl-C on the login node: jobs are cancelled; the same command resumes from the state."""
    run = slow.start()
    _, watched = slow.under_way(run)
    watched.late_in_an_interval()
    os.killpg(run.process.pid, signal.SIGINT)  # as a terminal does
    watched.ended()
    assert run.process.wait() != 0
    assert [row["State"].split()[0] for row in run.jobs()] == ["CANCELLED"]
    assert not (slow.login.path / f"{SLOW}.safetensors").exists()
    again = slow.start().wait()
    assert states(again) == ["COMPLETED"]
    figures("Ctrl-C", attempts=2, **slow.went_on(watched))


def test_a_job_that_fails_for_good_stops_no_other(login, undisturbed, figures):
    """Subject 2 has a response that is not a number; subjects 1 and 3 still finish, and are not made again."""
    dataset = yaml.safe_load((login.path / SMALL).read_text())["dataset"]
    write_config(login.path, dataset=dataset | {"subjects": ["1", "2", "3"]})
    fmri = login.path / "results/small/fmri"
    for subject in ("2", "3"):
        shutil.copytree(fmri / "sub-1", fmri / f"sub-{subject}")
    with h5py.File(fmri / "sub-2/responses.h5", "r+") as file:
        file["responses"][3, 5] = np.nan
    shutil.rmtree(login.path / DECODERS / "ridge")
    targets = [f"{DECODERS}/ridge/sub-{subject}/semantic.safetensors" for subject in "123"]
    run = login.start(*targets, "--retries", "1", config=CONFIG).wait(status=1)
    assert [(login.path / target).exists() for target in targets] == [True, False, True]
    done = [job["wildcards"] for job in run.jobs() if job["State"] == "COMPLETED"]
    failed = [job["wildcards"] for job in run.jobs() if job["State"] == "FAILED"]
    assert len(done) == len(set(done)) == 2 and len(failed) == 2 and len(set(failed)) == 1
    assert len(run.jobs()) == 4
    assert "results/small/logs/train_part/ridge/sub-2-semantic.log" in run.text
    assert "Expected finite responses, got nan at training clip 3, voxel 5" in run.text
    figures("fails for good", attempts=len(failed))
