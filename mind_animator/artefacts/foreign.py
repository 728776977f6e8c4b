"""Arrays that somebody else stored: npy, npz, HDF5, Matlab, safetensors, and torch files without code."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mind_animator.artefacts.texts import hdf5_texts
from mind_animator.errors import InputError

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".mat", ".safetensors", ".pt", ".pth")


def read_foreign(place: Path | str) -> Any:
    """Read one array (or list of texts) of a file.

    Parameters
    ----------
    place : path
        A file, or ``file::name`` for one of several arrays in it (npz, HDF5, Matlab, safetensors, a
        dictionary in a torch file). Without a name the file must hold exactly one. No format may bring
        code: pickled objects are refused.

    Returns
    -------
    ndarray, or list of str
        A ``.npy`` file is mapped, not read. Matlab's axes are as Matlab shows them.

    Raises
    ------
    InputError
        If the file is absent, broken, of another kind, or holds not exactly the array asked for.
    """
    file, _, name = str(place).partition("::")
    path = Path(file)
    readers = {
        ".npy": _npy, ".npz": _npz, ".h5": _hdf5, ".hdf5": _hdf5, ".mat": _mat,
        ".safetensors": _safetensors, ".pt": _torch, ".pth": _torch,
    }  # fmt: skip
    if path.suffix not in readers:
        raise InputError(f"Expected a file of {', '.join(SUFFIXES)}, got {path}.")
    if not path.is_file():
        raise InputError(f"Expected an array at {path}, found none.")
    try:
        return readers[path.suffix](path, name)
    except InputError:
        raise
    except Exception as error:  # each library has its own words for a broken file
        text = " ".join(str(error).split())[:200]
        raise InputError(f"Expected arrays in {path}, got {type(error).__name__}: {text}") from None


def _pick(path: Path, names: list[str], name: str) -> str:
    if name and name not in names:
        raise InputError(f"Expected an array '{name}' in {path}, got {sorted(names)}.")
    if not name and len(names) != 1:
        raise InputError(f"Expected one array in {path}, got {sorted(names)}: write {path.name}::name.")
    return name or names[0]


def _npy(path: Path, name: str) -> np.ndarray:
    if name:
        raise InputError(f"Expected no '::{name}' after {path}: a .npy file holds one array.")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _npz(path: Path, name: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as file:
        return file[_pick(path, list(file), name)]


def _hdf5(path: Path, name: str) -> Any:
    with h5py.File(path, "r") as file:
        names = [key for key in file if isinstance(file[key], h5py.Dataset)]
        found = (
            file[name]
            if name and isinstance(file.get(name), h5py.Dataset)
            else file[_pick(path, names, name)]
        )
        return hdf5_texts(found) if h5py.check_string_dtype(found.dtype) else found[()]


def _mat(path: Path, name: str) -> Any:
    import scipy.io

    if h5py.is_hdf5(path):  # version 7.3, whose axes lie the other way round
        array = _hdf5(path, name)
        return array.T if isinstance(array, np.ndarray) else array
    names = [key for key, _, _ in scipy.io.whosmat(path)]
    wanted = _pick(path, names, name)
    array = scipy.io.loadmat(path, variable_names=[wanted])[wanted]
    if array.dtype.kind == "U":
        return [str(text).rstrip() for text in array]
    if array.dtype == object:
        return [str(np.squeeze(cell)) for cell in array.ravel()]
    return array


def _safetensors(path: Path, name: str) -> np.ndarray:
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return file.get_tensor(_pick(path, list(file.keys()), name))


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
