"""Motion energy of frames: a pyramid of spatio-temporal Gabor filters (pymoten).

Published (Nishimoto et al. 2011): CIE luminance at 96 x 96 pixels, 6,555 filters at up to 32 cycles per image and 0, 2
and 4 Hz in 8 directions, logarithm, mean over the volume. Different here: temporal frequencies are given in cycles
per frame and must lie below the Nyquist limit (clips have 4 frames per second by default, so that 4 Hz would alias),
and only those frames count whose filters lie within the clip, so that no clip depends on its neighbours.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stderr
from io import StringIO
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from mind_animator.config.base import Strict
from mind_animator.config.models import ModelsConfig
from mind_animator.features.base import Provider
from mind_animator.video.decode import resize_frame

# Clips filtered at once: filters are built once per group.
_GROUP = 128


class Options(Strict):
    """The pyramid of filters.

    Attributes
    ----------
    size : int
        Height and width of the frames, pixels.
    spatial_frequencies : tuple of float
        Cycles per image.
    temporal_frequencies : tuple of float
        Cycles per frame, below .5 (the Nyquist limit).
    width : int
        Frames that a filter spans; at most those of a clip are used.
    """

    size: int = Field(96, ge=16)
    spatial_frequencies: tuple[Annotated[float, Field(ge=0)], ...] = Field((0, 2, 4, 8, 16, 32), min_length=1)
    temporal_frequencies: tuple[Annotated[float, Field(ge=0, lt=0.5)], ...] = Field(
        (0, 0.125, 0.25), min_length=1
    )
    width: int = Field(4, ge=2)


class MotionEnergy(Provider):
    """``motion_energy`` (filter,): mean over frames of the logarithm of the amplitude of each quadrature pair."""

    kind = "motion_energy"
    source = "frames"
    Options: ClassVar = Options

    def arrays(self) -> tuple[str, ...]:
        return ("motion_energy",)

    @classmethod
    def compute(
        cls,
        settings: str,
        clips: Iterable[tuple[str, np.ndarray]],
        models: ModelsConfig,
        *,
        seed: int,
        device: str,
        notes: dict[str, str],
    ) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
        options, names, group = Options.model_validate_json(settings), [], []
        for name, frames in clips:
            names.append(name)
            group.append(frames)
            if len(group) == _GROUP:
                yield from zip(names, _arrays(group, options), strict=True)
                names, group = [], []
        if group:
            yield from zip(names, _arrays(group, options), strict=True)


ENTRY = MotionEnergy


def _arrays(group: list[np.ndarray], options: Options) -> list[dict[str, np.ndarray]]:
    return [{"motion_energy": row} for row in motion_energy(np.stack(group), options)]


def motion_energy(frames: np.ndarray, options: Options) -> np.ndarray:
    """Motion energy (clip, filter), float32, of frames (clip, frame, height, width, 3) uint8.

    Each value is the mean, over those frames at which the filter lies within the clip, of log(amplitude + 1e-5).
    """
    from moten.colorspace import rgb2lab
    from moten.pyramids import MotionEnergyPyramid

    clips, count = frames.shape[:2]
    width = min(options.width, count)
    pyramid = MotionEnergyPyramid(  # the frame is the unit of time
        stimulus_vhsize=(options.size, options.size), stimulus_fps=1, filter_temporal_width=width,
        temporal_frequencies=list(options.temporal_frequencies),
        spatial_frequencies=list(options.spatial_frequencies),
    )  # fmt: skip
    flat = frames.reshape(-1, *frames.shape[2:])
    luminance = np.stack([rgb2lab(resize_frame(frame, options.size) / 255)[..., 0].ravel() for frame in flat])
    with redirect_stderr(StringIO()):  # a progress bar per group
        found = pyramid.project_stimulus(luminance)
    # the output at frame t contains the frames from t - (width - centre) to t + centre - 1
    centre = -(-width // 2)
    valid = found.reshape(clips, count, -1)[:, width - centre : count - centre + 1]
    return valid.mean(axis=1).astype(np.float32)
