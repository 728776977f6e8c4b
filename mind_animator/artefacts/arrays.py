"""Arrays per clip in HDF5: a file contains named arrays whose first axis is the clip, and the names of the clips."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mind_animator.artefacts.files import atomic, require_room
from mind_animator.errors import InputError

_CHUNK = 1 << 20  # bytes per chunk of `LastClips`


@dataclass(frozen=True)
class LastClips:
    """A float array (clip, ...) with values for the last clips only; the other clips are NaN and use no disk space."""

    values: np.ndarray


def write_arrays(
    path: Path | str,
    arrays: Mapping[str, np.ndarray | LastClips],
    clips: Sequence[str] | None = None,
    attrs: Mapping[str, Any] | None = None,
    others: Mapping[str, np.ndarray | Sequence[str]] | None = None,
) -> None:
    """Write named arrays to HDF5 with one chunk per clip. Integers are compressed losslessly.

    Parameters
    ----------
    arrays : mapping of name to array
        With ``clips``, the first axis of every array must be the clips (of `LastClips`, the last clips).
    clips : sequence of str, optional
        Clip names, stored as the data set ``clip``.
    attrs : mapping, optional
        Plain values, stored as attributes of the file.
    others : mapping of name to array or list of str, optional
        Further arrays whose first axis is not the clip, e.g. one value per voxel; `read_whole` reads them.
    """
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        every = (*(getattr(array, "values", array) for array in arrays.values()), *(others or {}).values())
        require_room(temporary.parent, sum(getattr(array, "nbytes", 0) for array in every))
        for name, array in arrays.items():
            if isinstance(array, LastClips):
                last = array.values
                if len(last) > len(clips):
                    raise ValueError(f"Expected at most {len(clips)} clips in '{name}', got {len(last)}.")
                rows = max(1, min(_CHUNK // max(last[:1].nbytes, 1), len(clips)))
                file.create_dataset(
                    name, (len(clips), *last.shape[1:]), last.dtype, chunks=(rows, *last.shape[1:]), fillvalue=np.nan
                )[len(clips) - len(last) :] = last  # fmt: skip
                continue
            if clips is not None and len(array) != len(clips):
                raise ValueError(f"Expected {len(clips)} clips in '{name}', got {len(array)}.")
            packed = array.dtype.kind in "ui" and array.ndim > 1 and array.size
            chunks = (1, *array.shape[1:]) if packed else None
            file.create_dataset(
                name, data=array, chunks=chunks, compression="gzip" if packed else None,
                compression_opts=1 if packed else None, shuffle=bool(packed),
            )  # fmt: skip
        if clips is not None:
            file.create_dataset("clip", data=list(clips), dtype=h5py.string_dtype())
        for name, array in (others or {}).items():
            text = len(array) > 0 and isinstance(array[0], str)
            file.create_dataset(
                name, data=list(array) if text else array, dtype=h5py.string_dtype() if text else None
            )
        for key, value in (attrs or {}).items():
            file.attrs[key] = value


def read_whole(path: Path | str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read named arrays of one file unchanged, regardless of their axes; text becomes an array of str."""
    with open_arrays(path) as file:
        members = {name: _member(file, name) for name in names}
        return {
            name: np.array(member.asstr()[:], dtype=str)
            if h5py.check_string_dtype(member.dtype)
            else member[:]
            for name, member in members.items()
        }


def read_attrs(path: Path | str) -> dict[str, Any]:
    """Attributes of an HDF5 file."""
    with open_arrays(path) as file:
        return dict(file.attrs)


def open_arrays(path: Path | str) -> h5py.File:
    """Open an HDF5 file for reading; raises an `InputError` with its name if it is absent or corrupt."""
    if not Path(path).is_file():
        raise InputError(f"Expected an HDF5 file at {path}, found none.")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"Expected a whole HDF5 file at {path}, got: {error}.") from None


def read_clip_names(path: Path | str) -> list[str]:
    """Names of the clips in a file, in the order of the file."""
    with open_arrays(path) as file:
        return list(_member(file, "clip").asstr()[:])


def read_arrays(
    paths: Path | str | Iterable[Path | str],
    names: Sequence[str],
    clips: Sequence[str] | None = None,
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Read named arrays of one file or of several shards, joined along the clips.

    Parameters
    ----------
    paths : path or iterable of paths
        Shards in any order.
    names : sequence of str
        Arrays to read.
    clips : sequence of str, optional
        Requested clips, in the requested order; by default all clips in the order of the files.

    Returns
    -------
    clips : list of str
    arrays : dict of name to array, first axis = clips

    Raises
    ------
    InputError
        If a file, an array or a requested clip is missing.
    """
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    requested = None if clips is None else set(clips)
    found: list[str] = []
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for path in paths:
        with open_arrays(path) as file:
            here = list(_member(file, "clip").asstr()[:])
            rows = [i for i, clip in enumerate(here) if requested is None or clip in requested]
            if not rows:
                continue
            found += [here[i] for i in rows]
            for name in names:
                dataset = _member(file, name)
                parts[name].append(dataset[:] if len(rows) == len(here) else dataset[rows])
    if not found:
        raise InputError(f"Expected clips in {', '.join(map(str, paths)) or 'no file'}, found none of them.")
    joined = {name: np.concatenate(part) if len(part) > 1 else part[0] for name, part in parts.items()}
    if clips is None:
        return found, joined
    row_of = {clip: row for row, clip in enumerate(found)}
    missing = [clip for clip in clips if clip not in row_of]
    if missing:
        raise InputError(
            f"Expected clip '{missing[0]}' ({len(missing)} missing) in {paths[0]} and its shards."
        )
    order = [row_of[clip] for clip in clips]
    if order == list(range(len(found))):
        return list(clips), joined
    return list(clips), {name: array[order] for name, array in joined.items()}


def iterate_clips(
    paths: Path | str | Iterable[Path | str], name: str, clips: Sequence[str] | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (clip name, array) one clip at a time, so that memory does not grow with the number of clips."""
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    locations = {}
    for path in paths:
        for row, clip in enumerate(read_clip_names(path)):
            locations[clip] = (path, row)
    opened: tuple[Path | str, h5py.File] | None = None
    try:
        for clip in locations if clips is None else clips:
            if clip not in locations:
                raise InputError(f"Expected clip '{clip}' in {', '.join(map(str, paths))}, found none.")
            path, row = locations[clip]
            if opened is None or opened[0] != path:
                if opened is not None:
                    opened[1].close()
                opened = (path, open_arrays(path))
            yield clip, _member(opened[1], name)[row]
    finally:
        if opened is not None:
            opened[1].close()


def _member(file: h5py.File, name: str) -> h5py.Dataset:
    if name not in file:
        raise InputError(f"Expected an array '{name}' in {file.filename}, got {sorted(file)}.")
    return file[name]


def shard_of(paths: Iterable[Path | str], skip: int, count: int) -> list[str]:
    """Names of the clips of a shard: ``count`` clips of the concatenated files, after the first ``skip``."""
    paths = list(paths)
    clips = [clip for path in paths for clip in read_clip_names(path)][skip : skip + count]
    if len(clips) != count:
        raise InputError(
            f"Expected {skip + count} clips in {', '.join(map(str, paths))}, got {skip + len(clips)}."
        )
    return clips
