"""Decoding a movie once, from its first frame to its last, keeping only the frames that are wanted."""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mind_animator.errors import InputError

# decord waits for its decoding thread by asking again; on a crowded machine 10240 times are too few for a whole movie.
os.environ.setdefault("DECORD_EOF_RETRY_MAX", "1000000")

# What FFmpeg says when it paints over a damaged image. Other complaints occur in sound files too.
_DAMAGE = re.compile(r"error while decoding|concealing \d+|corrupt decoded frame|Invalid NAL unit size")


class Movie:
    """An open movie file: presentation times, and frames by one sequential pass.

    Parameters
    ----------
    path : path
        Any file that FFmpeg reads.
    threads : int
        Decoder threads.

    Attributes
    ----------
    starts : array of shape (n_frames,), float64
        Presentation times of the frames, seconds, ascending. Where the container gives none to some frames
        (AVI), index / average rate.
    end : float
        When the last frame's presentation ends, seconds.
    """

    def __init__(self, path: Path | str, threads: int = 1) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"Expected a movie at {path}, found none.")
        self._reader = self._open(threads)
        spans = np.asarray(self._reader.get_frame_timestamp(range(len(self._reader))), np.float64)
        period = 1 / self._reader.get_avg_fps()
        self._timed = bool(spans.min() > -3600 and (np.diff(spans[:, 0]) > 0).all())
        self.starts = spans[:, 0] if self._timed else period * np.arange(len(spans))
        self.end = float(max(spans[-1, 1], self.starts[-1])) if self._timed else period * len(spans)

    def _open(self, threads: int) -> Any:
        import decord

        try:
            reader = decord.VideoReader(str(self.path), ctx=decord.cpu(0), num_threads=threads)
        except (RuntimeError, decord.DECORDError) as error:
            raise InputError(f"Expected a whole movie in {self.path}, got: {_brief(error)}.") from None
        if len(reader) == 0:
            raise InputError(f"Expected a movie with frames in {self.path}, got none.")
        return reader

    def frames(self, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index, frame) for ascending wanted indices; the others are decoded but never converted.

        Frames are RGB uint8 (height, width, 3). One pass a movie: a second call raises.

        Raises
        ------
        InputError
            If the decoder fails or paints over damage before the last wanted frame.
        """
        import decord

        if self._reader is None:
            raise ValueError(f"Expected one pass over {self.path}, got a second.")
        reader, self._reader = self._reader, None
        at = 0
        with _listening() as damage:
            for index in wanted:
                if index < at:
                    raise ValueError(f"Expected ascending indices, got {index} after {at - 1}.")
                try:
                    if self._timed and index > at:
                        reader.skip_frames(int(index - at))
                    while not self._timed and at < index:  # the reader skips by times that this file lacks
                        reader.next()
                        at += 1
                    frame = reader.next().asnumpy()
                except (RuntimeError, StopIteration, decord.DECORDError) as error:
                    raise InputError(
                        f"Expected a whole movie in {self.path}, "
                        f"got damage before frame {index}: {_brief(error)}."
                    ) from None
                if frame.shape[-1] != 3:  # the decoder pads the rows of very narrow movies
                    raise InputError(
                        f"Expected a movie at least 32 pixels wide in {self.path}, got {frame.shape[1]} pixels."
                    )
                at = int(index) + 1
                yield int(index), frame
        if damage:
            raise InputError(f"Expected a whole movie in {self.path}, got: {damage[0]}.")


def resize_frame(frame: np.ndarray, size: int, crop: float = 1.0) -> np.ndarray:
    """The one resize of all stimuli: area interpolation to a square; the aspect ratio is not kept.

    Parameters
    ----------
    frame : array of shape (height, width, 3), uint8
    size : int
        Height and width of the result, pixels.
    crop : float
        Share of height and width that is kept about the centre, in (0, 1].

    Returns
    -------
    array of shape (size, size, 3), uint8
    """
    height, width = frame.shape[:2]
    kept_height, kept_width = max(1, round(crop * height)), max(1, round(crop * width))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    kept = frame[top : top + kept_height, left : left + kept_width]
    if kept.shape[:2] == (size, size):
        return kept.copy()
    return cv2.resize(kept, (size, size), interpolation=cv2.INTER_AREA)


def read_clips(
    movie: Movie, indices: np.ndarray, *, size: int, crop: float = 1.0
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (row, frames) for every clip in one sequential pass, each as soon as its last frame is there.

    Parameters
    ----------
    movie : Movie
    indices : array of shape (n_clips, n_frames), int64
        Frame indices, not descending within a clip; clips may overlap and come in any order.
    size, crop
        See `resize_frame`.

    Yields
    ------
    row : int
        Row of ``indices``.
    frames : array of shape (n_frames, size, size, 3), uint8
    """
    uses: dict[int, list[tuple[int, int]]] = {}
    for row, clip in enumerate(indices):
        for place, index in enumerate(clip):
            uses.setdefault(int(index), []).append((row, place))
    filling: dict[int, np.ndarray] = {}
    missing = {row: indices.shape[1] for row in range(len(indices))}
    for index, frame in movie.frames(np.unique(indices)):
        small = resize_frame(frame, size, crop)
        for row, place in uses[index]:
            if row not in filling:
                filling[row] = np.empty((indices.shape[1], size, size, 3), np.uint8)
            filling[row][place] = small
            missing[row] -= 1
            if missing[row] == 0:
                yield row, filling.pop(row)


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect FFmpeg's complaints about damaged images from stderr while everything is passed on.

    FFmpeg conceals damage and only says so there; the frame itself carries no mark in this reader.
    """
    damage: list[str] = []
    sys.stderr.flush()
    kept = os.dup(2)
    readable, writable = os.pipe()

    def pass_on() -> None:
        with os.fdopen(readable, "rb", buffering=0) as stream:
            rest = ""
            while block := stream.read(1 << 16):
                os.write(kept, block)
                *lines, rest = (rest + block.decode(errors="replace")).split("\n")
                damage.extend(match.group() for line in lines if (match := _DAMAGE.search(line)))

    listener = threading.Thread(target=pass_on, daemon=True)
    listener.start()
    os.dup2(writable, 2)
    os.close(writable)
    try:
        yield damage
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)  # closes the last end that writes, so that the listener ends
        listener.join()
        os.close(kept)


def _brief(error: BaseException) -> str:
    """The last clause of a C++ exception's text, without its source path."""
    text = (str(error).strip().splitlines() or ["end of file"])[0]
    return text.rsplit(": ", 1)[-1].rstrip(". ") or type(error).__name__
