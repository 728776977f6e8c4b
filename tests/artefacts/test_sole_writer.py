"""Two processes never write one state: the second waits, gives up in one sentence, or follows a dead first."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mind_animator.artefacts.files import sole_writer
from mind_animator.errors import InputError

HOLD = """
import sys, time
from mind_animator.artefacts.files import sole_writer
with sole_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(state: Path, seconds: float) -> subprocess.Popen:
    """Another process that holds the state."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(state), str(seconds)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_writer_gives_up_and_says_who_the_first_is(tmp_path):
    state = tmp_path / "weights.state"
    first = hold(state, 60)
    expected = rf"only writer of {state}, got another that still works on it \(process {first.pid} on "
    with pytest.raises(InputError, match=expected), sole_writer(state, patience=0.2):
        pass
    first.kill()
    first.wait()


def test_a_second_writer_follows_the_first(tmp_path):
    state = tmp_path / "weights.state"
    first = hold(state, 1.0)
    with sole_writer(state, patience=30):
        assert first.wait(timeout=5) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_keeps_no_lock(tmp_path):
    state = tmp_path / "weights.state"
    first = hold(state, 60)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert (tmp_path / "weights.state.lock").exists()
    with sole_writer(state, patience=0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_many_writers_are_never_two(tmp_path):
    """Eight processes add one to a number, which no two may read at once."""
    state = tmp_path / "state"
    state.write_text("0")
    script = f"""
import time
from pathlib import Path
from mind_animator.artefacts.files import sole_writer
for _ in range(3):
    with sole_writer({str(state)!r}):
        value = int(Path({str(state)!r}).read_text())
        time.sleep(0.01)
        Path({str(state)!r}).write_text(str(value + 1))
"""
    workers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(8)]
    assert [worker.wait(timeout=60) for worker in workers] == [0] * 8
    assert state.read_text() == "24"
