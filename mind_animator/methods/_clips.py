"""Subsets and permutations of clips in whole blocks of neighbours."""

import numpy as np
import pandas as pd

from mind_animator.errors import InputError


def choose_clips(count: int, number: int | None, block: int, seed: int) -> np.ndarray:
    """Rows of a random subset of whole blocks of neighbours, ascending; the last block is cut to ``number``.

    A smaller subset is part of every larger one with the same seed.
    """
    if number is None:
        return np.arange(count)
    if number > count:
        raise InputError(f"Expected training_clips to be at most the {count} training clips, got {number}.")
    blocks = np.random.default_rng([seed, 2]).permutation(-(-count // block))
    rows = np.concatenate([np.arange(b * block, min((b + 1) * block, count)) for b in blocks])
    return np.sort(rows[:number])


def choose_minutes(table: pd.DataFrame, minutes: float | None, order: int) -> np.ndarray:
    """Rows of the clips of the first minutes of movie, when the movies are put into a seeded order.

    Movies are taken whole; of the last one, the clips at its beginning. Fewer minutes of the same order are part of
    more.

    Parameters
    ----------
    table : DataFrame
        Training clips in order: ``movie, duration`` (seconds).
    minutes : float, optional
        None: all.
    order : int
        Seed of the order of the movies.

    Returns
    -------
    ndarray of int, ascending

    Raises
    ------
    InputError
        If there are fewer minutes, or not one clip is that short.
    """
    if minutes is None:
        return np.arange(len(table))
    durations = table["duration"].to_numpy(float)
    if minutes > durations.sum() / 60 + 1e-6:
        raise InputError(
            f"training.minutes = {minutes:g}: must be at most the {durations.sum() / 60:.4g} minutes of training "
            "movies (omit the key for all)."
        )
    movies = table["movie"].to_numpy()
    names = list(dict.fromkeys(movies))
    ranked = [names[index] for index in np.random.default_rng([order, 5]).permutation(len(names))]
    rows = np.concatenate([np.flatnonzero(movies == name) for name in ranked])
    rows = rows[np.cumsum(durations[rows]) <= 60 * minutes + 1e-6]
    if not len(rows):
        raise InputError(
            f"training.minutes = {minutes:g}: must be at least one clip ({durations.min():g} s)."
        )
    return np.sort(rows)


def units_of_validation(table: pd.DataFrame, parts: int = 4) -> list[str]:
    """The movie of each clip; of a selection from a single movie, its consecutive parts.

    Penalties and early stopping leave out whole units. Neighbouring parts of one movie resemble each other more than
    two movies, so that penalties are selected somewhat too low.
    """
    movies = table["movie"].tolist()
    if len(set(movies)) > 1:
        return movies
    of = np.arange(len(movies)) * parts // max(1, len(movies)) + 1
    return [f"{movie}, part {part} of {parts}" for movie, part in zip(movies, of, strict=True)]


def swapped_rows(count: int, block: int, seed: int) -> np.ndarray:
    """For each clip, the clip at the same position in another block; blocks are permuted without fixed points.

    Where the other block is shorter (the last one), its clips repeat.

    Raises
    ------
    InputError
        If there are fewer than two blocks.
    """
    starts = np.arange(0, count, block)
    if len(starts) < 2:
        raise InputError(f"Expected more than {block} clips for permuting blocks, got {count}.")
    order = np.random.default_rng([seed, 3]).permutation(len(starts))  # a single cycle has no fixed points
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)
    rows = np.arange(count)
    other = starts[partner[rows // block]]
    lengths = np.minimum(block, count - other)
    return other + (rows % block) % lengths
