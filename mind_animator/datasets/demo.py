"""The synthetic data set: simulated subjects with the published file names, sizes and timing of CC2017.

All files are read by the adapter of CC2017. The movies are in ``<data_root>/video_fmri_dataset/stimuli`` and are shared
by all simulated subjects, whose responses are in ``<data_root>/<signal>/video_fmri_dataset/subject<n>``.

A subject is named by a number, in which case ``options.signal`` determines its signal, or by a number with the name of
a signal (``1full``, ``1nomotion``, ``1none``). The subjects compared by `demo_controls` thus share all other files in
one DAG.
"""

import re
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from mind_animator.config.base import Strict
from mind_animator.datasets.archives import Archive
from mind_animator.datasets.cc2017 import CC2017, FROM_MOVIE_START
from mind_animator.errors import InputError

# Suffix of a subject's name -> signal of the simulated subject.
SIGNALS = {"full": "full", "nomotion": "no_motion", "none": "none"}
_SUBJECT = re.compile(rf"([1-3])({'|'.join(SIGNALS)})?")


class DemoOptions(Strict):
    """Settings of the synthetic data set.

    Attributes
    ----------
    signal : str
        Signal of the simulated responses: ``full``; ``no_motion`` (motion areas carry no signal, and the structure of a
        shot is that of its middle, so that positions do not reveal the direction); ``none``.
    seed : int
        Seed of movies and simulated subjects.
    train_movies, test_movies : int
        Numbers of movies. The first four test movies are ``test2`` to ``test5``, whose runs have one
        additional volume.
    clips : int
        Clips per movie; 240 in CC2017. Runs are shortened accordingly.
    repeats_train, repeats_test : int
        Runs per movie and subject.
    noise : float
        Standard deviation of the noise of a vertex, relative to that of its response.
    skip_delayed_run : bool
        As in CC2017 (run 9 of ``test2`` of subject 3).
    """

    signal: Literal["full", "no_motion", "none"] = "full"
    seed: int = Field(0, ge=0)
    train_movies: int = Field(8, ge=2, le=18)
    test_movies: int = Field(1, ge=1, le=5)
    clips: int = Field(240, ge=10, le=240)
    repeats_train: int = Field(2, ge=2, le=10)
    repeats_test: int = Field(6, ge=2, le=10)
    noise: float = Field(2.5, gt=0)
    skip_delayed_run: bool = True


class Demo(CC2017):
    """The adapter of CC2017 applied to simulated files."""

    name = "demo"
    Options: ClassVar[type[Strict]] = DemoOptions

    @property
    def n_clips(self) -> int:
        return self.options.clips

    def _subjects(self) -> tuple[str, ...]:
        for subject in self.config.subjects:
            self.simulated_subject(subject)
        return self.config.subjects or self.known_subjects[:2]

    def check_subject(self, subject: str) -> None:
        self.simulated_subject(subject)

    def simulated_subject(self, subject: str) -> tuple[str, str]:
        """Number and signal of a subject; raises `InputError` if there is no such subject."""
        if not (match := _SUBJECT.fullmatch(subject)):
            raise InputError(
                f"config.dataset.subjects = '{subject}': must be one of {list(self.known_subjects)}, alone or followed "
                f"by one of {list(SIGNALS)}."
            )
        return match[1], SIGNALS[match[2]] if match[2] else self.options.signal

    def subject_with(self, number: str, signal: str) -> str:
        """Name of the subject with this number and signal; only the number if the signal is that of the config."""
        names = {value: name for name, value in SIGNALS.items()}
        return number if signal == self.options.signal else f"{number}{names[signal]}"

    def archives(self) -> tuple[Archive, ...]:
        """Nothing is downloaded: rules of the workflow draw the movies and simulate the subjects."""
        return ()

    def sources(self) -> list[Path]:
        """No files are obtained from elsewhere."""
        return []

    def _train(self) -> tuple[str, ...]:
        return self.train_movies[: self.options.train_movies]

    def _test(self) -> tuple[str, ...]:
        chosen = (*FROM_MOVIE_START, "test1")[: self.options.test_movies]
        return tuple(name for name in self.test_movies if name in chosen)

    def _repeats(self, segment: str) -> int:
        return self.options.repeats_test if segment in self._test() else self.options.repeats_train

    def stimulus_files(self, segment: str) -> list[Path]:
        self._check_segment(segment)
        return [self.root / "video_fmri_dataset" / "stimuli" / f"{segment}.mp4"]

    def run_pattern(self, repeat: int) -> str:
        """Path of a run with the wildcards ``{signal}``, ``{number}`` and ``{segment}``."""
        folder = f"{self.root}/{{signal}}/video_fmri_dataset/subject{{number}}/fmri/{{segment}}"
        return f"{folder}/cifti/{{segment}}_{repeat}_Atlas.dtseries.nii"

    def _used_repeats(self, subject: str, segment: str) -> list[int]:
        return super()._used_repeats(self.simulated_subject(subject)[0], segment)

    def _run_file(self, subject: str, segment: str, repeat: int, kind: str) -> Path:
        if kind != "cifti":
            raise ValueError(f"Expected the kind 'cifti' (the only one simulated), got {kind!r}.")
        number, signal = self.simulated_subject(subject)
        return Path(self.run_pattern(repeat).format(number=number, signal=signal, segment=segment))


ADAPTER = Demo
