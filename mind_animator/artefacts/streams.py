"""Arrays per clip in HDF5, one clip at a time: they are written as they are produced and read in any order."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mind_animator.artefacts.arrays import open_arrays, read_attrs, read_clip_names
from mind_animator.artefacts.files import atomic, require_room
from mind_animator.errors import InputError


class ClipReader:
    """Random access to the clips of HDF5 shards. A copy in a worker process opens the files separately.

    Parameters
    ----------
    paths : iterable of paths
        Files with a data set ``clip`` and arrays whose first axis is the clip.
    clips : iterable of str, optional
        Clips that can be read; all by default.
    """

    def __init__(self, paths: Iterable[Path | str], clips: Iterable[str] | None = None) -> None:
        known = {clip: (str(path), row) for path in paths for row, clip in enumerate(read_clip_names(path))}
        if missing := [clip for clip in clips or () if clip not in known]:
            raise InputError(f"Expected clip '{missing[0]}' in the given files, found none of that name.")
        self._locations = known if clips is None else {clip: known[clip] for clip in clips}
        self._open: tuple[str, h5py.File] | None = None

    @property
    def clips(self) -> list[str]:
        """Names of the clips, in the order of the files."""
        return list(self._locations)

    def read(self, clip: str, name: str) -> np.ndarray:
        """The row of a clip in an array; raises `InputError` if there is no such clip or array."""
        dataset = self._dataset(clip, name)
        if dataset is None:
            raise InputError(f"Expected an array '{name}' in {self._locations[clip][0]}, found none.")
        try:
            return dataset[self._locations[clip][1]]
        except OSError as error:
            raise InputError(
                f"Expected clip '{clip}' whole in {self._locations[clip][0]}, got: {error}."
            ) from None

    def require(self, names: Sequence[str]) -> None:
        """Raise an `InputError` if a file lacks one of these arrays."""
        for path in dict.fromkeys(path for path, _ in self._locations.values()):
            with open_arrays(path) as file:
                for name in names:
                    if name not in file:
                        raise InputError(f"Expected an array '{name}' in {path}, found none.")

    def close(self) -> None:
        """Close the open file, if any."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _dataset(self, clip: str, name: str) -> h5py.Dataset | None:
        if clip not in self._locations:
            raise InputError(f"Expected clip '{clip}', found none of that name (missing).")
        path = self._locations[clip][0]
        if self._open is None or self._open[0] != path:
            self.close()
            self._open = (path, open_arrays(path))
        return self._open[1].get(name)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_open": None}


class ClipWriter:
    """Writer that fills the rows of arrays one clip at a time; created by `write_stream`."""

    def __init__(self, file: h5py.File, n_clips: int) -> None:
        self._file, self._n_clips = file, n_clips

    def write(self, row: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Store the arrays of one clip; the first clip with an array determines its shape and type.

        Bytes are compressed losslessly, other types are stored uncompressed; rows that are never written are 0 or NaN.
        """
        for name, array in arrays.items():
            array = np.asarray(array)
            if name not in self._file:
                packed = array.dtype.kind in "ui" and array.itemsize == 1 and array.ndim > 0
                self._file.create_dataset(
                    name,
                    shape=(self._n_clips, *array.shape),
                    dtype=array.dtype,
                    chunks=(1, *array.shape) if array.ndim else None,
                    compression="gzip" if packed else None,
                    compression_opts=1 if packed else None,
                    shuffle=packed,
                    fillvalue=np.nan if array.dtype.kind == "f" else 0,
                )
            if self._file[name].shape[1:] != array.shape:
                raise ValueError(
                    f"Expected '{name}' of shape {self._file[name].shape[1:]}, got {array.shape}."
                )
            require_room(Path(self._file.filename).parent, array.nbytes)
            self._file[name][row] = array

    def note(self, key: str, value: str) -> None:
        """Store a text as an attribute of the file."""
        self._file.attrs[key] = value


@contextmanager
def write_stream(
    path: Path | str, clips: Sequence[str], attrs: Mapping[str, Any] | None = None
) -> Iterator[ClipWriter]:
    """Write arrays per clip as they are produced; the complete file appears when the block succeeds."""
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("clip", data=list(clips), dtype=h5py.string_dtype())
        for key, value in (attrs or {}).items():
            file.attrs[key] = value
        yield ClipWriter(file, len(clips))


def write_problems(writer: ClipWriter, problems: Mapping[str, str]) -> None:
    """Store the reasons why clips of this file could not be produced; `read_problems` returns them."""
    writer.note("problems", json.dumps(dict(problems)))


def read_problems(paths: Iterable[Path | str]) -> dict[str, str]:
    """Clips that could not be produced, with the reasons stored in the files; empty if none are stored."""
    problems: dict[str, str] = {}
    for path in paths:
        problems |= json.loads(read_attrs(path).get("problems", "{}"))
    return problems


@dataclass(frozen=True)
class PairScores:
    """Scores of predictions against the aligned ground truths of other clips, and inputs of the motion tests.

    Attributes
    ----------
    clips : list of str
        All scored clips.
    rows : array of shape (block, offset), int64
        The clips that form the pairs: clip (b, o) is ``clips[rows[b, o]]``.
    pairs : dict of metric to array of shape (block, block, offset), float64
        ``[b, c, o]``: prediction of clip (b, o) against the ground truth of clip (c, o); nan if there is none.
    by_clip : dict of name to array, first axis = clips
        ``mean_flow_ground_truth`` and ``mean_flow`` (clip, 2), ``shuffled_epe`` (clip, order).
    sets : dict of metric to dict
        Scores of the whole set of clips: ``value``, ``n``, ``n_expected``, ``status``.
    """

    clips: list[str]
    rows: np.ndarray
    pairs: dict[str, np.ndarray]
    by_clip: dict[str, np.ndarray]
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)


def write_pairs(path: Path | str, scores: PairScores) -> None:
    """Write pair scores to HDF5."""
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("clip", data=list(scores.clips), dtype=h5py.string_dtype())
        every = (*scores.pairs.values(), *scores.by_clip.values())
        require_room(temporary.parent, sum(array.nbytes for array in every))
        file.create_dataset("rows", data=np.asarray(scores.rows, np.int64))
        file.attrs["sets"] = json.dumps(scores.sets)
        for group, arrays in (("pairs", scores.pairs), ("by_clip", scores.by_clip)):
            node = file.create_group(group)
            for name, array in arrays.items():
                node.create_dataset(name, data=array, compression="gzip", compression_opts=4)


def read_pairs(path: Path | str) -> PairScores:
    """Read pair scores; raises `InputError` if the file is absent or does not contain pair scores."""
    with open_arrays(path) as file:
        missing = [name for name in ("clip", "rows", "pairs", "by_clip") if name not in file]
        if missing:
            raise InputError(f"Expected pair scores in {path}, found no '{missing[0]}'.")
        return PairScores(
            list(file["clip"].asstr()[:]),
            file["rows"][:],
            {name: array[:] for name, array in file["pairs"].items()},
            {name: array[:] for name, array in file["by_clip"].items()},
            json.loads(file.attrs.get("sets", "{}")),
        )
