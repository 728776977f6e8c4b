"""Preprocessing of one subject in three passes: average the training segments, select voxels, collect all clips."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from mind_animator.datasets.averages import SegmentAverage, average_segment, with_means
from mind_animator.datasets.base import Dataset
from mind_animator.errors import InputError
from mind_animator.fmri.quality import noise_ceiling
from mind_animator.fmri.reliability import in_mask, in_rois, most_reliable, segment_t, significant
from mind_animator.fmri.scale import apply_scale, scale_splits

if TYPE_CHECKING:
    from mind_animator.config.fmri import FmriConfig, VoxelsConfig

HALVES = ("half_1", "half_2")


@dataclass(frozen=True)
class SubjectResponses:
    """Scaled responses of one subject, and their quality.

    Attributes
    ----------
    clips : list of str
        All clips of the data set, training first.
    responses : ndarray (clip, voxel) float32
        Scaled by mean and standard deviation of the training clips; NaN in every voxel of a missing clip.
    present : ndarray (clip,) bool
        Whether the subject has a response to the clip.
    halves : dict of name to ndarray (test clip, voxel) float32
        ``half_1`` and ``half_2``, scaled in the same way; NaN where a half of the repeats has no response.
    chosen : ndarray (voxel,) int64
        Indices of the selected voxels among all voxels, ascending.
    constant_voxels : int
        Number of selected voxels without variance over the training clips.
    roi : ndarray (any voxel,) of str
        Area of every voxel; an empty string if it is unknown.
    maps : dict of name to ndarray (any voxel,)
        ``t, reliability, noise_ceiling, tsnr`` and ``selected`` of every voxel.
    quality : list of dict
        One row per run.
    """

    clips: list[str]
    responses: np.ndarray
    present: np.ndarray
    halves: dict[str, np.ndarray]
    chosen: np.ndarray
    constant_voxels: int
    roi: np.ndarray
    maps: dict[str, np.ndarray]
    quality: list[dict[str, object]]


def preprocess_subject(
    dataset: Dataset, subject: str, settings: "FmriConfig", kept: Mapping[str, SegmentAverage] | None = None
) -> SubjectResponses:
    """Clean and average the runs of a subject, select voxels on the training segments, and scale all clips.

    Parameters
    ----------
    dataset : Dataset
    subject : str
    settings : FmriConfig
    kept : mapping of segment to SegmentAverage, optional
        Averages that were computed before; only the runs of the other segments are read.

    Raises
    ------
    InputError
        If a run cannot be used, the voxels cannot be selected, or the subject has no response to any training
        clip or to any test clip.
    """
    passes = _Passes(dataset, subject, settings, kept or {})
    train = passes.average_training()
    chosen, t, repeated = passes.choose(train)
    means, halves = passes.collect(train, chosen)
    return passes.scale(means, halves, chosen, t, repeated)


class _Passes:
    """The three passes, and the properties of the processed segments (``facts``, without arrays)."""

    def __init__(
        self, dataset: Dataset, subject: str, settings: "FmriConfig", kept: Mapping[str, SegmentAverage]
    ) -> None:
        self.dataset, self.subject, self.settings, self.kept = dataset, subject, settings, kept
        self.rois = dataset.roi_names(subject)
        self.n_voxels = len(self.rois) if self.rois is not None else None
        self.facts: dict[str, SegmentAverage] = {}

    def average_training(self) -> deque[SegmentAverage]:
        """First pass: averages of the training segments for all voxels, or only their reliability."""
        train = deque(self._averages("train", None))
        if not train and self.settings.scaling == "train":
            raise InputError(
                "Expected training clips to scale by, got test clips only: fmri.scaling released_code scales "
                f"them by themselves (subject {self.subject})."
            )
        if train and not any(average.n_repeats for average in train):
            raise InputError(f"Expected runs of training movies of subject {self.subject}, got none.")
        return train

    def choose(self, train: Iterable[SegmentAverage]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Second pass: selected voxels, t of every voxel, and its reliability (training segment, voxel)."""
        if self.n_voxels is None:  # only test segments: the first one determines the number of voxels
            next(iter(self._averages("test", None)))
        assert self.n_voxels is not None
        repeated = np.array([average.reliability for average in train if average.n_repeats > 1])
        t = segment_t(repeated) if len(repeated) > 1 else np.full(self.n_voxels, np.nan)
        chosen = choose_voxels(t, len(repeated), self.rois, self.settings.voxels, self.subject)
        return chosen, t, repeated

    def collect(
        self, train: deque[SegmentAverage], chosen: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Third pass: means of all clips and halves of the test clips, (clip, selected voxel) float32."""
        means = np.empty((sum(s.n_clips for s in self.dataset.segments), len(chosen)), np.float32)
        halves: dict[str, list[np.ndarray]] = {name: [] for name in HALVES}
        filled = 0
        for part in (_drained(train), self._averages("test", chosen)):
            for average in part:
                if average.segment.id not in self.kept and average.n_repeats:
                    average = with_means(average, chosen, self.dataset, self.subject, self.settings)
                self.facts[average.segment.id] = replace(average, arrays={})
                means[filled : filled + average.segment.n_clips] = average.of_voxels("mean", chosen)
                filled += average.segment.n_clips
                if average.segment.split == "test":
                    for name, own in halves.items():
                        own.append(average.of_voxels(name, chosen))
                del average  # frees its arrays before the next segment is read
        return means, {name: np.concatenate(own or [means[:0]]) for name, own in halves.items()}

    def scale(
        self,
        means: np.ndarray,
        halves: dict[str, np.ndarray],
        chosen: np.ndarray,
        t: np.ndarray,
        repeated: np.ndarray,
    ) -> SubjectResponses:
        """Scale by the available training clips, and describe every voxel and run."""
        facts = [self.facts[segment.id] for segment in self.dataset.segments]
        is_train = np.concatenate([[f.segment.split == "train"] * f.segment.n_clips for f in facts])
        present = np.isfinite(means).all(axis=1)
        trained = means[is_train & present]
        constant = int((np.ptp(trained, axis=0) == 0).sum()) if len(trained) else 0
        del trained
        try:
            scaled, _, used_on_test = scale_splits(means, is_train, self.settings.scaling)
        except ValueError as error:
            raise InputError(f"{error} (subject {self.subject})") from None
        tests = [fact for fact in facts if fact.segment.split == "test" and fact.n_repeats > 1]
        ceilings = [noise_ceiling(fact.reliability, fact.n_repeats) for fact in tests]
        maps = {
            "t": t.astype(np.float32),
            "reliability": _mean(list(repeated), self.n_voxels),
            "noise_ceiling": _mean(ceilings, self.n_voxels),
            "tsnr": _mean([fact.tsnr for fact in facts if fact.tsnr is not None], self.n_voxels),
            "selected": np.isin(np.arange(self.n_voxels), chosen),
        }
        return SubjectResponses(
            clips=[clip for fact in facts for clip in fact.segment.clips],
            responses=scaled,
            present=present,
            halves={name: apply_scale(half, *used_on_test) for name, half in halves.items()},
            chosen=chosen,
            constant_voxels=constant,
            roi=np.array(self.rois if self.rois is not None else [""] * self.n_voxels),
            maps=maps,
            quality=[row for fact in facts for row in self._quality(fact, chosen)],
        )

    def _averages(self, split: str, chosen: np.ndarray | None) -> Iterator[SegmentAverage]:
        of_split = [segment for segment in self.dataset.segments if segment.split == split]
        for segment in tqdm(of_split, desc=split, unit="segment", mininterval=5):
            average = self.kept.get(segment.id) or average_segment(
                self.dataset, self.subject, segment, self.settings, chosen, means=chosen is not None
            )
            if average.n_repeats:
                self.n_voxels = len(average.reliability) if self.n_voxels is None else self.n_voxels
                if len(average.reliability) != self.n_voxels:
                    raise InputError(
                        f"Expected {self.n_voxels} voxels in {segment.id} (subject {self.subject}), "
                        f"got {len(average.reliability)}."
                    )
            yield average

    def _quality(self, fact: SegmentAverage, chosen: np.ndarray) -> Iterator[dict[str, object]]:
        """One row per run of a segment; a single row without a run if the subject has none."""
        labels = {"subject": self.subject, "segment": fact.segment.id, "split": fact.segment.split}
        for run, agreement in zip(fact.runs, fact.of_runs(chosen), strict=True):
            yield (
                labels
                | run
                | {
                    "reliability_selected": _mean_of(agreement),
                    "noise_ceiling_selected": _mean_of(noise_ceiling(agreement[np.isfinite(agreement)], 1)),
                    "missing_clips": fact.n_missing,
                    "note": "",
                }
            )
        notes = self.dataset.left_out(self.subject, fact.segment.id)
        if not fact.runs:
            notes = notes or {"": "the subject has no run of this segment"}
        for run, note in notes.items():
            yield labels | {"run": run, "missing_clips": fact.n_missing, "note": note}


def _drained(averages: deque[SegmentAverage]) -> Iterator[SegmentAverage]:
    """Iterate over averages without keeping a reference, so that each is freed when the next one is requested."""
    while averages:
        yield averages.popleft()


def choose_voxels(
    t: np.ndarray, n_segments: int, rois: list[str] | None, settings: "VoxelsConfig", subject: str
) -> np.ndarray:
    """Indices of the voxels that ``fmri.voxels`` selects, ascending; raises `InputError` if it selects none."""
    where = f"(subject {subject}; fmri.voxels)"
    try:
        if settings.mask is not None:
            return in_mask(read_mask(settings.mask), len(t))
        if settings.all:
            return np.arange(len(t))
        if settings.rois is not None:
            if rois is None:
                raise InputError(f"Expected a data set with named areas, got one without {where}.")
            return in_rois(rois, settings.rois)
        if n_segments < 2:
            raise InputError(
                f"Expected at least 2 training segments with repeats to choose voxels by their reliability, "
                f"got {n_segments}: use fmri.voxels.rois, .mask or .all {where}."
            )
        if settings.count is not None:
            return most_reliable(t, settings.count)
        return significant(t, n_segments, settings.threshold)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{error} {where}") from None


def read_mask(path: str) -> np.ndarray:
    """The array of ``fmri.voxels.mask``; raises `InputError` if the file is not a plain ``.npy`` array."""
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"Expected a .npy file at {path}, got: {error} (fmri.voxels.mask).") from None


def describe_rois(roi: np.ndarray, maps: dict[str, np.ndarray]) -> list[dict[str, object]]:
    """One row per area: number of voxels, number of selected voxels, and means of maps over finite values."""
    names, of_voxel = np.unique(roi, return_inverse=True)

    def count(weights: np.ndarray) -> np.ndarray:
        return np.bincount(of_voxel, weights, len(names))

    sizes, selected = (count(weights).astype(int) for weights in (np.ones(len(roi)), maps["selected"]))
    means = {}
    for name in ("reliability", "noise_ceiling", "tsnr"):
        known = np.isfinite(maps[name])
        with np.errstate(invalid="ignore"):
            means[name] = count(np.where(known, maps[name], 0)) / count(known)
    return [
        {"roi": str(name), "voxels": sizes[row], "selected": selected[row]}
        | {key: mean[row] for key, mean in means.items()}
        for row, name in enumerate(names)
    ]


def _mean_of(values: np.ndarray) -> float:
    """Mean of the finite values; NaN if there are none."""
    known = values[np.isfinite(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else float("nan")


def _mean(arrays: list[np.ndarray], n_voxels: int) -> np.ndarray:
    """Mean over segments, (voxel,) float32; NaN if there are none."""
    return np.mean(arrays, axis=0, dtype=np.float32) if len(arrays) else np.full(n_voxels, np.nan, np.float32)
