"""The manifest of a data folder: size and SHA-256 of every file at its first download, which are enforced later."""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from filelock import FileLock

from mind_animator.artefacts.files import atomic
from mind_animator.errors import InputError

NAME = "manifest.tsv"
UNVERIFIED = "unverified"


@dataclass(frozen=True)
class Entry:
    """One file of a data folder.

    Attributes
    ----------
    file : str
        Path relative to the folder.
    size : int
        Bytes.
    sha256 : str
        SHA-256 of the file at its first download.
    checked_by : str
        Check by which the content was verified: ``sha256``, ``md5``, ``zip crc``, or ``unverified`` if the server
        stated only a length.
    source : str
        URL, or the archive from which it was unpacked.
    """

    file: str
    size: int
    sha256: str
    checked_by: str
    source: str


def read_manifest(folder: Path | str) -> dict[str, Entry]:
    """Entries by file; empty if the folder has no manifest yet."""
    path = Path(folder) / NAME
    if not path.is_file():
        return {}
    names = [field.name for field in fields(Entry)]
    with open(path, newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t")
        if rows.fieldnames != names:
            raise InputError(f"Expected columns {names} in {path}, got {rows.fieldnames}.")
        entries = [Entry(**row | {"size": int(row["size"])}) for row in rows]
    return {entry.file: entry for entry in entries}


def record(folder: Path | str, *entries: Entry) -> None:
    """Add entries to the manifest of a folder; several processes may do so concurrently.

    Raises
    ------
    InputError
        If the manifest contains a file with another SHA-256.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{NAME}.lock"):
        known = read_manifest(folder)
        for entry in entries:
            enforce(folder, known, entry.file, entry.sha256)
            known.setdefault(entry.file, entry)
        with atomic(folder / NAME) as temporary, open(temporary, "w", newline="") as stream:
            names = [field.name for field in fields(Entry)]
            writer = csv.DictWriter(stream, names, delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(known[file]) for file in sorted(known))


def enforce(folder: Path | str, known: dict[str, Entry], file: str, sha256: str) -> None:
    """Raise `InputError` if the manifest contains a file with another SHA-256."""
    if file in known and known[file].sha256 != sha256:
        raise InputError(
            f"Expected sha256 {known[file].sha256} of {file} as at its first download, got {sha256}: "
            "the file has changed. "
            f"To accept the new file, delete its line in {Path(folder) / NAME}."
        )
