"""A training that is long enough to be interrupted by faults of a cluster (test_faults_*.py), and checks
after each fault.

Each working copy has everything but the products that its test requests. After each fault: nothing is lost (the
weights are bit-identical to those of an uninterrupted training), no partial file has the name of a product, finished
products are not made again, and no more work is repeated than was done since the last checkpoint.
"""

import math
import os
import re
import shutil
import threading
import time
from pathlib import Path

import pytest
import yaml
from login_node import SMALL, LoginNode, Run, locked, state_epochs, wait_until

from mind_animator.artefacts.files import read_json

CONFIG = "faults.yaml"
DECODERS = "results/small/decoders"
SLOW = f"{DECODERS}/slow/sub-1/semantic"
STATE = f"{SLOW}.safetensors.checkpoint"
LOG = "results/small/logs/train_part/slow/sub-1-semantic.log"
CHECKPOINT_INTERVAL = 1.0
EPOCHS = 240


class Watched:
    """A training's process: the CPU seconds it had taken at each store of its state, and at its end.

    CPU seconds of all its threads: how busy the machine is does not count, and a stopped process does no work.
    """

    def __init__(self, process: int, folder: Path) -> None:
        self.process = process
        self.state = folder / STATE / "fit.safetensors"
        self.stores: list[float] = []
        self.last = 0.0
        self._log = folder / LOG
        self._log_text = ""
        self._version = self.version()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def version(self) -> int | None:
        try:
            return self.state.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def late_in_an_interval(self) -> None:
        """Wait for 1.9 intervals after a store: most of one has passed since the next, if that came in time."""
        seen = len(self.stores)
        wait_until(lambda: len(self.stores) > seen, "a store of the state")
        time.sleep(1.9 * CHECKPOINT_INTERVAL)

    def ended(self, seconds: float = 60) -> "Watched":
        """Wait for the process's end."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"Expected the end of process {self.process} in {seconds} s."
        self.saved = state_epochs(self.state.parent)
        return self

    @property
    def lost(self) -> float:
        """CPU seconds of work since the last store: what the next attempt repeats.

        Nothing, by its own word, where it stored when it was asked to end: what it did then was leaving.
        """
        return (
            0.0 if "Interrupted: the checkpoint is stored" in self._log_text else self.last - self.stores[-1]
        )

    def _follow(self) -> None:
        while (now := cpu_seconds(self.process)) is not None:
            self.last = now
            self._look()
            time.sleep(0.005)
        self._look()
        self._log_text = self._log.read_text()  # before the next attempt begins it again

    def _look(self) -> None:
        if (version := self.version()) != self._version:
            self._version = version
            self.stores.append(self.last)


class SlowTraining:
    """The slow training of a working copy."""

    def __init__(self, login: LoginNode, weights: bytes) -> None:
        self.login, self.weights = login, weights

    def start(self, *arguments: str) -> Run:
        """A run on the cluster that makes it, and further requested files."""
        return self.login.start(f"{SLOW}.safetensors", *arguments, config=CONFIG)

    def under_way(self, run: Run, attempt: int = 1) -> tuple[dict[str, str], Watched]:
        """SLURM's row of a training once some epochs are in its state, and its process, watched."""
        job = wait_until(
            lambda: (
                (len(run.jobs("train_part")) == attempt and run.running("train_part"))
                or run.process.poll() is not None
            ),
            "a running training",
        )
        assert run.process.poll() is None, run.text[-3000:]
        return job, self.watch(job)

    def watch(self, job: dict[str, str]) -> Watched:
        """The process of a job, watched, once some epochs are in its state."""
        wait_until(lambda: state_epochs(self.login.path / STATE) >= 5, "a state")
        return Watched(wait_until(lambda: python_of(job["JobID"]), "its process"), self.login.path)

    def in_peace(self) -> bool:
        """Whether the weights have the bits of a training that nothing happened to."""
        return (self.login.path / f"{SLOW}.safetensors").read_bytes() == self.weights

    def went_on(self, watched: Watched) -> dict[str, object]:
        """Assert that the training went on from its state, lost nothing and repeated little; figures of it."""
        log = self.log()
        line = next((line for line in log.splitlines() if line.startswith("Resuming after epoch ")), None)
        assert line, log
        assert int(line.split()[3]) == watched.saved
        record = read_json(self.login.path / f"{SLOW}.json")
        assert [row["epoch"] for row in record["history"]] == list(range(EPOCHS + 1))
        assert self.in_peace()
        left = [p.name for p in (self.login.path / f"{SLOW}.json").parent.iterdir() if not p.is_dir()]
        assert sorted(left) == ["semantic.json", "semantic.safetensors"]  # no lock, no part
        assert not (self.login.path / STATE).exists()
        steps = math.ceil(record["clips"]["fit"] / record["settings"]["optimisation"]["batch"])
        step = max(row["seconds"] for row in record["history"]) / steps
        slack = 0.05  # ticks of 10 ms, a look every 5 ms, and a state is made before it is seen
        assert watched.lost <= CHECKPOINT_INTERVAL + step + slack, (watched.lost, step)
        return {"resumed after epoch": watched.saved, "work repeated, s": round(watched.lost, 2)}

    def log(self) -> str:
        return (self.login.path / LOG).read_text()


@pytest.fixture
def slow(login: LoginNode) -> SlowTraining:
    """The slow training, its weights when nothing happens to it made on this machine, its config in the copy."""
    write_config(login.path)
    shared = login.cluster.folder.parent / "peace"
    with locked(shared.with_suffix(".lock")):
        if not shared.exists():
            login.start(f"{SLOW}.safetensors", config=CONFIG, executor="local").wait()
            shutil.move(login.path / f"{SLOW}.safetensors", shared)
            shutil.rmtree(login.path / DECODERS / "slow")
    return SlowTraining(login, shared.read_bytes())


def write_config(folder: Path, **changes) -> None:
    """The small data set with a training that lasts long enough to be interrupted."""
    config = yaml.safe_load((folder / SMALL).read_text())
    config["methods"]["slow"] = {
        "kind": "mind_animator",
        "options": {
            "preset": "ridge_residual",
            "semantic": {
                "optimisation": {
                    "epochs": EPOCHS,
                    "patience": None,
                    "checkpoint_interval": CHECKPOINT_INTERVAL,
                },
            },
        },
    }
    (folder / CONFIG).write_text(yaml.safe_dump(config | changes))


def cpu_seconds(process: int) -> float | None:
    """CPU seconds that a process has taken; None once it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def python_of(job: str, script: str = "train_part") -> int | None:
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


def states(run: Run, rule: str = "train_part") -> list[str]:
    """End states of a run's jobs of a rule, first attempt first."""
    return [job["State"].split()[0] for job in run.jobs(rule)]


def megabytes(job: dict[str, str]) -> int:
    """Memory that SLURM set aside for a job."""
    return int(re.search(r"mem=(\d+)M", job["AllocTRES"])[1])
