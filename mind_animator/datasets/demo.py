"""The embedded world's data set: simulated brains under CC2017's published names, sizes and timing.

Everything is read by CC2017's own adapter. The movies lie in ``<data_root>/video_fmri_dataset/stimuli`` and are shared
by the brains that watch them; the brains lie in ``<data_root>/<signal>/video_fmri_dataset/subject<n>``.
"""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from mind_animator.config.base import Strict
from mind_animator.datasets.cc2017 import CC2017, FROM_MOVIE_START


class DemoOptions(Strict):
    """Settings of the embedded world.

    Attributes
    ----------
    signal : str
        What the brains hold: ``full``; ``no_motion`` (areas of motion carry nothing, and the structure of a shot is
        that of its middle, so that no trail of positions tells the direction); ``none``.
    seed : int
        Seed of movies and brains.
    train_movies, test_movies : int
        Movies of 240 clips. The first four test movies are ``test2`` to ``test5``, whose runs have 246 volumes.
    repeats_train, repeats_test : int
        Runs of each movie and subject.
    noise : float
        Standard deviation of the noise of a vertex, in units of its response's.
    skip_delayed_run : bool
        As in CC2017: subject 3, run 9 of ``test2``.
    """

    signal: Literal["full", "no_motion", "none"] = "full"
    seed: int = Field(0, ge=0)
    train_movies: int = Field(8, ge=2, le=18)
    test_movies: int = Field(1, ge=1, le=5)
    repeats_train: int = Field(2, ge=2, le=10)
    repeats_test: int = Field(6, ge=2, le=10)
    noise: float = Field(2.5, gt=0)
    skip_delayed_run: bool = True


class Demo(CC2017):
    """CC2017's adapter on simulated files."""

    name = "demo"
    Options: ClassVar[type[Strict]] = DemoOptions

    def _subjects(self) -> tuple[str, ...]:
        asked = super()._subjects()
        return asked if self.config.subjects else asked[:2]

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

    def truth_file(self, movie: str) -> Path:
        """What a movie holds, told by whoever drew it: for scoring and tests only."""
        return self.root / "video_fmri_dataset" / "truth" / f"{movie}.json"

    def run_pattern(self, repeat: int) -> str:
        """Path of a run with the wildcards ``{subject}`` and ``{segment}``."""
        folder = f"{self.root}/{self.options.signal}/video_fmri_dataset"
        return f"{folder}/subject{{subject}}/fmri/{{segment}}/cifti/{{segment}}_{repeat}_Atlas.dtseries.nii"

    def _run_file(self, subject: str, segment: str, repeat: int, kind: str) -> Path:
        if kind != "cifti":
            raise ValueError(f"Expected the kind 'cifti' (the only one simulated), got {kind!r}.")
        return Path(self.run_pattern(repeat).format(subject=subject, segment=segment))


ADAPTER = Demo
