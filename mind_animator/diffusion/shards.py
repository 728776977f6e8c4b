"""Padded batches of one shape over a shard's clips, and finished batches that survive a killed run."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mind_animator.artefacts.arrays import read_arrays, write_arrays
from mind_animator.artefacts.files import read_json, write_json
from mind_animator.errors import InputError


@dataclass(frozen=True)
class Batch:
    """One padded batch.

    Attributes
    ----------
    index : int
        Number of the batch in the whole list of clips, not in the shard.
    rows : tuple of int
        Row of the shard at each place of the batch; places outside the shard repeat its nearest row.
    kept : tuple of int
        Places whose results are wanted.
    """

    index: int
    rows: tuple[int, ...]
    kept: tuple[int, ...]


def plan_batches(first: int, count: int, size: int) -> list[Batch]:
    """Batches over the clips first .. first + count - 1 of a list.

    Clip i of the whole list has place i mod size in a batch of exactly ``size``, whatever the shard: kernels see
    one shape, and every clip the same place in it, so that results do not depend on the sharding.
    """
    if first < 0 or count < 1 or size < 1:
        raise ValueError(f"Expected first >= 0, count >= 1 and size >= 1, got {first}, {count}, {size}.")
    batches = []
    for index in range(first // size, (first + count - 1) // size + 1):
        places = range(index * size - first, (index + 1) * size - first)
        rows = tuple(min(max(row, 0), count - 1) for row in places)
        batches.append(Batch(index, rows, tuple(p for p, row in enumerate(places) if 0 <= row < count)))
    return batches


class FinishedBatches:
    """Results of finished batches in a folder beside the output, valid for one fingerprint only.

    Parameters
    ----------
    folder : Path
        State folder; what another fingerprint left there is deleted.
    stamp : str
        Fingerprint of everything that the results depend on.
    """

    def __init__(self, folder: Path, stamp: str) -> None:
        self.folder = Path(folder)
        try:
            valid = self.folder.is_dir() and read_json(self.folder / "stamp.json") == stamp
        except InputError:
            valid = False
        if not valid:
            shutil.rmtree(self.folder, ignore_errors=True)
            write_json(self.folder / "stamp.json", stamp)

    def __contains__(self, index: int) -> bool:
        return self._path(index).is_file()

    def save(self, index: int, arrays: dict[str, np.ndarray]) -> None:
        """Keep the results of one batch, whole or not at all."""
        write_arrays(self._path(index), arrays)

    def load(self, index: int, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Results of one finished batch."""
        with_rows = read_arrays_without_clips(self._path(index), names)
        return with_rows

    def remove(self) -> None:
        """Delete the folder once the output is in its place."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, index: int) -> Path:
        return self.folder / f"batch-{index:05d}.h5"
