"""A study in BIDS: derivatives of fMRIPrep or similar software, events with the onsets of movies, and a folder of movies.

The sources of all values are documented in ``docs/your_data.md``. In short:

- **Events** (raw data, inherited from higher folders): each row is the presentation of a movie that starts at
  ``onset`` and lasts ``duration`` seconds. These files are read whenever the data set is opened, because they
  determine the movies, runs and repeats.
- **Responses** (derivatives): the file of each run in the requested space, with its sidecar and confounds.
- **Movies** (``stimuli``): files with the names given in the events.

The response to a clip is a weighted mean of the volumes acquired during the clip, shifted by ``fmri.lag`` seconds
(`mind_animator.fmri.align.clip_weights`). Polynomial trends and confounds are regressed out jointly. Each run is read
and cleaned once per process.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from mind_animator.config.base import Strict
from mind_animator.datasets.base import Dataset, Run, Segment
from mind_animator.datasets.bids_tree import (
    Name,
    Row,
    Tree,
    joined,
    matches,
    natural,
    parse_name,
    read_events,
    read_sidecars,
    read_text,
)
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mind_animator.config.fmri import FmriConfig
    from mind_animator.fmri.clean import CleanedRun

NEIGHBOURS = 10.0  # minimum seconds of a movie between training clips and test clips
SHORT, PACK = 5, 240  # clips: movies shorter than SHORT are combined into segments of about PACK clips
_SIDES = ("L", "R")
_CHUNK = 8192  # voxels that are cleaned before they are stored
_VIDEO = (".mp4", ".mkv", ".avi", ".mov", ".m4v", ".webm", ".mpg", ".mpeg", ".wmv", ".ts", ".gif")


class BidsOptions(Strict):
    """Settings that cannot be read from the BIDS data set. Paths are relative to the data folder.

    Attributes
    ----------
    task : tuple of str
        ``task-`` entities of the runs; ``*`` and ``?`` are wildcards.
    space : str
        ``fsLR`` (CIFTI), ``fsaverage5``, ``fsaverage6``, ``fsaverage``, ``fsnative`` (GIFTI), a volume space
        such as ``MNI152NLin2009cAsym``, or ``func`` (files without ``space-``).
    tr : float
        Repetition time, seconds; compared with the files.
    clip_seconds : float
        Length of a clip, seconds.
    test : tuple of str
        Movies (or sections of movies) of the test set, which are never used for training; wildcards are allowed.
    movie : str
        Column of the events that names the movie (``stim_file``, ``trial_type``, ...), or ``task`` if each task is one
        movie.
    offset : str, optional
        Position in the movie at which a row begins: ``start`` (every row presents the movie from its start, so that
        rows of one movie are repeats), ``cumulative`` (each row of a movie continues the previous one, also across
        runs), or the column that contains the position in seconds. Required if a subject has several rows of one movie.
    movies : tuple of str
        Movies to use; empty for all. Wildcards are allowed.
    runs : tuple of str
        Runs to use, by names such as ``*_ses-01_*``; empty for all.
    confounds : tuple of str
        Strategies of nilearn's ``load_confounds``; empty for none.
    derivatives, stimuli : str
        Folders.
    desc : str
        The ``desc-`` entity of responses: ``preproc``, ``denoised``, ``optcom``, ...
    mask : str, optional
        For volumes: a NIfTI mask; by default the intersection of the brain masks of the subject's runs. For surfaces: a
        GIFTI file with ``{hemi}``. ``{subject}`` is allowed. Vertices outside the mask are set constant.
    resolution : str, optional
        The ``res-`` or ``den-`` entity, if there are several.
    parcellation : str, optional
        The ``seg-`` or ``atlas-`` entity of parcellated CIFTI files (``.ptseries.nii``).
    """

    task: tuple[str, ...] = Field(min_length=1)
    space: str
    tr: float = Field(gt=0)
    clip_seconds: float = Field(gt=0)
    test: tuple[str, ...] = Field(min_length=1)
    movie: str = "stim_file"
    offset: str | None = None
    movies: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    confounds: tuple[Literal["motion", "wm_csf", "global_signal", "compcor", "scrub", "high_pass"], ...] = (
        "motion",
        "wm_csf",
    )
    derivatives: str = "derivatives/fmriprep"
    stimuli: str = "stimuli"
    desc: str = "preproc"
    mask: str | None = None
    resolution: str | None = None
    parcellation: str | None = None

    @field_validator("task", "test", "movies", "runs", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("resolution", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value


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

    run: frozenset[tuple[str, str]]
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


@dataclass(frozen=True)
class _Stored:
    """Location of the clips of a presentation in the temporary file, (voxel, clip) float32, and the tSNR of the run."""

    offset: int
    shape: tuple[int, int]
    tsnr: "np.ndarray"


class Bids(Dataset):
    """The adapter; the docstring of the module describes its inputs."""

    name = "bids"
    Options: ClassVar[type[Strict]] = BidsOptions
    cleans_while_reading = True  # cleaned runs are stored in a temporary file and read again from it

    def __init__(self, config) -> None:
        super().__init__(config)
        self.tr = self.options.tr
        dense = self.options.space == "fsLR" and not self._parcels
        dense = dense and "_den-170k_" not in self._bold(self._any_run(self.subjects[0]))[0].name
        self.rois_of = "fs_LR_32k" if dense else "none"
        self.has_rois = dense or self._parcels
        self._sections_of = self._pack(self._cut_sections())
        self._segments = tuple(
            Segment(name, sections[0].split, sum(len(section.onsets) for section in sections))
            for name, sections in self._sections_of.items()
        )
        self._store: dict[object, _Stored] = {}
        self._scratch = None

    def _subjects(self) -> tuple[str, ...]:
        known = self._raw.subjects or self._derived.subjects
        chosen = tuple(dict.fromkeys(subject.removeprefix("sub-") for subject in self.config.subjects))
        for subject in chosen:
            if subject not in known:
                raise InputError(
                    f"Expected dataset.subjects to be one of {list(known)}, got '{subject}' ({self.root}): put "
                    "names such as 01 in quotes."
                )
        found = chosen or tuple(subject for subject in known if self._presented(subject))
        if not found or not all(self._presented(subject) for subject in found):
            tasks = sorted(
                {n.entities["task"] for s in known for n in self._names(s) if "task" in n.entities}
            )
            raise InputError(
                f"Expected runs of task {list(self.options.task)} with events (*_events.tsv, in the run's folder or "
                f"above it) that present a movie in {self.root}, found none (tasks there: {tasks})."
            )
        return found

    @property
    def _surface(self) -> bool:
        return self.options.space.startswith("fs") and self.options.space != "fsLR"

    @property
    def _parcels(self) -> bool:
        return self.options.parcellation is not None

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self._segments

    def _sections(self, segment: str) -> tuple[Section, ...]:
        if segment not in self._sections_of:
            raise InputError(f"Expected a segment of {list(self._sections_of)}, got '{segment}'.")
        return self._sections_of[segment]

    def stimulus_files(self, segment: str) -> list[Path]:
        return list(dict.fromkeys(self._movie_file(section.movie) for section in self._sections(segment)))

    def clip_table(self, segment: str) -> "pd.DataFrame":
        import pandas as pd

        described = next(known for known in self.segments if known.id == segment)
        rows = [(section, onset) for section in self._sections(segment) for onset in section.onsets]
        return pd.DataFrame(
            {
                "clip": described.clips,
                "segment": segment,
                "movie": [s.id if s.movie in self._divided else s.movie for s, _ in rows],
                "file": [str(self._movie_file(section.movie)) for section, _ in rows],
                "onset": [onset for _, onset in rows],
                "duration": self.options.clip_seconds,
                "split": described.split,
            }
        )

    def response_files(self, subject: str, segment: str) -> list[Path]:
        shown = [one for section in self._sections(segment) for one in section.shown.get(subject, ())]
        files: list[Path] = []
        for run, events in dict.fromkeys((one.run, one.events) for one in shown):
            files += [*self._bold(run), *self._masks(run), *self._sidecars(run), events]
            if self.options.confounds:
                files.append(self._confounds_file(run))
        return list(dict.fromkeys(files))

    def run_files(self, subject: str, segment: str) -> list[Path]:
        shown = (one for section in self._sections(segment) for one in section.shown.get(subject, ()))
        return [path for run in dict.fromkeys(one.run for one in shown) for path in self._bold(run)]

    def responses(self, subject: str, segment: str, settings: "FmriConfig") -> "Iterator[np.ndarray]":
        return (run.values for run in self.runs(subject, segment, settings))

    def runs(self, subject: str, segment: str, settings: "FmriConfig") -> Iterator[Run]:
        """One repeat at a time; in a pack of short movies, the first presentation of each, then the second, ..."""
        import numpy as np

        sections = self._sections(segment)
        shown = [section.shown.get(subject, ()) for section in sections]
        for number in range(max(map(len, shown))):
            parts = [
                self._clips(subject, one[number], settings) if len(one) > number else None for one in shown
            ]
            first = next(part for part in parts if part is not None)
            if len(sections) == 1:
                name = f"{shown[0][number].stem} at {shown[0][number].onset:g} s"
                yield Run(name, self._stored(first).T, first.tsnr)
                continue
            values = np.full((first.shape[0], sum(len(s.onsets) for s in sections)), np.nan, np.float32)
            start = 0
            for section, part in zip(sections, parts, strict=True):
                if part is not None:
                    values[:, start : start + len(section.onsets)] = self._stored(part)
                start += len(section.onsets)
            known = [part.tsnr for part in parts if part is not None]
            yield Run(f"repeat {number + 1}", values.T, np.mean(known, axis=0, dtype=np.float32))

    def roi_names(self, subject: str) -> "list[str] | None":
        if self._parcels:
            import nibabel as nib

            from mind_animator.artefacts.series import read_header

            file = self._bold(self._any_run(subject))[0]
            read_header(file)
            return [str(name) for name in nib.load(file).header.get_axis(1).name]
        from mind_animator.artefacts.cortex import roi_names

        return roi_names().tolist() if self.has_rois else None

    @cached_property
    def n_voxels(self) -> int:
        """Number of voxels of a subject from the header of an existing file, otherwise a safe upper bound."""
        return self._size[1]

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Volumes and voxels of the largest existing run of the first subject, from the fixed part of its header."""
        from mind_animator.artefacts.series import read_shape

        spaces = {"fsLR": 59_412, "fsaverage5": 20_484, "fsaverage6": 81_924}
        volumes, voxels = 600, spaces.get(self.options.space, 330_000)
        files = [path for run in self._runs(self.subjects[0]) for path in self._bold(run)[:1]]
        sizes = [(path.stat().st_size, path) for path in files if path.is_file() and not self._surface]
        shape = read_shape(max(sizes)[1]) if sizes else ()
        if len(shape) == 6:
            return shape[4], voxels if shape[5] == 91_282 else shape[5]
        if len(shape) == 4:  # the brain fills about a third of the field of view
            return shape[3], int(0.35 * shape[0] * shape[1] * shape[2])
        return volumes, voxels

    def memory_mb(self, every_voxel: bool) -> int:
        """Memory of one run (CIFTI files are mapped instead), and of the sums and means of the largest segment."""
        volumes, voxels = self._size
        largest = max(segment.n_clips for segment in self.segments)
        mapped = self.options.space == "fsLR"
        held = (0 if mapped else volumes) + 6 * largest
        return super().memory_mb(every_voxel) + 4 * held * voxels // 10**6

    # --- movies and their presentations ---

    @cached_property
    def _raw(self) -> Tree:
        return Tree(self.root, ("_events.tsv", "_bold.json", "_bold.nii.gz", "_bold.nii"))

    @cached_property
    def _derived(self) -> Tree:
        return Tree(self.root / self.options.derivatives, (".nii.gz", ".nii", ".gii", ".json", ".tsv"))

    def _names(self, subject: str) -> list[Name]:
        return [*self._raw.of_subject(subject), *self._derived.of_subject(subject)]

    def _runs(self, subject: str) -> dict[frozenset[tuple[str, str]], str]:
        """Runs of the tasks, and their names, in natural order."""
        if subject not in self._known_runs:
            self._known_runs[subject] = self._find_runs(subject)
        return self._known_runs[subject]

    @cached_property
    def _known_runs(self) -> dict[str, dict[frozenset[tuple[str, str]], str]]:
        return {}

    def _find_runs(self, subject: str) -> dict[frozenset[tuple[str, str]], str]:
        found: dict[frozenset[tuple[str, str]], str] = {}
        texts = set()
        for name in self._names(subject):
            if name.suffix not in ("bold", "events", "timeseries") or name.extension == ".json":
                continue
            if name.extension == ".tsv" and name.suffix != "events":
                continue
            if not matches(name.entities.get("task", ""), self.options.task):
                continue
            stem = "_".join(
                f"{key}-{value}" for key, value in name.entities.items() if (key, value) in name.run
            )
            if not self.options.runs or matches(stem, self.options.runs):
                found.setdefault(name.run, stem)
                (texts.add if name.suffix == "events" else texts.discard)(name.run)
        # events files that apply to several runs do not define a run
        shared = {text for text in texts if any(text < run for run in found)}
        return dict(
            sorted(((k, v) for k, v in found.items() if k not in shared), key=lambda item: natural(item[1]))
        )

    def _any_run(self, subject: str) -> frozenset[tuple[str, str]]:
        return next(one.run for one in self._presented(subject))

    @cached_property
    def _presentations(self) -> dict[str, list[Presentation]]:
        return {}

    def _presented(self, subject: str) -> list[Presentation]:
        """Presentations of a subject, run by run, according to the events."""
        if subject not in self._presentations:
            self._presentations[subject] = self._read_presentations(subject)
        return self._presentations[subject]

    def _read_presentations(self, subject: str) -> list[Presentation]:
        options = self.options
        column = None if options.offset in (None, "start", "cumulative") else options.offset
        found: list[Presentation] = []
        reached: dict[str, float] = {}
        for run, stem in self._runs(subject).items():
            texts = self._raw.above(run, "events", ".tsv")
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

    def _cut_sections(self) -> list[Section]:
        """One section per part of a movie that is always presented as a whole; training first, in natural order."""
        by_movie: dict[str, list[tuple[str, Presentation]]] = {}
        for subject in self.subjects:
            for one in self._presented(subject):
                by_movie.setdefault(one.movie, []).append((subject, one))
        names = self._safe_names(sorted(by_movie, key=natural))
        seconds = self.options.clip_seconds
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
                last, first = (
                    pick((one for _, one in group), key=lambda one: one.end) for pick in (max, min)
                )
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
                    names[movie]
                    if whole
                    else f"{names[movie]}_{offset:g}s".replace(".", "p").replace("-", "m")
                )
                drafts.append((name, movie, offset, count, group))
        return self._split(drafts)

    def _split(self, drafts: list) -> list[Section]:
        """Sections with their splits; training clips close to test clips of the same movie are excluded."""
        seconds = self.options.clip_seconds
        tested = {
            name
            for name, movie, *_ in drafts
            if matches(movie, self.options.test) or name in self.options.test
        }
        for entry in self.options.test:
            if not any(matches(movie, (entry,)) or name == entry for name, movie, *_ in drafts):
                raise InputError(
                    f"Expected dataset.options.test to name movies of {sorted({movie for _, movie, *_ in drafts})} "
                    f"or sections of {sorted(name for name, *_ in drafts)}, got '{entry}'."
                )
        spans = [
            (movie, offset, offset + count * seconds)
            for name, movie, offset, count, _ in drafts
            if name in tested
        ]
        orders = {sub: {run: index for index, run in enumerate(self._runs(sub))} for sub in self.subjects}
        sections = []
        for name, movie, offset, count, group in drafts:
            onsets = [offset + seconds * k for k in range(count)]
            if name not in tested:
                near = [(start, stop) for other, start, stop in spans if other == movie]
                onsets = [
                    onset for onset in onsets
                    if all(onset - stop >= NEIGHBOURS or start - onset - seconds >= NEIGHBOURS for start, stop in near)
                ]  # fmt: skip
            shown: dict[str, tuple[Presentation, ...]] = {}
            for subject, one in group:
                shown[subject] = (*shown.get(subject, ()), one)
            for subject, ones in shown.items():
                order = orders[subject]
                shown[subject] = tuple(sorted(ones, key=lambda one, order=order: (order[one.run], one.onset)))
            if onsets:
                split = "test" if name in tested else "train"
                sections.append(Section(name, movie, split, tuple(onsets), shown))
        sections.sort(key=lambda section: (section.split == "test", natural(section.id)))
        splits: dict[str, set[str]] = {}
        for section in sections:
            splits.setdefault(section.movie, set()).add(section.split)
        self._divided = {movie for movie, both in splits.items() if len(both) == 2}
        for split in ("train", "test"):
            for subject in self.subjects:
                if not any(section.split == split and subject in section.shown for section in sections):
                    raise InputError(
                        f"Expected movies to {split} on that sub-{subject} saw, got none (dataset.options.test is "
                        f"{list(self.options.test)}): leave the subject out (dataset.subjects)."
                    )
        return sections

    @staticmethod
    def _pack(sections: list[Section]) -> dict[str, tuple[Section, ...]]:
        """Segments: one per section, and packs of sections with only a few clips."""
        segments: dict[str, tuple[Section, ...]] = {}
        for split in ("train", "test"):
            own = [section for section in sections if section.split == split]
            short = [section for section in own if len(section.onsets) < SHORT]
            segments |= {s.id: (s,) for s in own if len(short) < 2 or len(s.onsets) >= SHORT}
            pack: list[Section] = []
            for section in short if len(short) > 1 else ():
                if pack and sum(len(s.onsets) for s in pack) + len(section.onsets) > PACK:
                    segments[f"{split}pack{sum(n.startswith(f'{split}pack') for n in segments):03d}"] = tuple(
                        pack
                    )
                    pack = []
                pack.append(section)
            if pack:
                segments[f"{split}pack{sum(n.startswith(f'{split}pack') for n in segments):03d}"] = tuple(
                    pack
                )
        return segments

    @staticmethod
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

    def _movie_file(self, movie: str) -> Path:
        """File of a movie; a name without an extension denotes the video file of that name."""
        path = self.root / self.options.stimuli / movie
        if path.suffix.lower() in _VIDEO or os.path.lexists(path):
            return path
        return next((file for file in self._videos_in(path.parent) if file.stem == path.name), path)

    def _videos_in(self, folder: Path) -> list[Path]:
        if folder not in self._listed:
            here = sorted(folder.iterdir()) if folder.is_dir() else []
            self._listed[folder] = [file for file in here if file.suffix.lower() in _VIDEO]
        return self._listed[folder]

    @cached_property
    def _listed(self) -> dict[Path, list[Path]]:
        return {}

    # --- derivatives ---

    def _of_run(self, run: frozenset[tuple[str, str]]) -> list[Name]:
        """Derivative files of a run."""
        subject = dict(run)["sub"]
        if subject not in self._by_run:
            by_run: dict[frozenset[tuple[str, str]], list[Name]] = {}
            for name in self._derived.of_subject(subject):
                by_run.setdefault(name.run, []).append(name)
            self._by_run[subject] = by_run
        return self._by_run[subject].get(run, [])

    @cached_property
    def _by_run(self) -> dict[str, dict[frozenset[tuple[str, str]], list[Name]]]:
        return {}

    def _missing(self, run: frozenset[tuple[str, str]], ending: str) -> Path:
        """Expected path of a missing derivative file."""
        stem = next(name for key, name in self._runs(dict(run)["sub"]).items() if key == run)
        parts = dict(run)
        session = [f"ses-{parts['ses']}"] if "ses" in parts else []
        return self._derived.root.joinpath(f"sub-{parts['sub']}", *session, "func", f"{stem}_{ending}")

    def _bold(self, run: frozenset[tuple[str, str]]) -> list[Path]:
        """Response files of a run (one, or one per hemisphere); their expected names if they are missing."""
        options = self.options
        kinds = (".func.gii",) if self._surface else (".nii.gz", ".nii")
        if options.space == "fsLR":
            kinds = (".ptseries.nii",) if self._parcels else (".dtseries.nii",)
        required = None if options.space == "func" else options.space
        found = []
        for name in self._of_run(run):
            of = name.entities
            if (
                name.suffix not in ("bold", "timeseries")
                or name.extension not in kinds
                or of.get("space") != required
            ):
                continue
            if of.get("desc", "preproc") != options.desc:
                continue
            grid = (of.get("res", "native"), of.get("den"))
            if options.resolution is not None and options.resolution not in grid:
                continue
            if self._parcels and options.parcellation not in (of.get("seg"), of.get("atlas")):
                continue
            found.append(name)
        if self._surface:
            sides = [[name.path for name in found if name.entities.get("hemi") == side] for side in _SIDES]
            endings = [f"hemi-{side}_space-{required}_bold.func.gii" for side in _SIDES]
        else:
            space = f"space-{required}_" if required else ""
            ending = (
                f"den-91k_bold{kinds[0]}" if options.space == "fsLR" else f"desc-{options.desc}_bold.nii.gz"
            )
            sides, endings = [[name.path for name in found]], [space + ending]
        for paths in sides:
            if len(paths) > 1:
                raise InputError(
                    f"Expected one file per run in {options.space}, got {[path.name for path in paths]}: set "
                    "dataset.options.resolution or dataset.options.desc."
                )
        return [
            paths[0] if paths else self._missing(run, end) for paths, end in zip(sides, endings, strict=True)
        ]

    def _masks(self, run: frozenset[tuple[str, str]]) -> list[Path]:
        if self.options.mask is not None:
            sides = _SIDES if "{hemi}" in self.options.mask else ("",)
            return [
                self.root / self.options.mask.format(subject=dict(run)["sub"], hemi=side) for side in sides
            ]
        if self._surface or self.options.space == "fsLR":
            return []
        bold = self._bold(run)[0].name
        head = bold.split("_desc-")[0] if "_desc-" in bold else bold.split("_bold.")[0]
        beside = [
            name.path for name in self._of_run(run)
            if name.suffix == "mask" and name.entities.get("desc") == "brain" and name.path.name.startswith(head + "_")
        ]  # fmt: skip
        return beside[:1] or [self._bold(run)[0].with_name(f"{head}_desc-brain_mask.nii.gz")]

    def _sidecars(self, run: frozenset[tuple[str, str]]) -> list[Path]:
        """JSON files that apply to the responses of a run: those of the raw data first, the most specific one last."""
        found = self._raw.above(run, "bold", ".json")
        for file in self._bold(run):
            name = parse_name(file)
            found += self._derived.above(name.entities.items(), name.suffix, ".json")
        return list(dict.fromkeys(found))

    def _confounds_file(self, run: frozenset[tuple[str, str]]) -> Path:
        for name in self._of_run(run):
            of = name.entities
            table = name.extension == ".tsv" and name.suffix in ("timeseries", "regressors")
            if table and of.get("desc") == "confounds" and "space" not in of:
                return name.path
        return self._missing(run, "desc-confounds_timeseries.tsv")

    def _times(self, run: frozenset[tuple[str, str]]) -> float:
        """Time of the middle of the first volume, in seconds from the start of the acquisition.

        Sources are the sidecars (``RepetitionTime``; ``StartTime``, the time that the first volume represents) and the
        header (step; ``toffset`` or ``SeriesStart``, the time at which the first volume begins). If no source states a
        time, the series starts with the acquisition, and a volume represents the middle of its acquisition.

        Raises
        ------
        InputError
            If no source states the repetition time, or if two sources contradict each other or the config.
        """
        from mind_animator.artefacts.series import read_header

        raw, raw_from = read_sidecars(self._raw.above(run, "bold", ".json"))
        values, where = read_sidecars(
            [path for path in self._sidecars(run) if path.is_relative_to(self._derived.root)]
        )
        stated = values.get("RepetitionTime", raw.get("RepetitionTime"))
        said: list[tuple[float, str]] = [(self.tr, "dataset.options.tr")]
        files = self._bold(run)
        headers = [read_header(file) for file in files]
        if stated is not None:
            said.append((_number(stated, "RepetitionTime", where or raw_from), where or raw_from))
        for file, header in zip(files, headers, strict=True):
            if header.step is not None and (header.certain or stated is None):
                said.append((header.step, str(file)))
        if len(said) == 1:
            raise InputError(
                f"Expected a repetition time of {files[0]}, found none: neither its header nor a sidecar states it. "
                f"Write a .json file of the same name (or {self._derived.root}/bold.json for all runs) with "
                f'{{"RepetitionTime": {self.tr:g}}}.'
            )
        for value, source in said[1:]:
            if abs(value - said[0][0]) > 1e-3:
                raise InputError(
                    f"Expected a repetition time of {said[0][0]:g} s ({said[0][1]}), got {value:g} s in {source}."
                )
        starts = {round(header.start or 0.0, 3) for header in headers}
        if len(starts) > 1:
            raise InputError(f"Expected hemispheres that start together, got {sorted(starts)} s in {files}.")
        start = headers[0].start or 0.0
        if "StartTime" not in values:
            return start + self.tr / 2
        first = _number(values["StartTime"], "StartTime", where)
        if start and not start - 1e-3 <= first <= start + self.tr + 1e-3:
            raise InputError(
                f"Expected StartTime in {where} within the first volume, which starts at {start:g} s in {files[0]}, "
                f"got {first:g} s."
            )
        return first

    def fault(self, path: Path, facts: dict[str, float]) -> str | None:
        for run in self._run_of_file.get(path, ()):
            try:
                first, volumes = self._times(run), int(facts.get("volumes", 0))
                if self.options.confounds and volumes:
                    self._check_confounds(run, volumes)
                if volumes:
                    facts["missing_clips"] = self._uncovered(run, first, volumes)
            except InputError as error:
                return str(error)
        return None

    def _check_confounds(self, run: frozenset[tuple[str, str]], volumes: int) -> None:
        file = self._confounds_file(run)
        if file.is_file() and (rows := len(read_text(file).strip().splitlines()) - 1) != volumes:
            raise InputError(f"Expected {volumes} rows (volumes of the run) in {file}, got {rows}.")

    def _uncovered(self, run: frozenset[tuple[str, str]], first: float, volumes: int) -> int:
        """Clips of a run without volumes at a lag of 4 s, because the run is too short or volumes are censored."""
        import numpy as np

        from mind_animator.fmri.align import clip_weights

        kept = self._load_confounds(run)[1] if "scrub" in self.options.confounds else None
        present = np.isin(np.arange(volumes), kept) if kept is not None else np.ones(volumes, bool)
        begins = [4.0 + one.onset + o - one.offset for one, onsets in self._shown_in(run) for o in onsets]
        settings = {"first": first, "repetition_time": self.tr, "present": present}
        return int((~clip_weights(np.array(begins), self.options.clip_seconds, **settings)[1]).sum())

    def _shown_in(self, run: frozenset[tuple[str, str]]) -> list[tuple[Presentation, tuple[float, ...]]]:
        """Presentations in a run, and the onsets of their clips in the movie."""
        return [
            (one, section.onsets)
            for sections in self._sections_of.values()
            for section in sections
            for one in section.shown.get(dict(run)["sub"], ())
            if one.run == run
        ]

    @cached_property
    def _run_of_file(self) -> dict[Path, list[frozenset[tuple[str, str]]]]:
        found: dict[Path, list[frozenset[tuple[str, str]]]] = {}
        for subject in self.subjects:
            for run in dict.fromkeys(one.run for one in self._presented(subject)):
                found.setdefault(self._bold(run)[0], []).append(run)
        return found

    # --- responses ---

    def _clips(self, subject: str, one: Presentation, settings: "FmriConfig") -> _Stored:
        """The clips of a presentation; the first call for a run stores all of its presentations."""
        key = (one, settings.lag, settings.detrend_order, settings.ddof)
        if key not in self._store:
            self._store_run(subject, one.run, settings)
        return self._store[key]

    def _store_run(self, subject: str, run: frozenset[tuple[str, str]], settings: "FmriConfig") -> None:
        """Read and clean a run, and store the clips of all presentations in it as (voxel, clip) float32."""
        import numpy as np

        from mind_animator.artefacts.files import require_room
        from mind_animator.fmri.align import clip_weights
        from mind_animator.fmri.clean import blocks, scratch_for

        first = self._times(run)
        cleaned = self._cleaned(subject, run, settings)
        seconds, file = self.options.clip_seconds, self._bold(run)[0]
        weights = []
        shown = self._shown_in(run)
        for one, onsets in shown:
            begins = one.onset + settings.lag + np.array(onsets) - one.offset
            given, covered = clip_weights(
                begins, seconds, first=first, repetition_time=self.tr, present=cleaned.present
            )
            if not covered.any():
                raise InputError(
                    f"Expected volumes for the {len(onsets)} clips of '{one.movie}' in {file}, but none has any: the "
                    f"run has {len(cleaned.present)} volumes of {self.tr:g} s from {first - self.tr / 2:g} s on, the "
                    f"movie starts at {one.onset:g} s and fmri.lag is {settings.lag:g} s."
                )
            if not covered.all():
                print(
                    f"{file.name}: {int((~covered).sum())} of {len(onsets)} clips of '{one.movie}' at {one.onset:g} s "
                    "have no volume and are missing",
                    file=sys.stderr,
                )
            given[~covered] = np.nan
            weights.append(given.astype(np.float32))
        if self._scratch is None:
            self._scratch = tempfile.TemporaryFile(dir=self.scratch, buffering=0)  # noqa: SIM115 (kept open)
        n_voxels = cleaned.shape[1]
        offsets = []
        end = self._scratch.seek(0, os.SEEK_END)
        for given in weights:
            offsets.append(end)
            end += 4 * n_voxels * len(given)
        require_room(self.scratch or tempfile.gettempdir(), end - (offsets[0] if offsets else end))
        joint = np.concatenate(weights)
        missing = np.isnan(joint[:, 0])
        joint[missing] = 0
        scratch, pieces = scratch_for([cleaned]), blocks(n_voxels)
        step = max(1, _CHUNK // pieces[0].stop)
        for start in range(0, len(pieces), step):
            part = []
            for where in pieces[start : start + step]:
                block = cleaned.block(where, scratch)
                values = np.where(cleaned.present, block, 0) @ joint.T
                values[:, missing] = np.nan
                part.append(values)
            rows, column = np.concatenate(part), 0
            for offset, given in zip(offsets, weights, strict=True):
                own = np.ascontiguousarray(rows[:, column : column + len(given)], np.float32)
                os.pwrite(self._scratch.fileno(), own.data, offset + 4 * pieces[start].start * len(given))
                column += len(given)
        for (one, _), offset, given in zip(shown, offsets, weights, strict=True):
            key = (one, settings.lag, settings.detrend_order, settings.ddof)
            self._store[key] = _Stored(offset, (n_voxels, len(given)), cleaned.tsnr)

    def _stored(self, part: _Stored) -> "np.ndarray":
        import numpy as np

        return np.asarray(np.memmap(self._scratch, np.float32, "r", part.offset, part.shape))

    def _cleaned(self, subject: str, run: frozenset[tuple[str, str]], settings: "FmriConfig") -> "CleanedRun":
        import numpy as np

        from mind_animator.fmri.clean import CleanedRun

        series, file = self._read(subject, run), self._bold(run)[0]
        confounds, censored = None, None
        if self.options.confounds:
            table, kept = self._load_confounds(run)
            if len(table) != len(series):
                raise InputError(
                    f"Expected {len(series)} rows of confounds for {file}, got {len(table)} in "
                    f"{self._confounds_file(run)}."
                )
            confounds = table
            if kept is not None:
                censored = ~np.isin(np.arange(len(series)), kept)
        try:
            return CleanedRun(
                series,
                settings.detrend_order,
                settings.ddof,
                where=file,
                confounds=confounds,
                censored=censored,
            )
        except ValueError as error:
            raise InputError(f"{error} ({file})") from None

    def _load_confounds(self, run: frozenset[tuple[str, str]]) -> "tuple[np.ndarray, np.ndarray | None]":
        """Confounds (volume, confound) of a run, and the volumes that are retained (None: all)."""
        import warnings

        import numpy as np
        from nilearn.interfaces.fmriprep import load_confounds

        from mind_animator.artefacts.files import expect_file

        file, chosen = self._confounds_file(run), self.options.confounds
        expect_file(file, "confounds (dataset.options.confounds)")
        strategy = ["high_pass", *chosen] if "compcor" in chosen else chosen
        # nilearn derives the name of the table from the name of an image in the same folder, which it does not open
        image = file.with_name(file.name.split("_desc-confounds")[0] + "_desc-preproc_bold.nii.gz")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                table, kept = load_confounds(
                    str(image), strategy=tuple(dict.fromkeys(strategy)), motion="basic"
                )
        except (ValueError, OSError, KeyError, AttributeError) as error:
            text = " ".join(str(error).split())
            raise InputError(f"Expected confounds {list(chosen)} in {file}: {text}") from None
        values = table.to_numpy(float)
        kept_rows = slice(None) if kept is None else kept
        if not np.isfinite(values[kept_rows]).all():
            column = int(np.argmax(~np.isfinite(values[kept_rows]).all(axis=0)))
            raise InputError(f"Expected numbers in column '{table.columns[column]}' of {file}, got n/a.")
        return np.nan_to_num(values), kept

    def _read(self, subject: str, run: frozenset[tuple[str, str]]) -> "np.ndarray":
        """Responses of a run, (volume, voxel) float32."""
        import nibabel as nib
        import numpy as np

        from mind_animator.artefacts.cifti import read_cortex
        from mind_animator.artefacts.series import read_header, read_surface, read_volumes

        files = self._bold(run)
        if self._parcels:
            read_header(files[0])
            return np.asarray(nib.load(files[0]).dataobj, np.float32)
        if self.options.space == "fsLR":
            rows = read_header(files[0]).rows
            cortex = {91_282: 59_412, 170_494: 108_441, 59_412: 59_412}.get(rows)
            if cortex is None:
                raise InputError(f"Expected 91,282 or 170,494 grayordinates in {files[0]}, got {rows}.")
            series = read_cortex(files[0], n_vertices=cortex, finite=False)
        elif self._surface:
            sides = [read_surface(file) for file in files]
            if len(sides[0]) != len(sides[1]):
                raise InputError(
                    f"Expected hemispheres of equal length, got {len(sides[0])} volumes in {files[0]} and "
                    f"{len(sides[1])} in {files[1]}."
                )
            series = np.concatenate([side.T for side in sides]).T
        else:
            return read_volumes(files[0], self._brain(subject))
        if self.options.mask is not None:
            inside = self._surface_mask(run)
            if len(inside) != series.shape[1]:
                raise InputError(
                    f"Expected {series.shape[1]} vertices in {self._masks(run)[0]}, got {len(inside)} (both "
                    "hemispheres together)."
                )
            series = np.where(inside[:, None], series.T, np.float32(0)).T
        return series

    def _surface_mask(self, run: frozenset[tuple[str, str]]) -> "np.ndarray":
        import nibabel as nib
        import numpy as np

        from mind_animator.artefacts.files import expect_file

        sides = []
        for file in self._masks(run):
            expect_file(file, "a mask (dataset.options.mask)")
            image = nib.load(file)
            if file.name.endswith(".gii"):
                sides.append(np.asarray(image.darrays[0].data) > 0.5)
            else:
                sides.append(np.asarray(image.dataobj)[0] > 0.5)
        return np.concatenate(sides)

    def _brain(self, subject: str) -> "np.ndarray":
        """Voxels inside the masks of all runs of a subject, (x, y, z) bool."""
        if subject in self._brains:
            return self._brains[subject]
        import nibabel as nib
        import numpy as np

        from mind_animator.artefacts.files import expect_file

        runs = dict.fromkeys(one.run for one in self._presented(subject))
        inside = None
        for file in dict.fromkeys(mask for run in runs for mask in self._masks(run)):
            expect_file(file, "a mask")
            mask = np.asarray(nib.load(file).dataobj) > 0.5
            if inside is not None and mask.shape != inside.shape:
                raise InputError(f"Expected masks of one shape, {inside.shape}, got {mask.shape} in {file}.")
            inside = mask if inside is None else inside & mask
        if inside is None or not inside.any():
            raise InputError(f"Expected voxels inside the masks of sub-{subject}, got none.")
        self._brains[subject] = inside
        return inside

    @cached_property
    def _brains(self) -> "dict[str, np.ndarray]":
        return {}


def _number(value: object, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise InputError(f"Expected seconds in {key} of {where}, got {value!r}.")
    return float(value)


ADAPTER = Bids
