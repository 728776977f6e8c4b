"""Responses stored as arrays: one row per clip, or whole runs with one row per volume; and a table of clips.

The table (TSV) has one row per clip, in the order of the responses:

=============  ==========================================================================================
split          ``train`` or ``test``
movie          clips of one movie always stay in the same split and in the same fold
segment        optional: clips that are processed together; by default whole movies in groups of about 240
file           optional: the movie file, relative to ``stimuli``; with ``onset`` and ``duration`` in seconds
caption        optional: ready captions
run            responses per volume: the run in which the clip was shown
onset          responses per volume: seconds since the first volume of the run; with ``file`` this is the time
               in the movie file, and ``run_onset`` is the time in the run
trials         optional: the rows of the response file (from 0) that hold the clip's trials, ``12,57,301``
=============  ==========================================================================================

Without movies and frames nothing can be reconstructed; captions or ready embeddings (``features.ready``) alone
give the semantic decoder and retrieval. Presets describe the published mirrors of CC2017.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mind_animator.artefacts.texts import read_text_rows
from mind_animator.config.base import Strict
from mind_animator.datasets.archives import Archive, archive
from mind_animator.datasets.base import Dataset, Run, Segment, VolumeRun
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mind_animator.config.fmri import FmriConfig

PACK = 240
_SPACE = ("x", "y", "z")
_FRAME_AXES = {"clip", "frame", "height", "width", "channel"}
# Minimum distance of test clips from training clips of the same movie, which is the duration of a response.
_GAP_SECONDS = 10.0


class ArraysOptions(Strict):
    """Location and layout of the arrays. Paths are relative to the data folder.

    Attributes
    ----------
    preset : str, optional
        ``neuroclips``: CC2017 as the authors of NeuroClips published it on Hugging Face (subjects 1, 2, 3).
        ``mind_animator``: the test set of CC2017 as the authors of Mind-Animator published it on OSF (subjects 1,
        2, 3): movies and responses of the test clips, no training clips.
    clips : str, optional
        The table of clips; required without a preset.
    responses : str or tuple of str
        File with ``{subject}``, and ``{split}``, ``{segment}`` or ``{run}`` where each has its own file;
        ``file::name`` selects one of several arrays (``*`` in the name: every array that matches is a repeat).
        Several files, for example one per hemisphere, are joined along the voxels.
    axes : str
        Order of the axes of the responses: ``clip`` (one row per clip, aligned already) or ``volume`` (whole
        runs), ``voxel`` (or ``x y z``), and ``repeat`` where repeats are stored separately.
    runs : str, optional
        Responses per volume in one file per subject: TSV with one row per run in the order of the file, columns
        ``run`` and ``volumes``, and optionally ``start`` (seconds from the zero of the onsets to the first volume).
    time_blocks : float, optional
        Length in seconds. Folds over blocks of time: every movie is divided into blocks of this length, which
        take the place of movies in cross-validation and early stopping. A movie may then have training and test
        clips, at least 10 s apart. Default: whole movies.
    srm_components : int, optional
        Functional alignment: map every subject's responses into the shared space of this many dimensions that the
        shared response model fits to the training clips of all subjects (`mind_animator.fmri.shared_response`). The
        dimensions then replace the voxels. All subjects must have seen the same training clips.
    frames : str, optional
        File of ready frames, with ``{split}`` or ``{segment}`` where each has its own.
    frame_axes : str
        Order of the axes of the frames: ``clip``, ``frame``, ``height``, ``width``, ``channel``.
    captions : str, optional
        File of captions in the order of the responses, with ``{split}`` or ``{segment}`` where each has its own.
    stimuli : str
        Folder of the movies listed in the table.
    rois : str, optional
        TSV with columns ``voxel`` (index) and ``roi``; ``{subject}`` where they differ.
    space : str
        ``fs_LR_32k`` if the voxels are the 59,412 cortical vertices, else ``none``.
    tr : float
        Repetition time, seconds. For responses with one row per clip it is used for figures only.
    """

    preset: Literal["neuroclips", "mind_animator"] | None = None
    clips: str | None = None
    responses: str | tuple[str, ...] = "sub-{subject}.npy"
    axes: str = "clip voxel"
    runs: str | None = None
    time_blocks: float | None = Field(None, gt=0)
    srm_components: int | None = Field(None, ge=1)
    frames: str | None = None
    frame_axes: str = "clip frame height width channel"
    captions: str | None = None
    stimuli: str = "stimuli"
    rois: str | None = None
    space: Literal["fs_LR_32k", "none"] = "none"
    tr: float = Field(2.0, gt=0)


# `check_data` looks for rows without values in files that cannot be mapped only up to this size.
EXAMINED_BYTES = 10**9
_OSF = "Testset_of_Preprocessed_datasets/CC2017"
PRESETS: dict[str, dict[str, Any]] = {
    # test responses keep ten repeats on axis 1; 3 frames per second of 2-s clips
    "neuroclips": {
        "responses": "subj0{subject}_{split}_fmri.pt",
        "axes": {"train": "clip voxel", "test": "clip repeat voxel"},
        "frames": "GT_{split}_3fps.pt",
        "frame_axes": "clip frame channel height width",
        "captions": "GT_{split}_caption.pt",
        "subjects": ("1", "2", "3"),
        "movies": (
            *((f"seg{n}", "train") for n in range(1, 19)),
            *((f"test{n}", "test") for n in range(1, 6)),
        ),
        "source": "neuroclips",
    },
    # responses are averaged over repeats and scaled by the test clips' own mean and deviation
    "mind_animator": {
        "responses": f"{_OSF}/fMRI_data/sub{{subject}}/Test/masked4500_test_data.npy",
        "axes": "clip voxel",
        "frames": None,
        "captions": None,
        "stimuli": f"{_OSF}/stimuli_clips/Test",
        "movie_files": "{movie}_{number}.mp4",
        "subjects": ("1", "2", "3"),
        "movies": tuple((f"test{n}", "test") for n in range(1, 6)),
        "source": "mind_animator",
    },
}


class Arrays(Dataset):
    """The adapter; the module's docstring describes the table of clips."""

    name = "arrays"
    Options: ClassVar[type[Strict]] = ArraysOptions

    def __init__(self, config) -> None:
        super().__init__(config)
        self.tr = self.options.tr
        self.rois_of = self.options.space
        self.has_rois = self.options.rois is not None or self.rois_of != "none"
        preset = PRESETS.get(self.options.preset, {})
        responses = preset.get("responses", self.options.responses)
        self._responses = (responses,) if isinstance(responses, str) else tuple(responses)
        self._axes = preset.get("axes", self.options.axes)
        self._frames = preset.get("frames", self.options.frames)
        self._frame_axes = preset.get("frame_axes", self.options.frame_axes)
        self._captions = preset.get("captions", self.options.captions)
        self._stimuli = self.root / preset.get("stimuli", self.options.stimuli)
        self._check_axes()
        self._rows = _preset_rows(preset) if preset else self._read_table()
        self.has_stimuli = self._frames is not None or "file" in self._rows[0]
        self.has_captions = self._captions is not None or "caption" in self._rows[0]
        self._runs = self._read_runs() if self.applies_lag else {}
        self._maps: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        if self.options.srm_components is not None and (self.has_rois or len(self.subjects) < 2):
            raise InputError(
                "config.dataset.options.srm_components: requires at least 2 subjects and no 'space' or "
                "'rois', since the shared dimensions have no position in the brain."
            )
        self._cleaned: dict[tuple[str, str], list[tuple[str, np.ndarray]]] = {}
        self._segments, self._clips_of = _pack(self._rows)

    @property
    def applies_lag(self) -> bool:
        """Whether responses are given per volume, so that ``fmri.lag`` and detrending apply."""
        return isinstance(self._axes, str) and "volume" in self._axes.split()

    def _subjects(self) -> tuple[str, ...]:
        preset = PRESETS.get(self.options.preset)
        known = preset["subjects"] if preset else None
        for subject in self.config.subjects:
            if known and subject not in known:
                raise InputError(f"Expected dataset.subjects to be among {list(known)}, got '{subject}'.")
            if not subject.isalnum():
                raise InputError(f"Expected dataset.subjects of letters and digits, got '{subject}'.")
        if not self.config.subjects and not known:
            raise InputError(
                "Expected dataset.subjects to name the subjects (arrays have no names), got none."
            )
        return self.config.subjects or known

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self._segments

    def stimulus_files(self, segment: str) -> list[Path]:
        rows = self._of(segment)
        if self._frames is not None:
            return [self._locate(self._frames, segment)]
        if "file" not in rows[0]:
            return []
        return list(dict.fromkeys(self._stimuli / row["file"] for row in rows))

    def clip_table(self, segment: str) -> "pd.DataFrame":
        import pandas as pd

        described = next(known for known in self.segments if known.id == segment)
        rows = self._of(segment)
        movies = [str(self._stimuli / row["file"]) if "file" in row else "" for row in rows]
        return pd.DataFrame(
            {
                "clip": described.clips,
                "segment": segment,
                "movie": [row["movie"] for row in rows],
                "file": movies,
                "onset": [float(row.get("onset") or 0.0) for row in rows],
                "duration": [float(row.get("duration") or self.tr) for row in rows],
                "split": described.split,
            }
        )

    def clips_of_table(self) -> list[str]:
        """Clips in the order of the table (`segments` has the training clips first)."""
        named = {
            id(row): clip for s in self.segments for row, clip in zip(self._of(s.id), s.clips, strict=True)
        }
        return [named[id(row)] for row in self._rows]

    def frames(self, segment: str) -> "np.ndarray | None":
        if self._frames is None:
            return None
        import numpy as np

        path = self._locate(self._frames, segment, named=True)
        names = self._frame_axes.split()
        array = self._array(path, names, segment, self._frames)
        order = [names.index(axis) for axis in ("clip", "frame", "height", "width", "channel")]
        frames = array.transpose(order)
        if frames.shape[4] != 3:
            raise InputError(f"Expected 3 colours on axis 'channel' in {path}, got {frames.shape[4]}.")
        if frames.dtype == np.uint8:
            return np.ascontiguousarray(frames)
        low, high = float(frames.min()), float(frames.max())
        if not (np.isfinite([low, high]).all() and low >= 0 and high <= 255):
            raise InputError(f"Expected frames in [0, 1] or [0, 255] in {path}, got {low:g} to {high:g}.")
        scale = 255 if high <= 1 else 1
        return np.rint(np.asarray(frames, np.float32) * scale).astype(np.uint8)

    def caption_files(self) -> list[Path]:
        if self._captions is None:
            return []
        return list(dict.fromkeys(self._locate(self._captions, segment.id) for segment in self.segments))

    def captions(self) -> "pd.DataFrame":
        import pandas as pd

        from mind_animator.artefacts.foreign import read_foreign

        if not self.has_captions:
            return super().captions()
        texts: list[str] = []
        for segment in self.segments:
            rows = self._of(segment.id)
            if self._captions is None:
                texts += [row["caption"] or "" for row in rows]
                continue
            path = self._locate(self._captions, segment.id, named=True)
            here = read_foreign(path)
            if not isinstance(here, list):
                raise InputError(f"Expected a list of texts in {path}, got an array.")
            self._check_count(path, len(here), segment.id, self._captions)
            texts += [here[self._row(row, self._captions)] for row in rows]
        clips = [clip for segment in self.segments for clip in segment.clips]
        return pd.DataFrame({"clip": clips, "caption": texts})

    def response_files(self, subject: str, segment: str) -> list[Path]:
        pairs = [(subject, segment)]
        if (
            self.options.srm_components is not None
        ):  # the shared space depends on every subject's training clips
            train = [other.id for other in self.segments if other.split == "train"]
            pairs += [(other, own) for other in self.subjects for own in train]
        return list(
            dict.fromkeys(
                self._locate(pattern, of, subject=who, run=run)
                for who, of in pairs
                for pattern in self._responses
                for run in dict.fromkeys(row.get("run") or "" for row in self._of(of))
            )
        )

    def responses(self, subject: str, segment: str, settings: "FmriConfig") -> "Iterator[np.ndarray]":
        return (run.values for run in self.runs(subject, segment, settings))

    def runs(self, subject: str, segment: str, settings: "FmriConfig") -> Iterator[Run]:
        """One `Run` per repeat; with ``srm_components`` in the shared space of all subjects."""
        if self.options.srm_components is None:
            yield from self._own_runs(subject, segment, settings)
            return
        mean, deviation, basis = self._shared_map(subject, settings)
        for run in self._own_runs(subject, segment, settings):
            yield Run(run.name, ((run.values - mean) / deviation @ basis).astype("float32"))

    def _shared_map(
        self, subject: str, settings: "FmriConfig"
    ) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
        """Mean and standard deviation (voxel,) of a subject's training clips and the map (voxel, dimension) to the
        shared space, fitted to the training clips that all subjects have."""
        import numpy as np

        from mind_animator.fmri.scale import fit_scale
        from mind_animator.fmri.shared_response import shared_response

        if not self._maps:
            train = [segment.id for segment in self.segments if segment.split == "train"]
            means = []
            for who in self.subjects:
                parts = []
                for segment in train:
                    values = np.stack([run.values for run in self._own_runs(who, segment, settings)])
                    present = np.isfinite(values).all(axis=2, keepdims=True)
                    count = present.sum(axis=0)
                    total = np.where(present, values, 0).sum(axis=0)
                    parts.append(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0))
                means.append(np.concatenate(parts))
            whole = np.all([np.isfinite(own).all(axis=1) for own in means], axis=0)
            if not whole.any():
                raise InputError("Expected training clips that every subject has (srm_components), got none.")
            scales = [fit_scale(own[whole]) for own in means]
            scaled = [(own[whole] - m) / d for own, (m, d) in zip(means, scales, strict=True)]
            try:
                bases, _ = shared_response(scaled, self.options.srm_components)
            except ValueError as error:
                raise InputError(f"config.dataset.options.srm_components: {error}") from None
            self._maps = {
                who: (*scale, basis) for who, scale, basis in zip(self.subjects, scales, bases, strict=True)
            }
        return self._maps[subject]

    def _own_runs(self, subject: str, segment: str, settings: "FmriConfig") -> Iterator[Run]:
        """One `Run` per repeat, in the voxels of the subject.

        Responses with one row per clip are used unchanged. For responses per volume, each run is detrended and
        z-scored, and the response to a clip is the mean of the volumes acquired between ``onset + lag`` and ``onset +
        lag + duration``, each weighted by the part of that time that it covers; a clip of which less than half is
        covered is missing.
        """
        if self.applies_lag:
            yield from self._runs_of_volumes(subject, segment, settings)
            return
        import numpy as np

        parts, first = [], self._locate(self._responses[0], segment, subject=subject, named=True)
        for pattern in self._responses:
            path = self._locate(pattern, segment, subject=subject, named=True)
            parts.append(self._clip_repeats(path, segment, pattern))
        if len({part.shape[:2] for part in parts}) > 1:
            raise InputError(
                f"Expected files of the same repeats to join along the voxels, got {[p.shape for p in parts]} "
                f"(dataset.options.responses, subject {subject})."
            )
        joined = np.concatenate(parts, axis=2) if len(parts) > 1 else parts[0]
        for repeat in range(joined.shape[1]):
            yield Run(f"{Path(first).name}_{repeat + 1}", _without_gaps(joined[:, repeat], first))

    def volumes(self, subject: str, run: str, settings: "FmriConfig") -> "list[tuple[str, np.ndarray]]":
        """Detrended and z-scored repeats of a run, (name, (volume, voxel) float32); NaN where a volume is missing."""
        if (subject, run) not in self._cleaned:
            self._cleaned.clear()  # only the most recent run is kept in memory
            self._cleaned[subject, run] = self._clean(subject, run, settings)
        return self._cleaned[subject, run]

    @property
    def has_volumes(self) -> bool:
        return self.applies_lag

    def volume_runs(self, subject: str, settings: "FmriConfig", voxels: "np.ndarray") -> Iterator[VolumeRun]:
        """The mean over the repeats of every run; with ``srm_components`` all voxels, since ``voxels`` then counts
        dimensions."""
        import numpy as np

        shown: dict[str, list[tuple[str, float, float]]] = {}
        for segment in self.segments:
            for clip, row in zip(segment.clips, self._of(segment.id), strict=True):
                shown.setdefault(row["run"], []).append((clip, _run_onset(row), float(row["duration"])))
        chosen = slice(None) if self.options.srm_components is not None else voxels
        for run, clips in shown.items():
            repeats = [series[:, chosen] for _, series in self.volumes(subject, run, settings)]
            length = min(map(len, repeats))
            with np.errstate(invalid="ignore"):
                values = np.nan_to_num(np.nanmean([own[:length] for own in repeats], axis=0))
            yield VolumeRun(values, self._runs[run]["start"] + (np.arange(length) + 0.5) * self.tr, clips)

    def roi_names(self, subject: str) -> "list[str] | None":
        if self.options.rois is not None:
            from mind_animator.artefacts.tables import read_table

            path = self.root / self.options.rois.format(subject=subject)
            table = read_table(path, ("voxel", "roi")).sort_values("voxel")
            if table["voxel"].tolist() != list(range(len(table))):
                raise InputError(
                    f"Expected each voxel from 0 to {len(table) - 1} once in column 'voxel' of {path}."
                )
            return table["roi"].astype(str).tolist()
        if self.options.space == "fs_LR_32k":
            from mind_animator.artefacts.cortex import roi_names

            return roi_names().tolist()
        return None

    def archives(self) -> tuple[Archive, ...]:
        preset = PRESETS.get(self.options.preset)
        if preset is None:
            return ()
        files = [str(path.relative_to(self.root)) for path in self.sources()]
        return tuple(archive(preset["source"], "file", path=file) for file in files)

    def fault(self, path: Path, facts: dict[str, float]) -> str | None:
        """Fault of a file of responses whose shape (from its header) does not match the table; detects
        transposed arrays."""
        from mind_animator.artefacts.foreign import foreign_shape

        for subject in self.subjects:
            for segment in self.segments:
                for row in {row.get("run") or "": row for row in self._of(segment.id)}.values():
                    for pattern in self._responses:
                        source = self._locate(
                            pattern, segment.id, named=True, subject=subject, run=row.get("run") or ""
                        )
                        if Path(str(source).partition("::")[0]) != path or "*" in str(source):
                            continue
                        try:
                            shape = foreign_shape(source)
                            if shape is not None:
                                self._check_shape(source, shape, segment.id, pattern, row)
                            examined = path.suffix == ".npy" or path.stat().st_size <= EXAMINED_BYTES
                            if examined and (empty := self._empty_rows(source, segment.id)):
                                facts["empty_rows"] = empty
                        except InputError as error:
                            return str(error)
        return None

    def _empty_rows(self, path: Path, segment: str) -> int:
        """Rows of a file that are NaN in the first and the last voxel of the first repeat. Of a mapped file, the
        other values are not read."""
        import numpy as np

        array = self._ordered(path, segment)
        ends = [array[(slice(None), 0, *[voxel] * (array.ndim - 2))] for voxel in (0, -1)]
        return int(np.isnan(ends).all(axis=0).sum())

    # --- the table of clips ---

    def _read_table(self) -> list[dict[str, str]]:
        """Rows of the table of clips, read with the standard library, because the Snakefile reads it at every start."""
        if self.options.clips is None:
            raise InputError(
                "Expected dataset.options.clips to name a table of clips, or a preset, got neither."
            )
        path = self.root / self.options.clips
        rows = _read_tsv(path, "the table of clips", "dataset.options.clips")
        timed = "file" in rows[0] or self.applies_lag or self.options.time_blocks is not None
        for column in (
            "split",
            "movie",
            *(("onset", "duration") if timed else ()),
            *(("run",) if self.applies_lag else ()),
        ):
            if column not in rows[0]:
                raise InputError(f"Expected column '{column}' in {path}, got {list(rows[0])}.")
        if self.applies_lag and "file" in rows[0] and "run_onset" not in rows[0]:
            raise InputError(
                f"Expected column 'run_onset' (seconds since the first volume of the run) in {path}: 'onset' is the "
                f"time in the movie where there is a column 'file'; got {list(rows[0])}."
            )
        taken: dict[tuple[Any, ...], int] = {}
        for number, row in enumerate(rows, 2):
            where = f"in line {number} of {path}"
            if row["split"] not in ("train", "test"):
                raise InputError(f"Expected split 'train' or 'test' {where}, got '{row['split']}'.")
            for column in (
                ("onset", "duration", *(["run_onset"] if "run_onset" in row else [])) if timed else ()
            ):
                try:
                    seconds = float(row[column])
                    # a clip may begin before the first volume, but not before the movie
                    low = float("-inf") if column == "run_onset" or "file" not in row else 0.0
                    wrong = not (seconds > 0 if column == "duration" else low <= seconds < float("inf"))
                except (TypeError, ValueError):
                    wrong = True
                if wrong:
                    raise InputError(f"Expected seconds in column '{column}' {where}, got '{row[column]}'.")
            if "trials" in row and not re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", row["trials"] or ""):
                raise InputError(
                    f"Expected row numbers like '12,57' in column 'trials' {where}, got '{row['trials']}'."
                )
            for trial in map(int, row["trials"].split(",")) if "trials" in row else ():
                file = [
                    row.get(key)
                    for key in ("split", "segment")
                    if any(f"{{{key}}}" in r for r in self._responses)
                ]
                if (*file, trial) in taken:
                    raise InputError(
                        f"Expected each trial once in column 'trials', got {trial} in lines {taken[*file, trial]} and "
                        f"{number} of {path}: a trial that is counted twice appears perfectly reliable."
                    )
                taken[*file, trial] = number
        if self.options.time_blocks is not None:
            self._divide_movies(rows, path)
        splits: dict[str, str] = {}
        for row in rows:
            if splits.setdefault(row["movie"], row["split"]) != row["split"]:
                raise InputError(f"Expected movie '{row['movie']}' in one split, got it in both ({path}).")
        if len(set(splits.values())) != 2:
            raise InputError(
                f"Expected clips of both splits in {path}, got only {sorted(set(splits.values()))}."
            )
        return rows

    def _divide_movies(self, rows: list[dict[str, str]], path: Path) -> None:
        """Set column ``movie`` to a unique name for every block of time."""
        spans: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
        for number, row in enumerate(rows, 2):
            begin = float(row["onset"])
            spans.setdefault((row["movie"], row["split"]), []).append(
                (begin, begin + float(row["duration"]), number)
            )
            row["movie"] = f"{row['movie']}_{row['split']}_{int(begin // self.options.time_blocks):04d}"
        for (movie, split), test in spans.items():
            for begin, end, number in test if split == "test" else ():
                for other_begin, other_end, other in spans.get((movie, "train"), ()):
                    gap = max(begin - other_end, other_begin - end)
                    if gap < _GAP_SECONDS:
                        raise InputError(
                            f"Expected test clips at least {_GAP_SECONDS:g} s from training clips of the same movie, "
                            f"got {max(gap, 0):g} s between lines {number} and {other} of {path} "
                            "(dataset.options.time_blocks)."
                        )

    def _read_runs(self) -> dict[str, dict[str, float]]:
        """First row, number of volumes and start of each run; a run in a separate file has as many volumes as
        the file."""
        names = list(dict.fromkeys(row["run"] for row in self._rows))
        if all("{run}" in pattern for pattern in self._responses):
            if self.options.runs is None:
                return {name: {"start": 0.0} for name in names}
        elif self.options.runs is None:
            raise InputError(
                "Expected dataset.options.runs (a table of 'run' and 'volumes', in the order of the file) or "
                "'{run}' in dataset.options.responses, got neither: the borders of the runs are unknown."
            )
        path = self.root / self.options.runs
        rows = _read_tsv(path, "the table of runs", "dataset.options.runs")
        found: dict[str, dict[str, float]] = {}
        first = 0
        for number, row in enumerate(rows, 2):
            try:
                volumes, start = int(row["volumes"]), float(row.get("start") or 0.0)
                if volumes < 1:
                    raise ValueError
            except (KeyError, TypeError, ValueError):
                raise InputError(
                    f"Expected 'run', 'volumes' (a number) and perhaps 'start' (s) in line {number} of {path}, "
                    f"got {row}."
                ) from None
            found[row["run"]] = {"first": first, "volumes": volumes, "start": start}
            first += volumes
        missing = [name for name in names if name not in found]
        if missing:
            raise InputError(
                f"Expected run '{missing[0]}' of the table of clips in {path}, got {list(found)}."
            )
        return found

    def _of(self, segment: str) -> list[dict[str, Any]]:
        if segment not in self._clips_of:
            raise InputError(f"Expected a segment among {[s.id for s in self.segments]}, got '{segment}'.")
        return self._clips_of[segment]

    # --- arrays ---

    def _check_axes(self) -> None:
        for split in ("train", "test"):
            axes = self._axes if isinstance(self._axes, str) else self._axes[split]
            names = set(axes.split())
            space = names & {"voxel", *_SPACE}
            if (
                len(names) != len(axes.split())
                or len(names & {"clip", "volume"}) != 1
                or space not in ({"voxel"}, set(_SPACE))
                or names - space - {"clip", "volume", "repeat"}
            ):
                raise InputError(
                    "Expected dataset.options.axes of 'clip' or 'volume', 'voxel' (or 'x y z') and perhaps 'repeat', "
                    f"got '{axes}'."
                )
        if sorted(self._frame_axes.split()) != sorted(_FRAME_AXES):
            raise InputError(
                f"Expected dataset.options.frame_axes of {sorted(_FRAME_AXES)}, got '{self._frame_axes}'."
            )

    def _axes_of(self, segment: str) -> list[str]:
        split = self._of(segment)[0]["split"]
        return (self._axes if isinstance(self._axes, str) else self._axes[split]).split()

    def _locate(
        self, pattern: str, segment: str, *, named: bool = False, subject: str = "", run: str = ""
    ) -> Path:
        split = self._of(segment)[0]["split"]
        given = {"subject": subject, "split": split, "segment": segment}
        try:
            source = pattern.format(**given, **({"run": run} if self.applies_lag else {}))
        except (KeyError, IndexError):
            known = "{subject}, {split}, {segment}" + (" and {run}" if self.applies_lag else "")
            raise InputError(f"Expected only {known} in braces, got '{pattern}' (dataset.options).") from None
        return self.root / (source if named else source.partition("::")[0])

    def _ordered(self, path: Path, segment: str) -> "np.ndarray":
        """A file of responses with its axes in the order clip or volume, repeat, voxel or x, y, z."""
        from mind_animator.artefacts.foreign import read_foreign

        names, array = self._axes_of(segment), read_foreign(path)
        if isinstance(array, list) or array.ndim != len(names):
            found = "texts" if isinstance(array, list) else f"shape {array.shape}"
            raise InputError(f"Expected axes '{' '.join(names)}' in {path}, got {found} (dataset.options).")
        if array.dtype.kind not in "biuf":
            raise InputError(f"Expected real numbers in {path}, got values of type {array.dtype}.")
        axes = ("clip", "volume", "repeat", "voxel", *_SPACE)
        array = array.transpose([names.index(axis) for axis in axes if axis in names])
        return array if "repeat" in names else array[:, None]

    def _clip_repeats(self, path: Path, segment: str, pattern: str) -> "np.ndarray":
        """Rows of the segment's clips, (clip, repeat, voxel) float32; NaN if a clip has fewer trials."""
        import numpy as np

        array, rows = self._ordered(path, segment), self._of(segment)
        if "trials" not in rows[0]:
            shape = np.shape(self._unordered(array, segment))
            self._check_shape(path, shape, segment, pattern, rows[0])
            taken = np.array(array[[self._row(row, pattern) for row in rows]], np.float32)
            return taken.reshape(*taken.shape[:2], -1)
        trials = [[int(number) for number in row["trials"].split(",")] for row in rows]
        last = max(max(own) for own in trials)
        if array.shape[1] != 1 or last >= len(array):
            raise InputError(
                f"Expected one repeat and at least {last + 1} trials (column 'trials') in {path}, got {array.shape[1]} "
                f"and {len(array)}."
            )
        longest = max(len(own) for row in self._rows for own in [row["trials"].split(",")])
        values = np.full((len(rows), longest, int(np.prod(array.shape[2:]))), np.nan, np.float32)
        for row, own in enumerate(trials):
            values[row, : len(own)] = array[own].reshape(len(own), -1)
        return values

    def _unordered(self, array: "np.ndarray", segment: str) -> "np.ndarray":
        """An array of `_ordered` with the axes in the order of the file (for its shape)."""
        names = self._axes_of(segment)
        axes = [axis for axis in ("clip", "volume", "repeat", "voxel", *_SPACE) if axis in names]
        array = array if "repeat" in names else array[:, 0]
        return array.transpose([axes.index(axis) for axis in names])

    def _runs_of_volumes(self, subject: str, segment: str, settings: "FmriConfig") -> Iterator[Run]:
        import numpy as np

        from mind_animator.fmri.align import mean_over_spans

        rows = self._of(segment)
        by_run: dict[str, list[int]] = {}
        for number, row in enumerate(rows):
            by_run.setdefault(row["run"], []).append(number)
        values: list[np.ndarray] = []
        names: list[list[str]] = []
        for run, own in by_run.items():
            for repeat, (name, series) in enumerate(self.volumes(subject, run, settings)):
                if repeat == len(values):
                    values.append(np.full((len(rows), series.shape[1]), np.nan, np.float32))
                    names.append([])
                if series.shape[1] != values[0].shape[1]:
                    raise InputError(
                        f"Expected {values[0].shape[1]} voxels in run '{run}' (subject {subject}), "
                        f"got {series.shape[1]}."
                    )
                begins = (
                    np.array([_run_onset(rows[n]) for n in own]) + settings.lag - self._runs[run]["start"]
                )
                lengths = np.array([float(rows[n]["duration"]) for n in own])
                for length in np.unique(lengths):
                    same = lengths == length
                    spans = mean_over_spans(series, self.tr, begins[same], float(length))
                    values[repeat][np.array(own)[same]] = spans
                names[repeat].append(name)
        for name, found in zip(names, values, strict=True):
            yield Run(name[0] if len(name) == 1 else f"{name[0]} and {len(name) - 1} more", found)

    def _clean(self, subject: str, run: str, settings: "FmriConfig") -> "list[tuple[str, np.ndarray]]":
        import numpy as np

        from mind_animator.artefacts.foreign import foreign_names
        from mind_animator.fmri.clean import clean_run

        segment, row = next((s.id, row) for s in self.segments for row in self._of(s.id) if row["run"] == run)
        parts: list[list[tuple[str, np.ndarray]]] = []
        for pattern in self._responses:
            source = self._locate(pattern, segment, named=True, subject=subject, run=run)
            file, _, name = str(source).partition("::")
            sources = [source]
            if "*" in name:
                sources = [
                    Path(f"{file}::{key}") for key in sorted(foreign_names(file)) if fnmatchcase(key, name)
                ]
                if not sources:
                    raise InputError(
                        f"Expected an array '{name}' in {file}, got {foreign_names(file)[:6]} ..."
                    )
            series = []
            for one in sources:
                array = self._ordered(one, segment)
                if "*" not in name:
                    shape = np.shape(self._unordered(array, segment))
                    self._check_shape(one, shape, segment, pattern, row)
                if "{run}" not in pattern:
                    border = self._runs[run]
                    array = array[border["first"] : border["first"] + border["volumes"]]
                array = np.array(array, np.float32).reshape(*array.shape[:2], -1)
                series += [(f"{one.name}_{run}_{k + 1}", array[:, k]) for k in range(array.shape[1])]
            parts.append(series)
        if len({len(part) for part in parts}) > 1 or any(
            len({len(part[k][1]) for part in parts}) > 1 for k in range(len(parts[0]))
        ):
            raise InputError(
                f"Expected files of the same repeats and volumes to join along the voxels, got "
                f"{[[array.shape for _, array in part] for part in parts]} (run '{run}', subject {subject})."
            )
        cleaned = []
        for k, (name, _) in enumerate(parts[0]):
            joined = _without_gaps(np.concatenate([part[k][1] for part in parts], axis=1), Path(name))
            try:
                cleaned.append((name, clean_run(joined, settings.detrend_order, settings.ddof)[0]))
            except ValueError as error:
                raise InputError(f"{error} (run '{run}', subject {subject})") from None
        return cleaned

    def _check_shape(
        self, path: Path, shape: tuple[int, ...], segment: str, pattern: str, row: dict[str, Any]
    ) -> None:
        """Raise `InputError` if the number of clips (or volumes) of a file of responses does not match the table."""
        names = self._axes_of(segment)
        if len(shape) != len(names):
            raise InputError(
                f"Expected axes '{' '.join(names)}' in {path}, got shape {shape} (dataset.options)."
            )
        lead = "clip" if "clip" in names else "volume"
        if lead == "clip" and "trials" in row:
            return
        found, exact = shape[names.index(lead)], True
        if lead == "clip":
            expected = self._expected(segment, pattern)
        elif "{run}" in pattern and self.options.runs is None:
            rows = [other for other in self._rows if other["run"] == row["run"]]
            start = self._runs[row["run"]]["start"]
            expected, exact = int((max(_run_onset(other) for other in rows) - start) // self.tr) + 1, False
        else:
            runs = [self._runs[row["run"]]] if "{run}" in pattern else self._runs.values()
            expected = sum(int(run["volumes"]) for run in runs)
        if found == expected or (not exact and found >= expected):
            return
        most = "" if exact else "at least "
        what = f"{expected} clips (the table's)" if lead == "clip" else f"{most}{expected} volumes"
        others = [axis for axis, size in zip(names, shape, strict=True) if axis != lead and axis != "repeat" and (
            size == expected or (not exact and size >= expected))]  # fmt: skip
        hint = ""
        if others:
            swapped = [{lead: others[0], others[0]: lead}.get(axis, axis) for axis in names]
            hint = f" The array seems to be transposed: set dataset.options.axes to '{' '.join(swapped)}'."
        raise InputError(f"Expected {what} in {path}, got {found} (shape {shape}).{hint}")

    def _array(self, path: Path, names: list[str], segment: str, pattern: str) -> "np.ndarray":
        """The rows of an array that belong to the clips of the segment."""
        from mind_animator.artefacts.foreign import read_foreign

        array = read_foreign(path)
        if isinstance(array, list) or array.ndim != len(names):
            found = "texts" if isinstance(array, list) else f"shape {array.shape}"
            raise InputError(f"Expected axes '{' '.join(names)}' in {path}, got {found} (dataset.options).")
        axis = names.index("clip")
        self._check_count(path, array.shape[axis], segment, pattern)
        return array.take([self._row(row, pattern) for row in self._of(segment)], axis=axis)

    def _row(self, row: dict[str, Any], pattern: str) -> int:
        """Row of a clip in a file: its position in the table, in its split, or in its segment."""
        return row[
            "in_segment" if "{segment}" in pattern else "in_split" if "{split}" in pattern else "in_table"
        ]

    def _expected(self, segment: str, pattern: str) -> int:
        """Required number of clips of a file."""
        split = self._of(segment)[0]["split"]
        if "{segment}" in pattern:
            return len(self._of(segment))
        if "{split}" in pattern:
            return sum(row["split"] == split for row in self._rows)
        return len(self._rows)

    def _check_count(self, path: Path, count: int, segment: str, pattern: str) -> None:
        expected = self._expected(segment, pattern)
        if count != expected:
            raise InputError(f"Expected {expected} clips (the table's) in {path}, got {count}.")


def _run_onset(row: dict[str, Any]) -> float:
    """Seconds on the clock of the run."""
    return float(row["run_onset"] if "run_onset" in row else row["onset"])


def _read_tsv(path: Path, what: str, option: str) -> list[dict[str, str]]:
    if not path.is_file():
        raise InputError(f"Expected {what} at {path}, found none ({option}).")
    rows = read_text_rows(path)
    if not rows:
        raise InputError(f"Expected rows in {path}, got none.")
    return rows


def _preset_rows(preset: dict[str, Any]) -> list[dict[str, str]]:
    rows = []
    for movie, split in preset["movies"]:
        for number in range(1, PACK + 1):
            row = {"split": split, "movie": movie, "segment": movie}
            if "movie_files" in preset:
                movie_file = preset["movie_files"].format(movie=movie, number=number)
                row |= {"file": movie_file, "onset": "0", "duration": "2"}
            rows.append(row)
    return rows


def _pack(rows: list[dict[str, Any]]) -> tuple[tuple[Segment, ...], dict[str, list[dict[str, Any]]]]:
    """Segments (training first) and their rows; movies are not divided, and the order is that of the table."""
    counts = {"train": 0, "test": 0}
    for number, row in enumerate(rows):
        row["in_table"], row["in_split"] = number, counts[row["split"]]
        counts[row["split"]] += 1
    clips_of: dict[str, list[dict[str, Any]]] = {}
    for split in ("train", "test"):
        mine = [row for row in rows if row["split"] == split]
        if "segment" in rows[0]:
            for row in mine:
                if not re.fullmatch(r"[A-Za-z0-9_]+", row["segment"]):
                    raise InputError(f"Expected segments of letters, digits and '_', got '{row['segment']}'.")
                clips_of.setdefault(row["segment"], []).append(row)
            continue
        pack: list[dict[str, Any]] = []
        packs = [pack]
        by_movie: dict[str, list[dict[str, Any]]] = {}
        for row in mine:
            by_movie.setdefault(row["movie"], []).append(row)
        for movie in by_movie.values():
            if pack and len(pack) + len(movie) > PACK:
                pack = []
                packs.append(pack)
            pack += movie
        clips_of |= {f"{split}{number:03d}": pack for number, pack in enumerate(packs)}
    for name, mine in clips_of.items():
        if len({row["split"] for row in mine}) > 1:
            raise InputError(f"Expected segment '{name}' in one split, got it in both.")
        for number, row in enumerate(mine):
            row["in_segment"] = number
    return tuple(Segment(name, mine[0]["split"], len(mine)) for name, mine in clips_of.items()), clips_of


def _without_gaps(values: "np.ndarray", path: Path) -> "np.ndarray":
    """Keep rows without any finite value as NaN. Voxels with missing values in other rows are set to zero and
    reported."""
    import sys

    import numpy as np

    finite = np.isfinite(values)
    missing = ~finite.any(axis=1)
    broken = ~finite[~missing].all(axis=0)
    if broken.any():
        print(
            f"{path}: {int(broken.sum())} of {len(broken)} voxels lack values; they are left out",
            file=sys.stderr,
        )
        values[:, broken] = 0
    values[missing] = np.nan
    return values


ADAPTER = Arrays
