"""From volumes to one scaled vector a clip."""

from typing import Literal

from pydantic import Field, model_validator

from mind_animator.config.base import Strict


class VoxelsConfig(Strict):
    """Which voxels the decoders see; exactly one way of choosing.

    Attributes
    ----------
    count : int, optional
        The most reproducible voxels: highest t over training segments of the Fisher-z correlation between
        repeats.
    threshold : float, optional
        All voxels whose Bonferroni-corrected one-sided p is below this.
    rois : tuple of str, optional
        Names of atlas areas, both hemispheres, e.g. ``[V1, MT]``.
    mask : str, optional
        A ``.npy`` file of booleans or indices.
    all : bool, optional
        True: every voxel (responses that somebody has chosen voxels of already).
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
            raise ValueError(f"expected exactly one of {', '.join(ways)}, got {given or 'none'}")
        return self


class FmriConfig(Strict):
    """Preprocessing of responses.

    Attributes
    ----------
    detrend_order : int
        Order of the polynomial removed from every voxel and run.
    lag : float
        Haemodynamic shift, seconds, between a clip's onset and the volume that stands for it.
    ddof : int
        0 (divide by N) or 1 in the z-score of a run.
    scaling : str
        ``train``: mean and standard deviation of the training clips for all; ``released_code``: each split
        by its own.
    """

    detrend_order: int = Field(4, ge=0, le=10)
    lag: float = 4.0
    ddof: Literal[0, 1] = 0
    voxels: VoxelsConfig = VoxelsConfig(count=4500)
    scaling: Literal["train", "released_code"] = "train"
