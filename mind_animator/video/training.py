"""Training movies sampled at any rate and onset, for methods that train on more than the sampled frames of
the clips."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.errors import InputError
from mind_animator.video.decode import Movie, read_clips
from mind_animator.video.sampling import frames_shown_at

# Tolerance in seconds for onsets and durations, which are rounded in published tables.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Span:
    """A part of a movie file that training clips cover without a gap.

    Attributes
    ----------
    movie : str
    file : Path
    start, end : float
        Seconds from the first frame of the file.
    """

    movie: str
    file: Path
    start: float
    end: float


class TrainingMovies:
    """The training movies. Only the time that training clips cover can be read.

    Parameters
    ----------
    table : DataFrame
        One row per training clip: ``movie, file, onset, duration``.
    files : sequence of Path
        The movie files.
    crop : float
        Fraction of height and width that is kept about the centre (``stimuli.crop``).

    Attributes
    ----------
    spans : tuple of Span
    duration : float
        Median duration of the training clips, seconds.
    """

    def __init__(self, table: pd.DataFrame, files: Sequence[Path], crop: float = 1.0) -> None:
        paths, spans = {path.name: path for path in map(Path, files)}, []
        for (file, movie), clips in table.groupby(["file", "movie"], sort=False):
            if Path(file).name not in paths:
                raise InputError(f"Expected the movie {file} among {sorted(paths)}, found none.")
            clips = clips.sort_values("onset")
            start = end = None
            for onset, duration in zip(clips["onset"], clips["duration"], strict=True):
                if end is not None and onset > end + _TOLERANCE:
                    spans.append(Span(movie, paths[Path(file).name], start, end))
                    start = None
                start = onset if start is None else start
                end = onset + duration if end is None else max(end, onset + duration)
            spans.append(Span(movie, paths[Path(file).name], start, end))
        self.spans, self.crop = tuple(spans), crop
        self.duration = float(table["duration"].median())

    def read(
        self, span: Span, onsets: Sequence[float], *, frames: int, rate: float, size: int
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index of the onset, frames (frame, size, size, 3) uint8) in one pass through the file.

        Parameters
        ----------
        span : Span
            One of `spans`.
        onsets : sequence of float
            Start of each sample, seconds from the first frame of the file.
        frames : int
            Frames per sample, those shown at ``onset + k / rate``.
        rate : float
            Hz.
        size : int
            Height and width, pixels.

        Raises
        ------
        InputError
            If a sample is not within the span.
        """
        onsets = np.asarray(onsets, float)
        outside = (onsets < span.start - _TOLERANCE) | (onsets + frames / rate > span.end + _TOLERANCE)
        if outside.any() or span not in self.spans:
            raise InputError(
                f"Expected samples of {frames / rate:g} s between {span.start:g} and {span.end:g} s of "
                f"{span.file}, got one at {onsets[outside][0] if outside.any() else span.start:g} s."
            )
        movie = Movie(span.file)
        indices = frames_shown_at(movie.starts, onsets[:, None] + np.arange(frames) / rate)
        yield from read_clips(movie, indices, size=size, crop=self.crop)
