"""Responses of a BIDS study: runs are read and cleaned once, and their clips are kept in a temporary file."""

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mind_animator.datasets.bids.files import CORTEX, RunKey, StudyFiles
from mind_animator.datasets.bids.sections import Presentation
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from mind_animator.config.fmri import FmriConfig
    from mind_animator.fmri.clean import CleanedRun

_CHUNK = 8192  # voxels that are cleaned before they are stored


@dataclass(frozen=True)
class _Stored:
    """Location of the clips of a presentation in the temporary file, (voxel, clip) float32, and the tSNR of the run."""

    offset: int
    shape: tuple[int, int]
    tsnr: "np.ndarray"


class ClipStore:
    """Responses to the clips of all presentations.

    Parameters
    ----------
    files : StudyFiles
    shown : function of a subject
        Returns the presentations of the subject with the onsets of their clips, in seconds of the movie.
    """

    def __init__(
        self, files: StudyFiles, shown: Callable[[str], list[tuple[Presentation, tuple[float, ...]]]]
    ) -> None:
        self.files, self.options, self.shown = files, files.options, shown
        self.scratch: Path | None = None
        self.brain = cache(self._find_brain)
        self._store: dict[object, _Stored] = {}
        self._scratch = None

    def of(self, subject: str, one: Presentation, settings: "FmriConfig") -> _Stored:
        """The clips of a presentation; the first call for a run stores all of its presentations."""
        key = (one, settings.lag, settings.detrend_order, settings.ddof)
        if key not in self._store:
            self._store_run(subject, one.run, settings)
        return self._store[key]

    def _store_run(self, subject: str, run: RunKey, settings: "FmriConfig") -> None:
        """Read and clean a run, and store the clips of all presentations in it as (voxel, clip) float32."""
        import numpy as np

        from mind_animator.artefacts.files import require_room
        from mind_animator.fmri.align import clip_weights
        from mind_animator.fmri.clean import blocks, scratch_for

        first = self.files.times(run)
        cleaned = self.cleaned(subject, run, settings)
        seconds, t_r, file = self.options.clip_seconds, self.options.tr, self.files.bold(run)[0]
        weights = []
        shown = [(one, onsets) for one, onsets in self.shown(subject) if one.run == run]
        for one, onsets in shown:
            begins = one.onset + settings.lag + np.array(onsets) - one.offset
            given, covered = clip_weights(
                begins, seconds, first=first, repetition_time=t_r, present=cleaned.present
            )
            if not covered.any():
                raise InputError(
                    f"Expected volumes for the {len(onsets)} clips of '{one.movie}' in {file}, but none has any: the "
                    f"run has {len(cleaned.present)} volumes of {t_r:g} s from {first - t_r / 2:g} s on, the "
                    f"movie starts at {one.onset:g} s and fmri.lag is {settings.lag:g} s."
                )
            if not covered.all():
                print(
                    f"{file.name}: {int((~covered).sum())} of {len(onsets)} clips of '{one.movie}' at {one.onset:g} s "
                    "have no volume and are missing",
                    file=sys.stderr,
                )
            given[~covered] = np.nan
            weights.append(given.astype(np.float32))
        if self._scratch is None:
            self._scratch = tempfile.TemporaryFile(dir=self.scratch, buffering=0)  # noqa: SIM115 (kept open)
        n_voxels = cleaned.shape[1]
        offsets = []
        end = self._scratch.seek(0, os.SEEK_END)
        for given in weights:
            offsets.append(end)
            end += 4 * n_voxels * len(given)
        require_room(self.scratch or tempfile.gettempdir(), end - (offsets[0] if offsets else end))
        joint = np.concatenate(weights)
        missing = np.isnan(joint[:, 0])
        joint[missing] = 0
        scratch, pieces = scratch_for([cleaned]), blocks(n_voxels)
        step = max(1, _CHUNK // pieces[0].stop)
        for start in range(0, len(pieces), step):
            part = []
            for where in pieces[start : start + step]:
                block = cleaned.block(where, scratch)
                values = np.where(cleaned.present, block, 0) @ joint.T
                values[:, missing] = np.nan
                part.append(values)
            rows, column = np.concatenate(part), 0
            for offset, given in zip(offsets, weights, strict=True):
                own = np.ascontiguousarray(rows[:, column : column + len(given)], np.float32)
                os.pwrite(self._scratch.fileno(), own.data, offset + 4 * pieces[start].start * len(given))
                column += len(given)
        for (one, _), offset, given in zip(shown, offsets, weights, strict=True):
            key = (one, settings.lag, settings.detrend_order, settings.ddof)
            self._store[key] = _Stored(offset, (n_voxels, len(given)), cleaned.tsnr)

    def read(self, part: _Stored) -> "np.ndarray":
        import numpy as np

        return np.asarray(np.memmap(self._scratch, np.float32, "r", part.offset, part.shape))

    def cleaned(self, subject: str, run: RunKey, settings: "FmriConfig") -> "CleanedRun":
        """A run without trend and confounds; censored volumes are missing."""
        import numpy as np

        from mind_animator.fmri.clean import CleanedRun

        series, file = self._series(subject, run), self.files.bold(run)[0]
        confounds, censored = None, None
        if self.options.confounds:
            table, kept = self.files.load_confounds(run)
            if len(table) != len(series):
                raise InputError(
                    f"Expected {len(series)} rows of confounds for {file}, got {len(table)} in "
                    f"{self.files.confounds_file(run)}."
                )
            confounds = table
            if kept is not None:
                censored = ~np.isin(np.arange(len(series)), kept)
        try:
            return CleanedRun(
                series,
                settings.detrend_order,
                settings.ddof,
                where=file,
                confounds=confounds,
                censored=censored,
            )
        except ValueError as error:
            raise InputError(f"{error} ({file})") from None

    def _series(self, subject: str, run: RunKey) -> "np.ndarray":
        """Responses of a run, (volume, voxel) float32."""
        import nibabel as nib
        import numpy as np

        from mind_animator.artefacts.cifti import read_cortex
        from mind_animator.artefacts.series import read_header, read_surface, read_volumes

        files = self.files.bold(run)
        if self.files.parcels:
            read_header(files[0])
            return np.asarray(nib.load(files[0]).dataobj, np.float32)
        if self.options.space == "fsLR":
            rows = read_header(files[0]).rows
            if rows not in CORTEX:
                raise InputError(f"Expected 91,282 or 170,494 grayordinates in {files[0]}, got {rows}.")
            series = read_cortex(files[0], n_vertices=CORTEX[rows], finite=False)
        elif self.files.surface:
            sides = [read_surface(file) for file in files]
            if len(sides[0]) != len(sides[1]):
                raise InputError(
                    f"Expected hemispheres of equal length, got {len(sides[0])} volumes in {files[0]} and "
                    f"{len(sides[1])} in {files[1]}."
                )
            series = np.concatenate([side.T for side in sides]).T
        else:
            return read_volumes(files[0], self.brain(subject))
        if self.options.mask is not None:
            inside = self._surface_mask(run)
            if len(inside) != series.shape[1]:
                raise InputError(
                    f"Expected {series.shape[1]} vertices in {self.files.masks(run)[0]}, got {len(inside)} (both "
                    "hemispheres together)."
                )
            series = np.where(inside[:, None], series.T, np.float32(0)).T
        return series

    def _surface_mask(self, run: RunKey) -> "np.ndarray":
        import nibabel as nib
        import numpy as np

        from mind_animator.artefacts.files import expect_file

        sides = []
        for file in self.files.masks(run):
            expect_file(file, "a mask (dataset.options.mask)")
            image = nib.load(file)
            if file.name.endswith(".gii"):
                sides.append(np.asarray(image.darrays[0].data) > 0.5)
            else:
                sides.append(np.asarray(image.dataobj)[0] > 0.5)
        return np.concatenate(sides)

    def _find_brain(self, subject: str) -> "np.ndarray":
        """Voxels inside the masks of all runs of a subject, (x, y, z) bool."""
        import nibabel as nib
        import numpy as np

        from mind_animator.artefacts.files import expect_file

        runs = dict.fromkeys(one.run for one, _ in self.shown(subject))
        inside = None
        for file in dict.fromkeys(mask for run in runs for mask in self.files.masks(run)):
            expect_file(file, "a mask")
            mask = np.asarray(nib.load(file).dataobj) > 0.5
            if inside is not None and mask.shape != inside.shape:
                raise InputError(f"Expected masks of one shape, {inside.shape}, got {mask.shape} in {file}.")
            inside = mask if inside is None else inside & mask
        if inside is None or not inside.any():
            raise InputError(f"Expected voxels inside the masks of sub-{subject}, got none.")
        return inside
