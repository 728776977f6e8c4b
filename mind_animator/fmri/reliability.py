"""Agreement between repeats at each vertex, and selection of vertices for the decoders."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain

import numpy as np

from mind_animator.fmri.clean import CleanedRun, blocks, scratch_for

_ROUNDING = 8 * float(np.finfo(np.float32).eps)
_CLOSEST = 1 - 1e-12  # Fisher's z of a perfect correlation is infinite


@dataclass(frozen=True)
class Average:
    """Average of the repeats of a segment.

    Attributes
    ----------
    mean, half_1, half_2 : ndarray (clip, vertex) float32
        Means over all repeats, over the odd-numbered and over the even-numbered repeats; NaN in every vertex of a clip
        that is missing in all of these repeats. The halves are None if they were not requested or if there is only one
        repeat. Time is the fastest axis in memory, as in a run.
    reliability : ndarray (vertex,) float32
        Mean correlation between repeats; NaN if a repeat is constant or if there is only one.
    agreement : ndarray (repeat, vertex) float32, optional
        `agreement_of_repeats` for the vertices of the means; None for two repeats (it then equals the reliability), and
        for arrays if all vertices are requested.
    n_repeats : int
    n_missing : int
        Number of clips without a volume in any repeat; all their means are NaN.
    missing, constant : tuple of int
        Numbers of clips without a volume and of voxels without variance, for each repeat.
    """

    mean: np.ndarray
    half_1: np.ndarray | None
    half_2: np.ndarray | None
    reliability: np.ndarray
    agreement: np.ndarray | None
    n_repeats: int
    n_missing: int
    missing: tuple[int, ...]
    constant: tuple[int, ...]


def average_repeats(
    runs: Iterable[np.ndarray | CleanedRun], *, halves: bool = True, voxels: np.ndarray | None = None
) -> Average:
    """Average repeats.

    With u_i the n repeats after subtraction of their means and division by their norms, their mean correlation is::

        (|sum u_i|^2 - n) / (n (n - 1))

    Cleaned runs have equal norms except for missing volumes, so that one sum is used for both.

    Parameters
    ----------
    runs : iterable of ndarray (clip, vertex) float32, or of CleanedRun
        A missing volume is NaN in every vertex, is excluded from the means and counts as 0 in the correlation. The
        computation is fastest if time is the fastest axis in memory. Only one array is in memory at a time, in addition
        to ``voxels`` of all arrays.
    halves : bool
        Whether to also average the two halves of the repeats.
    voxels : ndarray of int, optional
        Vertices of the means, ascending; all by default.

    Raises
    ------
    ValueError
        If there is no run, if the shapes differ, or if two runs contain the same values.
    """
    runs = iter(runs)
    first = next(runs, None)
    if first is None:
        raise ValueError("Expected at least one run, got none.")
    tally = _Tally([], [], {})
    if isinstance(first, CleanedRun):
        parts = _side_by_side([first, *runs], halves, voxels, tally)
    else:
        parts = _one_after_another(chain([first], runs), first.shape, halves, voxels, tally)
    n_clips, n_vertices = first.shape
    kept = np.arange(n_vertices) if voxels is None else voxels
    reliability = np.empty(n_vertices, np.float32)
    agreement: list[np.ndarray] = []
    means = None
    for where, sums, repeats in parts:
        if means is None:
            present = np.array(tally.present)
            n_repeats = len(present)
            kinds = [present, present[::2], present[1::2]][: 3 if halves and n_repeats > 1 else 1]
            numbers = [np.where(n > 0, n, np.nan).astype(np.float32) for n in (k.sum(axis=0) for k in kinds)]
            means = [np.empty((len(kept), n_clips), np.float32) for _ in numbers]
        reliability[where] = sums.reliability(n_repeats)
        rows, inside = _those_of(where, voxels)
        totals = [sums.total[inside]]
        if len(means) > 1:
            totals += [sums.half[inside], totals[0] - sums.half[inside]]
        for mean, total, number in zip(means, totals, numbers, strict=True):
            np.divide(total, number, out=mean[rows])
        if repeats is not None and n_repeats > 2:
            agreement.append(agreement_of_repeats(repeats))
    mean, half_1, half_2 = [array.T for array in means] + [None] * (3 - len(means))
    return Average(
        mean,
        half_1,
        half_2,
        reliability,
        np.concatenate(agreement, axis=1) if agreement else None,
        n_repeats,
        int((~present).all(axis=0).sum()),
        tuple(int(n) for n in (~present).sum(axis=1)),
        tuple(tally.constant),
    )


def agreement_of_repeats(repeats: np.ndarray) -> np.ndarray:
    """Mean correlation of each repeat with the others, which identifies poor repeats.

    Parameters
    ----------
    repeats : ndarray (repeat, vertex, clip)
        At least two repeats, after subtraction of their means; 0 if a clip is missing.

    Returns
    -------
    ndarray (repeat, vertex) float32
        NaN if any repeat is constant.
    """
    with np.errstate(invalid="ignore"):
        units = repeats / np.sqrt(np.vecdot(repeats, repeats))[..., None]
    return ((np.vecdot(units, units.sum(axis=0)) - 1) / (len(repeats) - 1)).astype(np.float32)


def _those_of(where: slice, voxels: np.ndarray | None) -> tuple[slice, slice | np.ndarray]:
    """The given vertices (ascending) that are in a block: their positions in the given list and in the block."""
    if voxels is None:
        return where, slice(None)
    rows = slice(*np.searchsorted(voxels, (where.start, where.stop)))
    return rows, voxels[rows] - where.start


@dataclass(frozen=True)
class _Tally:
    """For each repeat, the available clips, (clip,) bool, and the number of constant vertices."""

    present: list[np.ndarray]
    constant: list[int]
    digests: dict[tuple[int, bytes], int]

    def refuse_copy(self, number: int, where: slice, values: np.ndarray) -> None:
        """Raise an error if another repeat has the same values in its first block of non-constant vertices.

        Two measurements never agree in every digit. Equal values mean that one presentation was counted twice, because
        a row was listed twice or a file was copied.
        """
        if number in self.digests.values() or not values.any():
            return
        key = where.start, sha256(np.ascontiguousarray(values)).digest()
        if (first := self.digests.setdefault(key, number)) != number:
            raise ValueError(
                f"Expected repeats that differ, got the same values in repeats {first + 1} and {number + 1}: "
                "is one presentation listed twice, or was one file copied?"
            )


@dataclass(frozen=True)
class _Sums:
    """Sums over repeats for some vertices.

    Attributes
    ----------
    total, half : ndarray (vertex, clip) float32
        Sums over all repeats and over the odd-numbered ones.
    units : ndarray (vertex, clip) float32, optional
        Sum of the repeats after subtraction of their means and division by their norms; None if the norms are equal.
    squares, norms : ndarray (vertex,) float64
        Sums of squares and norms of the repeats after subtraction of their means.
    flat : ndarray (vertex,) bool
        Vertices for which a repeat is constant.
    """

    total: np.ndarray
    half: np.ndarray | None
    units: np.ndarray | None
    squares: np.ndarray
    norms: np.ndarray
    flat: np.ndarray

    @classmethod
    def of_nothing(cls, n_vertices: int, n_clips: int, *, halves: bool, equal: bool) -> "_Sums":
        total, half, units = (np.zeros((n_vertices, n_clips), np.float32) for _ in range(3))
        squares, norms = np.zeros((2, n_vertices))
        flat = np.zeros(n_vertices, bool)
        return cls(total, half if halves else None, None if equal else units, squares, norms, flat)

    def of(self, where: slice) -> "_Sums":
        """The sums of some of the vertices, for in-place addition."""
        parts = {key: array if array is None else array[where] for key, array in vars(self).items()}
        return _Sums(**parts)

    def clear(self) -> "_Sums":
        for array in vars(self).values():
            if array is not None:
                array[:] = 0
        return self

    def add(self, block: np.ndarray, square: np.ndarray, number: int, rest: np.ndarray | None = None) -> None:
        """Add a repeat, with 0 for missing clips, by its index.

        ``rest`` is the repeat after subtraction of its mean (for repeats with different norms), and ``square`` is its
        sum of squares.
        """
        if self.units is not None:
            _add(self.units, rest / np.sqrt(np.where(square > 0, square, 1))[:, None])
        _add(self.total, block)
        if self.half is not None and number % 2 == 0:
            _add(self.half, block)
        _add(self.squares, square)
        _add(self.norms, np.sqrt(square))
        _add(self.flat, square == 0)

    def reliability(self, n_repeats: int) -> np.ndarray:
        """Mean correlation between the repeats, (vertex,) float64."""
        summed = self.total if self.units is None else self.units
        common = np.vecdot(summed, summed).astype(np.float64)
        if self.units is None:
            common, pairs = common - self.squares, self.norms**2 - self.squares
        else:
            common, pairs = common - n_repeats, np.full(len(common), n_repeats * (n_repeats - 1))
        known = ~self.flat & (n_repeats > 1)
        return np.where(known, common / np.where(known, pairs, 1), np.nan)


def _less_mean(block: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A repeat (vertex, clip) after subtraction of its mean over the available clips, and its sum of squares."""
    offset = block @ (present / max(present.sum(), 1)).astype(np.float32)
    rest = (block - offset[:, None]) * present
    square = np.vecdot(rest, rest)
    constant = square <= len(present) * (offset * _ROUNDING) ** 2
    square[constant], rest[constant] = 0, 0
    return rest, square


def _add(total: np.ndarray, part: np.ndarray) -> None:
    np.add(total, part, out=total)


def _side_by_side(
    runs: list[CleanedRun], halves: bool, voxels: np.ndarray | None, tally: _Tally
) -> Iterator[tuple[slice, _Sums, np.ndarray | None]]:
    """Sums of all runs, computed block by block of vertices so that they stay in the cache, and the requested vertices
    of more than two repeats, (repeat, vertex, clip)."""
    for run in runs:
        _check_shape(run, runs[0].shape)
    n_clips, n_vertices = runs[0].shape
    tally.present.extend(run.present for run in runs)
    equal = all(run.square is not None for run in runs)
    whole_runs = [bool(run.present.all()) for run in runs]
    scratch = scratch_for(runs)
    pieces = blocks(n_vertices)
    whole = _Sums.of_nothing(pieces[0].stop, n_clips, halves=halves, equal=equal)
    for where in pieces:
        sums = whole.of(slice(0, where.stop - where.start)).clear()
        inside = _those_of(where, voxels)[1]
        repeats = []
        for number, run in enumerate(runs):
            block = run.block(where, scratch)
            if not whole_runs[number]:
                block = np.where(run.present, block, 0)
            if equal:
                rest, square = block, np.where(run.constant[where], 0, run.square)
            else:
                rest, square = _less_mean(block, run.present)
            tally.refuse_copy(number, where, rest)
            sums.add(block, square, number, rest)
            if len(runs) > 2:
                repeats.append(rest[inside].copy())
        yield where, sums, np.stack(repeats) if repeats else None
    tally.constant.extend(int(run.constant.sum()) for run in runs)


def _one_after_another(
    runs: Iterable[np.ndarray],
    shape: tuple[int, int],
    halves: bool,
    voxels: np.ndarray | None,
    tally: _Tally,
) -> Iterator[tuple[slice, _Sums, np.ndarray | None]]:
    """As `_side_by_side`, for arrays. Only one array is in memory at a time, in addition to the requested vertices of
    all arrays if not all vertices are requested."""
    n_clips, n_vertices = shape
    whole = _Sums.of_nothing(n_vertices, n_clips, halves=halves, equal=False)
    pieces = blocks(n_vertices)
    repeats = []
    for number, run in enumerate(runs):
        _check_shape(run, shape)
        present, series = np.isfinite(run[:, 0]), run.T  # (vertex, clip): the order in memory
        tally.present.append(present)
        constant = 0
        for where in pieces:
            block = np.where(present, series[where], 0)
            rest, square = _less_mean(block, present)
            tally.refuse_copy(number, where, rest if n_clips > 1 else block)
            whole.of(where).add(block, square, number, rest)
            constant += int((square == 0).sum())
        tally.constant.append(constant)
        if voxels is not None:
            repeats.append(_less_mean(np.where(present, series[voxels], 0), present)[0])
    for where in pieces:
        rows = _those_of(where, voxels)[0]
        yield where, whole.of(where), np.stack([r[rows] for r in repeats]) if repeats else None


def _check_shape(run: np.ndarray | CleanedRun, shape: tuple[int, int]) -> None:
    if run.shape != shape:
        raise ValueError(f"Expected repeats of shape {shape}, got {run.shape}.")


def segment_t(correlations: np.ndarray) -> np.ndarray:
    """One-sample t over segments of the Fisher-z correlation between repeats::

        z = artanh(r),    t = mean(z) / (std(z, ddof=1) / sqrt(n_segments))

    Parameters
    ----------
    correlations : ndarray (segment, vertex)
        Correlations in [-1, 1]; at least two segments.

    Returns
    -------
    ndarray (vertex,) float64
        NaN if any correlation is NaN, or if all are equal.
    """
    if correlations.ndim != 2 or len(correlations) < 2:
        raise ValueError(f"Expected correlations (segment >= 2, vertex), got shape {correlations.shape}.")
    z = np.arctanh(np.clip(correlations.astype(np.float64), -_CLOSEST, _CLOSEST))
    deviation = z.std(axis=0, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = z.mean(axis=0) / (deviation / np.sqrt(len(z)))
    return np.where(deviation > 0, t, np.nan)


def most_reliable(t: np.ndarray, count: int) -> np.ndarray:
    """Indices, ascending, of the ``count`` vertices with the highest t (lower indices first in case of ties;
    NaN is excluded).

    Vertices are ranked by t and not by a two-sided p, because vertices with negative correlation between
    repeats must not be selected, and because clipped p values have ties.
    """
    usable = int(np.isfinite(t).sum())
    if not 1 <= count <= usable:
        raise ValueError(f"Expected 1 to {usable} voxels (those whose repeats vary), got count={count}.")
    ranked = np.where(np.isfinite(t), t, -np.inf)
    return np.sort(np.argsort(-ranked, kind="stable")[:count])


def significant(t: np.ndarray, n_segments: int, threshold: float) -> np.ndarray:
    """Indices of vertices whose one-sided p, multiplied by the number of tested vertices, is below ``threshold``."""
    from scipy.special import stdtr  # imported here, because its import takes longer than cleaning a segment

    tested = np.isfinite(t)
    p = np.where(tested, stdtr(n_segments - 1, -np.where(tested, t, 0)), 1)
    chosen = np.flatnonzero(p * tested.sum() < threshold)
    if not len(chosen):
        raise ValueError(
            f"Expected voxels with a corrected p below {threshold:g}, got none (the smallest is "
            f"{p.min() * tested.sum():.3g})."
        )
    return chosen


def in_rois(names: Sequence[str], rois: Sequence[str]) -> np.ndarray:
    """Indices of vertices in areas given by name, e.g. ``V1`` (both hemispheres) or ``L_V1`` (one)."""
    names = np.asarray(names)
    bare = np.strings.replace(np.strings.replace(names, "L_", "", 1), "R_", "", 1)
    unknown = [roi for roi in rois if roi not in set(bare) | set(names)]
    if unknown:
        raise ValueError(f"Expected names of areas (e.g. {sorted(set(bare))[:3]}), got {unknown}.")
    return np.flatnonzero(np.isin(bare, list(rois)) | np.isin(names, list(rois)))


def in_mask(mask: np.ndarray, n_voxels: int) -> np.ndarray:
    """Indices, ascending, of the voxels that a mask or a list of indices selects.

    Parameters
    ----------
    mask : ndarray (n,)
        A mask has one value per voxel, either booleans or numbers that are all 0 or 1. A list contains whole numbers
        from 0 to ``n_voxels - 1``, each at most once.
    n_voxels : int
        Number of voxels.

    Raises
    ------
    ValueError
        If the array is neither a mask nor a list, is ambiguous, or selects no voxel.
    """
    if mask.ndim != 1:
        raise ValueError(f"Expected a mask of one dimension, got shape {mask.shape}.")
    if mask.dtype.kind not in "buif":
        raise ValueError(f"Expected booleans or numbers in the mask, got {mask.dtype}.")
    binary = mask.dtype == bool or bool(np.isin(mask, (0, 1)).all())
    repeated = len(mask) - len(np.unique(mask))
    if binary and len(mask) == n_voxels and (mask.dtype == bool or repeated):
        chosen = np.flatnonzero(mask)
    elif mask.dtype == bool or (binary and repeated):
        raise ValueError(f"Expected a mask of {n_voxels} values, one per voxel, got {len(mask)}.")
    elif binary and len(mask) == n_voxels:
        raise ValueError(
            f"Expected a mask or a list of indices, got {mask.tolist()} for {n_voxels} voxels, which could be "
            "both: save the mask as booleans."
        )
    elif repeated:
        raise ValueError(f"Expected each index once, got {repeated} repeated values among {len(mask)}.")
    elif not np.array_equal(mask, np.floor(mask)):
        raise ValueError(f"Expected 0 and 1, or whole numbers that are indices, got {mask.dtype} values.")
    else:
        chosen = np.sort(mask).astype(np.int64)
        if len(chosen) and not 0 <= chosen[0] <= chosen[-1] < n_voxels:
            raise ValueError(f"Expected indices 0..{n_voxels - 1}, got {chosen[0]}..{chosen[-1]}.")
    if not len(chosen):
        raise ValueError("Expected a mask that selects at least one voxel, got an empty one.")
    return chosen
