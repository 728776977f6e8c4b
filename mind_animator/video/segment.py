"""Cutting of the movies of a segment into the sampled frames of its clips."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.video import Movie
from mind_animator.config.stimuli import StimuliConfig
from mind_animator.errors import InputError
from mind_animator.video.conform import resize_frame
from mind_animator.video.decode import read_clips
from mind_animator.video.sampling import sample_indices


def plan_segment(
    table: pd.DataFrame, movies: Mapping[str, Path], settings: StimuliConfig, threads: int = 1
) -> dict[Movie, tuple[np.ndarray, np.ndarray]]:
    """Open every movie and determine the frames of every clip before any movie is decoded.

    Parameters
    ----------
    table : DataFrame
        One row per clip with columns ``file`` (name or path of its movie), ``onset``, ``duration`` (seconds).
    movies : mapping of file name to path
    settings : StimuliConfig
    threads : int
        Decoder threads.

    Returns
    -------
    dict
        Maps each movie to (rows of the table, frame indices (row, frame)), in the order of the table.

    Raises
    ------
    InputError
        If a movie is missing, corrupt, or too short for its clips.
    """
    names = table["file"].map(lambda file: Path(file).name)
    plan = {}
    for name in names.unique():
        if name not in movies:
            raise InputError(f"Expected movie '{name}' among the segment's files, got {sorted(movies)[:5]}.")
        rows = np.flatnonzero(names == name)
        movie = Movie(movies[name], threads, square=False)
        indices = sample_indices(
            movie.starts,
            movie.end,
            table["onset"].to_numpy()[rows],
            table["duration"].to_numpy()[rows],
            frames=settings.frames,
            rate=settings.rate,
            sampling=settings.sampling,
            where=str(movies[name]),
        )
        plan[movie] = (rows, indices)
    return plan


def segment_clips(
    plan: Mapping[Movie, tuple[np.ndarray, np.ndarray]], settings: StimuliConfig
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (row of the table, frames (frame, size, size, 3) uint8) of every planned clip, movie by movie."""
    for movie, (rows, indices) in plan.items():
        for row, frames in read_clips(movie, indices, size=settings.size, crop=settings.crop):
            yield int(rows[row]), frames


def ready_clips(
    clips: np.ndarray, n_clips: int, settings: StimuliConfig, where: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (row, frames (frame, size, size, 3) uint8) of the frames included in the data set, resized."""
    if len(clips) != n_clips or clips.shape[1] != settings.frames:
        raise InputError(
            f"Expected {n_clips} clips of {settings.frames} frames ({where}), "
            f"got {len(clips)} of {clips.shape[1]}: set stimuli.frames."
        )
    for row, frames in enumerate(clips):
        yield row, np.stack([resize_frame(frame, settings.size, settings.crop) for frame in frames])
