"""Decoding of the clips of a movie in one sequential pass."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from mind_animator.artefacts.video import Movie
from mind_animator.video.conform import resize_frame


def read_clips(
    movie: Movie, indices: np.ndarray, *, size: int, crop: float = 1.0
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (row, frames) for every clip in one sequential pass, each as soon as its last frame is decoded.

    If `Movie.frames` starts again with another reader, rows are yielded a second time and replace the earlier ones.

    Parameters
    ----------
    movie : Movie
    indices : array of shape (n_clips, n_frames), int64
        Frame indices, not descending within a clip; clips may overlap and may be in any order.
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
        for position, index in enumerate(clip):
            uses.setdefault(int(index), []).append((row, position))
    filling: dict[int, np.ndarray] = {}
    missing: dict[int, int] = {}
    last = -1
    for index, small in movie.frames(np.unique(indices), partial(resize_frame, size=size, crop=crop)):
        if index <= last:  # the movie is read again from the start
            filling, missing = {}, {}
        last = index
        for row, position in uses[index]:
            if row not in filling:
                filling[row] = np.empty((indices.shape[1], size, size, 3), np.uint8)
                missing[row] = indices.shape[1]
            filling[row][position] = small
            missing[row] -= 1
            if missing[row] == 0:
                yield row, filling.pop(row)
