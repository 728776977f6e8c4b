"""Folders of external clips: videos, animated images, folders of frames, single images, arrays.

A file that cannot be read raises an `InputError` with its name, so that scoring can report the reason for this clip and
continue with the others. Decisions that concern the whole folder (ignored and skipped files) are returned as sentences
by `scan_clips`; decisions that concern one clip are the notes of its `Video`.
"""

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mind_animator.artefacts.foreign import read_foreign
from mind_animator.artefacts.video import read_frames
from mind_animator.config.clipfolder import GridConfig, LayoutConfig
from mind_animator.errors import InputError

ANIMATIONS = (".gif", ".apng", ".webp")  # read by Pillow, with the times stored in the file
ARRAYS = (".npy", ".pt", ".pth")
IMAGES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")
VIDEOS = (
    ".mp4", ".m4v", ".mov", ".qt", ".avi", ".webm", ".mkv", ".wmv", ".asf", ".mpg", ".mpeg", ".m2v", ".ts", ".mts",
    ".m2ts", ".vob", ".flv", ".f4v", ".ogv", ".ogg", ".3gp", ".3g2", ".mxf", ".mjpeg", ".y4m", ".nut",
)  # fmt: skip
LIMIT = 2 << 30  # maximum bytes of decoded pixels per file
_SYSTEM_FILES = ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin")
_BROWSERS_LEAST, _BROWSERS_INSTEAD = 0.011, 0.1  # seconds
_ORIENTATION = 0x0112  # EXIF


@dataclass(frozen=True)
class Video:
    """Frames of one clip.

    Attributes
    ----------
    frames : array of shape (frame, height, width, 3), uint8
        RGB.
    times : array of shape (frame + 1,), float64
        Start of every frame and end of the last one, in seconds from the first frame.
    notes : tuple of str
        Changes of the pixels or times (grey repeated, transparency composited, ...); empty for plain RGB.
    timed : bool
        Whether the file or the layout contains times; otherwise (images, arrays) every frame lasts one second.
    """

    frames: np.ndarray
    times: np.ndarray
    notes: tuple[str, ...] = ()
    timed: bool = True


@dataclass(frozen=True)
class Scan:
    """Clips found in a folder.

    Attributes
    ----------
    files : dict of clip key to path
        In natural order.
    notes : tuple of str
        One sentence per decision that concerns the whole folder: ignored system files, skipped files, gaps in the
        numbers, images treated as clips of one frame.
    """

    files: dict[str, Path]
    notes: tuple[str, ...] = ()


def find_clips(folder: Path | str, layout: LayoutConfig) -> dict[str, Path]:
    """Files of a folder by clip key, in natural order; see `scan_clips`."""
    return scan_clips(folder, layout).files


def scan_clips(folder: Path | str, layout: LayoutConfig) -> Scan:
    """Find the clips of a folder.

    A clip is a video, an animated image, an array or a folder (of frames, or of one video). In a folder that contains
    none of these, each still image is a clip of one frame. The key is the text that matches ``{clip}``, or the number
    that matches ``{number}``, counted from 0, as decimal text. System files (``.DS_Store``, ``._name``, ``__MACOSX``,
    ``Thumbs.db`` and other hidden files) are always ignored.

    Raises
    ------
    InputError
        If the folder is absent or contains no matching file, if a clip has two files, or if a number is smaller than
        the first one.
    """
    folder = Path(folder)
    entries, system = _entries(folder, "a folder of videos")
    notes = []
    if system:
        notes.append(f"{_counted(system, 'system file')} ignored.")
    parts = re.split(r"(\{number\}|\{clip\}|\*)", layout.name)
    meaning = {"{number}": r"(?P<key>\d+)", "{clip}": r"(?P<key>.+)", "*": r".*"}
    pattern = re.compile("".join(meaning.get(part, re.escape(part)) for part in parts), re.DOTALL)
    candidates: list[tuple[str, Path]] = []
    stills: list[tuple[str, Path]] = []
    unread: list[Path] = []
    unfit: list[Path] = []
    for path in entries:
        suffix = "/" if path.is_dir() else path.suffix.lower()
        readable = suffix == "/" or suffix in (*VIDEOS, *ANIMATIONS, *ARRAYS, *IMAGES)
        if not readable or (layout.suffix is not None and suffix != layout.suffix):
            unread.append(path)
        elif (fits := pattern.fullmatch(unicodedata.normalize("NFC", _stem(path)))) is None:
            unfit.append(path)
        else:
            still = suffix in IMAGES and suffix not in ANIMATIONS
            (stills if still else candidates).append((fits["key"], path))
    if candidates and stills:
        unread += [path for _, path in stills]
    elif stills:
        candidates = stills
        notes.append(f"{_counted([path for _, path in stills], 'image')}, each a clip of one frame.")
    if unread:
        notes.append(f"{_counted(unread, 'file')} passed over: not of a kind that is read as a clip here.")
    if unfit:
        notes.append(f"{_counted(unfit, 'name')} passed over: not named '{layout.name}'.")
    found: dict[str, Path] = {}
    for key, path in candidates:
        if "{number}" in layout.name:
            if int(key) < layout.first:
                raise InputError(f"Expected clip numbers from {layout.first}, got {path} (key 'first').")
            key = str(int(key) - layout.first)
        if key in found:
            raise InputError(
                f"Expected one file for clip '{key}', got {found[key].name} and {path.name} in {folder}. Remove "
                'one, or set the layout\'s suffix, e.g. "suffix": ".mp4" ("/" for folders).'
            )
        found[key] = path
    if not found:
        names = sorted(path.name for path in entries)[:3]
        raise InputError(
            f"Expected clips named '{layout.name}' in {folder}, got {names or 'an empty folder'}. Read are: "
            f"{' '.join((*ANIMATIONS, *VIDEOS, *ARRAYS))}, folders of frames, and folders of images alone."
        )
    if "{number}" in layout.name:
        last = max(map(int, found))
        gaps = [number + layout.first for number in range(last + 1) if str(number) not in found]
        if gaps:
            named = ", ".join(map(str, gaps[:5])) + (" and others" if len(gaps) > 5 else "")
            notes.append(
                f"{len(gaps)} of the numbers {layout.first} to {last + layout.first} absent: {named}."
            )
    return Scan(found, tuple(f"{folder}: {note}" for note in notes))


def match_clips(
    files: dict[str, Path], clips: Sequence[str], layout: LayoutConfig, folder: str
) -> dict[str, Path]:
    """Files by clip name. A number is an index into the list of clips; a text is the name of a clip.

    Raises
    ------
    InputError
        If a number is outside the list (e.g. numbers 1..n with ``first: 0``), or no file is named after a clip.
    """
    if "{number}" in layout.name:
        beyond = [path.name for key, path in files.items() if int(key) >= len(clips)]
        if beyond:
            raise InputError(
                f"Expected numbers {layout.first}..{len(clips) - 1 + layout.first} for {len(clips)} clips, "
                f"got {beyond[0]} in {folder} (do the numbers start at {1 - layout.first}? set 'first')."
            )
        return {clips[int(key)]: path for key, path in files.items()}
    known = set(clips)
    placed = {key: path for key, path in files.items() if key in known}
    if not placed:
        raise InputError(
            f"Expected files named by clips such as '{clips[0]}' in {folder}, got '{next(iter(files))}'."
        )
    return placed


def read_clip(path: Path | str, layout: LayoutConfig) -> Video:
    """Frames of one file or folder of frames, according to the layout.

    Raises
    ------
    InputError
        If it is missing, corrupt, truncated, empty or larger than `LIMIT`, or if it does not have the expected grid.
    """
    path = Path(path)
    video = _read_folder(path) if path.is_dir() else _read_file(path)
    frames, times, notes = video.frames, video.times, video.notes
    if layout.rate is not None:
        times = np.arange(len(frames) + 1) / layout.rate
    if layout.grid is not None:
        frames = _cell(frames, layout.grid, path)
    if layout.channels == "bgr":
        frames, notes = frames[..., ::-1], (*notes, "red and blue swapped back")
    return Video(np.ascontiguousarray(frames), times, notes, video.timed or layout.rate is not None)


def natural_order(name: str) -> list[tuple[int, Decimal | str]]:
    """Sort key of a name without its suffix: ``frame_2`` before ``frame_10``, ``t0.25`` before ``t0.5``.

    Digits separated by one point form a decimal number; in ``1.2.3`` every part is a separate number.
    """
    return [
        (0, Decimal(part)) if part[0].isdigit() else (1, part)
        for part in re.split(r"((?<![\d.])\d+\.\d+(?!\.?\d)|\d+)", name, flags=re.ASCII)
        if part
    ]


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _entries(folder: Path, what: str) -> tuple[list[Path], list[Path]]:
    """Entries of a folder in natural order, and the system files among them."""
    if not folder.is_dir():
        raise InputError(f"Expected {what} at {folder}, found none.")
    try:
        paths = sorted(folder.iterdir(), key=lambda path: (natural_order(_stem(path)), path.name))
    except OSError as error:
        raise InputError(f"Expected {what} that can be read at {folder}, got: {error}.") from None
    system = [path for path in paths if path.name.startswith(".") or path.name.lower() in _SYSTEM_FILES]
    return [path for path in paths if path not in system], system


def _counted(paths: Sequence[Path], what: str) -> str:
    named = ", ".join(path.name for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
    return f"{len(paths)} {what}{'s' if len(paths) > 1 else ''} ({named})"


@contextmanager
def _decoding(path: Path, what: str) -> Iterator[None]:
    """Convert any exception of a decoder for a malformed file into an `InputError` that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # warnings about damaged metadata and large images; `LIMIT` bounds the memory
            yield
    except InputError:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"Expected a whole {what} at {path}, got: {reason.rstrip('.')}.") from None


def _check_room(frames: int, height: int, width: int, path: Path | str) -> None:
    if frames * height * width * 3 > LIMIT:
        raise InputError(
            f"Expected at most {LIMIT / 2**30:.0f} GiB of pixels in {path}, got {frames} frame(s) of "
            f"{width} x {height} (or more): shorten it, or make it smaller."
        )


def _read_file(path: Path) -> Video:
    if not path.is_file():
        raise InputError(f"Expected a clip at {path}, found none.")
    suffix = path.suffix.lower()
    if suffix in ARRAYS:
        return _read_array(path)
    if suffix in (*ANIMATIONS, *IMAGES):
        return _read_image(path)
    return Video(*read_frames(path, max_bytes=LIMIT))


def _read_image(path: Path) -> Video:
    """All frames of an image file: the frames of a gif, apng or webp, the pages of a tiff."""
    frames: list[np.ndarray] = []
    lengths: list[float] = []
    notes: list[str] = []
    with _decoding(path, "image"), Image.open(path) as image:
        count = getattr(image, "n_frames", 1)
        first = (
            1 if count > 1 and getattr(image, "default_image", False) else 0
        )  # the fallback image for viewers without apng support
        _check_room(count, image.height, image.width, path)
        for index in range(first, count):
            image.seek(index)
            image.load()
            frame = _rgb(image, notes, still=count == 1)
            if image.format == "GIF" and frames and frame.shape[:2] != frames[0].shape[:2]:
                # A frame that extends beyond the canvas is cropped to it, as in browsers.
                height, width = frames[0].shape[:2]
                frame = frame[:height, :width].copy()
                notes.append("parts of frames beyond the canvas cropped")
            frames.append(frame)
            lengths.append((image.info.get("duration") or 0) / 1000)
        timed = image.format in ("GIF", "PNG", "WEBP") and count > 1
        pages = image.format in ("TIFF", "MPO") and count > 1
        if image.format == "GIF":
            whole = (
                path.read_bytes().rstrip(b"\0").endswith(b";")
            )  # the trailer; some writers pad it with zeros
            if not whole:
                raise InputError(
                    f"Expected a whole gif at {path}, got {len(frames)} frames and no end: is it truncated?"
                )
    if {frame.shape for frame in frames} != {frames[0].shape}:
        raise InputError(
            f"Expected frames of one size in {path}, got {sorted({f.shape[:2] for f in frames})}."
        )
    if pages:
        notes.append(f"{len(frames)} pages taken as frames")
    seconds = np.array(lengths)
    if timed and (seconds < _BROWSERS_LEAST).any():
        # 0 and 10 ms mean "as fast as possible"; browsers and FFmpeg show such a frame for 100 ms.
        seconds[seconds < _BROWSERS_LEAST] = _BROWSERS_INSTEAD
        notes.append("frames of 0 or 10 ms shown for 100 ms, as in browsers")
    if not timed:
        seconds = np.maximum(seconds, _BROWSERS_INSTEAD) if image.format == "GIF" else np.ones(len(frames))
    times = np.concatenate([[0.0], np.cumsum(seconds)])
    return Video(np.stack(frames), times, tuple(sorted(set(notes))), timed or image.format == "GIF")


def _read_folder(folder: Path) -> Video:
    """A folder that is one clip: frames as images, or one video; possibly inside nested folders."""
    entries, _ = _entries(folder, "a folder of frames")
    if len(entries) == 1 and entries[0].is_dir():
        return _read_folder(entries[0])
    files = [path for path in entries if path.suffix.lower() in IMAGES and path.is_file()]
    others = [
        path
        for path in entries
        if path not in files and (path.suffix.lower() in (*VIDEOS, *ANIMATIONS, *ARRAYS) or path.is_dir())
    ]
    if len(others) == 1 and not files and not others[0].is_dir():
        return _read_file(others[0])
    if others or not files:
        raise InputError(
            f"Expected images ({' '.join(IMAGES)}) or one video in {folder}, got {len(files)} image(s) and "
            f"{len(others)} video(s) or folder(s)."
        )
    if len(files) == 1:
        return _read_image(files[0])
    if twins := [name for name, count in Counter(path.stem for path in files).items() if count > 1]:
        raise InputError(f"Expected one image per frame in {folder}, got two of '{twins[0]}'.")
    frames: list[np.ndarray] = []
    notes: list[str] = []
    for file in files:
        with _decoding(file, "image"), Image.open(file) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise InputError(
                    f"Expected one frame per image in {folder}, got {image.n_frames} in {file.name}."
                )
            _check_room(len(files), image.height, image.width, folder)
            frames.append(_rgb(image, notes, still=True))
        if frames[-1].shape != frames[0].shape:
            raise InputError(
                f"Expected images of {frames[0].shape[:2]} in {folder}, got {frames[-1].shape[:2]} in {file.name}."
            )
    times = _times_of_numbers([path.stem for path in files], notes)
    return Video(np.stack(frames), times, tuple(sorted(set(notes))), timed=False)


def _times_of_numbers(names: Sequence[str], notes: list[str]) -> np.ndarray:
    """Times (frame + 1,) of numbered frames with one unit per number; a frame before a gap lasts until the next one.

    All frames have equal durations if their names differ in more than one number, or if the numbers are evenly spaced.
    """
    even = np.arange(len(names) + 1, dtype=float)
    parts = [natural_order(name) for name in names]
    if len({len(part) for part in parts}) > 1:
        return even
    varying = [index for index, column in enumerate(zip(*parts, strict=True)) if len(set(column)) > 1]
    if len(varying) != 1 or any(part[varying[0]][0] for part in parts):
        return even
    numbers = np.array([float(part[varying[0]][1]) for part in parts])
    steps = np.diff(numbers)
    unit = steps.min()
    if not unit > 0 or np.allclose(steps, unit, rtol=1e-2):
        return even
    gap = int(np.argmax(steps))
    notes.append(
        f"gaps in the numbers of frames ({numbers[gap]:g} lasts until {numbers[gap + 1]:g}, {unit:g} being one frame)"
    )
    starts = (numbers - numbers[0]) / unit
    return np.append(starts, starts[-1] + 1)


def _read_array(path: Path) -> Video:
    """An array or tensor of one clip."""
    with _decoding(path, "array"):
        array = read_foreign(path)
    return frames_of_array(array, str(path))


def frames_of_array(array: np.ndarray, where: str) -> Video:
    """Frames of an array of one clip or one image: uint8, or floats from 0 to 1.

    Parameters
    ----------
    array : array of shape (frame, height, width, 3), (frame, 3, height, width), (3, frame, height, width),
            (height, width, 3) or (3, height, width)
        The axis of length 3 is the channel; if there are several, the one that gives the larger frames.
    where : str
        File (and index), for error messages.

    Raises
    ------
    InputError
        If it has another shape, type or range, or is larger than `LIMIT`.
    """
    if not isinstance(array, np.ndarray) or array.ndim not in (3, 4) or 0 in array.shape:
        shape = getattr(array, "shape", type(array).__name__)
        raise InputError(
            f"Expected one clip (frame, height, width, 3) or (frame, 3, height, width), or one image, in {where}, "
            f"got {shape}."
        )
    clip = array if array.ndim == 4 else array[None]
    sizes = {  # the smaller side of a frame if this axis is the channel axis
        axis: min(np.delete(clip.shape, [axis, 1 if axis == 0 else 0]))
        for axis in ((3, 1, 0) if array.ndim == 4 else (3, 1))
        if clip.shape[axis] == 3
    }
    likely = [axis for axis, size in sizes.items() if size == max(sizes.values())]
    if len(likely) != 1:
        raise InputError(
            f"Expected one axis of length 3 (red, green, blue) in {where}, got shape {array.shape}"
            f"{': ambiguous' if likely else ''}. Store (frame, height, width, 3)."
        )
    notes = []
    if likely[0] != 3:
        order = (*(axis for axis in range(4) if axis != likely[0]), likely[0])
        clip = clip.transpose(order)
        notes.append(f"axis {likely[0] - (4 - array.ndim)} of the array taken as the channel")
    _check_room(*clip.shape[:3], where)
    if clip.dtype.kind == "f":
        low, high = float(clip.min()), float(clip.max())
        if not (low >= -1e-6 and high <= 1 + 1e-6):  # also true of NaN
            raise InputError(
                f"Expected uint8, or floats from 0 to 1, in {where}, got {clip.dtype} {low:g} to {high:g}."
            )
        clip = np.rint(np.clip(clip, 0, 1) * np.float32(255)).astype(np.uint8)
        notes.append("values 0 to 1 scaled to 0 to 255")
    elif clip.dtype != np.uint8:
        raise InputError(f"Expected uint8, or floats from 0 to 1, in {where}, got {clip.dtype}.")
    return Video(np.array(clip), np.arange(len(clip) + 1, dtype=float), tuple(notes), timed=False)


def _rgb(image: Image.Image, notes: list[str], *, still: bool) -> np.ndarray:
    """8-bit RGB of an image of any mode; transparent pixels are composited on black."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError(f"pixels of mode {image.mode}, where 8-bit grey, RGB or RGBA were expected")
    if image.mode in ("L", "1", "LA"):
        notes.append("grey repeated in three channels")
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV") and image.format != "JPEG":
        notes.append(f"{image.mode} converted to RGB without a colour profile")
    if still and image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
        notes.append("turned as its EXIF orientation says")
    # gif frames after the first are already RGB or RGBA, regardless of the transparent colour in the header
    palette = image.mode in ("P", "L", "1") or image.format == "PNG"
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or (
        palette and "transparency" in image.info
    )
    if not transparent:
        return np.asarray(image.convert("RGB"))
    rgba = np.asarray(image.convert("RGBA"))
    alpha = rgba[..., 3:]
    if (alpha == 255).all():
        return rgba[..., :3].copy()
    notes.append("transparent pixels composited on black")
    return ((rgba[..., :3].astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def _cell(frames: np.ndarray, grid: GridConfig, path: Path) -> np.ndarray:
    """One image of a padded row of images; raises `InputError` if the frame is not such a row."""
    height, width = frames.shape[1:3]
    pad = grid.padding
    inner, spare = divmod(width - (grid.columns + 1) * pad, grid.columns)
    if spare or inner <= 0 or height - 2 * pad <= 0:
        raise InputError(
            f"Expected a row of {grid.columns} images with {pad} pixels of padding in {path}, "
            f"got frames of {width} x {height}."
        )
    between = np.ones((height, width), dtype=bool)
    for column in range(grid.columns):
        left = pad + column * (inner + pad)
        between[pad : height - pad, left : left + inner] = False
    border = frames[:, between]
    # 256-colour palettes change padding by up to 26 grey levels in published files.
    if border.size and np.abs(border.astype(int) - np.median(border)).max() > 48:
        raise InputError(
            f"Expected even padding of {pad} pixels in {path}, got an image there: is the layout right?"
        )
    left = pad + grid.column * (inner + pad)
    return frames[:, pad : height - pad, left : left + inner]
