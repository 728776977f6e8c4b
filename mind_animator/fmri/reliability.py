"""How well repeated runs agree, vertex by vertex, and which vertices that leaves to the decoders."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mind_animator.fmri.clean import CleanedRun

_ROUNDING = 8 * float(np.finfo(np.float32).eps)
_CLOSEST = 1 - 1e-12  # Fisher's z of a perfect correlation is infinite


@dataclass(frozen=True)
class Average:
    """Repeats of a segment, averaged.

    Attributes
    ----------
    mean, half_1, half_2 : ndarray (clip, vertex) float32
        Mean over all repeats, over the 1st, 3rd, ... and over the 2nd, 4th, ...; the halves are None where
        they were not asked for or there is one repeat only. Time is fastest in memory, as in a run.
    reliability : ndarray (vertex,) float32
        Mean correlation between repeats; NaN where a repeat is constant or there is one only.
    n_repeats : int
    n_missing : int
        Clips that every repeat lacks; they are 0, the mean of a run.
    missing, constant : tuple of int
        Of each repeat: clips without a volume, voxels without variance.
    """

    mean: np.ndarray
    half_1: np.ndarray | None
    half_2: np.ndarray | None
    reliability: np.ndarray
    n_repeats: int
    n_missing: int
    missing: tuple[int, ...]
    constant: tuple[int, ...]


def average_repeats(runs: Iterable[np.ndarray | CleanedRun], *, halves: bool = True) -> Average:
    """Average repeats one after another, so that no more than one is in memory.

    With u_i the n repeats less their own means, divided by their norms, the mean of their correlations is::

        (|sum u_i|^2 - n) / (n (n - 1))

    Cleaned runs have equal norms already, up to missing volumes, and the sum of them serves for both.

    Parameters
    ----------
    runs : iterable of ndarray (clip, vertex) float32, or of CleanedRun
        A missing volume is NaN in every vertex, is left out of the means and counts as 0 in the correlation.
        Time fastest in memory is fastest.
    halves : bool
        Whether to average the two halves of the repeats as well.

    Raises
    ------
    ValueError
        If there is no run, or their shapes differ.
    """
    total = half = None
    missing: list[int] = []
    constant: list[int] = []
    for run in runs:
        n_clips, n_vertices = run.shape
        if total is None:
            total = np.empty((n_vertices, n_clips), np.float32)  # time fastest, as in a run
            half = np.empty(total.shape, np.float32) if halves else None
            counts, half_counts = np.zeros((2, n_clips))
            squares, norms = np.zeros((2, n_vertices))
            flat = np.zeros(n_vertices, bool)
            equal = isinstance(run, CleanedRun) and run.centred
            units = None if equal else np.zeros(total.shape, np.float32)
        if total.shape != (n_vertices, n_clips):
            raise ValueError(f"Expected repeats of shape {total.shape[::-1]}, got {run.shape}.")
        present = run.present if isinstance(run, CleanedRun) else np.isfinite(run[:, 0])
        whole, first_half, n_flat = bool(present.all()), len(missing) % 2 == 0, 0
        weights = (present / max(present.sum(), 1)).astype(np.float32)
        for where, values in run if isinstance(run, CleanedRun) else _blocks_of(run):
            block = values if whole else np.where(present, values, 0)
            if units is None:
                square = np.vecdot(block, block)
            else:
                offset = block @ weights
                rest = (block - offset[:, None]) * present
                square = np.vecdot(rest, rest)
                square[square <= n_clips * (offset * _ROUNDING) ** 2] = 0
                units[where] += rest / np.sqrt(np.where(square > 0, square, 1))[:, None]
            squares[where] += square
            norms[where] += np.sqrt(square)
            flat[where] |= square == 0
            n_flat += int((square == 0).sum())
            for so_far in (total, half) if halves and first_half else (total,):
                if missing:
                    so_far[where] += block
                else:
                    so_far[where] = block
        counts += present
        half_counts += present * first_half
        missing.append(int((~present).sum()))
        constant.append(n_flat)
    if total is None:
        raise ValueError("Expected at least one run, got none.")
    n_repeats = len(missing)
    halves = halves and n_repeats > 1
    common = np.empty(len(total))
    other = np.empty_like(total) if halves else None
    numbers = [np.maximum(n, 1).astype(np.float32) for n in (counts, half_counts, counts - half_counts)]
    for where in _blocks(len(total)):
        block = total[where]
        summed = block if units is None else units[where]
        common[where] = np.vecdot(summed, summed)
        if halves:
            np.subtract(block, half[where], out=other[where])
            other[where] /= numbers[2]
            half[where] /= numbers[1]
        block /= numbers[0]
    known = ~flat & (n_repeats > 1)
    if units is None:
        common, pairs = common - squares, norms**2 - squares
    else:
        common, pairs = common - n_repeats, np.full(len(common), n_repeats * (n_repeats - 1))
    reliability = np.where(known, common / np.where(known, pairs, 1), np.nan).astype(np.float32)
    return Average(
        total.T,
        half.T if halves else None,
        other.T if halves else None,
        reliability,
        n_repeats,
        int((counts == 0).sum()),
        tuple(missing),
        tuple(constant),
    )


def _blocks_of(run: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    series = run.T  # (vertex, clip): as it lies in memory
    for where in _blocks(len(series)):
        yield where, series[where]


def _blocks(length: int) -> list[slice]:
    """Vertices in pieces that stay in the second-level cache while they are worked on."""
    return [slice(start, start + 512) for start in range(0, length, 512)]


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
        NaN where any correlation is, or where all are equal.
    """
    if correlations.ndim != 2 or len(correlations) < 2:
        raise ValueError(f"Expected correlations (segment >= 2, vertex), got shape {correlations.shape}.")
    z = np.arctanh(np.clip(correlations.astype(np.float64), -_CLOSEST, _CLOSEST))
    deviation = z.std(axis=0, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = z.mean(axis=0) / (deviation / np.sqrt(len(z)))
    return np.where(deviation > 0, t, np.nan)


def most_reliable(t: np.ndarray, count: int) -> np.ndarray:
    """Indices, ascending, of the ``count`` vertices with the highest t (ties to the lower index; NaN never).

    Ranked by t, not by a two-sided p: a vertex that reverses from repeat to repeat must not enter, and a
    clipped p has ties.
    """
    usable = int(np.isfinite(t).sum())
    if not 1 <= count <= usable:
        raise ValueError(f"Expected 1 to {usable} voxels (those whose repeats vary), got count={count}.")
    ranked = np.where(np.isfinite(t), t, -np.inf)
    return np.sort(np.argsort(-ranked, kind="stable")[:count])


def significant(t: np.ndarray, n_segments: int, threshold: float) -> np.ndarray:
    """Indices of vertices whose one-sided p, times the number of vertices tested, is below ``threshold``."""
    from scipy.special import stdtr  # here: it takes longer to import than a segment to clean

    tested = np.isfinite(t)
    p = np.where(tested, stdtr(n_segments - 1, -np.where(tested, t, 0)), 1)
    chosen = np.flatnonzero(p * tested.sum() < threshold)
    if not len(chosen):
        raise ValueError(
            f"Expected voxels with a corrected p below {threshold:g}, got none (the smallest is "
            f"{p.min() * tested.sum():.3g})."
        )
    return chosen


def in_areas(names: Sequence[str], areas: Sequence[str]) -> np.ndarray:
    """Indices of vertices in areas given by name, e.g. ``V1`` (both hemispheres) or ``L_V1`` (one)."""
    names = np.asarray(names)
    bare = np.strings.replace(np.strings.replace(names, "L_", "", 1), "R_", "", 1)
    unknown = [area for area in areas if area not in set(bare) | set(names)]
    if unknown:
        raise ValueError(f"Expected names of areas (e.g. {sorted(set(bare))[:3]}), got {unknown}.")
    return np.flatnonzero(np.isin(bare, list(areas)) | np.isin(names, list(areas)))


def in_mask(mask: np.ndarray, n_voxels: int) -> np.ndarray:
    """Indices that a mask of booleans (one a voxel) or a list of indices picks, ascending."""
    if mask.ndim != 1:
        raise ValueError(f"Expected a mask of one dimension, got shape {mask.shape}.")
    if mask.dtype == bool:
        if len(mask) != n_voxels:
            raise ValueError(f"Expected a mask of {n_voxels} booleans, got {len(mask)}.")
        chosen = np.flatnonzero(mask)
    elif mask.dtype.kind in "ui":
        chosen = np.unique(mask).astype(np.int64)
        if len(chosen) and not 0 <= chosen[0] <= chosen[-1] < n_voxels:
            raise ValueError(f"Expected indices 0..{n_voxels - 1}, got {chosen[0]}..{chosen[-1]}.")
    else:
        raise ValueError(f"Expected booleans or indices, got {mask.dtype}.")
    if not len(chosen):
        raise ValueError("Expected a mask that picks at least one voxel, got an empty one.")
    return chosen
