"""Write aside, then rename: a file under its right name is always whole."""

import errno
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mind_animator.errors import InputError


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it there when the block ends well, else delete it.

    The temporary name keeps the suffixes, since encoders and readers go by them.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=f"-{path.name}")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except RuntimeError as error:  # HDF5 says so of a full disk
        if f"errno = {errno.ENOSPC}" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def sole_writer(state: Path | str, patience: float = 90) -> Iterator[None]:
    """Hold a state that is written over hours; a second writer waits, then gives up.

    The claim is a lock on ``<state>.lock``, so the system frees it however the holder ends, and the next
    attempt at its work finds the state as it was last stored. Locks of this kind (fcntl) also hold between the
    nodes of NFS, Lustre and GPFS.

    Parameters
    ----------
    state : Path
        File or folder that only one process at a time may write.
    patience : float
        Seconds to wait: longer than a cluster takes from a cancelled job's first signal to its end.

    Raises
    ------
    InputError
        If another process still holds the state after ``patience`` seconds.
    """
    path = Path(f"{state}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    while True:
        lock = open(path, "a+")  # noqa: SIM115 (held open: closing it is letting go)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                break
        except FileNotFoundError:
            pass  # its last holder removed the file between our opening and locking it
        except (BlockingIOError, PermissionError):
            if time.monotonic() > until:
                lock.seek(0)
                raise InputError(
                    f"Expected to be the only writer of {state}, got another that still works on it "
                    f"({lock.read().strip()})."
                ) from None
            time.sleep(0.5)
        lock.close()
    try:
        lock.truncate(0)
        print(f"process {os.getpid()} on {os.uname().nodename}", file=lock, flush=True)
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.close()


def write_json(path: Path | str, value: Any) -> None:
    """Write a value as indented JSON, keys in their own order."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file; `InputError` names the file where it is absent or broken."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise InputError(f"Expected a JSON file at {path}, found none.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"Expected JSON in {path}, got {error}.") from None
