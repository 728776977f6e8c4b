"""Choose one subject's voxels on training segments, scale their responses, and tell how good they are."""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from mind_animator.artefacts.arrays import open_arrays, read_arrays, read_attrs, read_whole, write_arrays
from mind_animator.artefacts.tables import write_table
from mind_animator.config.base import parse_settings
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig, VoxelsConfig
from mind_animator.datasets import open_dataset
from mind_animator.errors import InputError, run_command
from mind_animator.fmri.quality import noise_ceiling
from mind_animator.fmri.reliability import in_areas, in_mask, most_reliable, segment_t, significant
from mind_animator.fmri.scale import apply_scale, scale_splits


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="the data set's settings, JSON")
    parser.add_argument("--subject", required=True)
    parser.add_argument("--settings", required=True, help="the fMRI's settings, JSON")
    parser.add_argument("--segments", type=Path, nargs="+", required=True, help="files of preprocess_segment")
    parser.add_argument("--responses", type=Path, required=True, help="output, HDF5")
    parser.add_argument("--maps", type=Path, required=True, help="output, HDF5: values of every voxel")
    parser.add_argument("--voxels", type=Path, required=True, help="output, TSV: chosen voxels by area")
    parser.add_argument("--quality", type=Path, required=True, help="output, TSV: quality by run")
    given = parser.parse_args(arguments)
    settings = parse_settings(FmriConfig, given.settings)
    dataset = open_dataset(parse_settings(DatasetConfig, given.dataset, "--dataset"))
    areas = dataset.area_names(given.subject)

    facts = {path: read_attrs(path) for path in given.segments}
    train = [path for path in given.segments if facts[path]["split"] == "train"]
    test = [path for path in given.segments if facts[path]["split"] == "test"]
    if not train:
        raise InputError(f"Expected training segments among --segments, got none (subject {given.subject}).")
    reliability = {path: read_whole(path, ["reliability"])["reliability"] for path in given.segments}
    n_voxels = len(reliability[train[0]])
    for path in given.segments:
        if len(reliability[path]) != n_voxels:
            raise InputError(f"Expected {n_voxels} voxels in {path}, got {len(reliability[path])}.")
    if areas is not None and len(areas) != n_voxels:
        raise InputError(f"Expected {len(areas)} voxels (those with an area) in {train[0]}, got {n_voxels}.")
    repeated = np.array([reliability[path] for path in train if facts[path]["n_repeats"] > 1])
    t = segment_t(repeated) if len(repeated) > 1 else np.full(n_voxels, np.nan)
    chosen = choose_voxels(t, len(repeated), areas, settings.voxels, given.subject)

    # one segment in memory at a time, and of it no more than the chosen voxels kept
    parts: dict[str, list[np.ndarray]] = {"mean": [], "half_1": [], "half_2": []}
    clips: list[str] = []
    for path in tqdm(given.segments, unit="segment", mininterval=5):
        with open_arrays(path) as file:
            names = [name for name in parts if name in file]
        here, arrays = read_arrays(path, names)
        clips += here
        for name in parts:
            kept = (
                arrays[name][:, chosen]
                if name in names
                else np.full((len(here), len(chosen)), np.nan, np.float32)
            )
            parts[name].append(kept)
    means = np.concatenate(parts["mean"])
    is_train = np.repeat(
        [facts[path]["split"] == "train" for path in given.segments], [len(p) for p in parts["mean"]]
    )
    scaled, _, used_on_test = scale_splits(means, is_train, settings.scaling)
    halves = {name: apply_scale(np.concatenate(parts[name]), *used_on_test) for name in ("half_1", "half_2")}

    tested = [path for path in test if facts[path]["n_repeats"] > 1]
    maps = {
        "t": t.astype(np.float32),
        "reliability": _mean(list(repeated), n_voxels),
        "noise_ceiling": _mean(
            [noise_ceiling(reliability[p], int(facts[p]["n_repeats"])) for p in tested], n_voxels
        ),
        "tsnr": _mean(_tsnr(given.segments), n_voxels),
        "selected": np.isin(np.arange(n_voxels), chosen),
    }
    area = np.array(areas if areas is not None else [""] * n_voxels)
    voxels = pd.DataFrame({"area": area, **maps})
    by_area = voxels.groupby("area", sort=True).agg(
        voxels=("selected", "size"),
        selected=("selected", "sum"),
        reliability=("reliability", "mean"),
        noise_ceiling=("noise_ceiling", "mean"),
        tsnr=("tsnr", "mean"),
    )
    rows = [
        {"subject": given.subject, "segment": facts[path]["segment"], "split": facts[path]["split"], **run}
        | {
            "reliability_selected": float(np.nanmean(reliability[path][chosen]))
            if facts[path]["n_repeats"] > 1
            else np.nan,
            "missing_clips": int(facts[path]["missing_clips"]),
        }
        for path in given.segments
        for run in json.loads(facts[path]["runs"])
    ]
    by_voxel = {name: maps[name][chosen] for name in ("t", "reliability", "noise_ceiling")}
    attrs = {
        "subject": given.subject,
        "settings": settings.model_dump_json(),
        "constant_voxels": int((means[is_train].std(axis=0) == 0).sum()),
    }
    write_arrays(
        given.responses,
        {"responses": scaled, **halves},
        clips,
        attrs,
        {"voxel_index": chosen, "area": area[chosen].tolist(), **by_voxel},
    )
    write_arrays(given.maps, {}, None, {"subject": given.subject}, {**maps, "area": area.tolist()})
    write_table(given.voxels, by_area.reset_index().assign(subject=given.subject))
    write_table(given.quality, pd.DataFrame(rows))


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


def _mean(arrays: list[np.ndarray], n_voxels: int) -> np.ndarray:
    """Mean over segments, NaN where there is none, (voxel,) float32."""
    return np.mean(arrays, axis=0, dtype=np.float32) if len(arrays) else np.full(n_voxels, np.nan, np.float32)


def _tsnr(paths: list[Path]) -> list[np.ndarray]:
    found = []
    for path in paths:
        with open_arrays(path) as file:
            if "tsnr" in file:
                found.append(file["tsnr"][:])
    return found


if __name__ == "__main__":
    run_command(main)
