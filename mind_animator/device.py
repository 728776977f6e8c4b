"""Selection of the device of a job: it is validated before any work, and each job on a workstation gets its own GPU."""

import atexit
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mind_animator.errors import InputError

NO_CUDA = "Expected a CUDA device (device: cuda), found none. On a machine without a GPU, set device: cpu."

# The files stay open for the lifetime of the process, because their locks reserve the GPUs.
_claims: list[IO[str]] = []


def use_device(name: str) -> str:
    """The device of this process, ``cpu`` or ``cuda``. It must be called before any other use of the GPU.

    Outside a cluster job (to which the scheduler assigns GPUs), a free GPU is reserved and made the only visible
    one, so that jobs that run in parallel use different GPUs.

    Raises
    ------
    InputError
        If ``cuda`` is requested and there is no such device, or none is free.
    """
    if name == "cpu":
        return name
    if name != "cuda":
        raise InputError(f"Expected device 'cpu' or 'cuda', got '{name}'.")
    import torch

    # GPUs are counted by NVML: CUDA reads CUDA_VISIBLE_DEVICES once at its start, so it must not start before
    # a GPU is chosen
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    if not torch.cuda.is_available():
        raise InputError(NO_CUDA)
    if "SLURM_JOB_ID" not in os.environ:
        take_gpu(_visible_gpus())
    _watch_gpu()
    return name


@contextlib.contextmanager
def matrix_precision(precision: str) -> Iterator[None]:
    """TF32 for products and convolutions of float32 on CUDA if ``precision`` is ``tf32``, full float32 otherwise."""
    import torch

    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def take_gpu(gpus: list[str], folder: Path | None = None, patience: float = 90) -> None:
    """Reserve a GPU and make it the only visible one (``CUDA_VISIBLE_DEVICES``).

    If none is free, the function waits, because an interrupted training uses its GPU until its checkpoint is stored.

    Raises
    ------
    InputError
        If no GPU is free after ``patience`` seconds.
    """
    gpu, until = claim_gpu(gpus, folder), time.monotonic() + patience
    if gpu is None:
        print(f"Waiting up to {patience:.0f} s for one of the GPUs {gpus}.", file=sys.stderr)
    while gpu is None:
        if time.monotonic() > until:
            raise InputError(
                f"Expected a free GPU among {gpus}, got none; --resources gpu={len(gpus)} caps jobs."
            )
        time.sleep(0.5)
        gpu = claim_gpu(gpus, folder)
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu


def claim_gpu(gpus: list[str], folder: Path | None = None) -> str | None:
    """Reserve the first GPU that no other running process has reserved; returns None if all are in use.

    The reservation is a file lock, which the operating system releases when the process ends for any reason.
    """
    folder = folder or Path(tempfile.gettempdir())
    for gpu in gpus:
        path = folder / f"mind_animator-gpu-{gpu}.lock"
        with contextlib.suppress(FileExistsError):
            path.touch(exist_ok=False)
            path.chmod(
                0o666
            )  # regardless of the umask: every user locks it, and NFS requires write access to lock
        try:
            lock = open(path, "r+")  # noqa: SIM115 (held open: see _claims)
        except PermissionError:  # another user's, before its chmod
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _claims.append(lock)
        return gpu
    return None


# Format of the last line of a log, which states the use of the GPU; `read_use` parses it.
_USE = "GPU: {name}, {memory:.0f} MB at most, {busy} % busy"
_USE_PATTERN = re.compile(r"^GPU: (.+), (\d+) MB at most, (\d+|\?) % busy$", re.MULTILINE)


def read_use(log: str) -> tuple[str, float, float] | None:
    """GPU, peak memory (MB) and mean utilisation (%, NaN if NVML was not available) from a log; None if it
    has no such line."""
    found = _USE_PATTERN.findall(log)
    if not found:
        return None
    name, memory, busy = found[-1]
    return name, float(memory), float(busy) if busy != "?" else float("nan")


def _watch_gpu() -> None:
    """Print the use of the GPU when the process ends: memory from torch, utilisation from NVML every 2 s."""
    import torch

    samples = tempfile.TemporaryFile("w+")  # noqa: SIM115 (read when the process ends)
    watcher = None
    if tool := shutil.which("nvidia-smi"):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        query = [
            tool,
            "--query-gpu=utilization.gpu",
            "--format=csv,noheader,nounits",
            "--loop=2",
            f"--id={visible}",
        ]
        watcher = subprocess.Popen(query, stdout=samples, stderr=subprocess.DEVNULL)

    def tell() -> None:
        if watcher:
            watcher.terminate()
            watcher.wait()
        samples.seek(0)
        busy = [int(line) for line in samples.read().split() if line.isdigit()]
        mean = round(sum(busy) / len(busy)) if busy else "?"
        memory = torch.cuda.max_memory_reserved() / 2**20
        print(_USE.format(name=torch.cuda.get_device_name(), memory=memory, busy=mean), file=sys.stderr)

    atexit.register(tell)


def _visible_gpus() -> list[str]:
    """GPUs that this process may use. They are counted without starting CUDA, which must not start before one
    is chosen."""
    if given := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return given.split(",")
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]
