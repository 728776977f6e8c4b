"""CC2017 (Wen et al. 2018): 3 subjects, 18 training and 5 test movies of 8 minutes, 32k CIFTI with a TR of 2 s.

Properties of the published files that this module implements:

- Runs of ``seg1`` to ``seg18`` and ``test1`` start 2 s after the movie and have 245 volumes; those of
  ``test2`` to ``test5`` start with it and have 246. Any other number for that movie is an error, and so is a header
  that states another start than 0 s, or another step than 2 s or one of the values that programs write when they do not
  know it (0, 0.72 and 1 s).
- The haemodynamic lag is applied by the choice of volumes: at 4 s, volumes 1..240 of 245 and 2..241 of 246 belong to
  the 240 clips. Later stages must not shift the responses again.
- Run 9 of ``test2`` of subject 3 exists, but lags about 10 s behind the movie; it is excluded by default.
- The name of one volume file is spelt differently (``test1_9.mni.nii.gz`` of subject 1).
- Archives may be unpacked into one common folder or into separate folders.

References
----------
Wen et al. (2018), "Neural encoding and decoding with deep learning for dynamic natural vision", Cerebral
Cortex 28.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mind_animator.config.base import Strict
from mind_animator.datasets.archives import Archive, archive
from mind_animator.datasets.base import Dataset, Run, Segment
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mind_animator.config.fmri import FmriConfig

N_CLIPS = 240
CLIP_SECONDS = 2.0
# steps in seconds that programs write into a header when they do not know the repetition time
UNKNOWN_STEPS = (0.0, 0.72, 1.0)
FROM_MOVIE_START = ("test2", "test3", "test4", "test5")
DELAYED_RUN = ("3", "test2", 9)


def n_volumes(segment: str, n_clips: int = N_CLIPS) -> int:
    """Number of volumes of a run of a segment in the published data set, whose movies have 240 clips."""
    return n_clips + (6 if segment in FROM_MOVIE_START else 5)


def recording_start(segment: str) -> float:
    """Seconds from the start of a movie to the first volume of its runs."""
    return 0.0 if segment in FROM_MOVIE_START else 2.0


class CC2017Options(Strict):
    """Settings specific to CC2017.

    Attributes
    ----------
    skip_delayed_run : bool
        Exclude run 9 of ``test2`` of subject 3, which lags about 10 s behind the movie (other published analyses
        include it in the average).
    """

    skip_delayed_run: bool = True


class CC2017(Dataset):
    """The adapter; see the module's docstring."""

    name = "cc2017"
    Options: ClassVar[type[Strict]] = CC2017Options
    tr = 2.0
    cleans_while_reading = True
    n_clips: int = N_CLIPS  # per movie

    train_movies: ClassVar[tuple[str, ...]] = tuple(f"seg{index}" for index in range(1, 19))
    test_movies: ClassVar[tuple[str, ...]] = tuple(f"test{index}" for index in range(1, 6))
    known_subjects: ClassVar[tuple[str, ...]] = ("1", "2", "3")

    def _subjects(self) -> tuple[str, ...]:
        for subject in self.config.subjects:
            if subject not in self.known_subjects:
                raise InputError(
                    f"config.dataset.subjects = '{subject}': must be one of {list(self.known_subjects)}."
                )
        return self.config.subjects or self.known_subjects

    @property
    def segments(self) -> tuple[Segment, ...]:
        return tuple(Segment(name, "train", self.n_clips) for name in self._train()) + tuple(
            Segment(name, "test", self.n_clips) for name in self._test()
        )

    def _train(self) -> tuple[str, ...]:
        return self.train_movies

    def _test(self) -> tuple[str, ...]:
        return self.test_movies

    def _repeats(self, segment: str) -> int:
        return 10 if segment in self._test() else 2

    def stimulus_files(self, segment: str) -> list[Path]:
        self._check_segment(segment)
        name = f"stimuli/{segment}.mp4"
        return [self.find(f"video_fmri_dataset/{name}", f"Stimuli/video_fmri_dataset/{name}", name)]

    def clip_table(self, segment: str) -> "pd.DataFrame":
        import pandas as pd

        self._check_segment(segment)
        described = next(known for known in self.segments if known.id == segment)
        return pd.DataFrame(
            {
                "clip": described.clips,
                "segment": segment,
                "movie": segment,
                "file": str(self.stimulus_files(segment)[0]),
                "onset": [CLIP_SECONDS * index for index in range(self.n_clips)],
                "duration": CLIP_SECONDS,
                "split": described.split,
            }
        )

    def response_files(self, subject: str, segment: str) -> list[Path]:
        return self.run_files(subject, segment, "cifti")

    def run_files(self, subject: str, segment: str, kind: str = "cifti") -> list[Path]:
        """Files of the runs of a segment, in the order of the runs.

        Parameters
        ----------
        kind : str
            ``cifti`` (grayordinates), ``mni`` (volumes in standard space) or ``raw``.
        """
        self._check_segment(segment)
        return [
            self._run_file(subject, segment, repeat, kind) for repeat in self._used_repeats(subject, segment)
        ]

    def _used_repeats(self, subject: str, segment: str) -> list[int]:
        every = range(1, self._repeats(segment) + 1)
        delayed = self.options.skip_delayed_run
        return [repeat for repeat in every if not (delayed and (subject, segment, repeat) == DELAYED_RUN)]

    def left_out(self, subject: str, segment: str) -> dict[str, str]:
        every = set(range(1, self._repeats(segment) + 1))
        reason = "lags about 10 s behind the movie (dataset.options.skip_delayed_run)"
        return {f"{segment}_{repeat}": reason for repeat in every - set(self._used_repeats(subject, segment))}

    def _run_file(self, subject: str, segment: str, repeat: int, kind: str) -> Path:
        if subject not in self.known_subjects:
            raise InputError(f"Expected a subject of {list(self.known_subjects)}, got '{subject}'.")
        ends = {"cifti": "Atlas.dtseries.nii", "mni": "mni.nii.gz", "raw": "nii.gz"}
        if kind not in ends:
            raise ValueError(f"Expected a kind of {sorted(ends)}, got {kind!r}.")
        joints = ("_", ".") if kind != "raw" else (".",)
        inside = f"subject{subject}/fmri/{segment}/{kind}/{segment}_{repeat}"
        folders = (
            f"video_fmri_dataset/{inside}",
            f"Subject{int(subject):02d}/video_fmri_dataset/{inside}",
            inside,
        )
        # the usual spelling in all layouts is tried before the exceptional one of a single published file
        return self.find(*(f"{folder}{joint}{ends[kind]}" for joint in joints for folder in folders))

    def responses(self, subject: str, segment: str, settings: "FmriConfig") -> "Iterator[np.ndarray]":
        return (run.values.whole() for run in self.runs(subject, segment, settings))

    def runs(self, subject: str, segment: str, settings: "FmriConfig") -> Iterator[Run]:
        from mind_animator.artefacts.cifti import read_cortex
        from mind_animator.fmri.clean import CleanedRun

        for file in self.response_files(subject, segment):
            self._check_header(file, segment)
            series = read_cortex(file, finite=False)
            kept = self._kept_volumes(file, segment, settings.lag)
            yield Run(
                file.name,
                CleanedRun(series[kept], settings.detrend_order, settings.ddof, where=file, first=kept.start),
            )

    def _check_header(self, file: Path, segment: str) -> None:
        """Raise `InputError` if a run does not have the published times, because its volumes would be shifted."""
        from mind_animator.artefacts.series import read_header

        header, published = read_header(file), n_volumes(segment, self.n_clips)
        if header.volumes != published:
            raise InputError(
                f"Expected {published} volumes of {segment} in {file}, as published, got {header.volumes}: were "
                "volumes removed, or was the run resampled?"
            )
        if (header.step or 0.0) not in (self.tr, *UNKNOWN_STEPS) or header.start:
            raise InputError(
                f"Expected volumes of {self.tr:g} s from 0 s on in {file}, as published, got volumes of "
                f"{header.step or 0:g} s from {header.start or 0:g} s on: was the run cut or resampled?"
            )

    def _kept_volumes(self, file: Path, segment: str, lag: float) -> slice:
        """Volumes of the clips: one per clip, without gaps."""
        import numpy as np

        from mind_animator.fmri.align import volumes_of_clips

        if lag % self.tr:
            raise InputError(f"Expected fmri.lag to be a multiple of {self.tr:g} s (the TR), got {lag:g} s.")
        onsets = CLIP_SECONDS * np.arange(self.n_clips)
        try:
            volumes = volumes_of_clips(
                onsets,
                n_volumes=n_volumes(segment, self.n_clips),
                repetition_time=self.tr,
                recording_start=recording_start(segment),
                lag=lag,
            )
        except ValueError as error:
            raise InputError(f"{error} ({file}; fmri.lag)") from None
        return slice(int(volumes[0]), int(volumes[-1]) + 1)

    def roi_names(self, subject: str) -> "list[str] | None":
        from mind_animator.artefacts.cortex import roi_names

        return roi_names().tolist()

    def archives(self) -> tuple[Archive, ...]:
        def inside(paths: list[Path]) -> tuple[str, ...]:
            return tuple(str(path.relative_to(self.root)) for path in paths)

        segments = [segment.id for segment in self.segments]
        stimuli = inside([path for segment in segments for path in self.stimulus_files(segment)])
        answers = {
            sub: [path for seg in segments for path in self.response_files(sub, seg)] for sub in self.subjects
        }
        return (
            archive("cc2017", "stimuli", gives=stimuli),
            *(
                archive("cc2017", f"subject{subject}", gives=inside(paths))
                for subject, paths in answers.items()
            ),
        )

    def member_paths(self, archive: Archive, members: list[str]) -> dict[str, str]:
        """Match by the path below ``stimuli`` or ``subject<n>``, regardless of the folders above it."""
        from mind_animator.datasets.download.zips import suffix_chooser

        tails = {re.search(r"(stimuli|subject\d)/.*", path)[0]: path for path in archive.gives}
        choose = suffix_chooser(tails)
        return {member: tails[tail] for member in members if (tail := choose(member)) is not None}

    def fault(self, path: Path, facts: dict[str, float]) -> str | None:
        if "volumes" in facts:
            try:
                self._check_header(path, path.name.split("_")[0])
            except InputError as error:
                return str(error)
        return None

    def _check_segment(self, segment: str) -> None:
        if segment not in (known.id for known in self.segments):
            raise InputError(f"Expected a segment of {[s.id for s in self.segments]}, got '{segment}'.")


ADAPTER = CC2017
