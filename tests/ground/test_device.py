"""A job gets a GPU of its own, and a clear word where there is none."""

import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mind_animator.device import claim_gpu, read_use, take_gpu, use_device
from mind_animator.errors import InputError

HOLD = """
import sys, time
from pathlib import Path
from mind_animator.device import claim_gpu
print(claim_gpu(["0", "1"], Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


def test_jobs_side_by_side_get_different_gpus_and_a_killed_one_frees_its_own(tmp_path: Path):
    jobs = [
        subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        gpus = sorted(job.stdout.readline().strip() for job in jobs)
        assert gpus == ["0", "1"]
        assert claim_gpu(["0", "1"], tmp_path) is None
        jobs[0].kill()
        jobs[0].wait()
        deadline = time.monotonic() + 10
        while (gpu := claim_gpu(["0", "1"], tmp_path)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert gpu in ("0", "1")
    finally:
        for job in jobs:
            job.kill()
            job.wait()


def test_another_user_may_claim_a_gpu_for_any_umask_of_the_first(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("mind_animator.device._claims", [])
    umask = os.umask(0o077)
    try:
        assert claim_gpu(["0"], tmp_path) == "0"
    finally:
        os.umask(umask)
    (lock,) = tmp_path.iterdir()
    assert stat.S_IMODE(lock.stat().st_mode) == 0o666


def test_a_lock_that_may_not_be_opened_is_left_for_the_next_gpu():
    nobody = 65534
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o777)
        assert claim_gpu(["0"], folder) == "0"
        next(folder.iterdir()).chmod(0)
        root = os.geteuid() == 0  # who may open every file
        if root:
            os.seteuid(nobody)
        try:
            assert claim_gpu(["0", "1"], folder) == "1"
        finally:
            if root:
                os.seteuid(0)


def test_a_wait_for_a_gpu_is_said(tmp_path: Path, capsys):
    assert claim_gpu(["0"], tmp_path) == "0"
    with pytest.raises(InputError, match="Expected a free GPU among"):
        take_gpu(["0"], tmp_path, patience=0)
    assert capsys.readouterr().err == "Waiting up to 0 s for one of the GPUs ['0'].\n"


def test_a_missing_gpu_is_said_before_any_work():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(InputError, match=r"Expected a CUDA device \(device: cuda\), found none"):
        use_device("cuda")
    with pytest.raises(InputError, match="Expected device 'cpu' or 'cuda', got 'tpu'"):
        use_device("tpu")
    assert use_device("cpu") == "cpu"


def test_a_log_states_what_its_last_run_used_of_its_gpu():
    first = "GPU: NVIDIA A100, 100 MB at most, ? % busy\n"
    last = "GPU: NVIDIA H100 80GB HBM3, 2048 MB at most, 71 % busy\n"
    assert read_use(f"{first}epoch 3\n{last}") == ("NVIDIA H100 80GB HBM3", 2048, 71)
    name, memory, busy = read_use(first)
    assert (name, memory) == ("NVIDIA A100", 100) and busy != busy
    assert read_use("no GPU here") is None


def test_a_process_on_a_gpu_states_what_it_used():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    code = """
import time, torch
from mind_animator.device import use_device
use_device("cuda")
held = torch.ones(2**28, device="cuda")
until = time.monotonic() + 6
while time.monotonic() < until:
    held.mul_(1.0)
torch.cuda.synchronize()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _, memory, busy = read_use(done.stderr)
    assert memory >= 1024 and busy > 20
