"""Files are whole or absent; arrays and tables come back as they went."""

import os
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from mind_animator.artefacts.arrays import LastClips, iterate_clips, read_arrays, read_attrs, write_arrays
from mind_animator.artefacts.files import atomic, read_json, write_json
from mind_animator.artefacts.tables import read_table, write_rows, write_table
from mind_animator.errors import InputError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file.txt"]


def test_a_written_file_has_ordinary_permissions(tmp_path: Path):
    (tmp_path / "plain").write_text("")
    with atomic(tmp_path / "file") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_shards_join_in_the_order_asked_for(tmp_path: Path, rng: np.random.Generator):
    values = rng.integers(0, 255, (6, 2, 3), dtype=np.uint8)
    names = [f"m-{i:05d}" for i in range(6)]
    write_arrays(tmp_path / "b.h5", {"x": values[3:]}, names[3:], {"unit": "grey level"})
    write_arrays(tmp_path / "a.h5", {"x": values[:3]}, names[:3])
    paths = [tmp_path / "b.h5", tmp_path / "a.h5"]
    order = [5, 0, 2, 4]
    clips, arrays = read_arrays(paths, ["x"], [names[i] for i in order])
    assert clips == [names[i] for i in order]
    np.testing.assert_array_equal(arrays["x"], values[order])
    assert read_attrs(tmp_path / "b.h5")["unit"] == "grey level"
    streamed = list(iterate_clips(paths, "x", [names[i] for i in order]))
    assert [name for name, _ in streamed] == clips
    np.testing.assert_array_equal(np.stack([array for _, array in streamed]), values[order])


def test_a_missing_clip_array_or_file_is_named(tmp_path: Path):
    write_arrays(tmp_path / "a.h5", {"x": np.zeros((1, 2))}, ["m-00000"])
    with pytest.raises(InputError, match="Expected clip 'm-00009'"):
        read_arrays(tmp_path / "a.h5", ["x"], ["m-00000", "m-00009"])
    with pytest.raises(InputError, match=r"Expected an array 'y' in .*a\.h5, got \['clip', 'x'\]"):
        read_arrays(tmp_path / "a.h5", ["y"])
    with pytest.raises(InputError, match=r"Expected an HDF5 file at .*none\.h5, found none"):
        read_arrays(tmp_path / "none.h5", ["x"])


def test_a_truncated_file_is_an_input_error(tmp_path: Path):
    write_arrays(tmp_path / "a.h5", {"x": np.zeros((100, 50))}, [str(i) for i in range(100)])
    whole = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"Expected a whole HDF5 file at .*a\.h5"):
        read_arrays(tmp_path / "a.h5", ["x"])


def test_unequal_lengths_are_refused_before_writing(tmp_path: Path):
    with pytest.raises(ValueError, match="Expected 2 clips in 'x', got 3"):
        write_arrays(tmp_path / "a.h5", {"x": np.zeros(3)}, ["a", "b"])
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize("suffix", [".tsv", ".parquet"])
def test_tables_come_back(tmp_path: Path, suffix: str):
    table = pd.DataFrame({"clip": ["00001", "00002"], "value": [0.123456789, np.nan]})
    write_table(tmp_path / f"t{suffix}", table)
    pd.testing.assert_frame_equal(read_table(tmp_path / f"t{suffix}", ("clip",)), table, check_dtype=False)
    with pytest.raises(InputError, match="Expected column 'onset'"):
        read_table(tmp_path / f"t{suffix}", ("clip", "onset"))


def test_rows_are_written_as_a_table_of_them_is(tmp_path: Path):
    rows = [
        {"clip": "a\tb", "n": 3, "value": 1 / 3, "small": np.float32(1e-7), "on": True},
        {"clip": 'quote "', "n": np.int64(4), "value": float("nan"), "small": np.float32(2.5), "on": False},
    ]
    write_rows(tmp_path / "rows.tsv", rows)
    write_table(tmp_path / "table.tsv", pd.DataFrame(rows))
    assert (tmp_path / "rows.tsv").read_text() == (tmp_path / "table.tsv").read_text()
    write_rows(tmp_path / "rows.tsv", [{"a": 1}, {"b": 2.0}])
    assert (tmp_path / "rows.tsv").read_text() == "a\tb\n1\tnan\nnan\t2\n"


def test_last_clips_are_padded_with_nan_that_take_no_room(tmp_path: Path, rng: np.random.Generator):
    names = [f"m-{i:05d}" for i in range(900)]
    last = rng.standard_normal((37, 4000)).astype(np.float32)
    write_arrays(tmp_path / "a.h5", {"x": LastClips(last), "none": LastClips(last[:0])}, names)
    _, arrays = read_arrays(tmp_path / "a.h5", ["x", "none"])
    np.testing.assert_array_equal(arrays["x"][-37:], last)
    assert np.isnan(arrays["x"][:-37]).all() and arrays["x"].shape == (900, 4000)
    assert np.isnan(arrays["none"]).all()
    assert (tmp_path / "a.h5").stat().st_size < 4 * last.nbytes
    _, some = read_arrays(tmp_path / "a.h5", ["x"], [names[3], names[870]])
    assert np.isnan(some["x"][0]).all() and np.array_equal(some["x"][1], last[7])
    with pytest.raises(ValueError, match=r"^Expected at most 2 clips in 'x', got 37\.$"):
        write_arrays(tmp_path / "b.h5", {"x": LastClips(last)}, names[:2])


def test_json(tmp_path: Path):
    write_json(tmp_path / "a.json", {"b": [1, 2]})
    assert read_json(tmp_path / "a.json") == {"b": [1, 2]}
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"Expected JSON in .*a\.json"):
        read_json(tmp_path / "a.json")


def test_integers_are_compressed(tmp_path: Path):
    write_arrays(tmp_path / "a.h5", {"frames": np.zeros((4, 8, 32, 32, 3), np.uint8)}, list("abcd"))
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["frames"].compression == "gzip" and file["frames"].chunks == (1, 8, 32, 32, 3)
