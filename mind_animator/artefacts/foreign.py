"""Arrays stored by other programs: npy, npz, HDF5, Matlab, safetensors, and torch files (read as data only)."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mind_animator.artefacts.pickles import read_pickled_npy
from mind_animator.artefacts.texts import hdf5_texts
from mind_animator.errors import InputError


def read_foreign(source: Path | str) -> Any:
    """Read one array (or list of texts) from a file.

    Parameters
    ----------
    source : path
        A file, or ``file::name`` for one of several arrays in it: a key of an npz, HDF5, safetensors or torch
        file, or of the dictionary in a ``.npy`` file (GLMsingle: ``TYPED_FITHRF_GLMDENOISE_RR.npy::betasmd``).
        In HDF5 and Matlab files a name may select a member of groups and structs (``data.responses``) and one cell,
        counted from 1 as in Matlab (``runs(2)``). Without a name the file must contain exactly one array.
        Pickled objects other than numpy arrays in plain containers are rejected, because a pickle can execute code.

    Returns
    -------
    ndarray, or list of str
        A ``.npy`` file is memory-mapped. Arrays of Matlab files have Matlab's order of axes. bfloat16 becomes float32.
        A cell array of texts becomes a list; a cell array of equally shaped arrays is stacked along a new first axis.

    Raises
    ------
    InputError
        If the file is missing or damaged, or does not contain exactly the requested array.
    """
    return _open(source, _READERS)


def foreign_shape(source: Path | str) -> tuple[int, ...] | None:
    """Shape of an array of a file, from the header only; None if the shape is known only after reading the file."""
    readers = {
        ".npy": _npy_shape,
        ".h5": _hdf5_shape,
        ".hdf5": _hdf5_shape,
        ".safetensors": _safetensors_shape,
    }
    return _open(source, readers) if Path(str(source).partition("::")[0]).suffix in readers else None


def foreign_names(source: Path | str) -> list[str]:
    """Names of the top-level arrays of an HDF5, npz or safetensors file, in the order of the file."""
    path = Path(str(source).partition("::")[0])
    readers = {
        ".h5": _hdf5_names, ".hdf5": _hdf5_names, ".npz": lambda p, _: list(np.load(p)),
        ".safetensors": lambda p, _: list(_safetensors_header(p)[0]),
    }  # fmt: skip
    return _open(path, readers)


def _open(source: Path | str, readers: dict[str, Callable[[Path, str], Any]]) -> Any:
    file, _, name = str(source).partition("::")
    path = Path(file)
    if path.suffix not in readers:
        raise InputError(f"Expected a file of type {', '.join(readers)}, got {path}.")
    if not path.is_file():
        raise InputError(f"Expected an array at {path}, found none.")
    try:
        return readers[path.suffix](path, name)
    except InputError:
        raise
    except Exception as error:  # each library raises different exceptions for a damaged file
        text = " ".join(str(error).split())[:200]
        raise InputError(f"Expected arrays in {path}, got {type(error).__name__}: {text}") from None


def _pick(path: Path, names: list[str], name: str) -> str:
    if name and name not in names:
        raise InputError(f"Expected an array '{name}' in {path}, got {sorted(names)}.")
    if not name and len(names) != 1:
        raise InputError(f"Expected one array in {path}, got {sorted(names)}: write {path.name}::name.")
    return name or names[0]


def _npy(path: Path, name: str) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "object" not in str(error).lower():
            raise
        array = _pickled(path, name)
    else:
        if name:
            raise InputError(f"Expected no '::{name}' after {path}: the file holds one array and no names.")
    return array


def _pickled(path: Path, name: str) -> np.ndarray:
    """An array of a pickled dictionary (or a pickled list of equal arrays), read as data and never executed."""
    remedy = (
        "it was saved with Python objects (a pickle). Save the numbers alone, for example "
        f"np.save('{path.name}', np.stack(list_of_arrays).astype('float32')), or a dictionary with np.savez."
    )
    try:
        content = read_pickled_npy(path)
    except InputError as error:
        raise InputError(f"Cannot read {path}: {remedy} ({error})") from None
    if isinstance(content, dict):
        content = content[_pick(path, [key for key in content if isinstance(key, str)], name)]
    elif isinstance(content, np.ndarray) and content.dtype == object:
        shapes = {np.shape(item) for item in content.ravel()}
        content = np.stack(list(content.ravel())) if len(shapes) == 1 else content
    if not isinstance(content, np.ndarray) or content.dtype.kind not in "biuf":
        raise InputError(f"Cannot read {path}: {remedy}")
    return content


def _npy_shape(path: Path, name: str) -> tuple[int, ...]:
    return np.shape(_npy(path, name))


def _npz(path: Path, name: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as file:
        return file[_pick(path, list(file), name)]


def _hdf5_names(path: Path, _: str) -> list[str]:
    with h5py.File(path, "r") as file:
        return [key for key in file if isinstance(file[key], h5py.Dataset)]


def _hdf5_member(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    if name and isinstance(file.get(name), h5py.Dataset):
        return file[name]
    return file[_pick(path, [key for key in file if isinstance(file[key], h5py.Dataset)], name)]


def _hdf5(path: Path, name: str) -> Any:
    with h5py.File(path, "r") as file:
        found = _hdf5_member(file, path, name)
        return hdf5_texts(found) if h5py.check_string_dtype(found.dtype) else found[()]


def _hdf5_shape(path: Path, name: str) -> tuple[int, ...]:
    with h5py.File(path, "r") as file:
        return _hdf5_member(file, path, name).shape


def _mat(path: Path, name: str) -> Any:
    return _mat_73(path, name) if h5py.is_hdf5(path) else _mat_5(path, name)


def _steps(name: str) -> list[str | int]:
    """``data.runs(2)`` as ``["data", "runs", 1]``."""
    steps: list[str | int] = []
    for part in re.split(r"[./]", name):
        found = re.fullmatch(r"([^()]+)(?:\((\d+)\))?", part)
        steps += [part] if found is None else [found[1], *([int(found[2]) - 1] if found[2] else [])]
    return steps


def _mat_5(path: Path, name: str) -> Any:
    import scipy.io

    first, *rest = _steps(name) if name else [""]
    top = _pick(path, [key for key, _, _ in scipy.io.whosmat(path)], str(first))
    found = scipy.io.loadmat(path, variable_names=[top])[top]
    for step in rest:
        found = _step_into(found, step, path, name)
    if found.dtype.names:
        fields = ", ".join(f"{name or top}.{field}" for field in found.dtype.names)
        raise InputError(f"Expected an array in {path}, got a struct '{name or top}': write one of {fields}.")
    if found.dtype.kind == "U":
        return [str(text).rstrip() for text in found]
    return _from_cells(list(found.ravel()), path, name or top) if found.dtype == object else found


def _step_into(found: np.ndarray, step: str | int, path: Path, name: str) -> np.ndarray:
    if isinstance(step, int):
        if (found.dtype != object and not found.dtype.names) or not 0 <= step < found.size:
            raise InputError(f"Expected '{name}' in {path}, got {found.size} cells: they count from 1.")
        return found.ravel()[step] if found.dtype == object else found.ravel()[step : step + 1]
    if step not in (found.dtype.names or ()):
        raise InputError(
            f"Expected '{name}' in {path}, got no field '{step}', only {found.dtype.names or ()}."
        )
    inner = found[step]
    if inner.size != 1:
        raise InputError(
            f"Expected one struct on the way to '{name}' in {path}, got {inner.size}: pick one, (1)."
        )
    return inner.ravel()[0] if inner.dtype == object else inner


def _from_cells(cells: list[Any], path: Path, name: str) -> Any:
    """A cell array: texts become a list, arrays of equal shape are stacked."""
    arrays = [np.asarray(cell) for cell in cells]
    if all(array.dtype.kind == "U" for array in arrays):
        return [str(np.squeeze(array)) if array.size else "" for array in arrays]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or any(array.dtype.kind not in "biuf" for array in arrays):
        shown = sorted(shapes)[:3]
        raise InputError(
            f"Expected a cell array of equal arrays or of texts in {path}, got '{name}' with shapes {shown}: "
            f"write {path.name}::{name}(1) for one cell."
        )
    return np.stack(arrays)


def _mat_73(path: Path, name: str) -> Any:
    """Matlab version 7.3: an HDF5 file with reversed axes, in which cells are references and texts are numbers."""
    with h5py.File(path, "r") as file:

        def read(found: Any, where: str) -> Any:
            if isinstance(found, h5py.Group):
                fields = ", ".join(f"{where}.{field}" for field in found)
                raise InputError(
                    f"Expected an array in {path}, got a struct '{where}': write one of {fields}."
                )
            if h5py.check_ref_dtype(found.dtype):
                cells = [read(file[cell], where) for cell in found[()].T.ravel()]
                return _from_cells(cells, path, where)
            if h5py.check_string_dtype(found.dtype):
                return hdf5_texts(found)
            if found.attrs.get("MATLAB_class") == b"char":
                return np.array("".join(map(chr, found[()].T.ravel())))
            return found[()].T

        tops = [key for key in file if not key.startswith("#")]
        first, *rest = _steps(name) if name else [""]
        found = file[_pick(path, tops, str(first))]
        for step in rest:
            if isinstance(step, int):
                if not isinstance(found, h5py.Dataset) or not h5py.check_ref_dtype(found.dtype) or not (
                    0 <= step < found.size
                ):  # fmt: skip
                    raise InputError(f"Expected '{name}' in {path}, got no such cell: they count from 1.")
                found = file[found[()].T.ravel()[step]]
            elif isinstance(found, h5py.Group) and step in found:
                found = found[step]
            else:
                fields = list(found) if isinstance(found, h5py.Group) else []
                raise InputError(f"Expected '{name}' in {path}, got no field '{step}', only {fields}.")
        content = read(found, name or _pick(path, tops, ""))
        return [str(content)] if isinstance(content, np.ndarray) and content.dtype.kind == "U" else content


_SAFE_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "i1", "U8": "u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "?",
}  # fmt: skip


def _safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """Entries by name, and the byte offset of the values."""
    with open(path, "rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if not 2 <= size <= path.stat().st_size - 8:
            raise InputError(f"Expected a safetensors file at {path}, got a header of {size} bytes.")
        header = json.loads(stream.read(size))
    header.pop("__metadata__", None)
    return header, 8 + size


def _safetensors(path: Path, name: str) -> np.ndarray:
    """Read the documented format directly, because the library's numpy reader rejects bfloat16, which numpy lacks."""
    header, start = _safetensors_header(path)
    entry = header[_pick(path, list(header), name)]
    if entry["dtype"] not in _SAFE_TYPES:
        raise InputError(f"Expected numbers of {', '.join(_SAFE_TYPES)} in {path}, got {entry['dtype']}.")
    first, last = entry["data_offsets"]
    kind, shape = np.dtype(_SAFE_TYPES[entry["dtype"]]), tuple(entry["shape"])
    if last - first != kind.itemsize * int(np.prod(shape)) or start + last > path.stat().st_size:
        raise InputError(f"Expected a whole safetensors file at {path}, got one that is cut short.")
    array = np.fromfile(path, kind, int(np.prod(shape)), offset=start + first).reshape(shape)
    return (array.astype(np.uint32) << 16).view(np.float32) if entry["dtype"] == "BF16" else array


def _safetensors_shape(path: Path, name: str) -> tuple[int, ...]:
    header, _ = _safetensors_header(path)
    return tuple(header[_pick(path, list(header), name)]["shape"])


def _torch(path: Path, name: str) -> Any:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if isinstance(content, dict):
        content = content[_pick(path, list(content), name)]
    elif name:
        raise InputError(
            f"Expected a dictionary in {path}, got {type(content).__name__} and a name '{name}'."
        )
    if isinstance(content, torch.Tensor):
        return content.float().numpy() if content.dtype == torch.bfloat16 else content.numpy()
    if isinstance(content, (list, tuple)) and all(isinstance(text, str) for text in content):
        return list(content)
    raise InputError(f"Expected a tensor or a list of texts in {path}, got {type(content).__name__}.")


_READERS: dict[str, Callable[[Path, str], Any]] = {
    ".npy": _npy, ".npz": _npz, ".h5": _hdf5, ".hdf5": _hdf5, ".mat": _mat,
    ".safetensors": _safetensors, ".pt": _torch, ".pth": _torch,
}  # fmt: skip
