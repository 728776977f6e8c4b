"""A study in BIDS: derivatives of fMRIPrep or similar software, events with the onsets of movies, and a
folder of movies.

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

from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mind_animator.config.base import Strict
from mind_animator.datasets.base import Dataset, Run, Segment, VolumeRun
from mind_animator.datasets.bids.files import CORTEX, RunKey, StudyFiles
from mind_animator.datasets.bids.options import BidsOptions
from mind_animator.datasets.bids.responses import ClipStore
from mind_animator.datasets.bids.sections import Presentation, Section, cut_sections, pack, read_presentations
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mind_animator.config.fmri import FmriConfig


class Bids(Dataset):
    """The adapter; the docstring of the module describes its inputs."""

    name = "bids"
    Options: ClassVar[type[Strict]] = BidsOptions
    cleans_while_reading = True  # cleaned runs are stored in a temporary file and read again from it

    def __init__(self, config) -> None:
        self._presented = cache(lambda subject: read_presentations(self._files, subject))
        self._shown = cache(self._find_shown)
        super().__init__(config)
        self.tr = self.options.tr
        dense = self.options.space == "fsLR" and not self._files.parcels
        dense = dense and "_den-170k_" not in self._files.bold(self._any_run(self.subjects[0]))[0].name
        self.rois_of = "fs_LR_32k" if dense else "none"
        self.has_rois = dense or self._files.parcels
        sections = cut_sections({subject: self._presented(subject) for subject in self.subjects}, self._files)
        self._divided = {s.movie for s in sections if s.split == "test"} & {
            s.movie for s in sections if s.split == "train"
        }
        self._sections_of = pack(sections)
        self._segments = tuple(
            Segment(name, sections[0].split, sum(len(section.onsets) for section in sections))
            for name, sections in self._sections_of.items()
        )
        self._clips = ClipStore(self._files, self._shown)

    @cached_property
    def _files(self) -> StudyFiles:
        return StudyFiles(self.root, self.options)

    def _subjects(self) -> tuple[str, ...]:
        known = self._files.raw.subjects or self._files.derived.subjects
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
                {n.entities["task"] for s in known for n in self._files.names(s) if "task" in n.entities}
            )
            raise InputError(
                f"Expected runs of task {list(self.options.task)} with events (*_events.tsv, in the run's folder or "
                f"above it) that present a movie in {self.root}, found none (tasks there: {tasks})."
            )
        return found

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self._segments

    def _sections(self, segment: str) -> tuple[Section, ...]:
        if segment not in self._sections_of:
            raise InputError(f"Expected a segment of {list(self._sections_of)}, got '{segment}'.")
        return self._sections_of[segment]

    def stimulus_files(self, segment: str) -> list[Path]:
        return list(
            dict.fromkeys(self._files.movie_file(section.movie) for section in self._sections(segment))
        )

    def clip_table(self, segment: str) -> "pd.DataFrame":
        import pandas as pd

        described = next(known for known in self.segments if known.id == segment)
        rows = [(section, onset) for section in self._sections(segment) for onset in section.onsets]
        return pd.DataFrame(
            {
                "clip": described.clips,
                "segment": segment,
                "movie": [s.id if s.movie in self._divided else s.movie for s, _ in rows],
                "file": [str(self._files.movie_file(section.movie)) for section, _ in rows],
                "onset": [onset for _, onset in rows],
                "duration": self.options.clip_seconds,
                "split": described.split,
            }
        )

    def response_files(self, subject: str, segment: str) -> list[Path]:
        shown = (one for section in self._sections(segment) for one in section.shown.get(subject, ()))
        runs = dict.fromkeys((one.run, one.events) for one in shown)
        return list(
            dict.fromkeys(file for run, events in runs for file in (*self._files.of_run(run), events))
        )

    def run_files(self, subject: str, segment: str) -> list[Path]:
        shown = (one for section in self._sections(segment) for one in section.shown.get(subject, ()))
        return [path for run in dict.fromkeys(one.run for one in shown) for path in self._files.bold(run)]

    def responses(self, subject: str, segment: str, settings: "FmriConfig") -> "Iterator[np.ndarray]":
        return (run.values for run in self.runs(subject, segment, settings))

    def runs(self, subject: str, segment: str, settings: "FmriConfig") -> Iterator[Run]:
        """One repeat at a time; in a pack of short movies, the first presentation of each, then the second, ..."""
        import numpy as np

        self._clips.scratch = self.scratch
        sections = self._sections(segment)
        shown = [section.shown.get(subject, ()) for section in sections]
        for number in range(max(map(len, shown))):
            parts = [
                self._clips.of(subject, one[number], settings) if len(one) > number else None for one in shown
            ]
            first = next(part for part in parts if part is not None)
            if len(sections) == 1:
                name = f"{shown[0][number].stem} at {shown[0][number].onset:g} s"
                yield Run(name, self._clips.read(first).T, first.tsnr)
                continue
            values = np.full((first.shape[0], sum(len(s.onsets) for s in sections)), np.nan, np.float32)
            start = 0
            for section, part in zip(sections, parts, strict=True):
                if part is not None:
                    values[:, start : start + len(section.onsets)] = self._clips.read(part)
                start += len(section.onsets)
            known = [part.tsnr for part in parts if part is not None]
            yield Run(f"repeat {number + 1}", values.T, np.mean(known, axis=0, dtype=np.float32))

    @property
    def has_volumes(self) -> bool:
        """Runs are read again for the lag figure only where clips are longer than volumes."""
        return self.options.clip_seconds > self.tr

    def volume_runs(self, subject: str, settings: "FmriConfig", voxels: "np.ndarray") -> Iterator[VolumeRun]:
        import numpy as np

        shown: dict[RunKey, list[tuple[str, float, float]]] = {}
        seconds = self.options.clip_seconds
        for segment in self.segments:
            clips = iter(segment.clips)
            for section in self._sections(segment.id):
                named = [(next(clips), onset) for onset in section.onsets]
                for one in section.shown.get(subject, ()):
                    own = shown.setdefault(one.run, [])
                    own += [(clip, one.onset + onset - one.offset, seconds) for clip, onset in named]
        for run, clips in shown.items():
            values = np.nan_to_num(self._clips.cleaned(subject, run, settings).only(voxels).whole())
            yield VolumeRun(values, self._files.times(run) + self.tr * np.arange(len(values)), clips)

    def roi_names(self, subject: str) -> "list[str] | None":
        if self._files.parcels:
            import nibabel as nib

            from mind_animator.artefacts.series import read_header

            file = self._files.bold(self._any_run(subject))[0]
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
        files = [path for run in self._files.runs(self.subjects[0]) for path in self._files.bold(run)[:1]]
        sizes = [(path.stat().st_size, path) for path in files if path.is_file() and not self._files.surface]
        shape = read_shape(max(sizes)[1]) if sizes else ()
        if len(shape) == 6:
            return shape[4], CORTEX.get(shape[5], shape[5])
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

    def fault(self, path: Path, facts: dict[str, float]) -> str | None:
        for run in self._run_of_file.get(path, ()):
            try:
                first, volumes = self._files.times(run), int(facts.get("volumes", 0))
                if self.options.confounds and volumes:
                    self._files.check_confounds(run, volumes)
                if volumes:
                    facts["missing_clips"] = self._uncovered(run, first, volumes)
            except InputError as error:
                return str(error)
        return None

    def _uncovered(self, run: RunKey, first: float, volumes: int) -> int:
        """Clips of a run without volumes at a lag of 4 s, because the run is too short or volumes are censored."""
        import numpy as np

        from mind_animator.fmri.align import clip_weights

        kept = self._files.load_confounds(run)[1] if "scrub" in self.options.confounds else None
        present = np.isin(np.arange(volumes), kept) if kept is not None else np.ones(volumes, bool)
        shown = [pair for pair in self._shown(dict(run)["sub"]) if pair[0].run == run]
        begins = [4.0 + one.onset + onset - one.offset for one, onsets in shown for onset in onsets]
        settings = {"first": first, "repetition_time": self.tr, "present": present}
        return int((~clip_weights(np.array(begins), self.options.clip_seconds, **settings)[1]).sum())

    def _find_shown(self, subject: str) -> list[tuple[Presentation, tuple[float, ...]]]:
        """Presentations of a subject, and the onsets of their clips in the movie."""
        sections = [section for sections in self._sections_of.values() for section in sections]
        return [(one, section.onsets) for section in sections for one in section.shown.get(subject, ())]

    @cached_property
    def _run_of_file(self) -> dict[Path, list[RunKey]]:
        found: dict[Path, list[RunKey]] = {}
        for subject in self.subjects:
            for run in dict.fromkeys(one.run for one in self._presented(subject)):
                found.setdefault(self._files.bold(run)[0], []).append(run)
        return found

    def _any_run(self, subject: str) -> RunKey:
        return next(one.run for one in self._presented(subject))


ADAPTER = Bids
