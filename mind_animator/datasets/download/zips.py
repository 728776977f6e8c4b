"""Unpacking of selected members of a zip archive, or of a nested one, without a copy of the inner archive."""

import hashlib
import io
import lzma
import os
import shutil
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from mind_animator.artefacts.files import atomic
from mind_animator.datasets.download.manifest import Entry, read_manifest, record
from mind_animator.errors import InputError

TAIL = 1 << 26
# exceptions of `zipfile` for incomplete or corrupt archives
BROKEN = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, UnicodeDecodeError, EOFError,
    NotImplementedError, RuntimeError, OSError,
)  # fmt: skip


def unpack(archive: Path | str, folder: Path | str, choose: Callable[[str], str | None]) -> list[Entry]:
    """Unpack members of a zip archive into a folder; each gets its name only when it is complete (CRC verified).

    Parameters
    ----------
    archive : path
        A zip archive; nested archives are opened in place, at any depth. ZIP64 is supported.
    choose : callable
        Maps the path of a member (with ``/`` as separator, joined to the paths of the enclosing archives) to its path
        relative to ``folder``, or to None to skip it.

    Returns
    -------
    list of Entry
        The unpacked files, as recorded in the manifest of the folder.

    Raises
    ------
    InputError
        Before anything is written: if the archive is corrupt, if a member is encrypted, is a link or lies outside the
        folder, if two members have the same path, or if the disk is too small. Later: if the CRC of a member is wrong.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        with open(archive, "rb") as stream:
            selected = _plan(archive, stream, folder, choose)
            size = sum(info.file_size for _, info, _ in selected)
            free = shutil.disk_usage(_existing(folder)).free
            if size > free:
                raise InputError(
                    f"Expected {size / 1e9:.1f} GB free to unpack {archive}, got {free / 1e9:.1f} GB."
                )
            stream.seek(0)
            return _extract(
                archive, stream, folder, {name: destination for name, _, destination in selected}, size
            )
    except FileNotFoundError:
        raise InputError(f"Expected a zip at {archive}, found none.") from None


def list_members(archive: Path | str) -> list[str]:
    """Paths of all files in a zip archive and its nested archives, in the form used by `unpack`."""
    try:
        with open(archive, "rb") as stream:
            return [PurePosixPath(name.replace("\\", "/")).as_posix() for name, _, _ in _members(stream, "")]
    except FileNotFoundError:
        raise InputError(f"Expected a zip at {archive}, found none.") from None
    except BROKEN as error:
        raise InputError(f"Expected a whole zip at {archive}, got: {error}.") from None


def _plan(archive: Path, stream, folder: Path, choose) -> list[tuple[str, zipfile.ZipInfo, str]]:
    """Selected members with their paths; all reasons not to unpack are detected here."""
    selected = []
    destinations = {}
    try:
        for name, info, _ in _members(stream, ""):
            # An unsafe name is rejected even if the member is not selected, because such an archive cannot be trusted.
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name:
                raise InputError(f"Expected members inside the target folder in {archive}, got '{name}'.")
            destination = choose(path.as_posix())
            if destination is None:
                continue
            if not (folder / destination).resolve().is_relative_to(folder.resolve()):
                raise InputError(f"Expected places inside {folder}, got '{destination}'.")
            if stat.S_ISLNK(info.external_attr >> 16):
                raise InputError(f"Expected plain files in {archive}, got the link '{name}'.")
            if info.flag_bits & 1:
                raise InputError(f"Expected members without a password in {archive}, got '{name}'.")
            if destination in destinations:
                raise InputError(
                    f"Expected one member for {destination} in {archive}, got '{destinations[destination]}' and "
                    f"'{name}'."
                )
            destinations[destination] = name
            selected.append((name, info, destination))
    except BROKEN as error:
        raise InputError(f"Expected a whole zip at {archive}, got: {error}.") from None
    return selected


def _extract(archive: Path, stream, folder: Path, destinations: dict[str, str], size: int) -> list[Entry]:
    entries = []
    known = read_manifest(folder)
    with tqdm(
        total=size, desc=archive.name, unit="B", unit_scale=True, mininterval=5, file=sys.stderr
    ) as bar:
        for name, info, opened in _members(stream, ""):
            if name not in destinations:
                continue
            destination = destinations[name]
            sha, written = hashlib.sha256(), 0
            with atomic(folder / destination) as temporary:
                try:
                    with opened() as member, open(temporary, "wb") as out:
                        while block := member.read(1 << 20):
                            try:
                                out.write(block)
                            except OSError as error:
                                raise InputError(
                                    f"Expected to write {destination}, got '{error.strerror}'."
                                ) from None
                            sha.update(block)
                            written += len(block)
                            bar.update(len(block))
                except BROKEN as error:
                    raise InputError(f"Expected '{name}' whole in {archive}, got: {error}.") from None
                if written != info.file_size:
                    raise InputError(
                        f"Expected {info.file_size} bytes of '{name}' in {archive}, got {written}."
                    )
                if destination in known and known[destination].sha256 != sha.hexdigest():
                    raise InputError(
                        f"Expected sha256 {known[destination].sha256} of {destination} as at the first unpacking, "
                        f"got {sha.hexdigest()}; to accept it, delete its line in the manifest."
                    )
            entries.append(Entry(destination, written, sha.hexdigest(), "zip crc", archive.name))
    record(folder, *entries)
    return entries


def _members(stream, prefix: str) -> Iterator[tuple[str, zipfile.ZipInfo, Callable]]:
    """Files of a zip archive and its nested archives, in the order of their bytes, so that reading is sequential."""
    with zipfile.ZipFile(stream) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            name = prefix + info.filename
            if info.is_dir():
                continue
            if info.filename.lower().endswith(".zip"):
                with _opened_inside(archive, info, stream) as inner:
                    yield from _members(
                        inner, str(PurePosixPath(name).parent / "") + "/" if "/" in name else ""
                    )
            else:
                yield name, info, lambda archive=archive, info=info: archive.open(info)


@contextmanager
def _opened_inside(archive: zipfile.ZipFile, info: zipfile.ZipInfo, stream) -> Iterator[io.BufferedIOBase]:
    """A nested archive as a seekable file: a window of the outer file if it is stored, otherwise decompressed."""
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
        with archive.open(info):  # reads and checks the local header
            pass
        stream.seek(info.header_offset)
        header = stream.read(30)
        start = (
            info.header_offset
            + 30
            + int.from_bytes(header[26:28], "little")
            + int.from_bytes(header[28:30], "little")
        )
        yield io.BufferedReader(_Window(stream, start, info.file_size), 1 << 16)
    else:
        with _Forward(lambda: archive.open(info), info.file_size) as inner:
            yield io.BufferedReader(inner, 1 << 16)


class _Window(io.RawIOBase):
    """A part of a seekable file, presented as a separate file."""

    def __init__(self, stream, start: int, length: int) -> None:
        self.stream, self.start, self.length, self.position = stream, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.position = max(0, {0: 0, 1: self.position, 2: self.length}[whence] + offset)
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer) -> int:
        self.stream.seek(self.start + self.position)
        block = self.stream.read(max(0, min(len(buffer), self.length - self.position)))
        buffer[: len(block)] = block
        self.position += len(block)
        return len(block)


class _Forward(io.RawIOBase):
    """A seekable file on top of a stream that can only be read forward or reopened.

    The end of the stream, which contains the directory of a zip archive, is kept in memory after a first pass; reading
    the members in the order of their bytes takes one further pass.
    """

    def __init__(self, reopen: Callable[[], io.BufferedIOBase], length: int) -> None:
        self.reopen, self.length, self.position = reopen, length, 0
        self.stream, self.reached = reopen(), 0
        self.tail_start = max(0, length - TAIL)
        self._skip(self.tail_start)
        self.tail = self.stream.read()
        self.reached += len(self.tail)
        if self.reached != length:
            raise zipfile.BadZipFile(f"{self.reached} bytes of an inner zip of {length}")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.position = max(0, {0: 0, 1: self.position, 2: self.length}[whence] + offset)
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer) -> int:
        if self.position >= self.tail_start:
            at = self.position - self.tail_start
            block = self.tail[at : at + len(buffer)]
        else:
            if self.position < self.reached:
                self.stream.close()
                self.stream, self.reached = self.reopen(), 0
            self._skip(self.position - self.reached)
            block = self.stream.read(min(len(buffer), self.tail_start - self.position))
            self.reached += len(block)
        buffer[: len(block)] = block
        self.position += len(block)
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self.stream.close()
        super().close()

    def _skip(self, count: int) -> None:
        while count > 0:
            block = self.stream.read(min(count, 1 << 20))
            if not block:
                raise zipfile.BadZipFile("an inner zip ends early")
            count -= len(block)
            self.reached += len(block)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def suffix_chooser(selected: Iterable[str]) -> Callable[[str], str | None]:
    """Select the members whose paths end with one of the requested paths, regardless of the enclosing folders."""
    by_name: dict[str, list[str]] = {}
    for destination in selected:
        by_name.setdefault(PurePosixPath(destination).name, []).append(destination)

    def choose(member: str) -> str | None:
        for destination in by_name.get(PurePosixPath(member).name, ()):
            if f"/{member}".endswith(f"/{destination}"):
                return destination
        return None

    return choose
