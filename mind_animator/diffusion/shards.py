"""Padded batches of one shape over a shard's clips, and storage of finished batches for a killed run."""

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from mind_animator.artefacts.arrays import open_arrays, read_arrays, write_arrays
from mind_animator.artefacts.files import read_json, sole_writer, write_json
from mind_animator.config.reconstruction import InversionConfig, ReconstructionConfig
from mind_animator.errors import InputError
from mind_animator.provenance import fingerprint


@dataclass(frozen=True)
class Batch:
    """One padded batch.

    Attributes
    ----------
    index : int
        Number of the batch in the whole list of clips, not in the shard.
    rows : tuple of int
        Row of the shard at each position of the batch; positions outside the shard repeat its nearest row.
    kept : tuple of int
        Positions whose results are kept.
    """

    index: int
    rows: tuple[int, ...]
    kept: tuple[int, ...]


def plan_batches(first: int, count: int, size: int) -> list[Batch]:
    """Batches over the clips first .. first + count - 1 of a list.

    Clip i of the whole list has position i mod size in a batch of exactly ``size``, regardless of the shard: kernels
    see one shape, and every clip the same position in it, so that results do not depend on the sharding.
    """
    if first < 0 or count < 1 or size < 1:
        raise ValueError(f"Expected first >= 0, count >= 1 and size >= 1, got {first}, {count}, {size}.")
    batches = []
    for index in range(first // size, (first + count - 1) // size + 1):
        positions = range(index * size - first, (index + 1) * size - first)
        rows = tuple(min(max(row, 0), count - 1) for row in positions)
        batches.append(Batch(index, rows, tuple(p for p, row in enumerate(positions) if 0 <= row < count)))
    return batches


def array_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Digest of named arrays' values, shapes and types, for fingerprints."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()[:16]


class FinishedBatches:
    """Results of finished batches in a folder beside the output, valid for one fingerprint only.

    Parameters
    ----------
    folder : Path
        Folder of finished batches; batches with another fingerprint are deleted.
    stamp : str
        Fingerprint of everything that the results depend on.
    """

    def __init__(self, folder: Path | str, stamp: str) -> None:
        self.folder = Path(folder)
        try:
            valid = read_json(self.folder / "stamp.json") == stamp
        except InputError:
            valid = False
        if not valid:
            self.remove()
            write_json(self.folder / "stamp.json", stamp)

    def __contains__(self, index: int) -> bool:
        return self.path(index).is_file()

    def path(self, index: int) -> Path:
        """File of one batch."""
        return self.folder / f"batch-{index:05d}.h5"

    def remove(self) -> None:
        """Delete the folder, because the output is complete or the batches belong to another run."""
        shutil.rmtree(self.folder, ignore_errors=True)


Work = Callable[[Sequence[int]], dict[str, np.ndarray]]


@contextmanager
def resumable_shard(
    state: Path,
    clips: Sequence[str],
    first: int,
    settings: InversionConfig | ReconstructionConfig,
    *,
    title: str,
    **inputs: Any,
) -> Iterator[Callable[[Work], dict[str, np.ndarray]]]:
    """A function that applies ``work`` to a shard (see `process_shard`) and resumes after an interruption.

    Finished batches are kept in the folder ``state`` until the block has ended without an error, because the output is
    written in it. They are reused only for the same settings, clips and ``inputs`` (everything else that the results
    depend on).
    """
    stamp = fingerprint(settings=settings.model_dump(mode="json"), clips=list(clips), **inputs)
    with sole_writer(state):
        finished = FinishedBatches(state, stamp)
        yield lambda work: process_shard(clips, first, settings.clips_per_batch, work, finished, title=title)
        finished.remove()


def halve_when_out_of_memory(work: Work) -> Work:
    """The same work in two halves of the batch, from the first time on that the GPU's memory does not suffice.

    The positions of the clips and their noise stay the same, and so do the results up to rounding.

    Raises
    ------
    InputError
        If half a batch does not fit either.
    """
    halved = False

    def halves(rows: Sequence[int]) -> dict[str, np.ndarray]:
        parts = [work(half) for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :])]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def done(rows: Sequence[int]) -> dict[str, np.ndarray]:
        nonlocal halved
        try:
            return halves(rows) if halved else work(rows)
        except torch.OutOfMemoryError as error:
            if halved or len(rows) == 1:
                raise InputError(
                    f"Expected {len(rows) if len(rows) == 1 else len(rows) // 2} clips to fit into the memory of the "
                    f"GPU, got: {str(error).splitlines()[0]} Lower reconstruction.clips_per_batch."
                ) from None
        # outside the handler, whose traceback would keep the tensors of the failed pass alive
        halved = True
        torch.cuda.empty_cache()
        print(
            f"Out of GPU memory with {len(rows)} clips per batch: continuing with {len(rows) // 2}.",
            file=sys.stderr,
        )
        return done(rows)

    return done


def process_shard(
    clips: Sequence[str],
    first: int,
    size: int,
    work: Work,
    finished: FinishedBatches,
    *,
    title: str,
) -> dict[str, np.ndarray]:
    """Arrays of all clips of a shard, batch by batch; finished batches are not repeated.

    Parameters
    ----------
    clips : sequence of str
        Names of the shard's clips.
    first : int
        Index of the first one in the whole list.
    size : int
        Clips of a padded batch.
    work : callable
        ``work(rows)``: named arrays (position, ...) for the rows of a padded batch.
    finished : FinishedBatches
    title : str
        Text of the progress bar on stderr.

    Returns
    -------
    dict of name to array, first axis = clips
    """
    work = halve_when_out_of_memory(work)
    batches = plan_batches(first, len(clips), size)
    done = [batch for batch in batches if batch.index in finished]
    rest = [batch for batch in batches if batch.index not in finished]
    n_done = sum(len(batch.kept) for batch in done)
    with tqdm(
        total=len(clips), initial=n_done, desc=title, unit="clip", mininterval=5, file=sys.stderr
    ) as bar:
        for batch in rest:
            kept = list(batch.kept)
            arrays = {name: array[kept] for name, array in work(batch.rows).items()}
            write_arrays(
                finished.path(batch.index), arrays, [clips[batch.rows[position]] for position in kept]
            )
            bar.update(len(kept))
    with open_arrays(finished.path(batches[0].index)) as file:
        names = [name for name in file if name != "clip"]
    return read_arrays([finished.path(batch.index) for batch in batches], names, clips)[1]
