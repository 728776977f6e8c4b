"""Detrending and z-scoring of runs, many vertices at once."""

from collections.abc import Sequence

import numpy as np

from mind_animator.artefacts.cifti import MappedRows, is_mapped

# Vertices at a time: what is made of them stays in the second-level cache. Always the same number, since BLAS
# may round blocks of other shapes otherwise.
_BLOCK = 512
_WIDTH = 8  # columns that BLAS multiplies by as fast as by one
_ROUNDING = 4 * float(np.finfo(np.float32).eps)


def blocks(n_vertices: int) -> list[slice]:
    """All vertices, block by block."""
    starts = range(0, n_vertices, _BLOCK)
    return [slice(start, min(start + _BLOCK, n_vertices)) for start in starts]


def legendre_basis(n_volumes: int, order: int) -> np.ndarray:
    """Orthonormal polynomials of degree 0..order on equally spaced volumes.

    Parameters
    ----------
    n_volumes : int
        Number of volumes; more than ``order``.
    order : int
        Highest degree.

    Returns
    -------
    ndarray (n_volumes, order + 1) float64
        Columns are orthonormal; the first is constant.
    """
    if not 0 <= order < n_volumes:
        raise ValueError(f"Expected 0 <= order < n_volumes = {n_volumes}, got order={order}.")
    places = np.linspace(-1, 1, n_volumes)
    return np.linalg.qr(np.polynomial.legendre.legvander(places, order))[0]


class CleanedRun:
    """A run without polynomial trend and confounds, z-scored, cleaned block by block as it is read.

    With Q an orthonormal basis of polynomials and confounds, and x one vertex::

        r = x - Q Q^T x,    z = r / sqrt(sum(r^2) / (n_volumes - ddof))

    Parameters
    ----------
    run : ndarray (volume, vertex), float
        Time fastest in memory (as in a CIFTI file) is fastest. A volume in which every vertex is NaN is
        missing: it has no influence on trend and deviation and stays NaN. A vertex that is NaN in every
        volume (a medial wall) is constant.
    order : int
        Order of the polynomial.
    ddof : int
        0 divides by the number of volumes, 1 by that less one.
    volumes : ndarray of int, optional
        Volumes to return, one per clip; all by default. The others still influence trend and deviation.
    where : str or path, optional
        File of the run, for errors.
    first : int
        Number of the run's first volume in the file, for errors.
    confounds : ndarray (volume, confound), optional
        Further time courses that are regressed out together with the polynomials.
    censored : ndarray (volume,) bool, optional
        Volumes that count as missing although they have values.

    Attributes
    ----------
    shape : (int, int)
        Volumes (or clips) and vertices that it returns.
    present : ndarray (volume or clip,) bool
        Which of them are not missing.
    square : float, optional
        Sum of squares of a varying vertex (whose mean is 0), if every volume is returned.
    constant : ndarray (vertex,) bool
        Vertices without variance: 0 throughout. Known once they have been read, as is
    tsnr : ndarray (vertex,) float32
        Temporal signal-to-noise ratio: mean of the run over the deviation of r; 0 where a vertex is constant.

    Raises
    ------
    ValueError
        If the run is not two-dimensional or has too few volumes; while it is read, if some vertices of a
        volume only are not finite.
    """

    def __init__(
        self,
        run: np.ndarray,
        order: int = 4,
        ddof: int = 0,
        volumes: np.ndarray | None = None,
        where: object = None,
        first: int = 0,
        confounds: np.ndarray | None = None,
        censored: np.ndarray | None = None,
    ) -> None:
        if run.ndim != 2:
            raise ValueError(f"Expected a run (volume, vertex), got shape {run.shape}.")
        mapped = is_mapped(run) and run.strides[0] == run.itemsize
        self._rows = MappedRows(run) if mapped else None
        self._run, self._volumes = np.asarray(run), volumes
        self._settings = {"order": order, "ddof": ddof, "volumes": volumes, "where": where, "first": first}
        self._settings |= {"confounds": confounds, "censored": censored}
        self._where, self._first = where, first
        self._there = np.isfinite(self._run[:, 0])
        for block in blocks(run.shape[1]):
            if self._there.all():
                break
            self._there = self._there | np.isfinite(self._run[:, block]).any(axis=1)
        self._empty = ~self._there  # in every vertex
        if censored is not None:
            self._there = self._there & ~censored
        self._whole = bool(self._there.all())
        n_present = int(self._there.sum())
        design = legendre_basis(len(run), order)[self._there]
        if confounds is not None:
            added = np.asarray(confounds, np.float64)[self._there]
            spread = added.std(axis=0)
            added = (added - added.mean(axis=0))[:, spread > 0] / spread[spread > 0]
            design = np.column_stack([design, added])
        if n_present <= design.shape[1]:
            raise ValueError(f"Expected more than {design.shape[1]} volumes, got {n_present}.")
        basis = _orthonormal(design)
        width = -(-basis.shape[1] // _WIDTH) * _WIDTH
        self._basis = np.pad(basis, ((0, 0), (0, width - basis.shape[1]))).astype(np.float32)
        self._back = np.ascontiguousarray(self._basis.T)
        self._divisor = n_present - ddof
        self.present = self._there if volumes is None else self._there[volumes]
        self.square = float(self._divisor) if volumes is None else None
        self.shape = len(self.present), run.shape[1]
        self.constant = np.zeros(run.shape[1], bool)
        self.tsnr = np.empty(run.shape[1], np.float32)

    def only(self, vertices: np.ndarray) -> "CleanedRun":
        """The run of some of its vertices, in memory."""
        return CleanedRun(self._run.T[vertices].T, **self._settings)

    def block(self, where: slice, scratch: np.ndarray) -> np.ndarray:
        """Vertices of one of `blocks`, (vertex, volume or clip) float32: mean 0, deviation 1, or 0 throughout
        where a vertex is constant. The result may share memory with ``scratch``."""
        block = (
            self._run[:, where].T
            if self._rows is None
            else self._rows(where, scratch[2 * _BLOCK * len(self._there) :].view(np.uint8))
        )
        if not self._whole:
            block = block[:, self._there]
        if block.dtype.kind != "f":  # whose differences may not fit their type
            block = block.astype(np.float32)
        rest, trend = scratch[: 2 * block.size].reshape(2, *block.shape)
        with np.errstate(invalid="ignore", over="ignore"):
            # less a volume of its own each vertex is small enough for float32
            np.subtract(block, block[:, :1], out=rest, casting="same_kind")
            weights = rest @ self._basis
            np.matmul(weights, self._back, out=trend)
            rest -= trend
            deviation = np.sqrt(np.vecdot(rest, rest) / np.float32(self._divisor))
        void = ~np.isfinite(deviation)
        if (void.any() and not np.isnan(block[void]).all()) or (
            self._empty.any() and np.isfinite(self._run[self._empty, where]).any()
        ):
            self._refuse()
        mean = block[:, 0] + weights[:, 0] * self._basis[0, 0]  # the first polynomial is constant
        if void.any():
            rest[void], mean[void], deviation[void] = 0, 0, 0
        constant = deviation <= np.abs(mean) * _ROUNDING  # what rounding leaves of a constant vertex
        deviation[constant] = 1
        rest *= (~constant / deviation)[:, None]
        self.constant[where] = constant
        self.tsnr[where] = np.where(constant, 0, mean / deviation)
        if not self._whole:
            filled = np.full((len(rest), len(self._there)), np.nan, np.float32)
            filled[:, self._there] = rest
            rest = filled
        return rest if self._volumes is None else rest[:, self._volumes]

    def _refuse(self) -> None:
        """Say which volume is not finite in some vertices alone."""
        bad = ~np.isfinite(self._run)
        bad[:, bad.all(axis=0)] = bad.all(axis=1)[:, None]  # vertices without any value are not to blame
        partly = np.flatnonzero(bad.any(axis=1) & ~bad.all(axis=1))
        volume = int(partly[0])
        raise ValueError(
            f"Expected volumes that are finite or missing in every vertex, got volume {volume + self._first} "
            f"with {int(bad[volume].sum())} of {len(bad[volume])} vertices not finite, the first "
            f"{int(np.argmax(bad[volume]))}" + (f" ({self._where})." if self._where else ".")
        )

    def whole(self) -> np.ndarray:
        """All of it, (volume or clip, vertex) float32, time fastest in memory."""
        cleaned = np.empty(self.shape[::-1], np.float32)
        scratch = scratch_for([self])
        for where in blocks(len(cleaned)):
            cleaned[where] = self.block(where, scratch)
        return cleaned.T


def _orthonormal(design: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the columns, the first one first; columns that the others explain are left out."""
    basis, upper = np.linalg.qr(design)
    size = np.abs(np.diag(upper))
    return np.ascontiguousarray(basis[:, size > 1e-7 * np.sqrt(len(design))])


def scratch_for(runs: Sequence[CleanedRun]) -> np.ndarray:
    """Memory that blocks of any of the runs can be made in; fresh memory a block would cost more than it."""
    rows = [-(-run._rows.row_bytes // 4) if run._rows else 0 for run in runs]
    return np.empty(_BLOCK * (2 * max(len(run._there) for run in runs) + max(rows)), np.float32)


def clean_run(run: np.ndarray, order: int = 4, ddof: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A run cleaned as `CleanedRun` says, (volume, vertex) float32, and its tSNR, (vertex,) float32."""
    cleaned = CleanedRun(run, order, ddof)
    return cleaned.whole(), cleaned.tsnr
