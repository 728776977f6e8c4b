"""Overlap of training and test movies: by name, by position in a file, and by image content."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

NEIGHBOURS = 10.0  # seconds by which a response outlasts its movie, approximately
SAME, TEXTURE, IN_A_ROW, TILES = 3.0, 8.0, 3, 64
ENDS = 30.0  # seconds at either end of a movie that `clips_of_ends` contains


def check_leak(table: "pd.DataFrame", sums: Mapping[str, str] | None = None) -> None:
    """Check that neither test movies nor adjacent parts of the same movies are used for training.

    Parameters
    ----------
    table : DataFrame
        Clips of all segments: ``clip, movie, file, onset, duration, split``.
    sums : mapping of file (as in the table) to SHA-256, optional
        Two files with the same content count as one.

    Raises
    ------
    InputError
        If a movie has clips of both splits, or clips of both splits are less than 10 s apart in one file.
    """
    import numpy as np

    sides = table.groupby("movie")["split"].nunique()
    for movie in sides[sides > 1].index:
        raise InputError(f"Expected movie '{movie}' in one split, got it in training and test.")
    content = table["file"].map(lambda file: (sums or {}).get(file, file))
    for _, rows in table.assign(content=content).groupby("content"):
        rows = rows[rows["file"] != ""]
        train, test = rows[rows["split"] == "train"], rows[rows["split"] == "test"]
        if train.empty or test.empty:
            continue
        gaps = np.maximum(
            test["onset"].to_numpy()[:, None] - (train["onset"] + train["duration"]).to_numpy(),
            train["onset"].to_numpy() - (test["onset"] + test["duration"]).to_numpy()[:, None],
        )
        if gaps.min() < NEIGHBOURS:
            here, there = np.unravel_index(np.argmin(gaps), gaps.shape)
            raise InputError(
                f"Expected test clips at least {NEIGHBOURS:g} s from training clips of the same movie, got "
                f"'{test['clip'].iloc[here]}' and '{train['clip'].iloc[there]}' "
                f"{max(gaps.min(), 0):g} s apart "
                f"({test['file'].iloc[here]} and {train['file'].iloc[there]})."
            )


@dataclass(frozen=True)
class Twin:
    """A test clip whose frames occur among the training frames.

    Attributes
    ----------
    test, train : int
        The clip, and the training clip that contains its first frame.
    in_a_row : int
        Number of consecutive test clips up to this one that occur in the same order and at the same distance.
    """

    test: int
    train: int
    in_a_row: int


def same_clips(train: "np.ndarray", test: "np.ndarray") -> list[Twin]:
    """Test clips whose frames occur among the training frames, at any position within a training clip.

    A frame matches two neighbouring training frames if it differs by less than 3 grey levels (root mean square over
    tiles) from a mixture of them, so that movies cut at different times can also be compared::

        min over a in [0, 1] of |x - (1 - a) p_i - a p_(i+1)| < 3 sqrt(tiles)

    A clip matches if at least half of its frames match consecutive training frames in the same order.

    Parameters
    ----------
    train, test : ndarray (clip, frame * 64) float32
        `thumbnails`, grey levels, in the order of the movies. Clips with less texture than 8 grey levels (black
        frames, titles) are not compared.
    """
    import numpy as np

    n_frames, tiles = test.shape[1] // TILES, TILES
    mean = train.mean(dtype=np.float64)
    known = (train - mean).reshape(-1, tiles).astype(np.float64)
    step = np.diff(known, axis=0, append=known[-1:])
    square, along = (known**2).sum(axis=1), (known * step).sum(axis=1)
    length = (step**2).sum(axis=1)
    safe = np.where(length > 0, length, 1)
    twins, last, run = [], None, np.zeros(0, np.int32)
    n_starts = len(known) - n_frames + 1
    for clip in np.flatnonzero(test.std(axis=1) > TEXTURE):
        frames = (test[clip] - mean).reshape(n_frames, tiles).astype(np.float64)
        products, moved = frames @ known.T, frames @ step.T - along
        fraction = np.clip(moved / safe, 0, 1)
        distance = (frames**2).sum(axis=1)[:, None] + square - 2 * products
        distance += fraction * (fraction * length - 2 * moved)
        near = distance < tiles * SAME**2
        found = sum(near[f, f : f + n_starts].astype(np.int32) for f in range(n_frames)) * 2 >= n_frames
        apart = sum(distance[f, f : f + n_starts] for f in range(n_frames))
        before = np.zeros(n_starts, np.int32)
        if last == clip - 1 and n_starts > n_frames:
            before[n_frames:] = run[:-n_frames]
        run, last = np.where(found, before + 1, 0), clip
        if found.any():
            best = np.flatnonzero(run == run.max())
            # a frame is the end of one pair and the start of the next one; the later pair is used
            start = int(best[apart[best] <= apart[best].min() + n_frames * tiles][-1])
            twins.append(Twin(int(clip), start // n_frames, int(run[start])))
    return twins


def thumbnails(frames: "np.ndarray") -> "np.ndarray":
    """Frames (frame, height, width, 3) uint8 of one clip as 8 x 8 grey tiles per frame, (frame * 64,) float32."""
    import cv2
    import numpy as np

    small = [cv2.resize(frame, (8, 8), interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack(small).astype(np.float32).mean(axis=3).ravel()


def check_same_clips(twins: list[Twin], train: "pd.DataFrame", test: "pd.DataFrame") -> None:
    """Raise `InputError` if the same content occurs in training and test clips.

    An error is raised for three consecutive matching test clips, for a matching movie of one clip, and for a movie that
    begins with the end of a training movie or ends with the beginning of one (overlapping runs).
    """
    singles = {movie for movie, count in test["movie"].value_counts().items() if count == 1}
    movies = [list(table["movie"]) for table in (test, train)]
    for twin in twins:
        edges = [_edges(movies[side], row) for side, row in enumerate((twin.test, twin.train))]
        overlap = (edges[0][0] and edges[1][1]) or (edges[0][1] and edges[1][0])
        if twin.in_a_row >= IN_A_ROW or overlap or movies[0][twin.test] in singles:
            row, other = (max(0, index - twin.in_a_row + 1) for index in (twin.test, twin.train))
            raise InputError(
                "Expected movies to be in training or test, got the same images in "
                f"'{test['clip'].iloc[row]}' (test, {movies[0][row]}) and '{train['clip'].iloc[other]}' "
                f"(training, {movies[1][other]}): put both movies into one split, or leave one out."
            )


def _edges(movies: list[str], row: int) -> tuple[bool, bool]:
    """Whether a clip is among the first two and among the last two clips of its movie; both False for short movies."""
    start = stop = row
    while start > 0 and row - start < 2 and movies[start - 1] == movies[row]:
        start -= 1
    while stop < len(movies) - 1 and stop - row < 2 and movies[stop + 1] == movies[row]:
        stop += 1
    return row - start < 2 <= stop - row, stop - row < 2 <= row - start


def clips_of_ends(table: "pd.DataFrame", seconds: Mapping[str, float]) -> "pd.DataFrame":
    """Clips of 2 s in the first and the last 30 s of every movie file of at least 30 s.

    Runs of one long movie often begin with the last seconds of the run before. Their files differ in name and content,
    and the second at which the overlap begins is stated nowhere, so that it can only be found in the images.

    Parameters
    ----------
    table : DataFrame
        Clips of all segments: ``movie, file, onset, duration, split``.
    seconds : mapping of file to duration in seconds

    Returns
    -------
    DataFrame
        ``clip, movie, file, onset, duration, split``, movie after movie.
    """
    import pandas as pd

    rows = []
    for file, own in table.groupby("file", sort=False):
        if file not in seconds:
            continue
        low, high = float(own["onset"].min()), float((own["onset"] + own["duration"]).max())
        high = min(high, seconds[file])
        if high - low < ENDS:  # a short video is no part of a long movie
            continue
        starts = [low + 2 * k for k in range(int((high - low) / 2))]
        if high - low > 2 * ENDS:
            head = int(ENDS / 2)
            starts = starts[:head] + [high - ENDS + 2 * k for k in range(head)]
        nearest = [int((own["onset"] - start).abs().to_numpy().argmin()) for start in starts]
        rows += [
            {"clip": own["clip"].iloc[row], "movie": own["movie"].iloc[row], "file": file, "onset": start,
             "duration": 2.0, "split": own["split"].iloc[row]}
            for start, row in zip(starts, nearest, strict=True)
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=["clip", "movie", "file", "onset", "duration", "split"])
