"""Detrending and z-scoring of runs, many vertices at once."""

from collections.abc import Iterator

import numpy as np

_BLOCK = (
    512  # vertices at a time: a block of 240 volumes and what is made of it stay in the second-level cache
)
_ROUNDING = 4 * float(np.finfo(np.float32).eps)


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
    """A run whose vertices lose their polynomial trend, and are z-scored, block by block as they are read.

    With Q the orthonormal polynomials and x one vertex::

        r = x - Q Q^T x,    z = r / sqrt(sum(r^2) / (n_volumes - ddof))

    Parameters
    ----------
    run : ndarray (volume, vertex), float
        Time fastest in memory (as in a CIFTI file) is fastest. A volume in which every vertex is NaN counts
        as missing: it has no part in trend and deviation and stays NaN.
    order : int
        Order of the polynomial.
    ddof : int
        0 divides by the number of volumes, 1 by that less one.
    volumes : ndarray of int, optional
        Volumes to give, one a clip; all by default. Those left out have part in trend and deviation too.
    where : str or path, optional
        What the run was read from, for errors.
    first : int
        Which volume of it the run's first one is, for errors.

    Attributes
    ----------
    shape : (int, int)
        Volumes (or clips) and vertices that it gives.
    present : ndarray (volume or clip,) bool
        Which of them are not missing.
    centred : bool
        Whether every vertex has mean 0 over what it gives.
    tsnr : ndarray (vertex,) float32
        Temporal signal-to-noise ratio: mean of the run over the deviation of r; 0 where a vertex is constant.
        Known once the run has been read.

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
    ) -> None:
        if run.ndim != 2:
            raise ValueError(f"Expected a run (volume, vertex), got shape {run.shape}.")
        self._run, self._ddof, self._volumes = run, ddof, volumes
        self._where, self._first = where, first
        self._there = np.isfinite(run[:, :_BLOCK]).any(axis=1)
        n_present = int(self._there.sum())
        if n_present <= order + 1:
            raise ValueError(f"Expected more than {order + 1} volumes, got {n_present}.")
        self._basis = np.linalg.qr(legendre_basis(len(run), order)[self._there])[0].astype(np.float32)
        self.present = self._there if volumes is None else self._there[volumes]
        self.centred = volumes is None
        self.shape = len(self.present), run.shape[1]
        self.tsnr = np.empty(run.shape[1], np.float32)

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the vertices of a block and their (vertex, volume) float32: mean 0, deviation 1, or 0
        throughout where a vertex is constant. The array is used again for the next block."""
        whole = bool(self._there.all())
        n_present, basis = len(self._basis), np.ascontiguousarray(self._basis.T)
        weights = np.full(n_present, 1 / n_present, np.float32)
        # fresh memory a block would cost more than the arithmetic
        scratch = np.empty((2, _BLOCK, n_present), np.float32)
        filled = np.full((_BLOCK, len(self._run)), np.nan, np.float32)
        for start in range(0, self._run.shape[1], _BLOCK):
            where = slice(start, start + _BLOCK)
            block = self._run[:, where].T
            if not whole:
                block = block[:, self._there]
            rest, trend = scratch[:, : len(block)]
            with np.errstate(invalid="ignore", over="ignore"):
                mean = np.asarray(block, np.float32) @ weights
                np.subtract(block, mean[:, None], out=rest, casting="same_kind")  # or float32 loses the rest
                np.matmul(rest @ basis.T, basis, out=trend)
                rest -= trend
                deviation = np.sqrt(np.vecdot(rest, rest) / np.float32(n_present - self._ddof))
            if not np.isfinite(deviation).all() or (
                not whole and np.isfinite(self._run[~self._there, where]).any()
            ):
                self._refuse()
            constant = deviation <= np.abs(mean) * _ROUNDING  # what rounding leaves of a constant vertex
            deviation[constant] = 1
            rest *= (~constant / deviation)[:, None]
            self.tsnr[where] = np.where(constant, 0, mean / deviation)
            if not whole:
                filled[: len(block), self._there] = rest
                rest = filled[: len(block)]
            yield where, rest if self._volumes is None else rest[:, self._volumes]

    def _refuse(self) -> None:
        """Say which volume is not finite in some vertices alone."""
        bad = ~np.isfinite(self._run)
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
        for where, block in self:
            cleaned[where] = block
        return cleaned.T


def clean_run(run: np.ndarray, order: int = 4, ddof: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A run cleaned as `CleanedRun` says, (volume, vertex) float32, and its tSNR, (vertex,) float32."""
    cleaned = CleanedRun(run, order, ddof)
    return cleaned.whole(), cleaned.tsnr
