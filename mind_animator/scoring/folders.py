"""Score folders of videos against a folder of ground truths: no workflow, no fMRI."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from mind_animator.artefacts.arrays import iterate_clips
from mind_animator.artefacts.clipfolder import find_clips
from mind_animator.artefacts.streams import ClipReader, PairScores, read_problems
from mind_animator.config.clipfolder import LayoutConfig
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError
from mind_animator.methods.frozen import Frozen
from mind_animator.methods.shuffled_frames import ShuffledFrames
from mind_animator.scoring.ground_truth import encode_ground_truth
from mind_animator.scoring.judge import judge, shuffled_orders
from mind_animator.scoring.score import ClipScore, Networks, Source, note_of, score_clips
from mind_animator.scoring.sources import (
    ArraySource,
    ChangedSource,
    DonorSource,
    FlatSource,
    FolderSource,
    shape_of_ground_truth,
)
from mind_animator.statistics.exchange import exchanged


@dataclass(frozen=True)
class Standard:
    """What every clip of a comparison is resampled to.

    Attributes
    ----------
    size : int
        Height and width, pixels.
    frames : int
    rate : float
        Frames a second.
    """

    size: int
    frames: int
    rate: float


def standard_of(
    ground_truth: Path, layout: LayoutConfig, *, size: int | None, frames: int | None, duration: float | None
) -> Standard:
    """Size, frames and rate of a comparison: the ground truth's own where they are not stated.

    Raises
    ------
    InputError
        If the true clips differ and ``size`` or ``frames`` is not stated.
    """
    files = find_clips(ground_truth, layout)
    if size is None or frames is None or duration is None:
        own_size, own_frames, own_rate = shape_of_ground_truth(
            list(files.values()), layout, one_shape=size is None or frames is None
        )
        size, frames = size or own_size, frames or own_frames
        duration = duration or own_frames / own_rate
    return Standard(size, frames, frames / duration)


def score_folders(
    ground_truth: tuple[Path, LayoutConfig],
    predictions: Mapping[str, tuple[Path, LayoutConfig]],
    standard: Standard,
    networks: Networks,
    settings: ScoringConfig,
    out: Path,
    *,
    dataset: str,
    clock: bool = False,
    baselines: bool = True,
    scene_cuts: Mapping[str, bool] | None = None,
    seed: int = 0,
    workers: int = 1,
) -> dict[str, tuple[pd.DataFrame, PairScores, dict[str, str]]]:
    """Score each folder of predictions; the ground truth's file (``out/ground_truth.h5``) is made once for all.

    Clip by clip all methods and baselines meet the ground truth together, so that what they ask of it is computed once.

    Every true clip gets its rows for every method: a clip without a prediction, or one that cannot be read,
    with the reason. Predictions without a ground truth are an error, since they show that the numbering is not the
    ground truth's.

    Parameters
    ----------
    ground_truth : (folder, layout)
    predictions : mapping of method to (folder, layout)
    standard : Standard
    networks : Networks
    settings : ScoringConfig
        ``size`` and ``frames`` are those of ``standard``.
    out : path
        Folder for the ground truth's file.
    dataset : str
        Name in the tables.
    clock : bool
        The files' own clocks count; by default a file covers its clip.
    baselines : bool
        Score the baselines too: ``flat_mean`` (mean colour of these ground truths, since there is no training set)
        and, of each method, ``{method}_frozen``, ``{method}_shuffled_frames`` and ``{method}_mismatched``.
    scene_cuts : mapping of clip to bool, optional
        Clips that span a scene cut.

    Returns
    -------
    dict of method to (rows, pairs, notes)
        ``notes`` by clip: what was done to ground truth and prediction to make them comparable, where anything was.
    """
    folder, layout = ground_truth
    true_files = find_clips(folder, layout)
    shape = {"size": standard.size, "count": standard.frames}
    duration = standard.frames / standard.rate if clock else None
    sources = {}
    for method, (place, its_layout) in predictions.items():
        files = find_clips(place, its_layout)
        strange = [path.name for key, path in files.items() if key not in true_files]
        if strange:
            raise InputError(
                f"Expected a ground truth for every prediction, got {strange[0]} without one "
                f"({len(strange)} of {len(files)}) in {place}: do both sides count from the same number?"
            )
        sources[method] = FolderSource(files, its_layout, **shape, duration=duration)
    names = list(true_files)
    source = FolderSource(true_files, layout, **shape, duration=duration)
    path = out / "ground_truth.h5"
    encode_ground_truth(
        names, source, networks, path, batch=settings.batch, rate=standard.rate,
        pair_size=settings.pair_size, strict=False,
    )  # fmt: skip
    cuts = scene_cuts or {}
    clips = pd.DataFrame(
        {
            "clip": names,
            "segment": dataset,
            "movie": dataset,
            "scene_cut": [bool(cuts.get(name, False)) for name in names],
        }
    )
    if baselines:
        sources = with_baselines(sources, names, mean_colour(path), shape, settings.block, seed)
    scores: dict[str, dict[str, ClipScore]] = {method: {} for method in sources}
    with closing(ClipReader([path])) as kept:
        scored = score_clips(
            names, ArraySource([path], **shape), list(sources.values()), kept=kept,
            orders=shuffled_orders(settings, standard.frames, seed), workers=workers,
        )  # fmt: skip
        for found in tqdm(scored, "clips, by every method", len(names), mininterval=5):
            for method, score in zip(sources, found, strict=True):
                scores[method][score.clip] = score
    results = {}
    for method, prediction in sources.items():
        rows, pairs = judge(
            clips, path, prediction, networks, settings, count=standard.frames, dataset=dataset,
            method=method, subject="all", seed=seed, scores=scores[method],
        )  # fmt: skip
        sides = {
            name: {"ground_truth": note_of(source, name), "prediction": scores[method][name].note}
            for name in names
        }
        notes = {
            name: "; ".join(f"{side}: {note}" for side, note in found.items() if note)
            for name, found in sides.items()
        }
        results[method] = rows, pairs, {name: note for name, note in notes.items() if note}
    return results


def with_baselines(
    sources: Mapping[str, FolderSource],
    clips: list[str],
    colour: np.ndarray,
    shape: dict[str, int],
    block: int,
    seed: int,
) -> dict[str, Source]:
    """The sources, each followed by its baselines, and ``flat_mean`` at the end."""
    found: dict[str, Source] = {}
    for method, source in sources.items():
        for name in (method, f"{method}_frozen", f"{method}_shuffled_frames", f"{method}_mismatched"):
            if name in found or name == "flat_mean" or (name != method and name in sources):
                raise InputError(
                    f"Expected names of predictions other than those of baselines, got '{name}'."
                )
        found[method] = source
        for baseline in (Frozen, ShuffledFrames):
            found[f"{method}_{baseline.kind}"] = ChangedSource(source, baseline.change, clips, seed)
        if len(clips) > 1:
            donor = dict(zip(clips, exchanged(clips, block, seed), strict=True))
            found[f"{method}_mismatched"] = DonorSource(source, donor)
    return found | {"flat_mean": FlatSource(colour, **shape)}


def mean_colour(ground_truth: Path) -> np.ndarray:
    """Mean colour of the readable true clips, (3,) uint8, one clip in memory at a time."""
    problems, total, pixels = read_problems([ground_truth]), np.zeros(3), 0
    for clip, frames in iterate_clips(ground_truth, "frames"):
        if clip not in problems:
            total += frames.sum(axis=(0, 1, 2), dtype=np.int64)
            pixels += frames[..., 0].size
    return np.rint(total / pixels).astype(np.uint8)
