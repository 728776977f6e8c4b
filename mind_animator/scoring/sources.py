"""Sources of clips for a scorer: HDF5 shards, a folder of videos, or one array of all clips.

A source returns one clip at a time. It can be sent to a worker process, which opens the files when it first reads.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mind_animator.artefacts.clipfolder import ARRAYS, frames_of_array, read_clip, scan_clips
from mind_animator.artefacts.foreign import read_foreign
from mind_animator.artefacts.streams import ClipReader, read_problems
from mind_animator.config.clipfolder import LayoutConfig
from mind_animator.errors import InputError
from mind_animator.video.conform import conform


class ArraySource:
    """Frames in HDF5 files, conformed to one size and number of frames.

    Parameters
    ----------
    paths : iterable of paths
        Files with the data sets ``frames`` (clip, frame, height, width, 3) and ``clip``; clips that could not
        be made (`read_problems`) raise the reason.
    size, count : int
        Size and number of frames to which every clip is resampled, see `conform`.

    Attributes
    ----------
    notes : dict of clip to tuple of str
        What was done to the clips that were read.
    """

    def __init__(self, paths: Iterable[Path | str], *, size: int, count: int) -> None:
        paths = list(paths)
        self.reader = ClipReader(paths)
        self.problems = read_problems(paths)
        self.size, self.count = size, count
        self.notes: dict[str, tuple[str, ...]] = {}

    @property
    def clips(self) -> list[str]:
        """Names of the clips, in the files' order."""
        return self.reader.clips

    def read(self, clip: str) -> np.ndarray:
        """Frames of a clip, (count, size, size, 3) uint8; `InputError` if there are none."""
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
        if resampled := _resampled(frames, self.size, self.count):
            self.notes[clip] = resampled
        return conform(frames, size=self.size, count=self.count)


class FolderSource:
    """Videos in a folder, conformed to one size and number of frames.

    Parameters
    ----------
    files : mapping of clip name to path
    layout : LayoutConfig
    size, count : int
        Size and number of frames to which every clip is resampled, see `conform`.
    duration : float, optional
        Duration of a clip in seconds, where the time stamps of the files are used; by default, and where a file
        has none (images, arrays), it is assumed to span the whole clip.

    Attributes
    ----------
    notes : dict of clip to tuple of str
        What was done to the clips that were read: grey, transparency, swapped channels; another number of
        frames or size resampled.
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
        self._last: tuple[str, np.ndarray] | None = None  # a method's baselines read the same clip in turn

    @property
    def clips(self) -> list[str]:
        """Names of the clips, in natural order."""
        return list(self.files)

    def read(self, clip: str) -> np.ndarray:
        """Frames of a clip, (count, size, size, 3) uint8; `InputError` with the reason if there are none."""
        if self._last is not None and self._last[0] == clip:
            return self._last[1]
        if clip not in self.files:
            raise InputError("Expected a file for every clip, found none for this one (missing).")
        path = self.files[clip]
        video = read_clip(path, self.layout)
        if 0 in video.frames.shape:
            raise InputError(f"Expected frames in {path}, got none (zero length).")
        duration = self.duration if video.timed else None
        frames = conform(video.frames, size=self.size, count=self.count, times=video.times, duration=duration)
        notes = (*_resampled(video.frames, self.size, self.count), *video.notes)
        if notes:
            self.notes[clip] = notes
        frames.setflags(write=False)  # the next reader gets the same array
        self._last = (clip, frames)
        return frames


class StackSource:
    """All clips in one array, conformed to one size and number of frames.

    Parameters
    ----------
    path : path
        A ``.npy`` or ``.pt`` file (a tensor, no code) with the clip as its first axis; each clip as
        `frames_of_array` reads it.
    clips : sequence of str
        Names of the clips, in the order of the array.
    size, count : int
        Size and number of frames to which every clip is resampled, see `conform`.

    Raises
    ------
    InputError
        If the file is broken, has another number of axes, or another number of clips.
    """

    def __init__(self, path: Path | str, clips: Sequence[str], *, size: int, count: int) -> None:
        self.path, self.clips = Path(path), list(clips)
        self.size, self.count = size, count
        self.notes: dict[str, tuple[str, ...]] = {}
        self._array: np.ndarray | None = None
        array = self._open()
        if array.ndim not in (4, 5) or len(array) != len(self.clips):
            raise InputError(
                f"Expected an array (clip, frame, height, width, 3) or (clip, height, width, 3) of "
                f"{len(self.clips)} clips in {path}, got {array.shape}."
            )

    def _open(self) -> np.ndarray:
        if self._array is None:
            array = read_foreign(self.path)
            if not isinstance(array, np.ndarray):
                raise InputError(f"Expected an array of clips in {self.path}, got {type(array).__name__}.")
            self._array = array
        return self._array

    def read(self, clip: str) -> np.ndarray:
        """Frames of a clip, (count, size, size, 3) uint8; `InputError` with the reason if there are none."""
        index = self.clips.index(clip)
        video = frames_of_array(self._open()[index], f"clip {index} of {self.path}")
        notes = (*_resampled(video.frames, self.size, self.count), *video.notes)
        if notes:
            self.notes[clip] = notes
        return conform(video.frames, size=self.size, count=self.count)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_array": None}


def open_prediction(
    path: Path,
    layout: LayoutConfig,
    clips: Sequence[str],
    *,
    size: int,
    count: int,
    duration: float | None = None,
) -> tuple[FolderSource | ArraySource | StackSource, tuple[str, ...]]:
    """Source of one method's predictions, and the decisions that were taken for the whole of it.

    Parameters
    ----------
    path : path
        A folder of clips; an HDF5 file with ``frames`` and ``clip``; or a ``.npy`` or ``.pt`` file with all
        clips in the order of ``clips``.
    layout : LayoutConfig
        Of a folder.
    clips : sequence of str
        Names of the ground-truth clips, in order.

    Raises
    ------
    InputError
        If nothing can be read there, or a prediction has no ground truth: then the numbering is wrong.
    """
    shape = {"size": size, "count": count}
    notes: tuple[str, ...] = ()
    if path.is_file() and path.suffix.lower() in ARRAYS:
        return StackSource(path, clips, **shape), (f"{path}: clip i of the array is the i-th ground truth.",)
    if path.is_file() and path.suffix.lower() in (".h5", ".hdf5"):
        source: FolderSource | ArraySource = ArraySource([path], **shape)
        source.reader.require(["frames"])
    else:
        scan = scan_clips(path, layout)
        source, notes = FolderSource(scan.files, layout, **shape, duration=duration), scan.notes
    known = set(clips)
    if strange := [clip for clip in source.clips if clip not in known]:
        name = source.files[strange[0]].name if isinstance(source, FolderSource) else strange[0]
        raise InputError(
            f"Expected a ground truth for every prediction, got {name} without one "
            f"({len(strange)} of {len(source.clips)}) in {path}: do both sides count from the same number?"
        )
    return source, notes


def _resampled(frames: np.ndarray, size: int, count: int) -> tuple[str, ...]:
    """A note where the frames have another number or size than what is compared."""
    number, height, width = frames.shape[:3]
    if (number, height, width) == (count, size, size):
        return ()
    return (f"{number} frame(s) of {width} x {height} brought to {count} of {size} x {size}",)


class FlatSource:
    """The uninformative baseline: every frame has one colour.

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
    """Another source's frames, changed as a baseline changes them, one generator per clip.

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
        self.index = {clip: index for index, clip in enumerate(clips)}

    def read(self, clip: str) -> np.ndarray:
        """The clip's frames, changed."""
        return self.change(self.source.read(clip), np.random.default_rng([self.seed, self.index[clip]]))


class DonorSource:
    """Frames of other clips: each clip gets those of its donor.

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
) -> tuple[int, int, float, bool]:
    """Size, number of frames, rate (frames per second; of the first) and whether it is stated, of readable clips.

    Raises
    ------
    InputError
        If ``one_shape`` and they differ or are not square: then a size and a number of frames must be stated.
    """
    shapes: dict[tuple[int, int, int], str] = {}
    rate, timed, reason = 0.0, True, ""
    for path in files:
        try:
            video = read_clip(path, layout)
        except InputError as error:
            reason = reason or str(error)
            continue  # that clip will get its own row
        shapes.setdefault(video.frames.shape[:3], path.name)
        if not rate:
            rate, timed = len(video.frames) / float(video.times[-1] - video.times[0]), video.timed
        if not one_shape:
            break
    if not shapes:
        raise InputError(
            f"Expected at least one readable ground truth among {len(files)}, found none; the first: {reason}"
        )
    (count, height, width), *others = shapes
    if one_shape and (others or height != width):
        seen = ", ".join(f"{name}: {n} frames of {w} x {h}" for (n, h, w), name in list(shapes.items())[:3])
        raise InputError(
            f"Expected ground truths of one square size and one length, got {seen}: state --size and --frames."
        )
    return height, count, rate, timed
