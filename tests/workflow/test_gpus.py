"""A workstation with several GPUs: jobs that run side by side under snakemake each compute on one of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mind_animator.provenance import ROOT

GPUS, JOBS = 3, 8

# A job of one GPU: it takes a GPU as every script does, waits for jobs on the others, and records when it had which.
SNAKEFILE = f"""
rule all:
    input:
        expand("{{job}}.json", job=range({JOBS})),


rule work:
    output:
        "{{job}}.json",
    resources:
        gpu=1,
    params:
        seconds=lambda wildcards: config["seconds"],
    shell:
        "{sys.executable} work.py {{params.seconds}} {{output}}"
"""
WORK = f"""
import json, os, sys, time
from pathlib import Path
from mind_animator.device import take_gpu
take_gpu(os.environ["CUDA_VISIBLE_DEVICES"].split(","), Path("locks"), patience=20)
begun = time.monotonic()
Path(sys.argv[2] + ".begun").touch()
until = begun + 30
while len(list(Path().glob("*.begun"))) < {GPUS} and time.monotonic() < until:
    time.sleep(0.05)
time.sleep(float(sys.argv[1]))
record = dict(gpu=os.environ["CUDA_VISIBLE_DEVICES"], begun=begun, ended=time.monotonic())
Path(sys.argv[2]).write_text(json.dumps(record))
"""


@pytest.fixture
def workstation(tmp_path: Path):
    """A folder of jobs and how to start them; the GPUs are names, since none are here."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "locks").mkdir()

    def start(seconds: float) -> subprocess.Popen:
        # a terminal's foreground heeds Ctrl-C, also where these tests run in some shell's background
        command = [
            "env",
            "--default-signal=INT",
            sys.executable,
            "-m",
            "snakemake",
            "--cores",
            "8",
            "--resources",
            f"gpu={GPUS}",
            "--config",
            f"seconds={seconds}",
        ]
        environment = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "0,1,2"}
        with open(tmp_path / "run.log", "w") as log:
            return subprocess.Popen(
                command, cwd=tmp_path, env={**os.environ, **environment},
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    return start


def test_no_two_jobs_side_by_side_have_the_same_gpu(workstation, tmp_path: Path):
    run = workstation(1.0)
    assert run.wait(120) == 0, (tmp_path / "run.log").read_text()
    jobs = [json.loads((tmp_path / f"{job}.json").read_text()) for job in range(JOBS)]
    assert {job["gpu"] for job in jobs} == {"0", "1", "2"}
    most = 0
    for job in jobs:  # who runs when a job begins
        beside = [other["gpu"] for other in jobs if other["begun"] <= job["begun"] < other["ended"]]
        assert len(beside) == len(set(beside)), jobs
        most = max(most, len(beside))
    assert most == GPUS  # they did run side by side, and never more than the cap


def test_after_ctrl_c_every_gpu_is_free_again(workstation, tmp_path: Path):
    """Interrupted while all GPUs are taken; the same command then makes everything."""
    run = workstation(60)
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("*.begun"))) < GPUS:
        assert run.poll() is None and time.monotonic() < until, (tmp_path / "run.log").read_text()
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    assert run.wait(60) != 0
    assert not list(tmp_path.glob("*.json"))
    assert workstation(0.1).wait(120) == 0, (tmp_path / "run.log").read_text()
    assert len(list(tmp_path.glob("*.json"))) == JOBS
