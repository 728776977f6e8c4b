"""Algonauts 2021: ten subjects and 1,102 videos of 3 s; responses are GLM betas, one per repeat.

Properties of the published files that this module implements:

- 1,000 videos have responses (three repeats); those of the last 102 videos are withheld. The devkit trains on the
  first 900 and validates on the last 100, which are the test set here.
- The level ``mini_track`` / ``full_track`` is missing in some unpackings.
- Responses are pickles of Python 2. Since a pickle can execute code, only arrays are read from them.
- Betas have no haemodynamic shift, no trend and no runs, so ``fmri.lag`` and detrending do not apply.
- Videos last 3 s: 8 frames at 8/3 Hz cover the whole video (the published code used its first .27 s).
- **BOLD Moments** (``release: bold_moments``) has the same videos and subjects; its responses are available without a
  form, on the 32k cortex, with ten repeats of the 102 test videos.

References
----------
Cichy et al. (2021), "The Algonauts Project 2021 challenge", arXiv 2104.13714.
Lahner et al. (2024), "Modeling short visual events through the BOLD Moments video fMRI dataset",
Nature Communications.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from mind_animator.config.base import Strict
from mind_animator.datasets.archives import Archive, archive, describe
from mind_animator.datasets.base import Dataset, Segment
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mind_animator.config.fmri import FmriConfig

N_VIDEOS, N_TRAIN, N_SHOWN, PACK = 1102, 900, 1000, 100
SECONDS = 3.0
ROIS = ("V1", "V2", "V3", "V4", "LOC", "EBA", "FFA", "STS", "PPA")
VIDEOS = "AlgonautsVideos268_All_30fpsmax"
_MOMENTS = "derivatives/versionB/fsLR32k/GLM"


class AlgonautsOptions(Strict):
    """Settings specific to Algonauts 2021.

    Attributes
    ----------
    release : str
        ``algonauts``, or ``bold_moments`` from OpenNeuro.
    track : str
        For ``algonauts``: ``mini`` (nine areas) or ``full`` (whole brain).
    terms_accepted : bool
        Set to true after the form of the data set has been completed; otherwise nothing is downloaded.
    """

    release: Literal["algonauts", "bold_moments"] = "algonauts"
    track: Literal["mini", "full"] = "full"
    terms_accepted: bool = False


class Algonauts2021(Dataset):
    """The adapter; see the module's docstring."""

    name = "algonauts2021"
    Options: ClassVar[type[Strict]] = AlgonautsOptions
    applies_lag = False
    tr = 1.75

    known_subjects: ClassVar[tuple[str, ...]] = tuple(f"{number:02d}" for number in range(1, 11))

    def _subjects(self) -> tuple[str, ...]:
        for subject in self.config.subjects:
            if subject not in self.known_subjects:
                raise InputError(
                    f"config.dataset.subjects = '{subject}': must be one of {list(self.known_subjects)}."
                )
        return self.config.subjects or self.known_subjects

    @property
    def rois_of(self) -> str:
        return "fs_LR_32k" if self._moments else "none"

    @property
    def has_rois(self) -> bool:
        return self._moments or self.options.track == "mini"

    def memory_mb(self, every_voxel: bool) -> int:
        return super().memory_mb(every_voxel) + (
            4_500 if self._moments else 2_500
        )  # a pickle is read at once

    @property
    def _moments(self) -> bool:
        return self.options.release == "bold_moments"

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Packs of 100 videos in their order; the last pack (BOLD Moments: the last 102 videos) is the test set."""
        packs = [Segment(f"videos{n + 1:04d}", "train", PACK) for n in range(0, N_SHOWN, PACK)]
        if self._moments:
            return (*packs, Segment(f"videos{N_SHOWN + 1:04d}", "test", N_VIDEOS - N_SHOWN))
        return (*packs[: N_TRAIN // PACK], Segment(f"videos{N_TRAIN + 1:04d}", "test", N_SHOWN - N_TRAIN))

    def stimulus_files(self, segment: str) -> list[Path]:
        start, count = self._rows_of(segment)
        return self._videos()[start : start + count]

    def clip_table(self, segment: str) -> "pd.DataFrame":
        import pandas as pd

        described = next(known for known in self.segments if known.id == segment)
        start, count = self._rows_of(segment)
        return pd.DataFrame(
            {
                "clip": described.clips,
                "segment": segment,
                "movie": [f"video{start + index + 1:04d}" for index in range(count)],
                "file": [str(path) for path in self.stimulus_files(segment)],
                "onset": 0.0,
                "duration": SECONDS,
                "split": described.split,
            }
        )

    def response_files(self, subject: str, segment: str) -> list[Path]:
        if self._moments:
            return [self.root / _betas(subject, "test" if self._rows_of(segment)[0] >= N_SHOWN else "train")]
        folder = f"{self.options.track}_track/sub{subject}"
        names = ["WB"] if self.options.track == "full" else list(ROIS)
        return [self._pickle(folder, f"{name}.pkl") for name in names]

    def responses(self, subject: str, segment: str, settings: "FmriConfig") -> "Iterator[np.ndarray]":
        import numpy as np

        betas = np.concatenate(
            [self._read(path, segment) for path in self.response_files(subject, segment)], axis=2
        )
        for repeat in range(betas.shape[1]):
            yield np.ascontiguousarray(betas[:, repeat], np.float32)

    def roi_names(self, subject: str) -> "list[str] | None":
        if self._moments:
            from mind_animator.artefacts.cortex import roi_names

            return roi_names().tolist()
        if self.options.track == "full":
            return None
        files = self.response_files(subject, self.segments[0].id)
        return [roi for roi, path in zip(ROIS, files, strict=True) for _ in range(_betas_in(path).shape[2])]

    def archives(self) -> tuple[Archive, ...]:
        if self._moments:
            tasks = ("train", "test")
            return tuple(
                archive("bold_moments", "betas", subject=f"sub-{subject}", task=task)
                for subject in self.subjects
                for task in tasks
            )
        answers = [
            str(p.relative_to(self.root)) for s in self.subjects for p in self.response_files(s, "videos0001")
        ]
        videos = [f"{VIDEOS}/{number:04d}.mp4" for number in range(1, N_VIDEOS + 1)]
        return (archive(self.name, "participants_data", gives=(*videos, *answers)),)

    def member_paths(self, archive: Archive, members: list[str]) -> dict[str, str]:
        """Videos by their position among the sorted names; pickles in either layout."""
        videos = sorted(
            member for member in members if f"/{VIDEOS}/" in f"/{member}" and member.endswith(".mp4")
        )
        if len(videos) != N_VIDEOS:
            raise InputError(f"Expected {N_VIDEOS} videos in {archive.file}, got {len(videos)}.")
        chosen = {member: f"{VIDEOS}/{rank:04d}.mp4" for rank, member in enumerate(videos, 1)}
        for path in archive.gives:
            if path.endswith(".pkl"):
                short = re.sub(r"^.*/(?:mini|full)_track/", "", path)
                level = path.removesuffix(short).rstrip("/").rsplit("/", 1)[-1]
                found = [m for m in members if f"/{m}".endswith(f"/{level}/{short}")]
                found = found or [m for m in members if f"/{m}".endswith(f"/{short}")]
                if len(found) == 1:
                    chosen[found[0]] = path
        return chosen

    def check_before_work(self) -> None:
        if self._moments:
            return  # its responses are CC0; its videos are obtained manually
        absent = [path for path in self.sources() if not path.exists()]
        if absent and not self.options.terms_accepted:
            described = describe(self.name)
            raise InputError(
                f"Expected the terms of {described['title']} to be accepted before {len(absent)} files "
                f"are fetched "
                f"(the first is {absent[0]}): {described['terms']} ({described['page']})."
            )

    def _rows_of(self, segment: str) -> tuple[int, int]:
        """First video (from 0) of a segment, and the number of its videos."""
        for known in self.segments:
            if known.id == segment:
                return int(segment.removeprefix("videos")) - 1, known.n_clips
        raise InputError(f"Expected a segment of {[s.id for s in self.segments]}, got '{segment}'.")

    def _videos(self) -> list[Path]:
        """All videos in their order: the files of an existing folder, otherwise the expected names."""
        folder = self.find(
            VIDEOS, f"participants_data_v2021/{VIDEOS}", "stimuli", "derivatives/stimuli_metadata/mp4"
        )
        here = sorted(folder.glob("*.mp4")) if folder.is_dir() else []
        if all(re.fullmatch(r"\d{4}\.mp4", path.name) for path in here):
            return [folder / f"{number:04d}.mp4" for number in range(1, N_VIDEOS + 1)]
        if len(here) != N_VIDEOS:
            raise InputError(f"Expected {N_VIDEOS} videos in {folder}, got {len(here)}.")
        return here

    def _pickle(self, folder: str, name: str) -> Path:
        subject = folder.split("/")[1]
        parents = ("participants_data_v2021", ".", "participants_data/participants_data_v2021")
        return self.find(
            *(f"{parent}/{folder}/{name}" for parent in parents),
            *(f"{parent}/{subject}/{name}" for parent in parents),
        )

    def _read(self, path: Path, segment: str) -> "np.ndarray":
        """Betas (clip, repeat, voxel) of the videos of a segment from one file."""
        from mind_animator.artefacts.cortex import N_CORTEX, N_GRAYORDINATES

        start, count = self._rows_of(segment)
        if not self._moments:
            return _betas_in(path)[start : start + count]
        betas, names = _moments_in(path)
        if betas.shape[2] != N_GRAYORDINATES:
            raise InputError(f"Expected {N_GRAYORDINATES} grayordinates in {path}, got {betas.shape[2]}.")
        row_of = {name: row for row, name in enumerate(names)}
        videos = [f"vid{start + index + 1:04d}" for index in range(count)]
        missing = [name for name in videos if name not in row_of]
        if missing:
            raise InputError(f"Expected responses to '{missing[0]}' in {path} ({len(missing)} missing).")
        return betas[[row_of[name] for name in videos], :, :N_CORTEX]


def _betas(subject: str, task: str) -> str:
    return f"{_MOMENTS}/sub-{subject}/prepared_betas/sub-{subject}_organized_betas_task-{task}_normalized.pkl"


@lru_cache(maxsize=1)  # one file contains all packs of videos
def _betas_in(path: Path) -> "np.ndarray":
    """The array (1000, 3, voxel) of a challenge pickle."""
    from mind_animator.artefacts.pickles import read_pickle

    content = read_pickle(path)
    shape = getattr(content.get("train"), "shape", None) if isinstance(content, dict) else None
    if shape is None or len(shape) != 3 or shape[0] != N_SHOWN:
        raise InputError(f"Expected 'train' of shape ({N_SHOWN}, repeat, voxel) in {path}, got {shape}.")
    return content["train"]


@lru_cache(maxsize=1)
def _moments_in(path: Path) -> "tuple[np.ndarray, list[str]]":
    """Betas (video, repeat, grayordinate) and the videos' names of a BOLD Moments pickle."""
    from mind_animator.artefacts.pickles import read_pickle

    content = read_pickle(path)
    if not isinstance(content, tuple) or len(content) != 2 or getattr(content[0], "ndim", 0) != 3:
        raise InputError(f"Expected (betas, names of videos) in {path}, got {type(content).__name__}.")
    betas, names = content
    if len(names) != len(betas):
        raise InputError(f"Expected {len(betas)} names of videos in {path}, got {len(names)}.")
    return betas, list(names)


ADAPTER = Algonauts2021
