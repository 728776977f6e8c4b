"""Arrays by clip in HDF5, one clip at a time: written as they come, read in any order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mind_animator.artefacts.arrays import open_arrays, read_clip_names
from mind_animator.artefacts.files import atomic
from mind_animator.errors import InputError


class ClipReader:
    """Random access to the clips of HDF5 shards. It can be sent to a worker process, which opens its own files.

    Parameters
    ----------
    paths : iterable of paths
        Files with a data set ``clip`` and arrays whose first axis is the clip.
    """

    def __init__(self, paths: Iterable[Path | str]) -> None:
        self._place = {clip: (str(path), row) for path in paths for row, clip in enumerate(read_clip_names(path))}
        self._open: tuple[str, h5py.File] | None = None

    @property
    def clips(self) -> list[str]:
        """Names of the clips, in the files' order."""
        return list(self._place)

    def read(self, clip: str, name: str) -> np.ndarray:
        """One clip's row of an array; `InputError` where there is no such clip or array."""
        dataset = self._dataset(clip, name)
        if dataset is None:
            raise InputError(f"Expected an array '{name}' in {self._place[clip][0]}, found none.")
        try:
            return dataset[self._place[clip][1]]
        except OSError as error:
            raise InputError(f"Expected clip '{clip}' whole in {self._place[clip][0]}, got: {error}.") from None

    def holds(self, clip: str, name: str) -> bool:
        """Whether the file of a clip has an array of that name."""
        return self._dataset(clip, name) is not None

    def close(self) -> None:
        """Close the file that is open, if any."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _dataset(self, clip: str, name: str) -> h5py.Dataset | None:
        if clip not in self._place:
            raise InputError(f"Expected clip '{clip}', found none of that name (missing).")
        path = self._place[clip][0]
        if self._open is None or self._open[0] != path:
            self.close()
            self._open = (path, open_arrays(path))
        return self._open[1].get(name)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_open": None}


class ClipWriter:
    """Fills the rows of arrays one clip at a time; made by `write_stream`."""

    def __init__(self, file: h5py.File, n_clips: int) -> None:
        self._file, self._n_clips = file, n_clips

    def write(self, row: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Store one clip's arrays; the first clip that brings an array settles its shape and type.

        Integers are compressed losslessly, floats stored as they are; rows never written read as 0 or NaN.
        """
        for name, array in arrays.items():
            array = np.asarray(array)
            if name not in self._file:
                packed = array.dtype.kind in "ui" and array.ndim > 0
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
                raise ValueError(f"Expected '{name}' of shape {self._file[name].shape[1:]}, got {array.shape}.")
            self._file[name][row] = array


@contextmanager
def write_stream(
    path: Path | str, clips: Sequence[str], attrs: Mapping[str, Any] | None = None
) -> Iterator[ClipWriter]:
    """Write arrays by clip as they come; the file appears, whole, when the block ends well."""
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("clip", data=list(clips), dtype=h5py.string_dtype())
        for key, value in (attrs or {}).items():
            file.attrs[key] = value
        yield ClipWriter(file, len(clips))
