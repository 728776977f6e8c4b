"""A lab's own study: fMRIPrep's derivatives, events with the movies' onsets, a folder of movies.

What this module reads of the study:

- ``sub-*/[ses-*/]func/*_task-<task>_*_events.tsv``: a row with a ``stim_file`` is a repeat of that movie,
  from ``onset`` on for ``duration`` seconds. They are small and are read at every start: they say which
  movies, runs and repeats there are.
- ``derivatives/fmriprep/...``: the run of each events file in the space asked for, its sidecar and its
  confounds.
- ``stimuli/``: the movies, where ``stim_file`` says.

A clip's response is the mean of the volumes that lie in its time, ``fmri.lag`` seconds later, each with the
share of the clip that it covers: with a repetition time as long as a clip, and movies that start with a
volume, that is the choice of one volume. Polynomial trends and confounds are regressed out together.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mind_animator.artefacts.texts import read_text_rows
from mind_animator.config.base import Strict
from mind_animator.datasets.base import Dataset, Run, Segment
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mind_animator.config.fmri import FmriConfig


class BidsOptions(Strict):
    """What a study does not say of itself. Paths are relative to the data folder.

    Attributes
    ----------
    task : str
        The ``task-`` entity of the runs.
    space : str
        ``fsLR`` (91k CIFTI), ``fsaverage5``, ``fsaverage6``, ``fsaverage`` (GIFTI), or a volume space such as
        ``MNI152NLin2009cAsym``.
    tr : float
        Repetition time, seconds; checked against the files.
    clip_seconds : float
        Length of a clip, seconds.
    test : tuple of str
        Movies (names of their files) that are tested on and never trained on.
    confounds : tuple of str
        Strategies of nilearn's ``load_confounds``; empty for none.
    derivatives, stimuli : str
        Folders.
    mask : str, optional
        For volume spaces: a NIfTI mask; by default the voxels in the brain masks of all of a subject's runs.
    resolution : str, optional
        The ``res-`` entity, where a volume space has several.
    """

    task: str
    space: str
    tr: float = Field(gt=0)
    clip_seconds: float = Field(gt=0)
    test: tuple[str, ...] = Field(min_length=1)
    confounds: tuple[Literal["motion", "wm_csf", "global_signal", "compcor", "scrub", "high_pass"], ...] = (
        "motion",
        "wm_csf",
    )
    derivatives: str = "derivatives/fmriprep"
    stimuli: str = "stimuli"
    mask: str | None = None
    resolution: str | None = None


@dataclass(frozen=True)
class Repeat:
    """One showing: stem of its run (``sub-01/func/sub-01_task-movie_run-1``), onset, length (seconds)."""

    stem: str
    onset: float
    duration: float


class Bids(Dataset):
    """The adapter; see the module's text for what it reads."""

    name = "bids"
    Options: ClassVar[type[Strict]] = BidsOptions

    def __init__(self, config) -> None:
        super().__init__(config)
        self.tr = self.options.tr
        self.rois_of = "fs_LR_32k" if self.options.space == "fsLR" else "none"
        self.has_rois = self.rois_of != "none"
        self.n_voxels = 59_412 if self.options.space == "fsLR" else 330_000  # fsaverage has 327,684
        self._segments = self._cut_movies()

    def _subjects(self) -> tuple[str, ...]:
        known = sorted({stem.split("/")[0].removeprefix("sub-") for stem in self._events})
        if not known:
            raise InputError(
                f"Expected events files sub-*/func/*_task-{self.options.task}_*_events.tsv in {self.root}, "
                "found none."
            )
        for subject in self.config.subjects:
            if subject not in known:
                raise InputError(
                    f"Expected dataset.subjects to be of {known}, got '{subject}' ({self.root})."
                )
        return self.config.subjects or tuple(known)

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self._segments

    def stimulus_files(self, segment: str) -> list[Path]:
        return [self.root / self.options.stimuli / self._movie(segment)]

    def clip_table(self, segment: str) -> "pd.DataFrame":
        import pandas as pd

        movie = self._movie(segment)
        described = next(known for known in self.segments if known.id == segment)
        return pd.DataFrame(
            {
                "clip": described.clips,
                "segment": segment,
                "movie": movie,
                "file": str(self.stimulus_files(segment)[0]),
                "onset": [self.options.clip_seconds * index for index in range(described.n_clips)],
                "duration": self.options.clip_seconds,
                "split": described.split,
            }
        )

    def response_files(self, subject: str, segment: str) -> list[Path]:
        stems = dict.fromkeys(repeat.stem for repeat in self._repeats(subject, self._movie(segment)))
        files = [file for stem in stems for file in (*self._bold(stem), *self._masks(stem))]
        if self.options.confounds:
            files += [self._derived(f"{stem}_desc-confounds_timeseries.tsv") for stem in stems]
        return files

    def responses(self, subject: str, segment: str, settings: "FmriConfig") -> "Iterator[np.ndarray]":
        return (run.values for run in self.runs(subject, segment, settings))

    def runs(self, subject: str, segment: str, settings: "FmriConfig") -> Iterator[Run]:
        import numpy as np

        from mind_animator.fmri.clean import clean_run

        described = next(known for known in self.segments if known.id == segment)
        onsets = self.options.clip_seconds * np.arange(described.n_clips)
        for repeat in self._repeats(subject, self._movie(segment)):
            files = self._bold(repeat.stem)
            self._check_tr(files[0])
            series = self._read(subject, repeat.stem)
            series = self._without_confounds(series, files, settings.detrend_order)
            values, tsnr = clean_run(series, settings.detrend_order, settings.ddof)
            begins = repeat.onset + settings.lag + onsets
            middles = begins + self.options.clip_seconds / 2
            outside = int(((middles < 0) | (middles > self.tr * len(series))).sum())
            if outside > described.n_clips / 10:
                raise InputError(
                    f"Expected volumes for the {described.n_clips} clips of '{self._movie(segment)}' in "
                    f"{files[0]}, "
                    f"but {outside} have none: the run has {len(series)} volumes of {self.tr:g} s, "
                    "the movie starts at "
                    f"{repeat.onset:g} s and fmri.lag is {settings.lag:g} s."
                )
            clips = mean_over_spans(values, self.tr, begins, self.options.clip_seconds)
            yield Run(f"{Path(repeat.stem).name} at {repeat.onset:g} s", clips, tsnr)

    def roi_names(self, subject: str) -> "list[str] | None":
        from mind_animator.artefacts.cortex import roi_names

        return roi_names().tolist() if self.options.space == "fsLR" else None

    # --- events ---

    @cached_property
    def _events(self) -> dict[str, list[tuple[str, Repeat]]]:
        """Repeats of every run, as its events file tells: stem -> (movie, showing)."""
        found = {}
        pattern = f"_task-{self.options.task}(_[^/]*)?_events.tsv"
        files = [*self.root.glob("sub-*/func/*_events.tsv"), *self.root.glob("sub-*/ses-*/func/*_events.tsv")]
        for path in sorted(files, key=lambda path: _natural(path.name)):
            if re.search(pattern + "$", path.name):
                stem = path.relative_to(self.root).as_posix().removesuffix("_events.tsv")
                found[stem] = [(movie, Repeat(stem, *when)) for movie, *when in _read_events(path)]
        return found

    def _repeats(self, subject: str, movie: str) -> list[Repeat]:
        return [
            repeat
            for stem, shown in self._events.items()
            if stem.startswith(f"sub-{subject}/")
            for name, repeat in shown
            if name == movie
        ]

    def _cut_movies(self) -> tuple[Segment, ...]:
        """One segment a movie, training first, each in natural order of names."""
        lengths: dict[str, int] = {}
        for stem, shown in self._events.items():
            for movie, repeat in shown:
                count = int(repeat.duration / self.options.clip_seconds + 1e-6)
                if lengths.setdefault(movie, count) != count:
                    raise InputError(
                        f"Expected '{movie}' to last equally long in all runs, got {lengths[movie]} and "
                        f"{count} clips "
                        f"({stem}_events.tsv)."
                    )
                if not count:
                    raise InputError(
                        f"Expected '{movie}' to last at least one clip of {self.options.clip_seconds:g} s, "
                        f"got {repeat.duration:g} s ({stem}_events.tsv)."
                    )
        for movie in self.options.test:
            if movie not in lengths:
                raise InputError(
                    f"Expected dataset.options.test to name movies of {sorted(lengths)}, got '{movie}'."
                )
        for subject in self.subjects:
            for movie in lengths:
                if not self._repeats(subject, movie):
                    raise InputError(
                        f"Expected every subject to have seen '{movie}', but sub-{subject} has not."
                    )
        movies = sorted(lengths, key=lambda movie: (movie in self.options.test, _natural(movie)))
        if movies[0] in self.options.test:
            raise InputError(f"Expected movies to train on beside {list(self.options.test)}, got none.")
        self._movie_of = {re.sub(r"[^A-Za-z0-9]+", "_", Path(movie).stem): movie for movie in movies}
        if len(self._movie_of) != len(movies):
            raise InputError(f"Expected movies whose names differ in letters and digits, got {movies}.")
        return tuple(
            Segment(name, "test" if movie in self.options.test else "train", lengths[movie])
            for name, movie in self._movie_of.items()
        )

    def _movie(self, segment: str) -> str:
        if segment not in self._movie_of:
            raise InputError(f"Expected a segment of {list(self._movie_of)}, got '{segment}'.")
        return self._movie_of[segment]

    # --- derivatives ---

    def _derived(self, place: str) -> Path:
        return self.root / self.options.derivatives / place

    def _bold(self, stem: str) -> list[Path]:
        """Response files of a run: one, or one a hemisphere."""
        space = self.options.space
        if space == "fsLR":
            return [self._derived(f"{stem}_space-fsLR_den-91k_bold.dtseries.nii")]
        if space.startswith("fsaverage"):
            return [self._derived(f"{stem}_hemi-{side}_space-{space}_bold.func.gii") for side in "LR"]
        return [self._derived(f"{stem}_{self._volume(stem)}_desc-preproc_bold.nii.gz")]

    def _masks(self, stem: str) -> list[Path]:
        if self.options.space == "fsLR" or self.options.space.startswith("fsaverage"):
            return []
        if self.options.mask is not None:
            return [self.root / self.options.mask]
        return [self._derived(f"{stem}_{self._volume(stem)}_desc-brain_mask.nii.gz")]

    def _volume(self, stem: str) -> str:
        """The entities of a volume file: fMRIPrep names the resolution only where one was asked for."""
        space = f"space-{self.options.space}"
        if self.options.resolution is not None:
            return f"{space}_res-{self.options.resolution}"
        found = sorted(
            self._derived(stem).parent.glob(f"{Path(stem).name}_{space}*_desc-preproc_bold.nii.gz")
        )
        if len(found) > 1:
            raise InputError(
                f"Expected one resolution of {stem} in {space}, got {[path.name for path in found]}: "
                "set dataset.options.resolution."
            )
        head = f"{Path(stem).name}_"
        return found[0].name.removeprefix(head).removesuffix("_desc-preproc_bold.nii.gz") if found else space

    def _check_tr(self, file: Path) -> None:
        import nibabel as nib

        from mind_animator.artefacts.files import read_json

        if not file.is_file():
            raise InputError(f"Expected a run at {file}, found none.")
        sidecar = file.with_name(re.sub(r"\.(dtseries\.nii|func\.gii|nii\.gz)$", ".json", file.name))
        if sidecar.is_file() and "RepetitionTime" in (values := read_json(sidecar)):
            found, where = float(values["RepetitionTime"]), sidecar
        elif file.name.endswith(".dtseries.nii"):
            found, where = float(nib.load(file).header.get_axis(0).step), file
        elif file.name.endswith(".nii.gz"):
            found, where = float(nib.load(file).header.get_zooms()[3]), file
        else:
            return  # GIFTI says nothing
        if abs(found - self.tr) > 1e-3:
            raise InputError(
                f"Expected a repetition time of {self.tr:g} s (dataset.options.tr), got {found:g} s "
                f"in {where}."
            )

    def _read(self, subject: str, stem: str) -> "np.ndarray":
        """Responses of a run, (volume, voxel) float32."""
        import nibabel as nib
        import numpy as np

        from mind_animator.artefacts.cifti import read_cortex

        files = self._bold(stem)
        for file in files:
            if not file.is_file():
                raise InputError(f"Expected a run at {file}, found none.")
        if self.options.space == "fsLR":
            return read_cortex(files[0])
        if self.options.space.startswith("fsaverage"):
            sides = [np.stack([array.data for array in nib.load(file).darrays]) for file in files]
            return np.concatenate(sides, axis=1)
        inside = self._brain(subject)
        image = nib.load(files[0])
        if image.shape[:3] != inside.shape:
            raise InputError(
                f"Expected a volume of {inside.shape} (its mask) in {files[0]}, got {image.shape[:3]}."
            )
        return np.asarray(image.dataobj, np.float32)[inside].T

    def _brain(self, subject: str) -> "np.ndarray":
        """Voxels inside the masks of all of a subject's runs, (x, y, z) bool."""
        import nibabel as nib
        import numpy as np

        stems = [stem for stem, shown in self._events.items() if stem.startswith(f"sub-{subject}/") and shown]
        files = dict.fromkeys(mask for stem in stems for mask in self._masks(stem))
        inside = None
        for file in files:
            if not file.is_file():
                raise InputError(f"Expected a mask at {file}, found none.")
            mask = np.asarray(nib.load(file).dataobj) > 0.5
            if inside is not None and mask.shape != inside.shape:
                raise InputError(f"Expected masks of one shape, {inside.shape}, got {mask.shape} in {file}.")
            inside = mask if inside is None else inside & mask
        if inside is None or not inside.any():
            raise InputError(f"Expected voxels inside the masks of sub-{subject}, got none.")
        return inside

    def _without_confounds(self, series: "np.ndarray", files: list[Path], order: int) -> "np.ndarray":
        """Regress confounds and trends out together; volumes that are censored become NaN."""
        if not self.options.confounds:
            return series
        import numpy as np
        from nilearn.interfaces.fmriprep import load_confounds
        from nilearn.signal import clean

        from mind_animator.fmri.clean import legendre_basis

        strategy = (
            ["high_pass", *self.options.confounds]
            if "compcor" in self.options.confounds
            else self.options.confounds
        )
        try:
            confounds, kept = load_confounds(
                [str(file) for file in files] if len(files) > 1 else str(files[0]),
                strategy=tuple(dict.fromkeys(strategy)),
                motion="basic",
            )
        except (ValueError, OSError, KeyError) as error:
            text = " ".join(str(error).split())
            raise InputError(
                f"Expected confounds {list(self.options.confounds)} for {files[0]}: {text}"
            ) from None
        if len(confounds) != len(series):
            raise InputError(
                f"Expected {len(series)} rows of confounds for {files[0]}, got {len(confounds)}."
            )
        kept = np.arange(len(series)) if kept is None else kept
        design = np.column_stack([legendre_basis(len(series), order)[:, 1:], confounds.to_numpy()])[kept]
        design = design[:, design.std(axis=0) > 0]
        design = (design - design.mean(axis=0)) / design.std(axis=0)
        present = np.asarray(series[kept], np.float64)
        mean = present.mean(axis=0)  # kept: the signal-to-noise ratio needs it
        cleaned = clean(
            present - mean,
            confounds=design,
            standardize_confounds=False,
            detrend=False,
            standardize=None,
            filter=None,
        )
        whole = np.full(series.shape, np.nan, np.float32)
        whole[kept] = cleaned + mean
        return whole


def mean_over_spans(
    values: "np.ndarray", repetition_time: float, begins: "np.ndarray", length: float
) -> "np.ndarray":
    """Mean of a run over spans of time, each volume with the share of the span that it covers::

        y_k = sum_t w_kt x_t / sum_t w_kt,   w_kt = |[b_k, b_k + length) n [t TR, (t + 1) TR)|

    Parameters
    ----------
    values : ndarray (volume, voxel)
        A volume that is NaN throughout is missing and has no weight.
    repetition_time : float
        Seconds.
    begins : ndarray (span,)
        Seconds since the first volume.
    length : float
        Seconds.

    Returns
    -------
    ndarray (span, voxel) float32
        NaN where less than half of a span is covered.
    """
    import numpy as np

    edges = repetition_time * np.arange(len(values) + 1)
    begins = np.asarray(begins, np.float64)[:, None]
    weights = np.minimum(begins + length, edges[1:]) - np.maximum(begins, edges[:-1])
    weights = np.where(weights > 1e-9 * length, weights, 0)
    present = np.isfinite(values[:, 0])
    weights[:, ~present] = 0
    total = weights.sum(axis=1)
    covered = total >= length / 2
    result = np.full((len(weights), values.shape[1]), np.nan, np.float32)
    shares = weights[covered][:, present] / total[covered, None]
    result[covered] = shares.astype(np.float32) @ values[present]
    return result


def _read_events(path: Path) -> list[tuple[str, float, float]]:
    """Repeats of an events file: movie, onset, duration."""
    shown = []
    for number, row in enumerate(read_text_rows(path, ("onset", "duration", "stim_file")), 2):
        if row["stim_file"] in ("", "n/a"):
            continue
        try:
            shown.append((row["stim_file"], float(row["onset"]), float(row["duration"])))
        except ValueError:
            got = f"onset '{row['onset']}', duration '{row['duration']}'"
            raise InputError(f"Expected seconds in line {number} of {path}, got {got}.") from None
    return shown


def _natural(name: str) -> list[int | str]:
    """Key that sorts ``run-10`` after ``run-9``; numbers and text alternate, so that they never meet."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


ADAPTER = Bids
