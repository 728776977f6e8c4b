"""A training that lasts long enough to be hit by what clusters do (test_faults_*.py), and what must hold after it.

Each working copy has everything but the products that its test asks for. After each fault: nothing is lost (the
weights have the bits of a training that was left in peace), nothing half-written stands under a product's name,
what was finished is not made again, and no more work is repeated than lies between two saves of the state.
"""

import re
import shutil
import time
from pathlib import Path

import pytest
import yaml
from login_node import SMALL, LoginNode, Run, locked, state_epochs, wait_until

from mind_animator.artefacts.files import read_json

CONFIG = "faults.yaml"
DECODERS = "results/small/decoders"
SLOW = f"{DECODERS}/slow/sub-1/semantic"
STATE = f"{SLOW}.safetensors.state"
SAVE_SECONDS = 1.0
EPOCHS = 240


@pytest.fixture
def peace(login: LoginNode) -> bytes:
    """Weights of the slow training when nothing happens to it, made on this machine; its config in the copy."""
    write_config(login.path)
    shared = login.cluster.folder.parent / "peace"
    with locked(shared.with_suffix(".lock")):
        if not shared.exists():
            login.start(f"{SLOW}.safetensors", config=CONFIG, executor="local").wait()
            shutil.move(login.path / f"{SLOW}.safetensors", shared)
            shutil.rmtree(login.path / DECODERS / "slow")
    return shared.read_bytes()


def write_config(folder: Path, **changes) -> None:
    """The small world with a training of its own that lasts long enough to be hit."""
    config = yaml.safe_load((folder / SMALL).read_text())
    config["methods"]["slow"] = {
        "kind": "mind_animator",
        "options": {
            "preset": "best",
            "semantic": {
                "optimisation": {"epochs": EPOCHS, "patience": None, "save_seconds": SAVE_SECONDS},
            },
        },
    }
    (folder / CONFIG).write_text(yaml.safe_dump(config | changes))


def training_under_way(login: LoginNode, run: Run, epochs: int = 5) -> dict[str, str]:
    """SLURM's row of the slow training once some epochs are in its state."""
    state = login.path / STATE
    wait_until(lambda: state_epochs(state) >= epochs or run.process.poll() is not None, "a state")
    assert run.process.poll() is None, run.text[-3000:]
    return wait_until(lambda: run.running("train_decoder"), "a running training")


def went_on(login: LoginNode, peace: bytes, saved: int) -> int:
    """Assert that the training went on from its state and lost nothing; the epoch after which it did."""
    log = (login.path / "results/small/logs/train_decoder/slow/sub-1-semantic.log").read_text()
    line = next((line for line in log.splitlines() if line.startswith("Resuming after epoch ")), None)
    assert line, log
    resumed = int(line.split()[3])
    assert resumed >= saved
    record = read_json(login.path / f"{SLOW}.json")
    assert [row["epoch"] for row in record["history"]] == list(range(EPOCHS + 1))
    assert (login.path / f"{SLOW}.safetensors").read_bytes() == peace
    left = [p.name for p in (login.path / f"{SLOW}.json").parent.iterdir() if p.is_file()]
    assert sorted(left) == ["semantic.json", "semantic.safetensors"]  # no state, no lock, no part
    return resumed


def longest_epoch(login: LoginNode) -> float:
    return max(row["seconds"] for row in read_json(login.path / f"{SLOW}.json")["history"])


def repeated_seconds(login: LoginNode, ended: float, stored: float) -> float:
    """Work between the last save and the end; asserted to be at most one interval and the epoch it waits for."""
    lost = ended - stored
    assert lost <= SAVE_SECONDS + 2 * longest_epoch(login) + 1, lost  # + 1: writing the state, and clocks
    return round(lost, 2)


def python_of(job: str, script: str = "train_decoder") -> int | None:
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


def ended_at(process: int, seconds: float = 60) -> float:
    """When a process was seen to have ended."""
    wait_until(lambda: not Path(f"/proc/{process}").exists(), "the end of a process", seconds)
    return time.time()


def states(run: Run, rule: str = "train_decoder") -> list[str]:
    """End states of a run's jobs of a rule, first attempt first."""
    return [job["State"].split()[0] for job in run.jobs(rule)]


def megabytes(job: dict[str, str]) -> int:
    """Memory that SLURM set aside for a job."""
    return int(re.search(r"mem=(\d+)M", job["AllocTRES"])[1])
