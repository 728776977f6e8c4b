"""Working copies on a login node, and runs that use SLURM from there as a new user does: two lines edited."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from local_cluster import Cluster, why_not  # noqa: F401
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
SMALL = "tests/slurm/small.yaml"

# What tests put in place of the profile's patience; all else of the profile is as shipped.
BRISK = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "20"]
FIELDS = "JobID,State,Partition,AllocTRES,TimelimitRaw,Submit,Start,End,NodeList"
SUBMITTED = re.compile(r"submitted with SLURM jobid (\d+) \(log: .*/rule_(\w+?)(?:/([^/]*))?/\d+\.log\)")


def wait_until(ready: Callable[[], object], what: str, seconds: float = 180, every: float = 0.1) -> object:
    """What ``ready`` answers as soon as it is true."""
    until = time.monotonic() + seconds
    while not (answer := ready()):
        assert time.monotonic() < until, f"Expected within {seconds:.0f} s: {what}."
        time.sleep(every)
    return answer


class Run:
    """One call of snakemake on the login node, in the background."""

    def __init__(self, node: "LoginNode", *arguments: str) -> None:
        self.node = node
        node.calls += 1
        self.output = node.path / f"run-{node.calls}.out"
        # a terminal's foreground heeds Ctrl-C, also where these tests run in some shell's background
        command = ["env", "--default-signal=INT", sys.executable, "-m", "snakemake", *arguments]
        with open(self.output, "w") as stream:
            self.process = subprocess.Popen(
                command, cwd=node.path, env=node.environment, stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait(self, status: int = 0) -> "Run":
        """Wait for the end; anything but the expected exit status shows what snakemake said."""
        try:
            ended = self.process.wait(timeout=1100)
        except subprocess.TimeoutExpired:
            self.stop(signal.SIGKILL)
            ended = "no end"
        assert ended == status, self.text[-6000:]
        return self

    def stop(self, number: int) -> None:
        """Send a signal to snakemake and everything that it started on this node, as a terminal does; wait
        for its end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        self.process.wait()

    def jobs(self, rule: str = "") -> list[dict[str, str]]:
        """What SLURM's accounting says of this run's jobs (of one rule), in order of submission."""
        submitted = {job: (name, wildcards) for job, name, wildcards in SUBMITTED.findall(self.text)}
        rows = self.node.accounting("-j", ",".join(submitted)) if submitted else []
        for row in rows:
            row["rule"], row["wildcards"] = submitted[row["JobID"]]
        return [row for row in rows if rule in ("", row["rule"])]

    def running(self, rule: str) -> dict[str, str] | None:
        """The last job of a rule, if it runs."""
        found = self.jobs(rule)
        return found[-1] if found and found[-1]["State"] == "RUNNING" else None


class LoginNode:
    """A working copy on a file system that login node and compute nodes share."""

    def __init__(self, path: Path, cluster: Cluster, edit: bool = True) -> None:
        self.path, self.cluster, self.calls, self.runs = path, cluster, 0, []
        keep = {"HOME", "LANG", "TMPDIR", "USER", "OMP_NUM_THREADS"}
        self.environment = {name: os.environ[name] for name in keep & set(os.environ)}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
        self.environment["SLURM_CONF"] = str(cluster.conf) if cluster else ""
        if edit:
            # The two lines that a new user edits; the partitions happen to be named as shipped.
            profile = path / "slurm" / "profile.yaml"
            profile.write_text(profile.read_text().replace("slurm_account: changeme", "slurm_account: lab"))

    def start(self, *arguments: str, config: str = SMALL, executor: str = "slurm") -> Run:
        """Call snakemake, with the profile or locally."""
        where = (
            ["--profile", "slurm", *BRISK] if executor == "slurm" else ["--quiet", "rules", "--cores", "2"]
        )
        run = Run(self, "--configfile", config, *where, *arguments)
        self.runs.append(run)
        return run

    def accounting(self, *query: str) -> list[dict[str, str]]:
        """Rows of sacct; empty while accounting is away."""
        text = self.cluster.call("sacct", "-X", "-n", "-P", "-S", "now-1hours", "-o", FIELDS, *query)
        return [dict(zip(FIELDS.split(","), line.split("|"), strict=True)) for line in text.splitlines()]

    def stop(self) -> None:
        """End what is left of this copy's runs and their jobs."""
        for run in self.runs:
            if run.process.poll() is None:
                run.stop(signal.SIGKILL)
        left = self.cluster.call("squeue", "-h", "-o", "%i %Z")
        ids = [line.split()[0] for line in left.splitlines() if line.split()[1] == str(self.path)]
        if ids:
            self.cluster.call("scancel", "-s", "KILL", *ids)


def copy_tracked(target: Path) -> Path:
    """A copy of the repository as a fresh clone has it, with what is not yet committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True,
        check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def state_epochs(state: Path) -> int:
    """Number of the last epoch in a training's stored state; -1 where there is none yet."""
    try:
        with safe_open(state / "fit.safetensors", framework="np") as file:
            return len(json.loads(file.metadata()["values"])["history"]) - 1
    except (FileNotFoundError, OSError):
        return -1


@contextlib.contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[None]:
    """A lock between the processes of a parallel test run."""
    with open(path, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
