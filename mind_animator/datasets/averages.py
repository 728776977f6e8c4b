"""Averages of the cleaned repeats of a segment, computed from the runs of a data set or read from a file."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mind_animator.artefacts.arrays import open_arrays, write_arrays
from mind_animator.datasets.base import Dataset, Segment
from mind_animator.errors import InputError
from mind_animator.fmri.clean import CleanedRun
from mind_animator.fmri.reliability import Average, average_repeats

if TYPE_CHECKING:
    from mind_animator.config.fmri import FmriConfig


@dataclass(frozen=True)
class SegmentAverage:
    """Mean of the repeats of a segment, and their quality.

    A segment for which the subject has no run has 0 repeats, no arrays and no reliability.

    Attributes
    ----------
    segment : Segment
    arrays : dict of name to array (clip, voxel) float32
        ``mean`` and, for test segments with repeats, ``half_1`` and ``half_2``; in memory or in an open file.
    voxels : ndarray of int, optional
        Voxels that ``arrays`` contain; all by default.
    reliability : ndarray (voxel,) float32
        Mean correlation between repeats.
    agreement : ndarray (run, voxel) float32, optional
        Mean correlation of each repeat with the others, for the same voxels as ``arrays``; for two repeats it equals
        the reliability.
    tsnr : ndarray (voxel,) float32, optional
    runs : list of dict
        One row of properties per run.
    n_repeats, n_missing : int
    """

    segment: Segment
    arrays: dict[str, Any]
    voxels: np.ndarray | None
    reliability: np.ndarray
    agreement: np.ndarray | None
    tsnr: np.ndarray | None
    runs: list[dict[str, Any]]
    n_repeats: int
    n_missing: int

    def of_voxels(self, name: str, chosen: np.ndarray) -> np.ndarray:
        """The selected voxels of an array (clip, voxel); NaN if the segment has no such array."""
        if name not in self.arrays:
            return np.full((self.segment.n_clips, len(chosen)), np.nan, np.float32)
        if self.voxels is not None:
            assert np.array_equal(self.voxels, chosen)
            return self.arrays[name]
        array = self.arrays[name]
        return (array if isinstance(array, np.ndarray) else array[:])[:, chosen]

    def of_runs(self, chosen: np.ndarray) -> list[np.ndarray]:
        """For each run, its correlation with the other repeats in the selected voxels (voxel,); NaN if there are no
        other repeats, or if there are several and `agreement` is not known."""
        if not self.runs:
            return []
        if self.agreement is None:
            known = self.reliability[chosen] if self.n_repeats < 3 else np.full(len(chosen), np.nan)
            return [known] * len(self.runs)
        return list(self.agreement if self.voxels is not None else self.agreement[:, chosen])


def average_segment(
    dataset: Dataset,
    subject: str,
    segment: Segment,
    settings: "FmriConfig",
    voxels: np.ndarray | None = None,
    *,
    means: bool = True,
) -> SegmentAverage:
    """Read, clean and average the runs of a segment; raises an `InputError` that names the run and the fault.

    Parameters
    ----------
    voxels : ndarray of int, optional
        Voxels for which means are returned, ascending; all by default.
    means : bool
        Whether means are required. If False, the means of runs that are cleaned during reading are computed later by
        `with_means`, which saves memory.
    """
    names: list[str] = []
    tsnr: list[np.ndarray | None] = []
    if not dataset.response_files(subject, segment.id):
        return SegmentAverage(segment, {}, None, np.empty(0, np.float32), None, None, [], 0, segment.n_clips)
    runs = dataset.runs(subject, segment.id, settings)
    first = list(islice(runs, 1))
    if not means and dataset.cleans_while_reading:
        voxels = np.arange(0)

    def values() -> Iterator[np.ndarray | CleanedRun]:
        for run in chain(first, runs):
            if run.values.shape[0] != segment.n_clips:
                raise InputError(
                    f"Expected {segment.n_clips} clips in {run.name} (subject {subject}), "
                    f"got {run.values.shape[0]}."
                )
            names.append(run.name)
            yield run.values
            tsnr.append(run.tsnr)

    try:
        # halves are used for noise ceilings of test clips only, so none are computed for training clips
        average = average_repeats(values(), halves=segment.split == "test", voxels=voxels)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{error} (subject {subject}, {segment.id}, {_names(names)})") from None
    facts = zip(names, average.missing, average.constant, tsnr, strict=True)
    known = [ratio for ratio in tsnr if ratio is not None]
    return SegmentAverage(
        segment,
        _arrays(average),
        voxels,
        average.reliability,
        average.agreement,
        np.mean(known, axis=0, dtype=np.float32) if known else None,
        [
            {"run": name, "missing_volumes": missing, "constant_voxels": constant}
            | ({} if ratio is None else {"median_tsnr": float(np.median(ratio))})
            for name, missing, constant, ratio in facts
        ],
        average.n_repeats,
        average.n_missing,
    )


def _names(names: list[str]) -> str:
    """Names of the runs that were read, for an error message."""
    return "repeats " + ", ".join(names[:10])


def with_means(
    average: SegmentAverage, voxels: np.ndarray, dataset: Dataset, subject: str, settings: "FmriConfig"
) -> SegmentAverage:
    """The average with the arrays of some voxels (ascending) and the agreement of each repeat in them; the runs are
    read again if the average does not contain these arrays."""
    compared = average.agreement is not None or average.n_repeats < 3
    if compared and (average.voxels is None or np.array_equal(average.voxels, voxels)):
        return average
    runs = (run.values for run in dataset.runs(subject, average.segment.id, settings))
    again = average_repeats(
        (run.only(voxels) if isinstance(run, CleanedRun) else run.T[voxels].T for run in runs),
        halves=average.segment.split == "test",
        voxels=np.arange(len(voxels)),
    )
    return replace(average, arrays=_arrays(again), voxels=voxels, agreement=again.agreement)


def _arrays(average: Average) -> dict[str, np.ndarray]:
    arrays = {"mean": average.mean, "half_1": average.half_1, "half_2": average.half_2}
    return {name: array for name, array in arrays.items() if array is not None}


def write_average(path: Path, average: SegmentAverage) -> None:
    """Write an average to HDF5."""
    by_voxel = {"reliability": average.reliability, "tsnr": average.tsnr, "agreement": average.agreement}
    attrs = {
        "segment": average.segment.id,
        "n_repeats": average.n_repeats,
        "n_missing": average.n_missing,
        "runs": json.dumps(average.runs),
    }
    known = {name: array for name, array in by_voxel.items() if array is not None}
    write_arrays(path, average.arrays, average.segment.clips, attrs, known)


def read_average(path: Path, segments: dict[str, Segment]) -> SegmentAverage:
    """Read an average written by `write_average`; its arrays per clip stay in the file until they are accessed."""
    file = open_arrays(path)
    name = file.attrs.get("segment")
    if name not in segments:
        raise InputError(f"Expected a segment of {list(segments)} in {path}, got '{name}'.")
    if len(file["mean"]) != segments[name].n_clips:
        raise InputError(f"Expected {segments[name].n_clips} clips in {path}, got {len(file['mean'])}.")
    return SegmentAverage(
        segments[name],
        {key: file[key] for key in ("mean", "half_1", "half_2") if key in file},
        None,
        file["reliability"][:],
        *(file[name][:] if name in file else None for name in ("agreement", "tsnr")),
        json.loads(file.attrs["runs"]),
        int(file.attrs["n_repeats"]),
        int(file.attrs["n_missing"]),
    )
