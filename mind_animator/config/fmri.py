"""Settings of fMRI preprocessing: from volumes to one scaled vector per clip."""

from typing import Literal

from pydantic import Field, model_validator

from mind_animator.config.base import Strict


class VoxelsConfig(Strict):
    """Selection of the voxels for the decoders; exactly one criterion must be given.

    Attributes
    ----------
    count : int, optional
        Number of voxels, selected by the highest t over training segments of the Fisher-z correlation between
        repeats.
    threshold : float, optional
        Select all voxels whose Bonferroni-corrected one-sided p is below this value.
    rois : tuple of str, optional
        Names of atlas areas, for both hemispheres, e.g. ``[V1, MT]``.
    mask : str, optional
        A ``.npy`` file of booleans or indices.
    all : bool, optional
        True selects every voxel, e.g. for responses whose voxels have already been selected.
    """

    count: int | None = None
    threshold: float | None = None
    rois: tuple[str, ...] | None = None
    mask: str | None = None
    all: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "VoxelsConfig":
        ways = ("count", "threshold", "rois", "mask", "all")
        given = [name for name in ways if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"must contain exactly one of {', '.join(ways)}, found {given or 'none'}")
        return self


class FmriConfig(Strict):
    """Preprocessing of responses.

    Attributes
    ----------
    detrend_order : int
        Order of the polynomial trend removed from every voxel and run.
    lag : float
        Haemodynamic lag in seconds between the onset of a clip and the volume assigned to it.
    ddof : int
        Delta degrees of freedom in the z-score of a run: 0 (divide by N) or 1.
    scaling : str
        ``train``: all clips are scaled by the mean and standard deviation of the training clips;
        ``released_code``: each split is scaled by its own.
    """

    detrend_order: int = Field(4, ge=0, le=10)
    lag: float = 4.0
    ddof: Literal[0, 1] = 0
    voxels: VoxelsConfig = VoxelsConfig(count=4500)
    scaling: Literal["train", "released_code"] = "train"
