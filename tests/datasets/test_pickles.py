"""Pickles as data: arrays come through in every protocol, programs do not."""

import os
import pickle
import re
import struct

import numpy as np
import pytest

from mind_animator.artefacts.pickles import read_pickle, read_pickled_npy
from mind_animator.errors import InputError


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "uint8", "bool", "<U3", "S2", "complex64"])
def test_arrays_come_back_bit_for_bit(tmp_path, protocol, kind, rng):
    array = rng.integers(0, 2, (3, 4)).astype(kind)
    for layout in (array, np.asfortranarray(array), array[::2]):
        content = {"train": layout, "names": ["a", ("b", 1.5, None)], "number": np.float32(2.5)}
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
        back = read_pickle(tmp_path / "a.pkl")
        assert back["train"].dtype == array.dtype
        assert np.array_equal(back["train"], layout)
        assert back["names"] == content["names"] and back["number"] == np.float32(2.5)


def test_a_pickle_of_python_2_is_read(tmp_path):
    """As Python 2 writes: protocol 2, byte strings for keys and data, numpy's old module names."""
    array = np.arange(6, dtype="<f8").reshape(2, 3)
    data = array.tobytes()
    program = (
        b"\x80\x02}q\x00U\x05trainq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04"
        b"U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02K\x03\x86q\x08cnumpy\ndtype\nq\tU\x02f8q\nK\x00K\x01\x87q\x0bRq\x0c"
        b"(K\x03U\x01<q\rNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89T"
        + struct.pack("<I", len(data)) + data + b"q\x0ftq\x10bs."
    )  # fmt: skip
    (tmp_path / "a.pkl").write_bytes(program)
    assert np.array_equal(read_pickle(tmp_path / "a.pkl")["train"], array)


class _Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, "posix.system"),
        (eval, "builtins.eval"),
        (os.mkdir, "posix.mkdir"),
        (getattr, "builtins.getattr"),
    ],
)
def test_a_malicious_pickle_is_refused_and_nothing_of_it_runs(tmp_path, protocol, function, name):
    marker = tmp_path / "marker"
    arguments = {
        os.system: (f"touch {marker}",),
        eval: (f"open({str(marker)!r}, 'w')",),
        os.mkdir: (str(marker),),
    }
    evil = _Evil(function, *arguments.get(function, (marker, "touch")))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"train": np.zeros(3), "x": evil}, protocol))
    module = name if protocol > 2 else name.replace("builtins", "__builtin__")
    with pytest.raises(
        InputError, match=r"^Expected a pickle of arrays alone in .*a\.pkl, got: a request for "
    ) as raised:
        read_pickle(tmp_path / "a.pkl")
    assert name in str(raised.value) or module in str(raised.value)
    assert not marker.exists()


def test_numpy_offers_no_way_around(tmp_path):
    """Names inside numpy's own modules that could run or load something."""
    for module, name in (
        ("numpy", "load"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.testing", "runstring"),
    ):
        program = f"c{module}\n{name}\n.".encode()
        (tmp_path / "a.pkl").write_bytes(program)
        with pytest.raises(InputError, match=re.escape(f"a request for {module}.{name}")):
            read_pickle(tmp_path / "a.pkl")


def test_broken_and_absent_files_are_reported(tmp_path):
    whole = pickle.dumps({"train": np.arange(1000)}, 2)
    for cut in (0, 1, 50, len(whole) - 1):
        (tmp_path / "a.pkl").write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"Expected a (whole )?pickle"):
            read_pickle(tmp_path / "a.pkl")
    with pytest.raises(InputError, match="found none"):
        read_pickle(tmp_path / "b.pkl")


def test_an_npy_file_of_objects_is_read_the_same_way(tmp_path):
    content = {"1": np.arange(4).reshape(2, 2)}
    np.save(tmp_path / "a.npy", content, allow_pickle=True)
    assert np.array_equal(read_pickled_npy(tmp_path / "a.npy")["1"], content["1"])
    np.save(tmp_path / "b.npy", np.arange(3))
    assert np.array_equal(read_pickled_npy(tmp_path / "b.npy"), np.arange(3))
    np.save(tmp_path / "c.npy", np.array([_Evil(os.system, "false")], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a request for posix\.system"):
        read_pickled_npy(tmp_path / "c.npy")
