"""Atomic writing: a file is written under a temporary name and then renamed, so that a named file is always
complete."""

import errno
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mind_animator.errors import InputError, disk_full

_ROOM = 2 << 20  # bytes of earlier writes that HDF5 may not have flushed yet


def require_room(folder: Path | str, n_bytes: int) -> None:
    """Raise `OSError` if a disk has less free space than the given number of bytes; HDF5 would crash when the
    disk is full."""
    if shutil.disk_usage(folder).free < n_bytes + _ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path next to ``path``. It is renamed to ``path`` if the block succeeds and deleted otherwise.

    The temporary name keeps the suffixes, because encoders and readers depend on them. A full disk raises an
    `InputError` that names ``path``.
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
        temporary.chmod(0o666 & ~umask)  # mkstemp creates files that only their owner can read
        os.replace(temporary, path)
    except Exception as error:
        if reason := disk_full(error):
            raise InputError(f"Expected room on the disk for {path}, got '{reason}'.") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def absent_content(path: Path | str) -> str | None:
    """How to get the missing content of a file of a DataLad, git-annex or Git LFS clone; None if it is present.

    Such a file is a broken link, or a small text file instead of the content.
    """
    path = Path(path)
    text = b""
    if path.is_symlink() and not path.exists():
        text = os.readlink(path).encode()
    elif path.is_file() and path.stat().st_size < 1024:
        text = path.read_bytes()
    if b"annex/objects/" in text:
        return f"its content is not here: run `datalad get '{path}'` (or `git annex get`)"
    if text.startswith(b"version https://git-lfs"):
        return f"its content is not here: run `git lfs pull -I '{path}'`"
    return None


def expect_file(path: Path | str, what: str) -> None:
    """Raise `InputError` if the file is absent, or if it is a pointer of a clone whose content is missing."""
    if hint := absent_content(path):
        raise InputError(f"Expected {what} at {path}, but {hint}.")
    if not Path(path).is_file():
        raise InputError(f"Expected {what} at {path}, found none.")


@contextmanager
def sole_writer(state: Path | str, patience: float = 90) -> Iterator[None]:
    """Lock a checkpoint that is written over hours; a second writer waits and then raises an error.

    The lock is on the file ``<state>.lock``. The operating system releases it when the process ends for any reason, and
    the next attempt finds the checkpoint as it was last stored. Locks of this type (fcntl) also work between the nodes
    of NFS, Lustre and GPFS.

    Parameters
    ----------
    state : Path
        File or folder that only one process may write at a time.
    patience : float
        Seconds to wait; longer than the time between the first signal to a cancelled cluster job and its end.

    Raises
    ------
    InputError
        If another process still holds the lock after ``patience`` seconds.
    """
    path = Path(f"{state}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    while True:
        lock = open(path, "a+")  # noqa: SIM115 (stays open: closing it releases the lock)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                break
        except FileNotFoundError:
            pass  # the previous process removed the file between opening and locking
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
    """Write a value as indented JSON; the order of keys is kept."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file; raises an `InputError` with its name if it is absent or invalid."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"Expected a JSON file at {path}, found none.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"Expected JSON in UTF-8 in {path}, got {error}.") from None
