"""HCP 7T movie watching: 176 complete subjects, four runs of movie excerpts with rest periods, TR 1 s.

Properties of the published files that this module implements:

- The phase-encoding directions of the runs are AP, PA, PA, AP; the folders are named after them.
- Movie clips last one second; the volume of second s is s + 4 at the usual lag of 4 s.
- **The last 76 s of every run are the same movie.** It is a separate segment (``retest``), which is never used for
  training; its four repeats are the repeats of the test set.
- Whole runs are held out. The remaining parts of the other runs are used for training; each excerpt in a run is one
  movie.
- There are three variants of the responses. The 59k variant is on another mesh: its voxels have ROI names only if a
  parcellation on that mesh is given.
- A run must have the published number of volumes, step and start; otherwise the times of its volumes are unknown.
- Areas are matched by name, because the numbers of the parcellation denote different hemispheres in different files.

References
----------
Van Essen et al. (2013), "The WU-Minn Human Connectome Project: an overview", NeuroImage 80.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from mind_animator.config.base import Fault, Strict
from mind_animator.datasets.archives import Archive, archive, describe
from mind_animator.datasets.base import Dataset, Run, Segment
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mind_animator.config.fmri import FmriConfig

# Movies of each run as (start, stop), in seconds since the start of the run; the last one is the retest movie.
EXCERPTS = {
    1: ((26, 231), (289, 505), (531, 705), (740, 797), (824, 900)),
    2: ((26, 246), (272, 525), (551, 794), (821, 897)),
    3: ((26, 199), (227, 403), (431, 615), (655, 791), (818, 894)),
    4: ((26, 252), (278, 502), (528, 777), (804, 880)),
}
MOVIES = {
    1: "7T_MOVIE1_CC1_v2.mp4",
    2: "7T_MOVIE2_HO1_v2.mp4",
    3: "7T_MOVIE3_CC2_v2.mp4",
    4: "7T_MOVIE4_HO2_v2.mp4",
}
# Number of volumes of the published runs; one volume per second since the start of the movie.
N_VOLUMES = {1: 921, 2: 918, 3: 915, 4: 901}
RUNS = {1: "tfMRI_MOVIE1_7T_AP", 2: "tfMRI_MOVIE2_7T_PA", 3: "tfMRI_MOVIE3_7T_PA", 4: "tfMRI_MOVIE4_7T_AP"}
VARIANTS = {"msmsulc": "", "msmall_clean": "_MSMAll_hp2000_clean", "59k": "_1.6mm_MSMAll_hp2000_clean"}
N_GRAYORDINATES_59K = 170_494
RETEST = "retest"
RETEST_SECONDS = 76
PAPER_SUBJECTS = ("100610", "102816", "104416")


class HCPOptions(Strict):
    """Settings specific to HCP.

    Attributes
    ----------
    variant : str
        ``msmsulc`` (32k, not cleaned; used by Mind-Animator), ``msmall_clean`` (32k) or ``59k`` (1.6 mm).
    held_out_run : int
        The test run, in addition to the retest movie.
    parcellation : str, optional
        For the 59k variant: a ``.dlabel.nii`` file on the same mesh, whose labels name the areas (with or without the
        medial wall). Without it the areas of that variant have no names.
    """

    variant: Literal["msmsulc", "msmall_clean", "59k"] = "msmsulc"
    held_out_run: Literal[1, 2, 3, 4] = 4
    parcellation: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> "HCPOptions":
        if self.parcellation is not None and self.variant != "59k":
            raise Fault(
                "parcellation",
                "must be null unless variant is 59k: the 32k areas are known",
                self.parcellation,
            )
        return self


class HCP(Dataset):
    """The adapter; see the module's docstring."""

    name = "hcp"
    Options: ClassVar[type[Strict]] = HCPOptions
    tr = 1.0
    cleans_while_reading = True

    def _subjects(self) -> tuple[str, ...]:
        for subject in self.config.subjects:
            if not re.fullmatch(r"\d{6}", subject):
                raise InputError(f"Expected dataset.subjects to be six-digit HCP numbers, got '{subject}'.")
        return self.config.subjects or PAPER_SUBJECTS

    @property
    def rois_of(self) -> str:
        return "none" if self.options.variant == "59k" else "fs_LR_32k"

    @property
    def has_rois(self) -> bool:
        return self.options.variant != "59k" or self.options.parcellation is not None

    @property
    def n_voxels(self) -> int:
        return 120_000 if self.options.variant == "59k" else 59_412

    @property
    def segments(self) -> tuple[Segment, ...]:
        held_out = self.options.held_out_run
        order = [run for run in EXCERPTS if run != held_out] + [held_out]
        return (
            *(
                Segment(f"run{run}", "test" if run == held_out else "train", len(_seconds(run)))
                for run in order
            ),
            Segment(RETEST, "test", RETEST_SECONDS),
        )

    def stimulus_files(self, segment: str) -> list[Path]:
        name = MOVIES[self._runs_of(segment)[0]]
        return [self.find(f"stimuli/{name}", name, f"movies/{name}", f"7T_movies/{name}")]

    def clip_table(self, segment: str) -> "pd.DataFrame":
        import pandas as pd

        run = self._runs_of(segment)[0]
        described = next(known for known in self.segments if known.id == segment)
        if segment == RETEST:
            rows = [(second, RETEST) for second in range(*EXCERPTS[run][-1])]
        else:
            rows = [
                (s, f"run{run}_excerpt{excerpt}")
                for excerpt, span in enumerate(EXCERPTS[run][:-1], 1)
                for s in range(*span)
            ]
        return pd.DataFrame(
            {
                "clip": described.clips,
                "segment": segment,
                "movie": [movie for _, movie in rows],
                "file": str(self.stimulus_files(segment)[0]),
                "onset": [float(second) for second, _ in rows],
                "duration": 1.0,
                "split": described.split,
            }
        )

    def response_files(self, subject: str, segment: str) -> list[Path]:
        return [self._run_file(subject, run) for run in self._runs_of(segment)]

    def responses(self, subject: str, segment: str, settings: "FmriConfig") -> "Iterator[np.ndarray]":
        return (run.values.whole() for run in self.runs(subject, segment, settings))

    def runs(self, subject: str, segment: str, settings: "FmriConfig") -> Iterator[Run]:
        import numpy as np

        from mind_animator.fmri.align import volumes_of_clips
        from mind_animator.fmri.clean import CleanedRun

        for number in self._runs_of(segment):
            file = self._run_file(subject, number)
            self._check_header(file, number)
            series = self._read(file)
            seconds = range(*EXCERPTS[number][-1]) if segment == RETEST else _seconds(number)
            try:
                volumes = volumes_of_clips(
                    np.array(seconds, float),
                    n_volumes=len(series),
                    repetition_time=self.tr,
                    recording_start=0.0,
                    lag=settings.lag,
                )
            except ValueError as error:
                raise InputError(f"{error} ({file}; fmri.lag)") from None
            yield Run(
                file.name, CleanedRun(series, settings.detrend_order, settings.ddof, volumes, where=file)
            )

    def roi_names(self, subject: str) -> "list[str] | None":
        from mind_animator.artefacts.cortex import roi_names

        if self.options.variant != "59k":
            return roi_names().tolist()
        if self.options.parcellation is None:
            return None
        from mind_animator.artefacts.cifti import read_rois

        return read_rois(self.options.parcellation, self._run_file(subject, 1))

    def caption_order(self) -> dict[str, list[str]]:
        """Clips of the 3,040 published captions: all movies of run 1, run 2, ..., including the retest movie
        in each."""
        clips_of = {segment.id: segment.clips for segment in self.segments}
        return {
            "train": [clip for run in EXCERPTS for clip in (*clips_of[f"run{run}"], *clips_of[RETEST])],
            "test": [],
        }

    def archives(self) -> tuple[Archive, ...]:
        variant = VARIANTS[self.options.variant]
        stimuli = [archive(self.name, "stimuli", movie=MOVIES[run]) for run in EXCERPTS]
        answers = [
            archive(self.name, "responses", subject=subject, run=RUNS[run], variant=variant)
            for subject in self.subjects
            for run in EXCERPTS
        ]
        return (*stimuli, *answers)

    def fault(self, path: Path, facts: dict[str, float]) -> str | None:
        for run, name in RUNS.items():
            if name in path.name:
                try:
                    self._check_header(path, run)
                except InputError as error:
                    return str(error)
        return None

    def _check_header(self, file: Path, run: int) -> None:
        """Raise `InputError` if a run does not have the published volumes, because its times would be unknown."""
        from mind_animator.artefacts.series import read_header

        header = read_header(file)
        got = (header.volumes, header.step, header.start or 0.0)
        if got != (N_VOLUMES[run], self.tr, 0.0):
            raise InputError(
                f"Expected {N_VOLUMES[run]} volumes of {self.tr:g} s from 0 s on in {file}, as published, got "
                f"{got[0]} of {got[1]:g} s from {got[2]:g} s on: were volumes removed, or was the run resampled?"
            )

    def check_before_work(self) -> None:
        import boto3

        absent = [
            path
            for sub in self.subjects
            for run in EXCERPTS
            if not (path := self._run_file(sub, run)).exists()
        ]
        if absent and boto3.Session().get_credentials() is None:
            described = describe(self.name)
            raise InputError(
                f"Expected AWS credentials to fetch {len(absent)} files of {self.name} "
                f"(the first is {absent[0]}), "
                f"found none: {described['terms']} ({described['page']}), then put it into the environment "
                "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or ~/.aws/credentials."
            )

    def _runs_of(self, segment: str) -> list[int]:
        """Runs in which a segment was presented; for the retest movie all four, in order."""
        if segment == RETEST:
            return list(EXCERPTS)
        if segment not in {f"run{run}" for run in EXCERPTS}:
            raise InputError(f"Expected a segment of {[s.id for s in self.segments]}, got '{segment}'.")
        return [int(segment.removeprefix("run"))]

    def _run_file(self, subject: str, run: int) -> Path:
        name = f"{RUNS[run]}/{RUNS[run]}_Atlas{VARIANTS[self.options.variant]}.dtseries.nii"
        inside = f"{subject}/MNINonLinear/Results/{name}"
        return self.find(f"HCP_1200/{inside}", inside, f"{subject}/{name}")

    def _read(self, file: Path) -> "np.ndarray":
        from mind_animator.artefacts.cifti import read_cortex
        from mind_animator.artefacts.cortex import N_CORTEX

        n_vertices = N_CORTEX if self.options.variant != "59k" else _cortex_59k(file)
        return read_cortex(file, n_vertices=n_vertices, finite=False)


def _cortex_59k(file: Path) -> int:
    """Number of cortical vertices of a 1.6-mm file, from its header."""
    import nibabel as nib

    if not file.is_file():
        raise InputError(f"Expected a CIFTI file at {file}, found none.")
    axis = nib.load(file).header.get_axis(1)
    if len(axis) != N_GRAYORDINATES_59K:
        raise InputError(f"Expected {N_GRAYORDINATES_59K} grayordinates in {file}, got {len(axis)}.")
    return int(sum("CORTEX" in name and "CEREB" not in name for name in axis.name))


def _seconds(run: int) -> list[int]:
    """Seconds of the movies of a run, without the retest movie."""
    return [second for span in EXCERPTS[run][:-1] for second in range(*span)]


ADAPTER = HCP
