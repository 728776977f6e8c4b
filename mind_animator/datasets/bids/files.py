"""Files of a BIDS study: runs of each subject, their responses, masks, sidecars and confounds, and the times
of volumes."""

import os
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mind_animator.datasets.bids.options import BidsOptions
from mind_animator.datasets.bids.tree import (
    Name,
    Tree,
    matches,
    natural,
    parse_name,
    read_sidecars,
    read_text,
)
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np

RunKey = frozenset[tuple[str, str]]  # entities of a run
SIDES = ("L", "R")
CORTEX = {91_282: 59_412, 170_494: 108_441, 59_412: 59_412}  # cortical vertices by the rows of a CIFTI file
VIDEO = (".mp4", ".mkv", ".avi", ".mov", ".m4v", ".webm", ".mpg", ".mpeg", ".wmv", ".ts", ".gif")


class StudyFiles:
    """The files of a study; they are looked up by name, and nothing is read but small texts and headers.

    Parameters
    ----------
    root : Path
    options : BidsOptions
    """

    def __init__(self, root: Path, options: BidsOptions) -> None:
        self.root, self.options = root, options
        self.runs = cache(self._find_runs)
        self.of_run = cache(self._find_of_run)
        self.movie_file = cache(self._find_movie)
        self.videos_in = cache(self._find_videos)
        self._by_run = cache(self._group_by_run)

    @property
    def surface(self) -> bool:
        return self.options.space.startswith("fs") and self.options.space != "fsLR"

    @property
    def parcels(self) -> bool:
        return self.options.parcellation is not None

    @cached_property
    def raw(self) -> Tree:
        return Tree(self.root, ("_events.tsv", "_bold.json", "_bold.nii.gz", "_bold.nii"))

    @cached_property
    def derived(self) -> Tree:
        return Tree(self.root / self.options.derivatives, (".nii.gz", ".nii", ".gii", ".json", ".tsv"))

    def names(self, subject: str) -> list[Name]:
        return [*self.raw.of_subject(subject), *self.derived.of_subject(subject)]

    def _find_runs(self, subject: str) -> dict[RunKey, str]:
        found: dict[RunKey, str] = {}
        texts = set()
        for name in self.names(subject):
            if name.suffix not in ("bold", "events", "timeseries") or name.extension == ".json":
                continue
            if name.extension == ".tsv" and name.suffix != "events":
                continue
            if not matches(name.entities.get("task", ""), self.options.task):
                continue
            stem = "_".join(
                f"{key}-{value}" for key, value in name.entities.items() if (key, value) in name.run
            )
            if not self.options.runs or matches(stem, self.options.runs):
                found.setdefault(name.run, stem)
                (texts.add if name.suffix == "events" else texts.discard)(name.run)
        # events files that apply to several runs do not define a run
        shared = {text for text in texts if any(text < run for run in found)}
        return dict(
            sorted(((k, v) for k, v in found.items() if k not in shared), key=lambda item: natural(item[1]))
        )

    def _find_movie(self, movie: str) -> Path:
        """File of a movie; a name without an extension denotes the video file of that name."""
        path = self.root / self.options.stimuli / movie
        if path.suffix.lower() in VIDEO or os.path.lexists(path):
            return path
        return next((file for file in self.videos_in(path.parent) if file.stem == path.name), path)

    def _find_videos(self, folder: Path) -> list[Path]:
        here = sorted(folder.iterdir()) if folder.is_dir() else []
        return [file for file in here if file.suffix.lower() in VIDEO]

    def _of_run(self, run: RunKey) -> list[Name]:
        """Derivative files of a run."""
        return self._by_run(dict(run)["sub"]).get(run, [])

    def _group_by_run(self, subject: str) -> dict[RunKey, list[Name]]:
        by_run: dict[RunKey, list[Name]] = {}
        for name in self.derived.of_subject(subject):
            by_run.setdefault(name.run, []).append(name)
        return by_run

    def missing(self, run: RunKey, ending: str) -> Path:
        """Expected path of a missing derivative file."""
        parts = dict(run)
        stem = self.runs(parts["sub"])[run]
        session = [f"ses-{parts['ses']}"] if "ses" in parts else []
        return self.derived.root.joinpath(f"sub-{parts['sub']}", *session, "func", f"{stem}_{ending}")

    def _find_of_run(self, run: RunKey) -> tuple[Path, ...]:
        """Every derivative file of a run that is read."""
        confounds = [self.confounds_file(run)] if self.options.confounds else []
        return (*self.bold(run), *self.masks(run), *self.sidecars(run), *confounds)

    def bold(self, run: RunKey) -> list[Path]:
        """Response files of a run (one, or one per hemisphere); their expected names if they are missing."""
        options = self.options
        kinds = (".func.gii",) if self.surface else (".nii.gz", ".nii")
        if options.space == "fsLR":
            kinds = (".ptseries.nii",) if self.parcels else (".dtseries.nii",)
        required = None if options.space == "func" else options.space
        found = []
        for name in self._of_run(run):
            of = name.entities
            if (
                name.suffix not in ("bold", "timeseries")
                or name.extension not in kinds
                or of.get("space") != required
            ):
                continue
            if of.get("desc", "preproc") != options.desc:
                continue
            grid = (of.get("res", "native"), of.get("den"))
            if options.resolution is not None and options.resolution not in grid:
                continue
            if self.parcels and options.parcellation not in (of.get("seg"), of.get("atlas")):
                continue
            found.append(name)
        if self.surface:
            sides = [[name.path for name in found if name.entities.get("hemi") == side] for side in SIDES]
            endings = [f"hemi-{side}_space-{required}_bold.func.gii" for side in SIDES]
        else:
            space = f"space-{required}_" if required else ""
            ending = (
                f"den-91k_bold{kinds[0]}" if options.space == "fsLR" else f"desc-{options.desc}_bold.nii.gz"
            )
            sides, endings = [[name.path for name in found]], [space + ending]
        for paths in sides:
            if len(paths) > 1:
                raise InputError(
                    f"Expected one file per run in {options.space}, got {[path.name for path in paths]}: set "
                    "dataset.options.resolution or dataset.options.desc."
                )
        return [
            paths[0] if paths else self.missing(run, end) for paths, end in zip(sides, endings, strict=True)
        ]

    def masks(self, run: RunKey) -> list[Path]:
        if self.options.mask is not None:
            sides = SIDES if "{hemi}" in self.options.mask else ("",)
            return [
                self.root / self.options.mask.format(subject=dict(run)["sub"], hemi=side) for side in sides
            ]
        if self.surface or self.options.space == "fsLR":
            return []
        bold = self.bold(run)[0].name
        head = bold.split("_desc-")[0] if "_desc-" in bold else bold.split("_bold.")[0]
        beside = [
            name.path for name in self._of_run(run)
            if name.suffix == "mask" and name.entities.get("desc") == "brain" and name.path.name.startswith(head + "_")
        ]  # fmt: skip
        return beside[:1] or [self.bold(run)[0].with_name(f"{head}_desc-brain_mask.nii.gz")]

    def sidecars(self, run: RunKey) -> list[Path]:
        """JSON files that apply to the responses of a run: those of the raw data first, the most specific one last."""
        found = self.raw.above(run, "bold", ".json")
        for file in self.bold(run):
            name = parse_name(file)
            found += self.derived.above(name.entities.items(), name.suffix, ".json")
        return list(dict.fromkeys(found))

    def confounds_file(self, run: RunKey) -> Path:
        for name in self._of_run(run):
            of = name.entities
            table = name.extension == ".tsv" and name.suffix in ("timeseries", "regressors")
            if table and of.get("desc") == "confounds" and "space" not in of:
                return name.path
        return self.missing(run, "desc-confounds_timeseries.tsv")

    def times(self, run: RunKey) -> float:
        """Time of the middle of the first volume, in seconds from the start of the acquisition.

        Sources are the sidecars (``RepetitionTime``; ``StartTime``, the time that the first volume represents) and the
        header (step; ``toffset`` or ``SeriesStart``, the time at which the first volume begins). If no source states a
        time, the series starts with the acquisition, and a volume represents the middle of its acquisition.

        Raises
        ------
        InputError
            If no source states the repetition time, or if two sources contradict each other or the config.
        """
        from mind_animator.artefacts.series import read_header

        raw, raw_from = read_sidecars(self.raw.above(run, "bold", ".json"))
        values, where = read_sidecars(
            [path for path in self.sidecars(run) if path.is_relative_to(self.derived.root)]
        )
        stated = values.get("RepetitionTime", raw.get("RepetitionTime"))
        stated_times: list[tuple[float, str]] = [(self.options.tr, "dataset.options.tr")]
        files = self.bold(run)
        headers = [read_header(file) for file in files]
        if stated is not None:
            stated_times.append((_number(stated, "RepetitionTime", where or raw_from), where or raw_from))
        for file, header in zip(files, headers, strict=True):
            if header.step is not None and (header.certain or stated is None):
                stated_times.append((header.step, str(file)))
        if len(stated_times) == 1:
            raise InputError(
                f"Expected a repetition time of {files[0]}, found none: neither its header nor a sidecar states it. "
                f"Write a .json file of the same name (or {self.derived.root}/bold.json for all runs) with "
                f'{{"RepetitionTime": {self.options.tr:g}}}.'
            )
        for value, source in stated_times[1:]:
            if abs(value - stated_times[0][0]) > 1e-3:
                raise InputError(
                    f"Expected a repetition time of {stated_times[0][0]:g} s ({stated_times[0][1]}), got {value:g} "
                    f"s in {source}."
                )
        starts = {round(header.start or 0.0, 3) for header in headers}
        if len(starts) > 1:
            raise InputError(f"Expected hemispheres that start together, got {sorted(starts)} s in {files}.")
        start = headers[0].start or 0.0
        if "StartTime" not in values:
            return start + self.options.tr / 2
        first = _number(values["StartTime"], "StartTime", where)
        if start and not start - 1e-3 <= first <= start + self.options.tr + 1e-3:
            raise InputError(
                f"Expected StartTime in {where} within the first volume, which starts at {start:g} s in {files[0]}, "
                f"got {first:g} s."
            )
        return first

    def check_confounds(self, run: RunKey, volumes: int) -> None:
        file = self.confounds_file(run)
        if file.is_file() and (rows := len(read_text(file).strip().splitlines()) - 1) != volumes:
            raise InputError(f"Expected {volumes} rows (volumes of the run) in {file}, got {rows}.")

    def load_confounds(self, run: RunKey) -> "tuple[np.ndarray, np.ndarray | None]":
        """Confounds (volume, confound) of a run, and the volumes that are retained (None: all)."""
        import warnings

        import numpy as np
        from nilearn.interfaces.fmriprep import load_confounds

        from mind_animator.artefacts.files import expect_file

        file, chosen = self.confounds_file(run), self.options.confounds
        expect_file(file, "confounds (dataset.options.confounds)")
        strategy = ["high_pass", *chosen] if "compcor" in chosen else chosen
        # nilearn derives the name of the table from the name of an image in the same folder, which it does not open
        image = file.with_name(file.name.split("_desc-confounds")[0] + "_desc-preproc_bold.nii.gz")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                table, kept = load_confounds(
                    str(image), strategy=tuple(dict.fromkeys(strategy)), motion="basic"
                )
        except (ValueError, OSError, KeyError, AttributeError) as error:
            text = " ".join(str(error).split())
            raise InputError(f"Expected confounds {list(chosen)} in {file}: {text}") from None
        values = table.to_numpy(float)
        kept_rows = slice(None) if kept is None else kept
        if not np.isfinite(values[kept_rows]).all():
            column = int(np.argmax(~np.isfinite(values[kept_rows]).all(axis=0)))
            raise InputError(f"Expected numbers in column '{table.columns[column]}' of {file}, got n/a.")
        return np.nan_to_num(values), kept


def _number(value: object, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise InputError(f"Expected seconds in {key} of {where}, got {value!r}.")
    return float(value)
