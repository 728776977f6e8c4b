"""The interface of a data set, and how one is found by its name.

The Snakefile opens the data set at every start, on the login node too: nothing here, and nothing at the top
of an adapter's module, may import torch or read more than small tables.
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
    """A unit of stimulus that is cut, preprocessed and stored as one file: a movie, a run, a pack of videos.

    Attributes
    ----------
    id : str
        Safe in file names: letters, digits and underscores, e.g. ``seg1``.
    split : str
        ``train`` or ``test``; a segment is never divided between them.
    n_clips : int
        Number of clips that it gives; known without the data.
    """

    id: str
    split: str
    n_clips: int

    @property
    def clips(self) -> list[str]:
        """Clip names, unique over the data set: ``seg1-00000``, ``seg1-00001``, ..."""
        return [f"{self.id}-{index:05d}" for index in range(self.n_clips)]


@dataclass(frozen=True)
class Run:
    """One cleaned repeat of a segment, and what is known of it.

    Attributes
    ----------
    name : str
        Name of its file, for tables.
    values : ndarray (clip, voxel) float32, or CleanedRun
        As `Dataset.responses` yields it, or cleaned as it is read; a clip without a volume is NaN in every
        voxel.
    measured_tsnr : ndarray (voxel,) float32, optional
        Temporal signal-to-noise ratio before z-scoring, where raw volumes were read otherwise.
    """

    name: str
    values: "np.ndarray | CleanedRun"
    measured_tsnr: "np.ndarray | None" = None

    @property
    def tsnr(self) -> "np.ndarray | None":
        """Temporal signal-to-noise ratio; of a `CleanedRun`, once it has been read."""
        return getattr(self.values, "tsnr", self.measured_tsnr)


class Dataset(ABC):
    """One data set: files, timing, splits. Subclasses live in ``mind_animator/datasets/<name>.py`` (or a
    package of that name) and are found there as ``ADAPTER``.

    Attributes
    ----------
    Options : type of Strict
        Settings of this data set alone (``dataset.options`` in the config); unknown keys are errors.
    tr : float
        Repetition time, seconds.
    cleans_while_reading : bool
        Whether `runs` can be read again at little cost, and are not kept in memory until voxels are chosen.
    scratch : Path, optional
        Folder of temporary files; the system's by default.
    simulated : bool
        Whether rules make the data set's files: then there is nothing to download.
    has_stimuli, has_captions : bool
        Whether frames can be cut, and whether captions come ready with the data (no captioner is run then).
    rois_of : str
        Atlas space of the voxels: ``fs_LR_32k`` (59,412 cortical vertices, area names of HCP-MMP1) or
        ``none``.
    has_rois : bool
        Whether voxels have names of areas.
    applies_lag : bool
        Whether ``fmri.lag`` is applied; False where the responses are aligned to the clips already.
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
        """Subjects to run (``config.subjects``, or all); `InputError` if one is unknown."""

    def check_subject(self, subject: str) -> None:
        """`InputError` where there is no such subject."""
        if subject not in self.subjects:
            raise InputError(f"Expected --subject to be of {list(self.subjects)}, got '{subject}'.")

    @property
    @abstractmethod
    def segments(self) -> tuple[Segment, ...]:
        """All segments in their canonical order, training first. Needs no data."""

    def memory_mb(self, every_voxel: bool) -> int:
        """Memory, in MB, of preprocessing one subject.

        Responses to training clips are kept until voxels are chosen, unless runs are cheap to read again. The
        chosen voxels are in memory twice while they are scaled, and for test clips their two halves as well.
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
        """Movie files that a segment is cut from (inputs of the DAG)."""

    @abstractmethod
    def clip_table(self, segment: str) -> "pd.DataFrame":
        """One row per clip, in order: ``clip, segment, movie, file, onset, duration, split``.

        ``onset`` and ``duration`` in seconds of the file; ``movie`` is the unit of splits (never divided
        between training, validation and test).
        """

    def clips_of_table(self) -> list[str]:
        """Clips in the order in which a user's files list them; by default that of `segments`."""
        return [clip for segment in self.segments for clip in segment.clips]

    @abstractmethod
    def response_files(self, subject: str, segment: str) -> list[Path]:
        """Files that a segment's responses are read from (inputs of the DAG); empty if the subject has no run of it."""

    @abstractmethod
    def responses(self, subject: str, segment: str, settings: "FmriConfig") -> "Iterator[np.ndarray]":
        """Yield one (n_clips, n_voxels) float32 array per repeat: aligned to the clips (the haemodynamic lag
        included, once), detrended and z-scored per run as ``settings`` says."""

    def runs(self, subject: str, segment: str, settings: "FmriConfig") -> Iterator[Run]:
        """`responses` with what is known of each repeat; override it where raw volumes are read."""
        for number, values in enumerate(self.responses(subject, segment, settings), start=1):
            yield Run(f"{segment}_{number}", values)

    def roi_names(self, subject: str) -> "list[str] | None":
        """Area of every voxel (hemisphere prefix ``L_`` / ``R_``), or None where none is known."""
        return None

    def frames(self, segment: str) -> "np.ndarray | None":
        """Ready frames (clip, frame, height, width, 3) uint8 where the data have them; None: cut movies."""
        return None

    def caption_files(self) -> list[Path]:
        """Files of ready captions (inputs of the DAG), where the data come with them."""
        return []

    def captions(self) -> "pd.DataFrame":
        """Ready captions, one row per clip, in order: ``clip, caption``; only where ``has_captions``."""
        raise InputError(f"Expected captions to come with data set {self.name}, but they do not.")

    def caption_order(self) -> dict[str, list[str]]:
        """Clips of each split in the order of published caption files, which carry no names.

        A clip that was shown several times may come several times.
        """
        every = self.segments
        return {split: [c for s in every if s.split == split for c in s.clips] for split in ("train", "test")}

    def archives(self) -> tuple[Archive, ...]:
        """Everything that can be downloaded for the chosen subjects, whether it is here already or not."""
        return ()

    def places(self, archive: Archive, members: list[str]) -> dict[str, str]:
        """Which members of a zip go where (relative to the root); by default where their paths end alike."""
        from mind_animator.datasets.download.zips import suffix_chooser

        choose = suffix_chooser(archive.gives)
        return {member: place for member in members if (place := choose(member)) is not None}

    def sources(self) -> list[Path]:
        """Every file that the pipeline reads, once, here or not; segments first, then subjects."""
        segments = [segment.id for segment in self.segments]
        stimuli = [path for segment in segments for path in self.stimulus_files(segment)]
        answers = [
            path for sub in self.subjects for seg in segments for path in self.response_files(sub, seg)
        ]
        return list(dict.fromkeys([*stimuli, *self.caption_files(), *answers]))

    def left_out(self, subject: str, segment: str) -> dict[str, str]:
        """Runs of a segment that exist but are not used, and why; they are listed in ``quality.tsv``."""
        return {}

    def fault(self, path: Path, facts: dict[str, float]) -> str | None:
        """What is wrong with a file, from its header alone; None if nothing is.

        ``facts`` are ``volumes``, ``rows``, ``step`` and ``start`` (seconds) of a series, or ``seconds`` and
        ``fps`` of a movie, as far as the header states them; further facts may be added for the table.
        """
        return None

    def check_before_work(self) -> None:
        """Raise `InputError` if terms or credentials that fetching the missing files needs are missing."""
        return None

    def find(self, *candidates: str) -> Path:
        """The first candidate (relative to the root) that exists, else the first one."""
        for candidate in candidates:
            if os.path.lexists(self.root / candidate):  # also a link of a clone whose content is not here
                return self.root / candidate
        return self.root / candidates[0]


def available() -> list[str]:
    """Names of the data sets that have an adapter: the modules of this package that assign ``ADAPTER``.

    The modules are read, not imported, so that modules beside an adapter (helpers, unfinished work) are no
    adapters and cannot fail here.
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
