"""Clean and average one subject's runs, choose voxels on training segments, scale, and tell how good it is."""

import argparse
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mind_animator.artefacts.arrays import LastClips, write_arrays
from mind_animator.artefacts.tables import write_rows
from mind_animator.config.base import parse_settings
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig, VoxelsConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.averages import SegmentAverage, average_segment, read_average, with_means
from mind_animator.errors import InputError, run_command
from mind_animator.fmri.quality import noise_ceiling
from mind_animator.fmri.reliability import in_areas, in_mask, most_reliable, segment_t, significant
from mind_animator.fmri.scale import apply_scale, scale_splits

HALVES = ("half_1", "half_2")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="the data set's settings, JSON")
    parser.add_argument("--subject", required=True)
    parser.add_argument("--settings", required=True, help="the fMRI's settings, JSON")
    parser.add_argument(
        "--averages", type=Path, nargs="*", default=[], help="of average_runs; other segments' runs are read"
    )
    parser.add_argument("--responses", type=Path, required=True, help="output, HDF5")
    parser.add_argument("--maps", type=Path, required=True, help="output, HDF5: values of every voxel")
    parser.add_argument("--voxels", type=Path, required=True, help="output, TSV: chosen voxels by area")
    parser.add_argument("--quality", type=Path, required=True, help="output, TSV: quality by run")
    given = parser.parse_args(arguments)
    settings = parse_settings(FmriConfig, given.settings)
    dataset = open_dataset(parse_settings(DatasetConfig, given.dataset, "--dataset"))
    dataset.check_subject(given.subject)
    areas = dataset.area_names(given.subject)
    segments = {segment.id: segment for segment in dataset.segments}
    kept = {average.segment.id: average for average in (read_average(p, segments) for p in given.averages)}

    def averages(split: str) -> Iterator[SegmentAverage]:
        of_split = [segment for segment in segments.values() if segment.split == split]
        for segment in tqdm(of_split, desc=split, unit="segment", mininterval=5):
            average = kept.get(segment.id) or average_segment(
                dataset, given.subject, segment, settings, chosen, means=chosen is not None
            )
            expected = len(facts[0].reliability) if facts else len(areas or average.reliability)
            if len(average.reliability) != expected:
                raise InputError(
                    f"Expected {expected} voxels in {segment.id} (subject {given.subject}), "
                    f"got {len(average.reliability)}."
                )
            facts.append(replace(average, arrays={}))
            yield average

    # training segments tell which voxels are chosen; then only these are needed
    chosen: np.ndarray | None = None
    facts: list[SegmentAverage] = []
    train = deque(averages("train"))
    if not train and settings.scaling == "train":
        raise InputError(
            "Expected training clips to scale by, got test clips alone: fmri.scaling released_code scales them "
            f"by themselves (subject {given.subject})."
        )
    test = averages("test")
    if not train:
        test = chain([next(test)], test)  # which tells how many voxels there are
    repeated = np.array([average.reliability for average in train if average.n_repeats > 1])
    n_voxels = len(facts[0].reliability)
    t = segment_t(repeated) if len(repeated) > 1 else np.full(n_voxels, np.nan)
    chosen = choose_voxels(t, len(repeated), areas, settings.voxels, given.subject)
    means = np.empty((sum(segment.n_clips for segment in segments.values()), len(chosen)), np.float32)
    filled = 0
    halves: dict[str, list[np.ndarray]] = {name: [] for name in HALVES}
    # a training segment is let go as soon as its chosen voxels are taken
    for place, average in enumerate(chain(drained(train), test)):
        if average.segment.id not in kept:
            average = with_means(average, chosen, dataset, given.subject, settings)
        facts[place] = replace(average, arrays={})
        means[filled : filled + average.segment.n_clips] = average.of_voxels("mean", chosen)
        filled += average.segment.n_clips
        for name, own in halves.items():
            if average.segment.split == "test":
                own.append(average.of_voxels(name, chosen))
    del average

    clips = [clip for fact in facts for clip in fact.segment.clips]
    is_train = np.repeat([f.segment.split == "train" for f in facts], [f.segment.n_clips for f in facts])
    constant = int((np.ptp(means[: is_train.sum()], axis=0) == 0).sum()) if is_train.any() else 0
    scaled, _, used_on_test = scale_splits(means, is_train, settings.scaling)
    del means
    scaled_halves = {
        name: LastClips(apply_scale(np.concatenate(own or [scaled[:0]]), *used_on_test))
        for name, own in halves.items()
    }

    repeated_tests = [fact for fact in facts if fact.segment.split == "test" and fact.n_repeats > 1]
    maps = {
        "t": t.astype(np.float32),
        "reliability": _mean(list(repeated), n_voxels),
        "noise_ceiling": _mean([noise_ceiling(f.reliability, f.n_repeats) for f in repeated_tests], n_voxels),
        "tsnr": _mean([fact.tsnr for fact in facts if fact.tsnr is not None], n_voxels),
        "selected": np.isin(np.arange(n_voxels), chosen),
    }
    area = np.array(areas if areas is not None else [""] * n_voxels)
    rows = [
        {"subject": given.subject, "segment": fact.segment.id, "split": fact.segment.split, **run}
        | {
            "reliability_selected": _mean_of(agreement),
            "noise_ceiling_selected": _mean_of(noise_ceiling(agreement[np.isfinite(agreement)], 1)),
            "missing_clips": fact.n_missing,
        }
        for fact in facts
        for run, agreement in zip(fact.runs, fact.of_runs(chosen), strict=True)
    ]
    by_voxel = {name: maps[name][chosen] for name in ("t", "reliability", "noise_ceiling")}
    attrs = {
        "subject": given.subject,
        "settings": settings.model_dump_json(),
        "constant_voxels": constant,
    }
    write_arrays(
        given.responses,
        {"responses": scaled, **scaled_halves},
        clips,
        attrs,
        {"voxel_index": chosen, "area": area[chosen].tolist(), **by_voxel},
    )
    write_arrays(given.maps, {}, None, {"subject": given.subject}, {**maps, "area": area.tolist()})
    write_rows(given.voxels, [row | {"subject": given.subject} for row in by_area(area, maps)])
    write_rows(given.quality, rows)


def drained(averages: deque[SegmentAverage]) -> Iterator[SegmentAverage]:
    """Averages that nothing else holds once the next one is asked for."""
    while averages:
        yield averages.popleft()


def choose_voxels(
    t: np.ndarray, n_segments: int, areas: list[str] | None, settings: VoxelsConfig, subject: str
) -> np.ndarray:
    """Indices of the voxels that the settings ask for; `InputError` where they cannot be had."""
    where = f"(subject {subject}; fmri.voxels)"
    try:
        if settings.mask is not None:
            try:
                mask = np.load(settings.mask, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise InputError(f"Expected a .npy file at {settings.mask}, got: {error} {where}.") from None
            return in_mask(mask, len(t))
        if settings.all:
            return np.arange(len(t))
        if settings.areas is not None:
            if areas is None:
                raise InputError(f"Expected a data set with named areas, got one without {where}.")
            return in_areas(areas, settings.areas)
        if n_segments < 2:
            raise InputError(
                f"Expected at least 2 training segments with repeats to choose voxels by their reliability, "
                f"got {n_segments}: use fmri.voxels.areas, .mask or .all {where}."
            )
        if settings.count is not None:
            return most_reliable(t, settings.count)
        return significant(t, n_segments, settings.threshold)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{error} {where}") from None


def by_area(area: np.ndarray, maps: dict[str, np.ndarray]) -> list[dict[str, object]]:
    """One row an area: its voxels, how many are chosen, and means of maps (voxel,) over those that have one."""
    names, of_voxel = np.unique(area, return_inverse=True)

    def count(weights: np.ndarray) -> np.ndarray:
        return np.bincount(of_voxel, weights, len(names))

    sizes, selected = (count(weights).astype(int) for weights in (np.ones(len(area)), maps["selected"]))
    means = {}
    for name in ("reliability", "noise_ceiling", "tsnr"):
        known = np.isfinite(maps[name])
        with np.errstate(invalid="ignore"):
            means[name] = count(np.where(known, maps[name], 0)) / count(known)
    return [
        {"area": str(name), "voxels": sizes[row], "selected": selected[row]}
        | {key: mean[row] for key, mean in means.items()}
        for row, name in enumerate(names)
    ]


def _mean_of(values: np.ndarray) -> float:
    """Mean of what is a number, NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else float("nan")


def _mean(arrays: list[np.ndarray], n_voxels: int) -> np.ndarray:
    """Mean over segments, NaN where there is none, (voxel,) float32."""
    return np.mean(arrays, axis=0, dtype=np.float32) if len(arrays) else np.full(n_voxels, np.nan, np.float32)


if __name__ == "__main__":
    run_command(main)
