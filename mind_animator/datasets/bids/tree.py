"""Names, inheritance and events of a BIDS folder, read from file names and small text files only."""

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from mind_animator.artefacts.files import expect_file
from mind_animator.errors import InputError

_NOTHING = {"", "n/a", "nan", "null", "none"}
# entities that derivatives add to the entities of their source run
_ADDED = {"space", "res", "den", "hemi", "desc", "cohort", "seg", "atlas", "stat", "echo", "part"}
SAME_TIME = 0.05  # seconds: times that differ by less are treated as equal


@dataclass(frozen=True)
class Name:
    """A BIDS file name: ``sub-01_task-movie_run-1_bold.nii.gz``.

    Attributes
    ----------
    path : Path
    entities : dict of str to str
        The value of ``run`` has no leading zeros, because raw data and derivatives may write it differently.
    suffix, extension : str
        ``bold``; ``.nii.gz``.
    """

    path: Path
    entities: dict[str, str]
    suffix: str
    extension: str

    @cached_property
    def run(self) -> frozenset[tuple[str, str]]:
        """Entities of the run of the file, without those that derivatives add."""
        return frozenset((key, value) for key, value in self.entities.items() if key not in _ADDED)


def parse_name(path: Path) -> Name:
    """Parts of a file name; a name that does not follow BIDS has no entities."""
    stem, dot, extension = path.name.partition(".")
    *pairs, suffix = stem.split("_")
    entities = {}
    for pair in pairs:
        key, dash, value = pair.partition("-")
        if dash:
            entities[key] = str(int(value)) if key == "run" and value.isdigit() else value
    return Name(path, entities, suffix, dot + extension)


class Tree:
    """File names of a BIDS folder with inheritance: text files in higher folders apply to the files below them.

    Parameters
    ----------
    root : path
        Raw data or derivatives.
    endings : tuple of str
        Endings of relevant file names; other files are ignored.
    """

    def __init__(self, root: Path, endings: tuple[str, ...]) -> None:
        self.root, self._endings = root, endings
        self._folders: dict[Path, list[Name]] = {}

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Subjects that have a folder."""
        if not self.root.is_dir():
            return ()
        names = sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())
        return tuple(name.removeprefix("sub-") for name in names if name.startswith("sub-"))

    def folder(self, path: Path) -> list[Name]:
        """Names in one folder, sorted naturally."""
        if path not in self._folders:
            found = []
            if path.is_dir():
                names = [entry.name for entry in os.scandir(path) if entry.name.endswith(self._endings)]
                found = [parse_name(path / name) for name in sorted(names, key=natural)]
            self._folders[path] = found
        return self._folders[path]

    def of_subject(self, subject: str) -> list[Name]:
        """Functional files of a subject from all sessions."""
        top = self.root / f"sub-{subject}"
        sessions = []
        if top.is_dir():
            names = sorted(entry.name for entry in os.scandir(top) if entry.name.startswith("ses-"))
            sessions = [top / name for name in names]
        return [name for directory in (top, *sessions) for name in self.folder(directory / "func")]

    def above(self, run: Iterable[tuple[str, str]], suffix: str, extension: str) -> list[Path]:
        """Text files that apply to a file with these entities, from the most general to the most specific one."""
        entities = dict(run)
        top = self.root / f"sub-{entities.get('sub', '')}"
        directories = [self.root, top, top / "func"]
        if "ses" in entities:
            session = top / f"ses-{entities['ses']}"
            directories = [self.root, top, session, session / "func"]
        found: list[Path] = []
        for directory in directories:
            names = [
                name
                for name in self.folder(directory)
                if name.suffix == suffix
                and name.extension == extension
                and name.entities.items() <= entities.items()
            ]
            found += [name.path for name in sorted(names, key=lambda name: len(name.entities))]
        return found


def read_sidecars(paths: Iterable[Path]) -> tuple[dict[str, Any], str]:
    """Merged values of JSON files (later files have precedence), and the names of the files."""
    values: dict[str, Any] = {}
    names = []
    for path in paths:
        try:
            found = json.loads(read_text(path))
        except json.JSONDecodeError as error:
            raise InputError(f"Expected JSON in {path}, got: {error}.") from None
        if not isinstance(found, dict):
            raise InputError(f"Expected keys and values in {path}, got {type(found).__name__}.")
        values |= found
        names.append(str(path))
    return values, ", ".join(names)


def read_text(path: Path) -> str:
    """Text of a file: UTF-8 with or without a byte order mark, UTF-16 with one, otherwise Windows-1252."""
    expect_file(path, "a text")
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


@dataclass(frozen=True)
class Row:
    """A row of an events file that is the presentation of a movie.

    Attributes
    ----------
    movie : str
    onset, duration : float
        Seconds from the start of the acquisition.
    offset : float or None
        Position in the movie at which the row begins, seconds; None if no column states it.
    line : int
    """

    movie: str
    onset: float
    duration: float
    offset: float | None
    line: int


def read_events(path: Path, movie: str, task: str, offset: str | None, movies: tuple[str, ...]) -> list[Row]:
    """Presentations in an events file, sorted by onset.

    Parameters
    ----------
    path : Path
    movie : str
        Column that names the movie, or ``task`` if every row presents the movie named after the task.
    task : str
        The task of the run.
    offset : str, optional
        Column with the position in the movie in seconds.
    movies : tuple of str
        Patterns of the movies to use; empty for all.
    """
    lines = csv.DictReader(
        io.StringIO(read_text(path).replace("\r\n", "\n").replace("\r", "\n")), delimiter="\t"
    )
    lines.fieldnames = [name.strip() for name in lines.fieldnames or ()]
    needed = ["onset", "duration", *([movie] if movie != "task" else []), *([offset] if offset else [])]
    for column in needed:
        if column not in lines.fieldnames:
            hint = " (dataset.options.movie names the column of movies)" if column == movie else ""
            raise InputError(f"Expected column '{column}' in {path}, got {lines.fieldnames}{hint}.")
    rows: list[Row] = []
    seen: dict[tuple[str, float | None, int], Row] = {}
    for number, line in enumerate(lines, 2):
        values = {key: (value or "").strip() for key, value in line.items() if isinstance(key, str)}
        named = task if movie == "task" else values[movie].replace("\\", "/").removeprefix("/stimuli/")
        named = named.removeprefix("stimuli/")
        if named.lower() in _NOTHING or not any(values.values()):
            continue
        if movies and not matches(named, movies):
            continue
        if "://" in named or named.startswith("/"):
            raise InputError(
                f"Expected a path inside the stimuli folder in line {number} of {path}, got '{named}': name the "
                "file there in the table."
            )
        seconds = [_seconds(values[column], column, number, path) for column in ("onset", "duration")]
        if seconds[1] <= 0:
            raise InputError(f"Expected a positive duration in line {number} of {path}, got {seconds[1]:g}.")
        start = _seconds(values[offset], offset, number, path) if offset else None
        for moment in (round(seconds[0] / SAME_TIME) + step for step in (-1, 0, 1)):
            other = seen.get((named, start, moment))
            if other is not None and abs(other.onset - seconds[0]) < SAME_TIME:
                raise InputError(
                    f"Expected each presentation once in {path}, got '{named}' at {seconds[0]:g} s in lines "
                    f"{other.line} and {number}: delete one of them."
                )
        rows.append(Row(named, *seconds, start, number))
        seen[named, start, round(seconds[0] / SAME_TIME)] = rows[-1]
    return sorted(rows, key=lambda row: row.onset)


def _seconds(text: str, column: str, line: int, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"Expected seconds in column '{column}', line {line} of {path}, got '{text}'.")
    return value


def joined(rows: list[Row], path: Path) -> list[Row]:
    """Join consecutive rows (shot by shot, scene by scene) into one presentation.

    Rows of one movie are consecutive if the time and the position in the movie advance equally.

    Raises
    ------
    InputError
        If two presentations overlap.
    """
    found: list[Row] = []
    for row in rows:
        before = found[-1] if found else None
        if before is None:
            found.append(row)
            continue
        gap = row.onset - (before.onset + before.duration)
        same = row.movie == before.movie
        together = same and row.offset is not None and before.offset is not None
        if (
            together
            and abs((row.onset - row.offset) - (before.onset - before.offset)) < SAME_TIME
            and gap < SAME_TIME
        ):
            end = max(before.onset + before.duration, row.onset + row.duration)
            found[-1] = Row(row.movie, before.onset, end - before.onset, before.offset, before.line)
            continue
        if gap < -0.5:
            raise InputError(
                f"Expected one movie at a time in {path}, got '{before.movie}' (line {before.line}) until "
                f"{before.onset + before.duration:g} s and '{row.movie}' (line {row.line}) from {row.onset:g} s: "
                "choose by dataset.options.movies, or state where in the movie rows begin (dataset.options.offset)."
            )
        found.append(row)
    return found


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name matches one of the patterns, in which only ``*`` and ``?`` are special."""
    names, wild = _compiled(tuple(patterns))
    return name in names or any(pattern.fullmatch(name) for pattern in wild)


@lru_cache
def _compiled(patterns: tuple[str, ...]) -> tuple[frozenset[str], list[re.Pattern[str]]]:
    wild = [re.escape(p).replace(r"\*", ".*").replace(r"\?", ".") for p in patterns if set(p) & {"*", "?"}]
    return frozenset(patterns), [re.compile(pattern) for pattern in wild]


def natural(name: str) -> list[int | str]:
    """Key that sorts ``run-10`` after ``run-9``; numbers and texts alternate, so that they are never compared."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
