"""Download of a file: resume after any interruption, retry, verify, and only then rename it to its final name."""

import hashlib
import json
import random
import shutil
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from mind_animator.artefacts.files import write_json
from mind_animator.datasets.download.manifest import UNVERIFIED, Entry, read_manifest, record
from mind_animator.datasets.download.transports import TIMEOUT, Changed, Gone, Stream, Unsteady, open_stream
from mind_animator.datasets.download.zips import BROKEN
from mind_animator.errors import InputError

OVERLAP = 1 << 16
BLOCK = 1 << 20


@dataclass(frozen=True)
class Policy:
    """Limits for retries of a download.

    Attributes
    ----------
    tries : int
        Number of consecutive attempts without a new byte after which the download fails; progress resets the count.
    first_wait, longest_wait : float
        Seconds before the second attempt; the time is doubled for each further attempt up to ``longest_wait``.
    stall : float
        Seconds without a byte after which a connection is closed.
    spoiled : int
        Number of complete downloads with a wrong checksum after which the download fails.
    """

    tries: int = 8
    first_wait: float = 1.0
    longest_wait: float = 60.0
    stall: float = TIMEOUT
    spoiled: int = 3


def fetch(
    urls: Sequence[str],
    folder: Path | str,
    file: str,
    *,
    size: int | None = None,
    sha256: str | None = None,
    anonymous: bool = False,
    policy: Policy = Policy(),
) -> Entry:
    """Download ``folder/file`` from the first URL that provides it.

    Bytes are written to ``file.part``. After any interruption (including SIGKILL) the next call resumes from there if
    the file on the server is unchanged. The file is renamed only after its length, its checksum (the given one, that of
    the server, or that of the manifest) and, for a zip archive, all CRCs have been verified.

    Parameters
    ----------
    urls : sequence of str
        Mirrors of the same bytes, tried in turn.
    size, sha256 : optional
        Known size and checksum of the file.
    anonymous : bool
        For S3: without credentials.

    Returns
    -------
    Entry
        The line of the folder's manifest.

    Raises
    ------
    InputError
        If no mirror provides the correct bytes (with the reason for each mirror), if the disk is too small or becomes
        full (the partial file stays for the next attempt), or if another process is downloading the same file.
    """
    folder = Path(folder)
    target = folder / file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_beside(target, ".lock"), timeout=0):
            if target.exists():
                return _already_there(folder, file, target, size, sha256)
            entry = _from_any(urls, folder, file, target, size, sha256, anonymous, policy)
            record(folder, entry)
            _beside(target, ".part").rename(target)
            _beside(target, ".part.json").unlink(missing_ok=True)
    except Timeout:
        raise InputError(f"Another process is downloading {target}: wait until it has finished.") from None
    except (PermissionError, NotADirectoryError) as error:
        raise InputError(
            f"Expected a folder to write to at {target.parent}, got '{error.strerror}'."
        ) from None
    _beside(target, ".lock").unlink(missing_ok=True)
    return entry


def _already_there(folder: Path, file: str, target: Path, size: int | None, sha256: str | None) -> Entry:
    """Check an existing file by its size and known checksum; it was verified when it was downloaded, or is a
    user's file."""
    known = read_manifest(folder).get(file)
    expected = size if known is None else known.size
    if expected is not None and target.stat().st_size != expected:
        raise InputError(
            f"Expected {expected} bytes in {target}, got {target.stat().st_size}; delete or replace the file."
        )
    if known is not None:
        return known
    found = _digest(target, "sha256")
    if sha256 and found != sha256:
        raise InputError(f"Expected sha256 {sha256} of {target}, got {found}; delete or replace the file.")
    entry = Entry(
        file, target.stat().st_size, found, "sha256" if sha256 else UNVERIFIED, "found in the folder"
    )
    record(folder, entry)
    return entry


def _from_any(
    urls: Sequence[str], folder: Path, file: str, target: Path,
    size: int | None, sha256: str | None, anonymous: bool, policy: Policy,
) -> Entry:  # fmt: skip
    part = _beside(target, ".part")
    reasons = []
    for url in urls:
        try:
            for spoiled in range(1, policy.spoiled + 1):
                sums = _complete(url, part, size, anonymous, policy)
                wrong, entry = _verify(url, part, folder, file, size, sha256, sums)
                if not wrong:
                    return entry
                part.unlink()
                print(f"{url}: {wrong} (whole download {spoiled} of {policy.spoiled})", file=sys.stderr)
            raise Gone(f"{wrong}, {policy.spoiled} times")
        except (Gone, Unsteady) as reason:
            reasons.append(f"{url}: {reason}")
    raise InputError(f"Expected to fetch {file}, but " + "; ".join(reasons or ["no URL is known"]) + ".")


def _complete(url: str, part: Path, size: int | None, anonymous: bool, policy: Policy) -> dict[str, str]:
    """Complete ``part`` in as many attempts as necessary; returns the checksums stated by the server."""
    fruitless = restarts = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _attempt(url, part, size, anonymous, policy)
        except Changed as change:
            part.unlink(missing_ok=True)
            reason, wait = f"{change}, starting again", None
            fruitless, restarts = fruitless + 1, restarts + 1
            if restarts > policy.spoiled:
                raise Gone(f"{change}, {restarts} times") from None
        except Unsteady as fault:
            reason, wait = str(fault), fault.wait
            after = part.stat().st_size if part.exists() else 0
            fruitless = 1 if after > before else fruitless + 1
        if fruitless >= policy.tries:
            raise Unsteady(f"{reason} ({fruitless} attempts in a row without a new byte)")
        pause = policy.first_wait * 2 ** (fruitless - 1) * random.Random().uniform(0.75, 1.25)
        pause = min(max(pause, wait or 0.0), policy.longest_wait)
        print(f"{url}: {reason}; trying again in {pause:.1f} s", file=sys.stderr)
        time.sleep(pause)


def _attempt(url: str, part: Path, size: int | None, anonymous: bool, policy: Policy) -> dict[str, str]:
    state = _read_state(part, url)
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have > size:
        raise Changed(f"{have} bytes are here of a file of {size}")
    if have and have == size == state.get("total") and state.get("sums") is not None:
        return state["sums"]  # a previous process ended between the last byte and the check
    version = state.get("version")
    overlap = 0 if version else min(have, OVERLAP)  # to detect a changed file
    with open_stream(url, have - overlap, version, anonymous=anonymous, timeout=policy.stall) as stream:
        if size is not None and stream.total is not None and stream.total != size:
            raise Gone(f"expected {size} bytes, the server has {stream.total}")
        if stream.start == 0 and have:
            part.unlink()  # the server cannot resume, or its file has another version
            have = overlap = 0
        _check_room(part, stream, have)
        write_json(
            _beside(part, ".json"),
            {"url": url, "version": stream.version, "total": stream.total, "sums": stream.sums},
        )
        if overlap:
            _compare(part, stream, have, overlap)
        _copy(stream, part, have, url)
    length = part.stat().st_size
    if stream.total is not None and length > stream.total:
        raise Changed(f"got {length} bytes of a file of {stream.total}")
    if stream.total is not None and length < stream.total:
        raise Unsteady(f"the connection ended at {length} of {stream.total} bytes")
    if size is not None and length != size:
        raise Unsteady(f"the file ended at {length} of {size} bytes")
    if stream.total is None and size is None and not stream.ends_well:
        if not part.name.lower().endswith(".zip.part"):
            raise Gone(
                "the server does not state the length of the file, so that a truncated file cannot be detected"
            )
        if not zipfile.is_zipfile(part):
            raise Unsteady(f"the file ended at {length} bytes, before a zip's directory")
    return stream.sums


def _compare(part: Path, stream: Stream, have: int, overlap: int) -> None:
    with open(part, "rb") as here:
        here.seek(have - overlap)
        expected = here.read(overlap)
    got = b""
    while len(got) < overlap and (block := stream.read(overlap - len(got))):
        got += block
    if got != expected[: len(got)]:
        raise Changed("the server's file differs from the beginning that is here")
    if len(got) < overlap:
        raise Unsteady("the connection ended before any new byte")


def _copy(stream: Stream, part: Path, have: int, url: str) -> None:
    name = part.name.removesuffix(".part")
    with (
        open(part, "ab", buffering=0) as out,
        tqdm(total=stream.total, initial=have, desc=name, unit="B", unit_scale=True, mininterval=5) as bar,
    ):
        while block := stream.read(BLOCK):
            view = memoryview(block)
            try:
                while view:
                    view = view[out.write(view) :]  # a nearly full disk may accept only a part of a block
            except OSError as error:
                raise InputError(
                    f"Expected to write {part}, got '{error.strerror}' after {part.stat().st_size} bytes; "
                    "they are kept for the next attempt."
                ) from None
            bar.update(len(block))


def _verify(
    url: str, part: Path, folder: Path, file: str, size: int | None, sha256: str | None, sums: dict[str, str]
) -> tuple[str | None, Entry]:
    """Fault of a complete download (None if there is none), and its entry for the manifest."""
    found = _digest(part, "sha256")
    checked_by = UNVERIFIED
    wrong = None
    known = read_manifest(folder).get(file)
    expected = sha256 or sums.get("sha256")
    if known is not None and known.sha256 != found:
        wrong = (
            f"expected sha256 {known.sha256} as at the first download, got {found} "
            f"(to accept a new version, delete the line of {file} in the manifest)"
        )
    elif expected:
        checked_by = "sha256"
        wrong = None if expected == found else f"expected sha256 {expected}, got {found}"
    elif "md5" in sums:
        checked_by = "md5"
        md5 = _digest(part, "md5")
        wrong = None if md5 == sums["md5"] else f"expected MD5 {sums['md5']}, got {md5}"
    if wrong is None and file.lower().endswith(".zip"):
        wrong = _zip_fault(part)
        checked_by = "zip crc" if checked_by == UNVERIFIED else checked_by
    return wrong, Entry(file, part.stat().st_size, found, checked_by, url)


def _zip_fault(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except BROKEN as error:
        return f"not a whole zip: {error}"
    return f"wrong CRC of {broken}" if broken else None


def _check_room(part: Path, stream: Stream, have: int) -> None:
    if stream.total is None:
        return
    free = shutil.disk_usage(part.parent).free
    if stream.total - have > free:
        raise InputError(
            f"Expected {(stream.total - have) / 1e9:.1f} GB free for {part.name.removesuffix('.part')} "
            f"in {part.parent}, got {free / 1e9:.1f} GB."
        )


def _read_state(part: Path, url: str) -> dict:
    """Stored information about ``part``; empty if it is from another mirror or cannot be read."""
    try:
        state = json.loads(_beside(part, ".json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return state if state.get("url") == url else {}


def _digest(path: Path, name: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, name).hexdigest()


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
