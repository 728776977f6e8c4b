"""The interface of a data set, and the look-up of a data set by its name.

The Snakefile opens the data set at every start, including on login nodes. Therefore neither this module nor the top
level of an adapter's module may import torch or read more than small tables.
"""

import importlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from mind_animator.config.base import Strict, explain
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets.archives import Archive
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mind_animator.config.fmri import FmriConfig
    from mind_animator.fmri.clean import CleanedRun


@dataclass(frozen=True)
class Segment:
    """A unit of the stimulus that is cut, preprocessed and stored as one file: a movie, a run, or a pack of videos.

    Attributes
    ----------
    id : str
        Name of letters, digits and underscores, which can be used in file names, e.g. ``seg1``.
    split : str
        ``train`` or ``test``; a segment is never divided between them.
    n_clips : int
        Number of clips, known without the data.
    """

    id: str
    split: str
    n_clips: int

    @property
    def clips(self) -> list[str]:
        """Clip names, unique within the data set: ``seg1-00000``, ``seg1-00001``, ..."""
        return [f"{self.id}-{index:05d}" for index in range(self.n_clips)]


@dataclass(frozen=True)
class Run:
    """One cleaned repeat of a segment, and its properties.

    Attributes
    ----------
    name : str
        Name of the file, for tables.
    values : ndarray (clip, voxel) float32, or CleanedRun
        An array as yielded by `Dataset.responses`, or an object that is cleaned during reading; a clip without a volume
        is NaN in every voxel.
    measured_tsnr : ndarray (voxel,) float32, optional
        Temporal signal-to-noise ratio before z-scoring, if it was computed separately from raw volumes.
    """

    name: str
    values: "np.ndarray | CleanedRun"
    measured_tsnr: "np.ndarray | None" = None

    @property
    def tsnr(self) -> "np.ndarray | None":
        """Temporal signal-to-noise ratio; for a `CleanedRun` it is available after the run has been read."""
        return getattr(self.values, "tsnr", self.measured_tsnr)


@dataclass(frozen=True)
class VolumeRun:
    """A cleaned run, and the clips that were shown in it.

    Attributes
    ----------
    values : ndarray (volume, voxel) float32
        0 where a volume is missing.
    times : ndarray (volume,) float64
        Seconds of the run that the volumes represent.
    shown : list of (clip, onset in s, duration in s)
    """

    values: "np.ndarray"
    times: "np.ndarray"
    shown: list[tuple[str, float, float]]


class Dataset(ABC):
    """One data set: files, timing, splits. Subclasses are defined in ``mind_animator/datasets/<name>.py`` (or a
    package of that name) and assigned to ``ADAPTER``.

    Attributes
    ----------
    Options : type of Strict
        Settings specific to this data set (``dataset.options`` in the config); unknown keys are errors.
    tr : float
        Repetition time, seconds.
    cleans_while_reading : bool
        Whether `runs` can be read again at low cost, so that they are not kept in memory until voxels are selected.
    scratch : Path, optional
        Folder of temporary files; by default the temporary folder of the system.
    simulated : bool
        Whether the workflow generates the files of the data set, so that there is nothing to download.
    has_stimuli, has_captions : bool
        Whether frames can be cut, and whether the data include captions (in which case no captioner is run).
    rois_of : str
        Atlas space of the voxels: ``fs_LR_32k`` (59,412 cortical vertices, area names of HCP-MMP1) or
        ``none``.
    has_rois : bool
        Whether voxels have area names.
    applies_lag : bool
        Whether ``fmri.lag`` is applied; False if the responses are already aligned to the clips.
    has_volumes : bool
        Whether `volume_runs` gives whole runs, from which the lag is estimated more precisely than from clips.
    n_voxels : int
        Number of voxels per subject, or a safe upper bound; used to set the memory request.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Strict]]
    tr: float
    cleans_while_reading: ClassVar[bool] = False
    simulated: ClassVar[bool] = False
    has_stimuli: bool = True
    has_captions: bool = False
    rois_of: str = "fs_LR_32k"
    has_rois: bool = True
    n_voxels: int = 59_412
    applies_lag: bool = True
    has_volumes: bool = False
    scratch: Path | None = None

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config
        self.root = Path(config.data_root)
        try:
            self.options: Any = self.Options.model_validate(config.options)
        except ValidationError as error:
            raise InputError(explain(error, "config.dataset.options")) from None
        self.subjects = self._subjects()

    @abstractmethod
    def _subjects(self) -> tuple[str, ...]:
        """Subjects to run (``config.subjects``, or all); raises `InputError` if one is unknown."""

    def check_subject(self, subject: str) -> None:
        """Raise `InputError` if there is no such subject."""
        if subject not in self.subjects:
            raise InputError(f"--subject = '{subject}': must be one of {list(self.subjects)}.")

    @property
    @abstractmethod
    def segments(self) -> tuple[Segment, ...]:
        """All segments in their canonical order, training first. No data are required."""

    def memory_mb(self, every_voxel: bool) -> int:
        """Memory in MB for preprocessing one subject.

        Responses to training clips are kept until voxels are selected, unless runs can be read again at low cost. The
        selected voxels are in memory twice while they are scaled, and for test clips also their two halves.
        """
        clips = {"train": 0, "test": 0}
        for segment in self.segments:
            clips[segment.split] += segment.n_clips
        values = (
            2 * clips["train"] + 4 * clips["test"]
            if every_voxel
            else 0
            if self.cleans_while_reading
            else clips["train"]
        )
        return 1_500 + 4 * values * self.n_voxels // 10**6

    @abstractmethod
    def stimulus_files(self, segment: str) -> list[Path]:
        """Movie files from which a segment is cut (inputs of the DAG)."""

    @abstractmethod
    def clip_table(self, segment: str) -> "pd.DataFrame":
        """One row per clip, in order: ``clip, segment, movie, file, onset, duration, split``.

        ``onset`` and ``duration`` are in seconds of the file; ``movie`` is the grouping variable: clips of one movie
        are always in the same split (training, validation or test).
        """

    def clips_of_table(self) -> list[str]:
        """Clips in the order of the user's files; by default the order of `segments`."""
        return [clip for segment in self.segments for clip in segment.clips]

    @abstractmethod
    def response_files(self, subject: str, segment: str) -> list[Path]:
        """Files with the responses to a segment (inputs of the DAG); empty if the subject has no run of it."""

    def run_files(self, subject: str, segment: str) -> list[Path]:
        """Those of `response_files` that contain responses; override it if there are also masks or tables."""
        return self.response_files(subject, segment)

    @abstractmethod
    def responses(self, subject: str, segment: str, settings: "FmriConfig") -> "Iterator[np.ndarray]":
        """Yield one (n_clips, n_voxels) float32 array per repeat, aligned to the clips (with the haemodynamic lag
        applied once), and detrended and z-scored per run according to ``settings``."""

    def runs(self, subject: str, segment: str, settings: "FmriConfig") -> Iterator[Run]:
        """`responses` with the properties of each repeat; override it if raw volumes are read."""
        for number, values in enumerate(self.responses(subject, segment, settings), start=1):
            yield Run(f"{segment}_{number}", values)

    def volume_runs(self, subject: str, settings: "FmriConfig", voxels: "np.ndarray") -> Iterator[VolumeRun]:
        """Cleaned runs of a subject, reduced to the selected voxels; only if ``has_volumes``."""
        return iter(())

    def roi_names(self, subject: str) -> "list[str] | None":
        """Area of every voxel (hemisphere prefix ``L_`` / ``R_``), or None if the areas are unknown."""
        return None

    def frames(self, segment: str) -> "np.ndarray | None":
        """Existing frames (clip, frame, height, width, 3) uint8 of the data set; None if movies must be cut."""
        return None

    def caption_files(self) -> list[Path]:
        """Files of the captions that the data set includes (inputs of the DAG), if any."""
        return []

    def captions(self) -> "pd.DataFrame":
        """Captions of the data set, one row per clip, in order: ``clip, caption``; only if ``has_captions``."""
        raise InputError(f"Expected captions to come with data set {self.name}, but they do not.")

    def caption_order(self) -> dict[str, list[str]]:
        """Clips of each split in the order of published caption files, which contain no clip names.

        A clip that was presented several times may occur several times.
        """
        every = self.segments
        return {split: [c for s in every if s.split == split for c in s.clips] for split in ("train", "test")}

    def archives(self) -> tuple[Archive, ...]:
        """All downloads for the selected subjects, whether they already exist or not."""
        return ()

    def member_paths(self, archive: Archive, members: list[str]) -> dict[str, str]:
        """Destinations (relative to the root) of the members of a zip archive; by default matched by the end
        of the path."""
        from mind_animator.datasets.download.zips import suffix_chooser

        choose = suffix_chooser(archive.gives)
        return {member: path for member in members if (path := choose(member)) is not None}

    def sources(self) -> list[Path]:
        """Every file that the pipeline reads, once, existing or not; files of segments first, then of subjects."""
        segments = [segment.id for segment in self.segments]
        stimuli = [path for segment in segments for path in self.stimulus_files(segment)]
        answers = [
            path for sub in self.subjects for seg in segments for path in self.response_files(sub, seg)
        ]
        return list(dict.fromkeys([*stimuli, *self.caption_files(), *answers]))

    def left_out(self, subject: str, segment: str) -> dict[str, str]:
        """Runs of a segment that exist but are not used, with the reason; they are listed in ``quality.tsv``."""
        return {}

    def fault(self, path: Path, facts: dict[str, float]) -> str | None:
        """Fault of a file, determined from its header; None if there is none.

        ``facts`` are ``volumes``, ``rows``, ``step`` and ``start`` (seconds) of a series, or ``seconds`` and
        ``fps`` of a movie, if the header states them; further properties may be added for the table.
        """
        return None

    def check_before_work(self) -> None:
        """Raise `InputError` if terms have not been accepted or credentials are missing that the downloads require."""
        return None

    def find(self, *candidates: str) -> Path:
        """The first candidate (relative to the root) that exists, otherwise the first one."""
        for candidate in candidates:
            if os.path.lexists(self.root / candidate):  # also a link of a clone whose content is missing
                return self.root / candidate
        return self.root / candidates[0]


def available() -> list[str]:
    """Names of the data sets with an adapter, i.e. the modules of this package that assign ``ADAPTER``.

    The modules are read, not imported, so that other modules of the package cannot cause errors here.
    """
    folders = [Path(folder) for folder in importlib.import_module("mind_animator.datasets").__path__]
    modules = [path for folder in folders for name in ("*.py", "*/__init__.py") for path in folder.glob(name)]
    adapters = [path for path in modules if re.search(r"^ADAPTER\b", path.read_text(encoding="utf-8"), re.M)]
    return sorted(path.parent.name if path.name == "__init__.py" else path.stem for path in adapters)


def open_dataset(config: DatasetConfig) -> Dataset:
    """The adapter named ``config.name``, with validated options."""
    if config.name not in available():
        raise InputError(f"Expected dataset.name to be one of {available()}, got '{config.name}'.")
    module = importlib.import_module(f"mind_animator.datasets.{config.name}")
    return module.ADAPTER(config)
