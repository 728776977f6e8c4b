"""CIFTI files: nibabel reads what is written, and every fault is one line that names the file."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ScalarAxis, SeriesAxis

from mind_animator.artefacts.cifti import MappedRows, read_cortex, write_series
from mind_animator.errors import InputError


def small_axis(left: int = 40, right: int = 35, voxels: int = 10) -> BrainModelAxis:
    axis = BrainModelAxis.from_surface(np.arange(left), 100, "CortexLeft")
    axis += BrainModelAxis.from_surface(np.arange(right) + 3, 100, "CortexRight")
    if voxels:
        mask = np.zeros((5, 5, 5), bool)
        mask.flat[:voxels] = True
        axis += BrainModelAxis.from_mask(mask, "thalamus_left", np.eye(4))
    return axis


@pytest.fixture
def series() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 5, (85, 20)).astype(np.float32)


@pytest.fixture
def written(tmp_path, series) -> Path:
    path = tmp_path / "run_Atlas.dtseries.nii"
    write_series(path, series, small_axis(), 2.0)
    return path


def test_nibabel_reads_what_is_written(written, series):
    image = nib.load(written)
    assert isinstance(image, Cifti2Image)
    np.testing.assert_array_equal(np.asarray(image.dataobj), series.T)
    assert image.header.get_axis(1) == small_axis()
    assert image.header.get_axis(0) == SeriesAxis(0, 2.0, 20)
    assert image.nifti_header.get_intent()[0] == "ConnDenseSeries"


def test_nothing_but_the_file_is_left(written):
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_reads_what_nibabel_writes(tmp_path, series):
    for kind in (np.float32, np.float64, np.int16):
        image = Cifti2Image(series.T.astype(kind), (SeriesAxis(0, 2.0, 20), small_axis()))
        image.nifti_header.set_data_dtype(kind)
        path = tmp_path / f"{np.dtype(kind).name}.dtseries.nii"
        image.to_filename(path)
        expected = np.asarray(nib.load(path).dataobj)[:, :75]
        np.testing.assert_allclose(read_cortex(path, n_vertices=75), expected, rtol=1e-6)


def test_reads_the_cortical_rows_without_a_copy(written, series):
    read = read_cortex(written, n_vertices=75)
    np.testing.assert_array_equal(read, series[:75].T)
    assert read.dtype == np.float32
    assert read.flags.f_contiguous
    assert not read.flags.writeable


def test_writes_any_memory_order(tmp_path, series):
    path = tmp_path / "a.dtseries.nii"
    write_series(path, np.asfortranarray(series), small_axis(), 1.0)
    np.testing.assert_array_equal(read_cortex(path, n_vertices=75), series[:75].T)
    with pytest.raises(ValueError, match=r"^Expected a series of 85 grayordinates, got shape \(84, 20\)\.$"):
        write_series(path, series[1:], small_axis(), 1.0)


def refuse(path: Path, text: str, **options: int) -> None:
    with pytest.raises(InputError) as caught:
        read_cortex(path, **({"n_vertices": 75} | options))
    assert text in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent(tmp_path):
    refuse(tmp_path / "none.dtseries.nii", "Expected a CIFTI file at")


def test_other_number_of_rows(written):
    refuse(written, "got 75 cortical rows at the start of 85", n_vertices=59_412)
    refuse(written, "Expected left and right cortex as the first 74 rows", n_vertices=74)


def test_one_hemisphere_only(tmp_path, series):
    path = tmp_path / "a.dtseries.nii"
    write_series(path, series[:40], BrainModelAxis.from_surface(np.arange(40), 100, "CortexLeft"), 2.0)
    refuse(path, "got 40 cortical rows at the start of 40", n_vertices=40)


def test_right_before_left(tmp_path, series):
    path = tmp_path / "a.dtseries.nii"
    axis = BrainModelAxis.from_surface(np.arange(40), 100, "CortexRight")
    write_series(path, series[:75], axis + BrainModelAxis.from_surface(np.arange(35), 100, "CortexLeft"), 2.0)
    refuse(path, "Expected left and right cortex as the first 75 rows")


def test_values_that_are_not_finite(tmp_path, series):
    path = tmp_path / "a.dtseries.nii"
    series[80] = np.nan  # not cortex: nobody reads it
    write_series(path, series, small_axis(), 2.0)
    read_cortex(path, n_vertices=75)
    series[3, 7], series[60, 9] = np.nan, np.inf
    write_series(path, series, small_axis(), 2.0)
    refuse(path, "got 2 that are not, the first in volume 7 at row 3")


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.999])
def test_cut_short(written, fraction):
    whole = written.read_bytes()
    written.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(InputError, match=str(written)):
        read_cortex(written, n_vertices=75)


def test_rows_of_a_mapped_file(written, series):
    mapped = read_cortex(written, n_vertices=75)
    memory = np.empty(8 * 80, np.uint8)
    for kept in (slice(None), slice(2, 19)):
        rows = MappedRows(mapped[kept])
        np.testing.assert_array_equal(rows(slice(70, 75), memory), series[70:75, kept])
    os.truncate(written, written.stat().st_size - 16 * 80)  # rows 69 to 84 are gone
    np.testing.assert_array_equal(rows(slice(65, 69), memory), series[65:69, 2:19])
    with pytest.raises(
        InputError, match=rf"^Expected {written} to stay unchanged while it is read, but it was truncated"
    ):
        rows(slice(66, 71), memory)


def test_no_cifti(tmp_path):
    path = tmp_path / "a.dtseries.nii"
    path.write_bytes(b"GIF89a" * 200)
    refuse(path, "Expected a CIFTI dense time series")
    nib.save(nib.Nifti2Image(np.zeros((3, 3, 3, 4), np.float32), np.eye(4)), tmp_path / "b.nii")
    refuse(tmp_path / "b.nii", "got a NIfTI file without CIFTI's XML")
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3, 4), np.float32), np.eye(4)), tmp_path / "c.nii")
    refuse(tmp_path / "c.nii", "Expected a CIFTI dense time series")


def test_no_time_series(tmp_path, series):
    path = tmp_path / "a.dscalar.nii"
    Cifti2Image(series.T[:2], (ScalarAxis(["a", "b"]), small_axis())).to_filename(path)
    refuse(path, "got axes of scalars, brain_models")


def test_broken_xml(written):
    raw = bytearray(written.read_bytes())
    start = raw.index(b"<CIFTI")
    raw[start : start + 6] = b"<CIFXI"
    written.write_bytes(raw)
    refuse(written, "CIFTI's XML")
