"""Where a scorer reads clips from: HDF5 shards or a folder of anyone's videos, one clip at a time.

A source can be sent to a worker process: it opens its files there, when it first reads.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mind_animator.artefacts.clipfolder import read_clip
from mind_animator.artefacts.streams import ClipReader, read_problems
from mind_animator.config.clipfolder import LayoutConfig
from mind_animator.errors import InputError
from mind_animator.video.conform import conform


class ArraySource:
    """Frames in HDF5 files, conformed to one size and number of frames.

    Parameters
    ----------
    paths : iterable of paths
        Files with the data sets ``frames`` (clip, frame, height, width, 3) and ``clip``; clips that their
        maker could not make (`read_problems`) raise with its reason.
    size, count : int
        What every clip is resampled to, see `conform`.
    """

    def __init__(self, paths: Iterable[Path | str], *, size: int, count: int) -> None:
        paths = list(paths)
        self.reader = ClipReader(paths)
        self.problems = read_problems(paths)
        self.size, self.count = size, count

    @property
    def clips(self) -> list[str]:
        """Names of the clips, in the files' order."""
        return self.reader.clips

    def read(self, clip: str) -> np.ndarray:
        """Frames of a clip, (count, size, size, 3) uint8; `InputError` where there are none."""
        if clip in self.problems:
            raise InputError(self.problems[clip])
        frames = self.reader.read(clip, "frames")
        if 0 in frames.shape:
            raise InputError(f"Expected frames of clip '{clip}', got shape {frames.shape} (zero length).")
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise InputError(
                f"Expected frames (frame, height, width, 3) uint8 of clip '{clip}', "
                f"got {frames.shape} {frames.dtype}{'' if np.isfinite(frames).all() else ' with NaN'}."
            )
        return conform(frames, size=self.size, count=self.count)


class FolderSource:
    """Videos in a folder, conformed to one size and number of frames.

    Parameters
    ----------
    files : mapping of clip name to path
    layout : LayoutConfig
    size, count : int
        What every clip is resampled to, see `conform`.
    duration : float, optional
        Seconds that a clip lasts, where the files' own clocks count; by default a file covers its clip.

    Attributes
    ----------
    notes : dict of clip to tuple of str
        What was done to the clips that were read: grey, transparency, swapped channels; another number of
        frames or size brought to the compared one.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        layout: LayoutConfig,
        *,
        size: int,
        count: int,
        duration: float | None = None,
    ) -> None:
        self.files, self.layout = dict(files), layout
        self.size, self.count, self.duration = size, count, duration
        self.notes: dict[str, tuple[str, ...]] = {}
        self._last: tuple[str, np.ndarray] | None = None  # a method's baselines ask for the same clip in turn

    @property
    def clips(self) -> list[str]:
        """Names of the clips, in natural order."""
        return list(self.files)

    def read(self, clip: str) -> np.ndarray:
        """Frames of a clip, (count, size, size, 3) uint8; `InputError` says why there are none."""
        if self._last is not None and self._last[0] == clip:
            return self._last[1]
        if clip not in self.files:
            raise InputError("Expected a file of every clip, found none of this one (missing).")
        path = self.files[clip]
        video = read_clip(path, self.layout)
        if 0 in video.frames.shape:
            raise InputError(f"Expected frames in {path}, got none (zero length).")
        frames = conform(
            video.frames, size=self.size, count=self.count, times=video.times, duration=self.duration
        )
        number, height, width = video.frames.shape[:3]
        notes = video.notes
        if (number, height, width) != (self.count, self.size, self.size):
            made = f"{self.count} of {self.size} x {self.size}"
            notes = (f"{number} frame(s) of {width} x {height} brought to {made}", *notes)
        if notes:
            self.notes[clip] = notes
        frames.setflags(write=False)  # the next to ask gets the same array
        self._last = (clip, frames)
        return frames


class FlatSource:
    """The baseline that knows nothing: every frame is one colour.

    Parameters
    ----------
    colour : array of shape (3,), uint8
    size, count : int
    """

    def __init__(self, colour: np.ndarray, *, size: int, count: int) -> None:
        self.colour, self.size, self.count = np.asarray(colour, np.uint8), size, count

    def read(self, clip: str) -> np.ndarray:
        """The same frames for every clip."""
        return np.broadcast_to(self.colour, (self.count, self.size, self.size, 3)).copy()


class ChangedSource:
    """Another source's frames, changed as a baseline changes them, one generator a clip.

    Parameters
    ----------
    source : FolderSource
    change : callable
        (frames, generator) -> frames: `Frozen.change` or `ShuffledFrames.change`.
    clips : sequence of str
        All clips in their order, which numbers the generators.
    seed : int
    """

    def __init__(
        self,
        source: FolderSource,
        change: Callable[[np.ndarray, np.random.Generator], np.ndarray],
        clips: Sequence[str],
        seed: int,
    ) -> None:
        self.source, self.change, self.seed = source, change, seed
        self.place = {clip: index for index, clip in enumerate(clips)}

    def read(self, clip: str) -> np.ndarray:
        """The clip's frames, changed."""
        return self.change(self.source.read(clip), np.random.default_rng([self.seed, self.place[clip]]))


class DonorSource:
    """Other clips' frames: each clip shows its donor's.

    Parameters
    ----------
    source : Source
    donor : mapping of clip to clip
    reason : str
        Why a clip has no donor.
    """

    def __init__(
        self, source: "FolderSource | ArraySource", donor: Mapping[str, str], reason: str = ""
    ) -> None:
        self.source, self.donor, self.reason = source, dict(donor), reason

    def read(self, clip: str) -> np.ndarray:
        """The donor's frames."""
        if clip not in self.donor:
            raise InputError(self.reason)
        return self.source.read(self.donor[clip])


def shape_of_ground_truth(
    files: Sequence[Path], layout: LayoutConfig, *, one_shape: bool = True
) -> tuple[int, int, float]:
    """Size, number of frames and rate (frames a second) of the readable true clips.

    Raises
    ------
    InputError
        If ``one_shape`` and they differ or are not square: then a size and a number of frames must be stated.
    """
    shapes: dict[tuple[int, int, int], str] = {}
    rate = 0.0
    for path in files:
        try:
            video = read_clip(path, layout)
        except InputError:
            continue  # that clip will get its own row
        shapes.setdefault(video.frames.shape[:3], path.name)
        rate = rate or len(video.frames) / float(video.times[-1] - video.times[0])
        if not one_shape:
            break
    if not shapes:
        raise InputError(f"Expected at least one readable clip among {len(files)}, found none.")
    (count, height, width), *others = shapes
    if one_shape and (others or height != width):
        seen = ", ".join(f"{name}: {n} frames of {w} x {h}" for (n, h, w), name in list(shapes.items())[:3])
        raise InputError(
            f"Expected true clips of one square size and one length, got {seen}: state --size and --frames."
        )
    return height, count, rate
