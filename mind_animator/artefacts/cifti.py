"""CIFTI-2 dense time series: grayordinates x volumes; time is the fastest axis on disk."""

import os
import weakref
from functools import lru_cache
from io import BytesIO
from mmap import ALLOCATIONGRANULARITY
from pathlib import Path
from xml.parsers.expat import ExpatError, ParserCreate

import nibabel as nib
import numpy as np
from nibabel.cifti2 import BrainModelAxis, Cifti2Header, SeriesAxis
from nibabel.nifti1 import Nifti1Extension
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from mind_animator.artefacts.cortex import N_CORTEX
from mind_animator.artefacts.files import atomic, expect_file
from mind_animator.errors import InputError


def read_cortex(path: Path | str, *, n_vertices: int = N_CORTEX, finite: bool = True) -> np.ndarray:
    """The cortical rows of a dense time series, mapped from the file without a copy.

    Parameters
    ----------
    path : path
        A ``.dtseries.nii`` file.
    n_vertices : int
        Required total number of vertices of the left and right cortex: 59,412 for 32k fs_LR.
    finite : bool
        Whether to check that all values are finite, which requires a pass through the file.

    Returns
    -------
    ndarray (volume, vertex), as stored (float32 in the published files), read-only
        Time is the fastest axis in memory.

    Raises
    ------
    InputError
        If the file is absent, is not a CIFTI dense time series, is truncated, does not contain the expected cortex, or
        contains values that are not finite; the message names the file.
    """
    path = Path(path)
    expect_file(path, "a CIFTI file")
    header, xml = _read_head(path)
    length, fault = _layout(xml, n_vertices)
    if fault:
        raise InputError(f"Expected {fault[0]} in {path}, got {fault[1]}.")
    n_volumes, n_rows = (int(size) for size in header["dim"][5:7])
    if n_rows != length:
        raise InputError(f"Expected {length} rows (its XML) in {path}, got {n_rows} (its NIfTI header).")
    offset, kind = int(header["vox_offset"]), header.get_data_dtype()
    needed = offset + n_volumes * n_rows * kind.itemsize
    if path.stat().st_size < needed:
        raise InputError(
            f"Expected {needed} bytes in {path}, got {path.stat().st_size}: the file is cut short."
        )
    values = np.memmap(path, kind, "r", offset, (n_vertices, n_volumes)).T
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isfinite(slope) and slope != 0 and (slope, intercept) != (1.0, 0.0):
        values = values * np.float32(slope) + np.float32(intercept)
    if (
        finite and not np.isfinite(values.sum(axis=0)).all()
    ):  # one pass; positions are located only if there is a fault
        volumes, vertices = np.nonzero(~np.isfinite(values))
        if len(volumes):
            raise InputError(
                f"Expected finite values in {path}, got {len(volumes)} that are not, the first in volume "
                f"{volumes[0]} at row {vertices[0]}."
            )
    return values


def is_mapped(series: np.ndarray) -> bool:
    """Whether values are mapped from a file; a copy of them in memory also has the type ``memmap``."""
    return isinstance(series, np.memmap) and series._mmap is not None


class MappedRows:
    """Rows of a series from `read_cortex`, read in small groups, which is faster than mapping their pages.

    Parameters
    ----------
    series : memmap (volume, vertex)
        The series, or a slice of its volumes.

    Attributes
    ----------
    row_bytes : int
        Bytes per row in the file.
    """

    def __init__(self, series: np.memmap) -> None:
        self._n_volumes, self._kind, self.row_bytes = len(series), series.dtype, series.strides[1]
        within = series.ctypes.data - np.frombuffer(series._mmap, np.uint8).ctypes.data
        self._start = series.offset - series.offset % ALLOCATIONGRANULARITY + within
        self._file = series.filename
        self._stream = os.open(self._file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._stream)

    def __call__(self, where: slice, memory: np.ndarray) -> np.ndarray:
        """The rows (vertex, volume), in ``memory`` (uint8)."""
        part = memory[: (where.stop - where.start) * self.row_bytes]
        rows = part.view(self._kind).reshape(where.stop - where.start, -1)[:, : self._n_volumes]
        needed = part.nbytes - self.row_bytes + rows[0].nbytes  # the last row may end with the file
        got = 0
        while got < needed:
            more = os.preadv(self._stream, [part[got:]], self._start + where.start * self.row_bytes + got)
            if not more:
                raise InputError(
                    f"Expected {self._file} to stay unchanged while it is read, but it was truncated."
                )
            got += more
        return rows


def read_rois(labels: Path | str, series: Path | str) -> list[str]:
    """Area of every cortical row of a dense time series, from the vertex labels of a label file.

    Parameters
    ----------
    labels : path
        A ``.dlabel.nii`` file on the same mesh. ``L_V1_ROI`` is area ``V1`` of the left hemisphere; a name without
        ``L_`` or ``R_`` gets the hemisphere of its vertex.
    series : path
        A ``.dtseries.nii`` file.

    Returns
    -------
    list of str
        ``L_V1``, ...; ``L_none`` if the file has no label for a vertex.

    Raises
    ------
    InputError
        If a file cannot be read, is not on the same mesh, or assigns a left area to a right vertex.
    """
    axes = []
    for path in (labels, series):
        try:
            image = nib.load(path)
            axes.append(image.header.get_axis(1))
        except Exception as error:  # nibabel raises many types of exceptions for corrupt and absent files
            raise InputError(f"Expected a CIFTI file at {path}, got: {_line(error)}.") from None
        if path == labels:
            table = image.header.get_axis(0)
            if not hasattr(table, "label"):
                raise InputError(f"Expected labels in {path}, got an axis of {type(table).__name__}.")
            keys, name_of = np.asarray(image.dataobj)[0].astype(int), table.label[0]
    rois: list[str] = []
    for side in ("LEFT", "RIGHT"):
        structure = f"CIFTI_STRUCTURE_CORTEX_{side}"
        meshes = [axis.nvertices.get(structure) for axis in axes]
        if None in meshes or meshes[0] != meshes[1]:
            raise InputError(
                f"Expected {structure} of {meshes[1]} vertices ({series}) in {labels}, got {meshes[0]}."
            )
        at = dict(
            zip(axes[0].vertex[axes[0].name == structure], keys[axes[0].name == structure], strict=True)
        )
        for vertex in axes[1].vertex[axes[1].name == structure]:
            name = name_of.get(at.get(vertex, 0), ("none",))[0]
            name = "none" if name in ("", "???") else name.removesuffix("_ROI")
            if name.startswith(("L_", "R_")) and name[0] != side[0]:
                raise InputError(f"Expected areas of the {side.lower()} in {labels}, got '{name}' there.")
            rois.append(name if name.startswith(("L_", "R_")) else f"{side[0]}_{name}")
    return rois


def write_series(
    path: Path | str,
    series: np.ndarray,
    axis: BrainModelAxis,
    repetition_time: float,
    rows: np.ndarray | None = None,
) -> None:
    """Write a dense time series, float32, uncompressed, time fastest on disk.

    Parameters
    ----------
    series : ndarray (grayordinate, volume) float32
        C-contiguous arrays are fastest, because they are written without a copy.
    axis : BrainModelAxis
        Description of the grayordinates. The same axis object is converted to XML only once.
    repetition_time : float
        Seconds.
    rows : ndarray of int, optional
        Grayordinates of ``series``, ascending; the others are 0 and use no disk space.
    """
    n_rows = len(axis) if rows is None else len(rows)
    if series.ndim != 2 or len(series) != n_rows:
        raise ValueError(f"Expected a series of {n_rows} grayordinates, got shape {series.shape}.")
    head = _head(axis, series.shape[1], repetition_time)
    values = np.ascontiguousarray(series, np.float32)
    with atomic(path) as temporary, open(temporary, "wb") as stream:
        stream.write(head)
        if rows is None:
            values.tofile(stream)
        else:
            stream.truncate(len(head) + len(axis) * values[0].nbytes)
            for row, row_values in zip(rows, values, strict=True):
                stream.seek(len(head) + int(row) * values[0].nbytes)
                stream.write(row_values.tobytes())


class _Key:
    """An axis as a dictionary key by identity, because comparing two axes by value is slow."""

    def __init__(self, axis: BrainModelAxis) -> None:
        self.axis = axis

    def __hash__(self) -> int:
        return id(self.axis)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.axis is self.axis


def _head(axis: BrainModelAxis, n_volumes: int, repetition_time: float) -> bytes:
    return _head_of(_Key(axis), n_volumes, repetition_time)


@lru_cache(maxsize=8)
def _head_of(key: _Key, n_volumes: int, repetition_time: float) -> bytes:
    """Header and extension of a float32 file, i.e. everything before the data."""
    header = Cifti2Header.from_axes((SeriesAxis(0, repetition_time, n_volumes), key.axis))
    nifti = Nifti2Header()
    nifti.set_data_dtype(np.float32)
    nifti["dim"] = [6, 1, 1, 1, 1, n_volumes, len(key.axis), 1]
    nifti["scl_slope"], nifti["scl_inter"] = 1, 0
    nifti.set_intent("NIFTI_INTENT_CONNECTIVITY_DENSE_SERIES", name="ConnDenseSeries")
    extension = Nifti1Extension("cifti", header.to_xml())
    nifti.extensions.append(extension)
    nifti["vox_offset"] = nifti.sizeof_hdr + 4 + extension.get_sizeondisk()
    stream = BytesIO()
    nifti.write_to(stream)
    return stream.getvalue().ljust(int(nifti["vox_offset"]), b"\0")


def _read_head(path: Path) -> tuple[Nifti2Header, bytes]:
    """NIfTI-2 header and the unparsed CIFTI XML."""
    with open(path, "rb") as stream:
        block = stream.read(Nifti2Header.sizeof_hdr)
        try:
            header = Nifti2Header(block, check=True)
        except (HeaderDataError, WrapStructError) as error:
            raise InputError(f"Expected a CIFTI dense time series in {path}, got: {_line(error)}.") from None
        stream.seek(4, 1)
        size, code = np.frombuffer(
            stream.read(8).ljust(8, b"\0"), np.dtype(np.int32).newbyteorder(header.endianness)
        )
        if code != 32 or header["dim"][0] != 6 or size < 8:
            raise InputError(
                f"Expected a CIFTI dense time series in {path}, got a NIfTI file without CIFTI's XML."
            )
        return header, stream.read(int(size) - 8).rstrip(b"\0")


@lru_cache(maxsize=4)
def _layout(xml: bytes, n_vertices: int) -> tuple[int, tuple[str, str] | None]:
    """Number of rows, and a fault (expected, found) if they differ from the required rows, otherwise None.

    Only the XML tags are read, because nibabel's parsing of all vertices takes longer than cleaning ten runs.
    """
    kinds: dict[int, str] = {}
    models: list[tuple[int, int, str]] = []

    def open_tag(name: str, attributes: dict[str, str]) -> None:
        if name == "MatrixIndicesMap":
            kind = attributes["IndicesMapToDataType"].removeprefix("CIFTI_INDEX_TYPE_").lower()
            kinds.update(
                (int(dimension), kind) for dimension in attributes["AppliesToMatrixDimension"].split(",")
            )
        elif name == "BrainModel":
            first, count = int(attributes["IndexOffset"]), int(attributes["IndexCount"])
            models.append((first, count, attributes["BrainStructure"]))

    parser = ParserCreate()
    parser.StartElementHandler = open_tag
    try:
        parser.Parse(xml, True)
    except (ExpatError, ValueError, KeyError) as error:
        return 0, ("CIFTI's XML", f"a text that cannot be parsed: {_line(error)}")
    found_kinds = [kinds[dimension] for dimension in sorted(kinds)]
    if found_kinds != ["series", "brain_models"]:
        return 0, ("a series of volumes over a brain model", f"axes of {', '.join(found_kinds)}")
    n_rows, end, found = sum(count for _, count, _ in models), 0, []
    for first, count, structure in sorted(models):
        cortex = ("CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT")
        if structure in cortex and first == end:
            found.append(structure)
            end += count
    if len(found) != 2 or found[0] > found[1] or end != n_vertices:
        description = f"{end} cortical rows at the start of {n_rows}"
        return n_rows, (f"left and right cortex as the first {n_vertices} rows", description)
    return n_rows, None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
