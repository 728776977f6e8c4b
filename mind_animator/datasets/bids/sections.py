"""Presentations of movies according to the events, and their division into sections, segments and splits."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mind_animator.datasets.bids.files import RunKey, StudyFiles
from mind_animator.datasets.bids.tree import Row, joined, matches, natural, read_events
from mind_animator.datasets.leaks import NEIGHBOURS
from mind_animator.errors import InputError

SHORT, PACK = 5, 240  # clips: movies shorter than SHORT are combined into segments of about PACK clips


@dataclass(frozen=True)
class Presentation:
    """One presentation of a movie, or of a section of it.

    Attributes
    ----------
    run : frozenset
        Entities of the run.
    stem : str
        Name of the run.
    movie : str
    onset, duration : float
        Seconds from the start of the acquisition.
    offset : float
        Position in the movie at the onset, seconds.
    events : Path
    line : int
    """

    run: RunKey
    stem: str
    movie: str
    onset: float
    duration: float
    offset: float
    events: Path
    line: int

    @property
    def end(self) -> float:
        """Position in the movie at the end of the presentation, seconds."""
        return self.offset + self.duration


@dataclass(frozen=True)
class Section:
    """A part of a movie that is always presented as a whole, usually the whole movie.

    Attributes
    ----------
    id, movie, split : str
    onsets : tuple of float
        Onsets of the clips, in seconds of the movie.
    shown : dict of subject to tuple of Presentation
    """

    id: str
    movie: str
    split: str
    onsets: tuple[float, ...]
    shown: dict[str, tuple[Presentation, ...]]


def read_presentations(files: StudyFiles, subject: str) -> list[Presentation]:
    """Presentations of a subject, run by run, according to the events."""
    options = files.options
    column = None if options.offset in (None, "start", "cumulative") else options.offset
    found: list[Presentation] = []
    reached: dict[str, float] = {}
    for run, stem in files.runs(subject).items():
        texts = files.raw.above(run, "events", ".tsv")
        if not texts:
            continue
        rows = read_events(texts[-1], options.movie, dict(run)["task"], column, options.movies)
        if options.offset == "start":
            rows = [Row(row.movie, row.onset, row.duration, 0.0, row.line) for row in rows]
        elif options.offset == "cumulative":
            for index, row in enumerate(rows):
                start = reached.get(row.movie, 0.0)
                rows[index] = Row(row.movie, row.onset, row.duration, start, row.line)
                reached[row.movie] = start + row.duration
        found += [
            Presentation(
                run, stem, row.movie, row.onset, row.duration, row.offset or 0.0, texts[-1], row.line
            )
            for row in joined(rows, texts[-1])
        ]
    if options.offset is None:
        before: dict[str, Presentation] = {}
        for one in found:
            if one.movie in before:
                first = before[one.movie]
                raise InputError(
                    f"Expected dataset.options.offset, since sub-{subject} has several rows of '{one.movie}' "
                    f"(line {first.line} of {first.events}, line {one.line} of {one.events}): 'start' if each "
                    "presents the movie from its start (repeats), 'cumulative' if they continue each other, or "
                    "the column that states the seconds into the movie."
                )
            before[one.movie] = one
    return found


def cut_sections(presented: Mapping[str, Sequence[Presentation]], files: StudyFiles) -> list[Section]:
    """One section per part of a movie that is always presented as a whole; training first, in natural order."""
    by_movie: dict[str, list[tuple[str, Presentation]]] = {}
    for subject, ones in presented.items():
        for one in ones:
            by_movie.setdefault(one.movie, []).append((subject, one))
    names = _safe_names(sorted(by_movie, key=natural))
    seconds = files.options.clip_seconds
    drafts: list[tuple[str, str, float, int, list[tuple[str, Presentation]]]] = []
    for movie, shown in by_movie.items():
        groups: list[list[tuple[str, Presentation]]] = []
        for subject, one in sorted(shown, key=lambda item: item[1].offset):
            if groups and one.offset - groups[-1][0][1].offset < seconds / 4:
                groups[-1].append((subject, one))
            else:
                groups.append([(subject, one)])
        for group in groups:
            offset = group[0][1].offset
            last, first = (pick((one for _, one in group), key=lambda one: one.end) for pick in (max, min))
            if last.end - first.end > seconds / 2:
                raise InputError(
                    f"Expected '{movie}' to last equally long in all runs, got {last.duration:g} s (line "
                    f"{last.line} of {last.events}) and {first.duration:g} s (line {first.line} of {first.events})."
                )
            count = int((first.end - offset) / seconds + 0.05)
            if not count:
                raise InputError(
                    f"Expected '{movie}' to last at least one clip of {seconds:g} s, got {first.duration:g} s "
                    f"(line {first.line} of {first.events})."
                )
            whole = len(groups) == 1 and offset < seconds / 4
            name = (
                names[movie] if whole else f"{names[movie]}_{offset:g}s".replace(".", "p").replace("-", "m")
            )
            drafts.append((name, movie, offset, count, group))
    return _split(drafts, tuple(presented), files)


def _split(drafts: list, subjects: tuple[str, ...], files: StudyFiles) -> list[Section]:
    """Sections with their splits; training clips close to test clips of the same movie are excluded."""
    seconds, test = files.options.clip_seconds, files.options.test
    tested = {name for name, movie, *_ in drafts if matches(movie, test) or name in test}
    for entry in test:
        if not any(matches(movie, (entry,)) or name == entry for name, movie, *_ in drafts):
            raise InputError(
                f"Expected dataset.options.test to name movies of {sorted({movie for _, movie, *_ in drafts})} "
                f"or sections of {sorted(name for name, *_ in drafts)}, got '{entry}'."
            )
    spans: dict[str, list[tuple[float, float]]] = {}
    for name, movie, offset, count, _ in drafts:
        if name in tested:
            spans.setdefault(movie, []).append((offset, offset + count * seconds))
    orders = {sub: {run: index for index, run in enumerate(files.runs(sub))} for sub in subjects}
    sections = []
    for name, movie, offset, count, group in drafts:
        onsets = [offset + seconds * k for k in range(count)]
        if name not in tested and movie in spans:
            onsets = [
                onset for onset in onsets
                if all(onset - stop >= NEIGHBOURS or start - onset - seconds >= NEIGHBOURS
                       for start, stop in spans[movie])
            ]  # fmt: skip
        shown: dict[str, tuple[Presentation, ...]] = {}
        for subject, one in sorted(group, key=lambda item: (orders[item[0]][item[1].run], item[1].onset)):
            shown[subject] = (*shown.get(subject, ()), one)
        if onsets:
            split = "test" if name in tested else "train"
            sections.append(Section(name, movie, split, tuple(onsets), shown))
    sections.sort(key=lambda section: (section.split == "test", natural(section.id)))
    for split in ("train", "test"):
        for subject in subjects:
            if not any(section.split == split and subject in section.shown for section in sections):
                raise InputError(
                    f"Expected movies to {split} on that sub-{subject} saw, got none (dataset.options.test is "
                    f"{list(test)}): leave the subject out (dataset.subjects)."
                )
    return sections


def pack(sections: list[Section]) -> dict[str, tuple[Section, ...]]:
    """Segments: one per section, and packs of sections with only a few clips."""
    segments: dict[str, tuple[Section, ...]] = {}
    for split in ("train", "test"):
        own = [section for section in sections if section.split == split]
        short = [section for section in own if len(section.onsets) < SHORT]
        short = short if len(short) > 1 else []
        segments |= {s.id: (s,) for s in own if not short or len(s.onsets) >= SHORT}
        packs: list[list[Section]] = []
        for section in short:
            if not packs or sum(len(s.onsets) for s in packs[-1]) + len(section.onsets) > PACK:
                packs.append([])
            packs[-1].append(section)
        segments |= {f"{split}pack{number:03d}": tuple(own) for number, own in enumerate(packs)}
    return segments


def _safe_names(movies: list[str]) -> dict[str, str]:
    """Names of letters, digits and underscores; they include the folders if the file names are not unique."""

    def safe(text: str) -> str:
        return re.sub(r"[^A-Za-z0-9]+", "_", text)

    short = {movie: safe(Path(movie).stem) for movie in movies}
    if len(set(short.values())) < len(movies):
        short = {movie: safe(movie.removesuffix(Path(movie).suffix)) for movie in movies}
    if len(set(short.values())) < len(movies):
        raise InputError(f"Expected movies whose names differ in letters and digits, got {movies}.")
    return short
