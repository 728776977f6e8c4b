"""A real SLURM for the tests, started once, and their common fixtures."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from login_node import Cluster, LoginNode, copy_tracked, locked, why_not
from slow_training import slow  # noqa: F401 (a fixture)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest, the whole DAG, first: the others run beside it."""
    items.sort(key=lambda item: "whole" not in getattr(item, "fixturenames", ()))


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Faults survived and work repeated, and the whole DAG's jobs and seconds."""
    folder = config._tmp_path_factory.getbasetemp() / "slurm"
    lines = [line for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]
    if lines:
        terminalreporter.section("on SLURM")
        for line in lines:
            terminalreporter.write_line(
                ", ".join(f"{key} {value}" for key, value in json.loads(line).items())
            )


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one test run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "slurm"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def cluster(shared_folder: Path) -> Iterator[Cluster]:
    """A SLURM for the whole test run: the first process brings it up, the last takes it down."""
    if reason := why_not():
        pytest.skip(reason)
    users, lock = shared_folder / "users", shared_folder / "lock"
    here = Cluster(shared_folder / "cluster")
    with locked(lock):
        count = int(users.read_text()) if users.exists() else 0
        if not count:
            here.up(memory_mb=64_000, cpus=2)
        users.write_text(str(count + 1))
    yield here
    with locked(lock):
        count = int(users.read_text()) - 1
        users.write_text(str(count))
        if not count:
            here.down()


@pytest.fixture(scope="session")
def local_run(shared_folder: Path) -> Path:
    """The small data set made on this machine without a cluster, once for all processes."""
    folder = shared_folder / "local"
    with locked(shared_folder / "local.lock"):
        if not (folder / "done").exists():
            node = LoginNode(copy_tracked(folder), None, edit=False)
            node.start("all", executor="local").wait()
            (folder / "done").touch()
    return folder


@pytest.fixture
def undisturbed(shared_folder: Path) -> Iterator[None]:
    """Held while a test runs that others must not shake the cluster under."""
    with locked(shared_folder / "disturbance", shared=True):
        yield


@pytest.fixture
def alone(shared_folder: Path) -> Iterator[None]:
    """Held by a test that shakes the cluster."""
    with locked(shared_folder / "disturbance"):
        yield


@pytest.fixture
def login(cluster: Cluster, local_run: Path, tmp_path: Path) -> Iterator[LoginNode]:
    """A working copy in which everything exists except the products that the test requests, so that nothing
    else runs."""
    shutil.copytree(local_run, tmp_path / "copy", symlinks=True)
    node = LoginNode(tmp_path / "copy", cluster)
    yield node
    node.stop()


@pytest.fixture
def figures(shared_folder: Path) -> Callable[..., None]:
    """Write down what a fault cost: one line a fault, printed at the end of the test run."""

    def write(survived: str, **values: object) -> None:
        with locked(shared_folder / "lock"), open(shared_folder / "figures.jsonl", "a") as file:
            print(json.dumps({"survived": survived, **values}), file=file)

    return write
