"""Detrending and z-scoring of runs, vectorised over vertices."""

from collections.abc import Sequence

import numpy as np

from mind_animator.artefacts.cifti import MappedRows, is_mapped

# Vertices per block: intermediate results stay in the second-level cache. The number is constant, because
# BLAS may round differently for blocks of other shapes.
_BLOCK = 512
_WIDTH = 8  # number of columns that BLAS multiplies as fast as a single one
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
    positions = np.linspace(-1, 1, n_volumes)
    return np.linalg.qr(np.polynomial.legendre.legvander(positions, order))[0]


class CleanedRun:
    """A run without polynomial trend and confounds, z-scored, cleaned block by block as it is read.

    With Q an orthonormal basis of polynomials and confounds, and x one vertex::

        r = x - Q Q^T x,    z = r / sqrt(sum(r^2) / (n_volumes - ddof))

    Parameters
    ----------
    run : ndarray (volume, vertex), float
        The computation is fastest if time is the fastest axis in memory (as in a CIFTI file). A volume in which every
        vertex is NaN is missing: it does not affect trend and standard deviation and stays NaN. A vertex that is NaN in
        every volume (the medial wall) is treated as constant.
    order : int
        Order of the polynomial.
    ddof : int
        Delta degrees of freedom: the divisor is the number of volumes minus ``ddof``.
    volumes : ndarray of int, optional
        Volumes to return, one per clip; all by default. All volumes are used for trend and standard deviation.
    where : str or path, optional
        File of the run, for error messages.
    first : int
        Index of the run's first volume in the file, for error messages.
    confounds : ndarray (volume, confound), optional
        Further time courses, which are regressed out jointly with the polynomials.
    censored : ndarray (volume,) bool, optional
        Volumes that are treated as missing although they have values.

    Attributes
    ----------
    shape : (int, int)
        Numbers of returned volumes (or clips) and vertices.
    present : ndarray (volume or clip,) bool
        Volumes or clips that are not missing.
    square : float, optional
        Sum of squares of a non-constant vertex (with mean 0), if every volume is returned.
    constant : ndarray (vertex,) bool
        Vertices without variance, which are 0 in all volumes. Available after the run has been read.
    tsnr : ndarray (vertex,) float32
        Temporal signal-to-noise ratio: mean of the run divided by the standard deviation of r; 0 for constant vertices.
        Available after the run has been read.

    Raises
    ------
    ValueError
        If the run is not two-dimensional or has too few volumes; during reading, if only some vertices of a volume are
        not finite.
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
        """The time series of some vertices, in memory."""
        return CleanedRun(self._run.T[vertices].T, **self._settings)

    def block(self, where: slice, scratch: np.ndarray) -> np.ndarray:
        """Vertices of one of `blocks`, (vertex, volume or clip) float32, with mean 0 and standard deviation 1, or all 0
        for constant vertices. The result may share memory with ``scratch``."""
        block = (
            self._run[:, where].T
            if self._rows is None
            else self._rows(where, scratch[2 * _BLOCK * len(self._there) :].view(np.uint8))
        )
        if not self._whole:
            block = block[:, self._there]
        if block.dtype.kind != "f":  # differences of integers may overflow
            block = block.astype(np.float32)
        rest, trend = scratch[: 2 * block.size].reshape(2, *block.shape)
        with np.errstate(invalid="ignore", over="ignore"):
            # after subtraction of one volume the values are small enough for float32
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
        """Raise an error for the first volume that is not finite in some vertices only."""
        bad = ~np.isfinite(self._run)
        bad[:, bad.all(axis=0)] = bad.all(axis=1)[:, None]  # vertices without any value are not reported
        partly = np.flatnonzero(bad.any(axis=1) & ~bad.all(axis=1))
        volume = int(partly[0])
        raise ValueError(
            f"Expected volumes that are finite or missing in every vertex, got volume {volume + self._first} "
            f"with {int(bad[volume].sum())} of {len(bad[volume])} vertices not finite, the first "
            f"{int(np.argmax(bad[volume]))}" + (f" ({self._where})." if self._where else ".")
        )

    def whole(self) -> np.ndarray:
        """The whole cleaned run, (volume or clip, vertex) float32; time is the fastest axis in memory."""
        cleaned = np.empty(self.shape[::-1], np.float32)
        scratch = scratch_for([self])
        for where in blocks(len(cleaned)):
            cleaned[where] = self.block(where, scratch)
        return cleaned.T


def _orthonormal(design: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the columns that keeps the first one; linearly dependent columns are dropped."""
    basis, upper = np.linalg.qr(design)
    size = np.abs(np.diag(upper))
    return np.ascontiguousarray(basis[:, size > 1e-7 * np.sqrt(len(design))])


def scratch_for(runs: Sequence[CleanedRun]) -> np.ndarray:
    """Reusable buffer for the blocks of all runs, because allocating memory per block is slow."""
    rows = [-(-run._rows.row_bytes // 4) if run._rows else 0 for run in runs]
    return np.empty(_BLOCK * (2 * max(len(run._there) for run in runs) + max(rows)), np.float32)


def clean_run(run: np.ndarray, order: int = 4, ddof: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A run cleaned by `CleanedRun`, (volume, vertex) float32, and its tSNR, (vertex,) float32."""
    cleaned = CleanedRun(run, order, ddof)
    return cleaned.whole(), cleaned.tsnr
