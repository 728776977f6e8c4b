"""Folders of videos that anyone made: gif, mp4, avi, webm, images; grids, numbering, odd channels.

Whatever cannot be read is an `InputError` that names the file, so that a scorer can give that clip a row
with the reason and go on with the rest.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from mind_animator.artefacts.video import read_video
from mind_animator.config.clipfolder import GridConfig, LayoutConfig
from mind_animator.errors import InputError

VIDEOS = (".gif", ".mp4", ".avi", ".webm", ".mkv", ".mov")
IMAGES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Video:
    """Frames of one file.

    Attributes
    ----------
    frames : array of shape (frame, height, width, 3), uint8
        RGB.
    times : array of shape (frame + 1,), float64
        Start of every frame and the end of the last, seconds from the first frame.
    notes : tuple of str
        What was done to the pixels (grey repeated, transparency laid on black); empty for plain RGB.
    """

    frames: np.ndarray
    times: np.ndarray
    notes: tuple[str, ...] = ()


def find_clips(folder: Path | str, layout: LayoutConfig) -> dict[str, Path]:
    """Files of a folder by clip key, in natural order.

    The key is the text of ``{clip}``, or the number of ``{number}`` counted from 0 as decimal text. Files
    whose names do not fit the layout are passed over.

    Raises
    ------
    InputError
        If the folder is absent or holds no fitting file, a clip has two files, or a number is below the
        first.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"Expected a folder of videos at {folder}, found none.")
    parts = re.split(r"(\{number\}|\{clip\}|\*)", layout.name)
    meaning = {"{number}": r"(?P<key>\d+)", "{clip}": r"(?P<key>.+)", "*": r".*"}
    pattern = re.compile("".join(meaning.get(part, re.escape(part)) for part in parts))
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: natural_order(path.name)):
        is_video = path.suffix.lower() in VIDEOS and not path.is_dir()
        stem = path.stem if is_video else path.name
        fits = pattern.fullmatch(stem)
        if fits is None or not (is_video or path.is_dir()) or path.name.startswith("."):
            continue
        key = fits["key"]
        if "{number}" in layout.name:
            if int(key) < layout.first:
                raise InputError(f"Expected clip numbers from {layout.first}, got {path} (key 'first').")
            key = str(int(key) - layout.first)
        if key in found:
            raise InputError(
                f"Expected one file for clip '{key}', got {found[key].name} and {path.name} in {folder}."
            )
        found[key] = path
    if not found:
        names = sorted(path.name for path in folder.iterdir())[:3]
        raise InputError(
            f"Expected videos named '{layout.name}' in {folder}, got {names or 'an empty folder'}."
        )
    return found


def place_in_list(
    files: dict[str, Path], clips: Sequence[str], layout: LayoutConfig, folder: str
) -> dict[str, Path]:
    """Files by name of a clip: a number is a place in the list of clips, a text is a clip's name.

    Raises
    ------
    InputError
        If a number lies outside the list (numbers 1..n with ``first: 0`` do), or no file names a clip.
    """
    if "{number}" in layout.name:
        beyond = [path.name for key, path in files.items() if int(key) >= len(clips)]
        if beyond:
            raise InputError(
                f"Expected numbers {layout.first}..{len(clips) - 1 + layout.first} for {len(clips)} clips, "
                f"got {beyond[0]} in {folder} (do the numbers start at {1 - layout.first}? set 'first')."
            )
        return {clips[int(key)]: path for key, path in files.items()}
    wanted = set(clips)
    placed = {key: path for key, path in files.items() if key in wanted}
    if not placed:
        raise InputError(
            f"Expected files named by clips such as '{clips[0]}' in {folder}, got '{next(iter(files))}'."
        )
    return placed


def read_clip(path: Path | str, layout: LayoutConfig) -> Video:
    """Frames of one file or folder of images, as the layout says.

    Raises
    ------
    InputError
        If it is missing, corrupt, truncated, empty, or does not have the grid.
    """
    path = Path(path)
    if path.is_dir():
        frames, times, notes = _read_images(path)
    elif path.suffix.lower() == ".gif":
        frames, times, notes = _read_gif(path)
    else:
        frames, starts = read_video(path)
        step = float(np.median(np.diff(starts))) if len(starts) > 1 else 1.0
        times, notes = np.append(starts, starts[-1] + step), ()
    if layout.rate is not None:
        times = np.arange(len(frames) + 1) / layout.rate
    if layout.grid is not None:
        frames = _cell(frames, layout.grid, path)
    if layout.channels == "bgr":
        frames, notes = frames[..., ::-1], (*notes, "red and blue swapped back")
    return Video(np.ascontiguousarray(frames), times, notes)


def natural_order(name: str) -> list[tuple[int, int | str]]:
    """Sorting key under which ``frame_2`` comes before ``frame_10``."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def _read_gif(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    if not path.is_file():
        raise InputError(f"Expected a video at {path}, found none.")
    frames: list[np.ndarray] = []
    durations: list[float] = []
    notes: set[str] = set()
    try:
        with Image.open(path) as image:
            for frame in ImageSequence.Iterator(image):
                frames.append(_rgb(frame, notes))
                durations.append(frame.info.get("duration", 0) / 1000)
        whole = path.read_bytes().rstrip(b"\0").endswith(b";")  # the trailer; some writers pad it with zeros
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(
            f"Expected a whole gif at {path}, got: {error} (after {len(frames)} frames)."
        ) from None
    if not frames or not whole:
        raise InputError(
            f"Expected a whole gif at {path}, got {len(frames)} frames and no end: is it truncated?"
        )
    lengths = np.array(durations)
    if not np.all(lengths > 0):  # 0 means 'as fast as possible'
        lengths = np.full(len(frames), 0.1)
    return np.stack(frames), np.concatenate([[0.0], np.cumsum(lengths)]), tuple(sorted(notes))


def _read_images(folder: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    files = sorted(
        (p for p in folder.iterdir() if p.suffix.lower() in IMAGES), key=lambda p: natural_order(p.name)
    )
    if not files:
        raise InputError(f"Expected images ({', '.join(IMAGES)}) in {folder}, found none.")
    frames: list[np.ndarray] = []
    notes: set[str] = set()
    for file in files:
        try:
            with Image.open(file) as image:
                frames.append(_rgb(image, notes))
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
            raise InputError(f"Expected a whole image at {file}, got: {error}.") from None
        if frames[-1].shape != frames[0].shape:
            raise InputError(
                f"Expected images of {frames[0].shape[:2]} in {folder}, got {frames[-1].shape[:2]}."
            )
    return np.stack(frames), np.arange(len(frames) + 1, dtype=float), tuple(sorted(notes))


def _rgb(image: Image.Image, notes: set[str]) -> np.ndarray:
    """8-bit RGB of an image of any mode; transparency is laid on black."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError(f"pixels of mode {image.mode}, where 8-bit grey, RGB or RGBA were expected")
    if image.mode in ("L", "1", "LA"):
        notes.add("grey repeated in three channels")
    if image.mode in ("RGB", "L", "1"):
        return np.asarray(image.convert("RGB"))
    rgba = np.asarray(image.convert("RGBA"))
    alpha = rgba[..., 3:]
    if (alpha == 255).all():
        return rgba[..., :3].copy()
    notes.add("transparency laid on black")
    return ((rgba[..., :3].astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def _cell(frames: np.ndarray, grid: GridConfig, path: Path) -> np.ndarray:
    """One image of a padded row; `InputError` where the frame cannot be such a row."""
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
    # 256-colour palettes move padding by up to 26 grey levels in published files.
    if border.size and np.abs(border.astype(int) - np.median(border)).max() > 48:
        raise InputError(
            f"Expected even padding of {pad} pixels in {path}, got image there: is the layout right?"
        )
    left = pad + grid.column * (inner + pad)
    return frames[:, pad : height - pad, left : left + inner]
