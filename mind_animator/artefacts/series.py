"""Headers of time series (NIfTI, CIFTI, GIFTI), read without the data, and reading of volumes and surfaces."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from xml.parsers.expat import ExpatError

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from mind_animator.artefacts.files import expect_file
from mind_animator.errors import InputError

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}
_BROKEN = (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ExpatError, ValueError, IndexError)
_CHUNK = 16  # volumes that are decompressed together


@dataclass(frozen=True)
class SeriesHeader:
    """Properties of a time series from the header of its file.

    Attributes
    ----------
    volumes : int
        Number of volumes; 0 if the header does not state it (GIFTI).
    rows : int
        Grayordinates or parcels of CIFTI; 0 otherwise.
    step : float or None
        Seconds between volumes; None if not stated.
    start : float or None
        Seconds from the start of the acquisition to the first volume; None if it is not stated, or stated as 0,
        which is the value that many programs write if it is unknown.
    certain : bool
        Whether the unit of time is stated; otherwise a sidecar file has precedence over ``step``.
    """

    volumes: int = 0
    rows: int = 0
    step: float | None = None
    start: float | None = None
    certain: bool = True


def read_header(path: Path | str) -> SeriesHeader:
    """Header of a time series; raises `InputError` if the file is absent, corrupt or not a time series."""
    path = Path(path)
    expect_file(path, "a run")
    if path.name.endswith(".gii"):
        return SeriesHeader()
    try:
        image = nib.load(path)
        if isinstance(image, nib.Cifti2Image):
            axis = image.header.get_axis(0)
            if not isinstance(axis, nib.cifti2.SeriesAxis):
                raise InputError(f"Expected a series of volumes in {path}, got {type(axis).__name__}.")
            if axis.unit != "SECOND":
                raise InputError(f"Expected volumes in seconds in {path}, got the unit {axis.unit}.")
            volumes, rows = image.shape
            return SeriesHeader(int(volumes), int(rows), float(axis.step), float(axis.start) or None)
    except InputError:
        raise
    except Exception as error:  # nibabel raises many types of exceptions for corrupt headers
        raise InputError(f"Expected a readable image at {path}, got: {_line(error)}.") from None
    if image.ndim != 4:
        raise InputError(f"Expected a series of volumes in {path}, got an image of shape {image.shape}.")
    unit = image.header.get_xyzt_units()[1]
    if unit not in _SECONDS:
        raise InputError(f"Expected volumes in seconds in {path}, got the unit {unit}.")
    step = float(image.header["pixdim"][4]) * _SECONDS[unit]
    start = float(image.header["toffset"]) * _SECONDS[unit]
    return SeriesHeader(int(image.shape[3]), 0, step or None, start or None, unit != "unknown")


def read_shape(path: Path | str) -> tuple[int, ...]:
    """Shape from the fixed part of a NIfTI header (for CIFTI all six axes); empty if there is none.

    It is much faster than `read_header` for CIFTI files, because their XML is not parsed.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.name.endswith(".gz") else open(path, "rb") as stream:
            block = stream.read(nib.Nifti2Header.sizeof_hdr)
        kind = (
            nib.Nifti2Header if block[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") else nib.Nifti1Header
        )
        return tuple(int(size) for size in kind(block[: kind.sizeof_hdr], check=False).get_data_shape())
    except (*_BROKEN, WrapStructError):
        return ()


def read_volumes(path: Path | str, inside: np.ndarray) -> np.ndarray:
    """Voxels of a NIfTI series inside a mask, read a few volumes at a time, so that the whole image is never in memory.

    Parameters
    ----------
    path : path
        ``.nii`` or ``.nii.gz``.
    inside : ndarray (x, y, z) bool

    Returns
    -------
    ndarray (volume, voxel) float32
        Time is the fastest axis in memory.

    Raises
    ------
    InputError
        If the file is absent or corrupt, or the shape of its volumes differs from that of the mask.
    """
    path = Path(path)
    expect_file(path, "a run")
    try:
        image = nib.load(path, keep_file_open=True)  # consecutive volumes: nothing is decompressed twice
        if image.ndim != 4 or image.shape[:3] != inside.shape:
            raise InputError(f"Expected volumes of {inside.shape} (the mask) in {path}, got {image.shape}.")
        series = np.empty((int(inside.sum()), image.shape[3]), np.float32)
        for first in range(0, image.shape[3], _CHUNK):
            part = np.asarray(image.dataobj[..., first : first + _CHUNK], np.float32)
            series[:, first : first + _CHUNK] = part[inside]
    except InputError:
        raise
    except (*_BROKEN, gzip.BadGzipFile) as error:
        raise InputError(f"Expected a whole NIfTI file at {path}, got: {_line(error)}.") from None
    return series.T


def read_surface(path: Path | str) -> np.ndarray:
    """Vertices of a GIFTI series, (volume, vertex) float32; time is the fastest axis in memory.

    The file contains one array per volume, or one two-dimensional array whose longer dimension is the vertices.
    """
    path = Path(path)
    expect_file(path, "a run")
    try:
        arrays = [np.asarray(array.data, np.float32) for array in nib.load(path).darrays]
    except Exception as error:  # nibabel raises many types of exceptions for corrupt files
        raise InputError(f"Expected a whole GIFTI file at {path}, got: {_line(error)}.") from None
    if len(arrays) == 1 and arrays[0].ndim == 2:
        array = arrays[0]
        return np.ascontiguousarray(array if array.shape[0] > array.shape[1] else array.T).T
    if not arrays or any(array.shape != arrays[0].shape or array.ndim != 1 for array in arrays):
        shapes = sorted({array.shape for array in arrays})
        raise InputError(f"Expected one array of vertices per volume in {path}, got shapes {shapes}.")
    return np.stack(arrays, axis=1).T


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split())[:160] or type(error).__name__).rstrip(".")
