"""Detrending and z-scoring of runs, all vertices at once."""

import numpy as np

_BLOCK = 1024  # vertices at a time: a block of 240 volumes stays in the second-level cache


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


def clean_run(run: np.ndarray, order: int = 4, ddof: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Remove a polynomial trend from every vertex of a run and divide by the deviation of what is left.

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

    Returns
    -------
    cleaned : ndarray (volume, vertex) float32
        Mean 0, deviation 1; 0 throughout where a vertex is constant. Time is fastest in memory.
    tsnr : ndarray (vertex,) float32
        Temporal signal-to-noise ratio: mean of the run over the deviation of r; 0 where a vertex is constant.

    Raises
    ------
    ValueError
        If the run is not two-dimensional, has NaN in some vertices of a volume only, or too few volumes.
    """
    if run.ndim != 2:
        raise ValueError(f"Expected a run (volume, vertex), got shape {run.shape}.")
    present = _present(run)
    n_present = int(present.sum())
    if n_present <= order + 1:
        raise ValueError(f"Expected more than {order + 1} volumes, got {n_present}.")
    whole = n_present == len(run)
    basis = np.linalg.qr(legendre_basis(len(run), order)[present])[0].astype(np.float32)
    cleaned = np.empty((run.shape[1], n_present), np.float32)
    tsnr = np.empty(run.shape[1], np.float32)
    scratch = np.empty(
        (_BLOCK, n_present), np.float32
    )  # fresh memory a block would cost more than the arithmetic
    for start in range(0, run.shape[1], _BLOCK):
        where = slice(start, start + _BLOCK)
        block = run[:, where].T if whole else run[present, where].T
        rest, trend = cleaned[where], scratch[: len(block)]
        mean = block.mean(axis=1, dtype=np.float32)
        np.subtract(block, mean[:, None], out=rest)  # first, or float32 loses what the trend leaves
        np.matmul(rest @ basis, basis.T, out=trend)
        rest -= trend
        deviation = np.sqrt(np.einsum("vt,vt->v", rest, rest) / np.float32(n_present - ddof))
        constant = deviation <= np.abs(mean) * _ROUNDING  # what rounding alone leaves of a constant vertex
        deviation[constant] = 1
        rest *= (~constant / deviation)[:, None]
        tsnr[where] = np.where(constant, 0, mean / deviation)
    if not whole:
        filled = np.full(run.shape[::-1], np.nan, np.float32)
        filled[:, present] = cleaned
        cleaned = filled
    return cleaned.T, tsnr


_ROUNDING = 4 * float(np.finfo(np.float32).eps)


def _present(run: np.ndarray) -> np.ndarray:
    """Which volumes are not missing, (volume,) bool."""
    if np.isfinite(run.sum(axis=0)).all():
        return np.ones(len(run), bool)
    bad = ~np.isfinite(run)
    absent = bad.all(axis=1)
    partly = bad.any(axis=1) & ~absent
    if partly.any():
        volume = int(np.flatnonzero(partly)[0])
        raise ValueError(
            f"Expected volumes that are finite or missing in every vertex, got volume {volume} with "
            f"{int(bad[volume].sum())} of {run.shape[1]} vertices not finite."
        )
    return ~absent
