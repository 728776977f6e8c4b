"""Pickles as data: plain containers and numpy arrays are read, everything else is rejected.

A pickle can execute code, but only through objects that `find_class` returns. Here `find_class` returns only the
functions that build arrays, so that reading a pickle cannot run other code.
"""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np

from mind_animator.errors import InputError


def read_pickle(path: Path | str) -> Any:
    """Read a pickle of plain containers, numbers, text and numpy arrays, including pickles of Python 2.

    Parameters
    ----------
    path : path
        Any protocol. Byte strings of Python 2 are read as Latin-1, the encoding of numpy arrays.

    Returns
    -------
    Any
        Dictionaries, lists, tuples, numbers, text and arrays.

    Raises
    ------
    InputError
        If the file is absent or corrupt, or contains any other object (in which case no code of it has been run).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"Expected a pickle at {path}, found none.")
    with open(path, "rb") as stream:
        return _load(stream, path)


def read_pickled_npy(path: Path | str) -> Any:
    """Read a ``.npy`` file whose array contains Python objects (``np.save`` of a dictionary), as `read_pickle` does.

    Returns
    -------
    Any
        The object of a zero-dimensional array, otherwise the array.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"Expected a .npy file at {path}, found none.")
    with open(path, "rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, kind = read(stream)
        except ValueError as error:
            raise InputError(f"Expected a .npy file at {path}, got: {error}.") from None
        if not kind.hasobject:
            stream.seek(0)
            return np.lib.format.read_array(stream, allow_pickle=False)
        array = _load(stream, path)
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise InputError(f"Expected an array of shape {shape} in {path}, got {type(array).__name__}.")
    return array.item() if array.shape == () else array


def _load(stream: IO[bytes], path: Path) -> Any:
    try:
        return _Arrays(stream, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise InputError(f"Expected a pickle of arrays alone in {path}, got: {error}.") from None
    except Exception as error:  # a corrupt pickle may raise any exception
        raise InputError(f"Expected a whole pickle in {path}, got {type(error).__name__}: {error}.") from None


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Decode byte strings of Python 2; other codecs (which may decompress huge data) are rejected."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text encoded as {encoding}")
    return text.encode("latin1")


def _frombuffer(buffer: bytes, kind: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """Build an array as protocol 5 stores it."""
    return np.frombuffer(buffer, kind).reshape(shape, order=order)


def _reconstruct(subtype: type, shape: tuple[int, ...], kind: bytes | str) -> np.ndarray:
    """Build an array as older protocols store it: an empty array, which is filled afterwards."""
    if subtype is not np.ndarray:
        raise pickle.UnpicklingError(f"an array of type {subtype!r}")
    return np.ndarray.__new__(np.ndarray, shape, kind)


def _scalar(kind: np.dtype, value: bytes | str) -> Any:
    """A numpy number."""
    raw = value.encode("latin1") if isinstance(value, str) else value
    return np.frombuffer(raw, kind)[0]


_ALLOWED = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
}


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"a request for {module}.{name}")
        return _ALLOWED[module, name]
