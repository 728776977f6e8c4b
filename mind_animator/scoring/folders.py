"""Score folders of videos against a folder of ground-truth videos, without the workflow and without fMRI."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import iterate_clips
from mind_animator.artefacts.streams import read_problems
from mind_animator.config.clipfolder import LayoutConfig
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError
from mind_animator.methods._derived import derived_kinds
from mind_animator.methods.flat_mean import FlatMean
from mind_animator.scoring.ground_truth import encode_ground_truth
from mind_animator.scoring.score import Networks, Scores, Source, note_of, score
from mind_animator.scoring.sources import (
    ChangedSource,
    DonorSource,
    FlatSource,
    FolderSource,
    shape_of_ground_truth,
)

# Name of the baseline that is the mean colour of the ground truths.
FLAT = FlatMean.kind


@dataclass(frozen=True)
class Standard:
    """Size, number and rate of frames to which every clip of a comparison is resampled.

    Attributes
    ----------
    size : int
        Height and width, pixels.
    frames : int
        Frames per clip.
    rate : float
        Frames per second.
    timed : bool
        Whether the rate is stated, by the files or the user; otherwise one frame per second is assumed.
    """

    size: int
    frames: int
    rate: float
    timed: bool = True


def standard_of(
    files: Sequence[Path],
    layout: LayoutConfig,
    *,
    size: int | None,
    frames: int | None,
    duration: float | None,
) -> Standard:
    """Size, frames and rate of a comparison: those of the ground truth where they are not stated.

    Raises
    ------
    InputError
        If the ground-truth clips differ and ``size`` or ``frames`` is not stated.
    """
    timed = True
    if size is None or frames is None or duration is None:
        own_size, own_frames, own_rate, timed = shape_of_ground_truth(
            files, layout, one_shape=size is None or frames is None
        )
        size, frames, timed = size or own_size, frames or own_frames, timed or duration is not None
        duration = duration or own_frames / own_rate
    return Standard(size, frames, frames / duration, timed)


def score_folders(
    ground_truth: FolderSource,
    predictions: Mapping[str, Source],
    standard: Standard,
    networks: Networks,
    settings: ScoringConfig,
    out: Path,
    *,
    dataset: str,
    baselines: bool = True,
    scene_cuts: Mapping[str, bool] | None = None,
    seed: int = 0,
    workers: int = 1,
) -> dict[str, Scores]:
    """Score several methods; the file of the ground truth (``out/ground_truth.h5``) is made once for all.

    Clip by clip, all methods and baselines are compared with the ground truth together, so that quantities that
    depend on the ground truth alone are computed once.

    Every ground-truth clip gets its rows for every method: a clip without a prediction, or one that cannot be
    read, with the reason.

    Parameters
    ----------
    ground_truth : FolderSource
    predictions : mapping of ``METHOD`` or ``METHOD/SUBJECT`` to Source
        Sources of the size and number of frames of ``standard`` (`open_prediction`).
    standard : Standard
    networks : Networks
    settings : ScoringConfig
        ``size`` and ``frames`` are those of ``standard``.
    out : path
        Folder for the file of the ground truth.
    dataset : str
        Name in the tables.
    baselines : bool
        Score the baselines too: ``flat_mean`` (mean colour of these ground truths, since there is no training
        set) and, of each method, ``METHOD_frozen``, ``METHOD_shuffled_frames`` and ``METHOD_mismatched``.
    scene_cuts : mapping of clip to bool, optional
        Clips that span a scene cut.

    Returns
    -------
    dict of ``METHOD`` or ``METHOD/SUBJECT`` to Scores
        Their ``notes`` also state what was done to the ground truth to make the sides comparable.
    """
    names = ground_truth.clips
    shape = {"size": standard.size, "count": standard.frames}
    path = out / "ground_truth.h5"
    encode_ground_truth(names, ground_truth, networks, path, settings, rate=standard.rate, strict=False)
    cuts = scene_cuts or {}
    clips = pd.DataFrame(
        {
            "clip": names,
            "segment": dataset,
            "movie": dataset,
            "scene_cut": [bool(cuts.get(name, False)) for name in names],
        }
    )
    sources = dict(predictions)
    if baselines:
        sources = with_baselines(sources, names, mean_colour(path), shape, settings.block, seed)
    found = score(
        clips, path, sources, networks, settings, count=standard.frames, dataset=dataset, subject="all", seed=seed,
        workers=workers,
    )  # fmt: skip
    return {
        key: scores._replace(notes=_notes(ground_truth, names, scores.notes)) for key, scores in found.items()
    }


def _notes(ground_truth: FolderSource, clips: Sequence[str], notes: Mapping[str, str]) -> dict[str, str]:
    """What was done to both sides, for clips where anything was."""
    found = {}
    for clip in clips:
        sides = {"ground_truth": note_of(ground_truth, clip), "prediction": notes.get(clip)}
        if any(sides.values()):
            found[clip] = "; ".join(f"{side}: {note}" for side, note in sides.items() if note)
    return found


def baseline_names(predictions: Sequence[str], *, mismatched: bool = True) -> dict[str, str]:
    """Baselines made of each prediction's frames, by name (``METHOD_frozen`` or ``METHOD_frozen/SUBJECT``).

    Raises
    ------
    InputError
        If a prediction has the name of a baseline.
    """
    kinds = [baseline.kind for baseline in derived_kinds() if mismatched or not baseline.exchanges_clips()]
    found = {}
    for key in predictions:
        method, slash, subject = key.partition("/")
        found |= {f"{method}_{kind}{slash}{subject}": key for kind in kinds}
    methods = {key.partition("/")[0] for key in predictions}
    taken = {FLAT, *(name.partition("/")[0] for name in found)} & methods
    if taken:
        raise InputError(f"Expected names of predictions other than those of baselines, got '{min(taken)}'.")
    return found


def with_baselines(
    sources: Mapping[str, Source],
    clips: list[str],
    colour: np.ndarray,
    shape: dict[str, int],
    block: int,
    seed: int,
) -> dict[str, Source]:
    """The sources, each followed by its baselines, and the mean colour (of every subject) at the end."""
    found: dict[str, Source] = {}
    of_baseline = baseline_names(list(sources), mismatched=len(clips) > 1)
    kinds = {baseline.kind: baseline for baseline in derived_kinds()}
    settings = json.dumps({"block": block})
    for key, source in sources.items():
        found[key] = source
        for name in (name for name, of in of_baseline.items() if of == key):
            kind = kinds[name.partition("/")[0].removeprefix(f"{key.partition('/')[0]}_")]
            if kind.exchanges_clips():
                found[name] = DonorSource(source, kind.donors(settings, clips, seed))
            else:
                found[name] = ChangedSource(source, kind.change, clips, seed)
    subjects = dict.fromkeys(key.partition("/")[2] for key in sources)
    flat = FlatSource(colour, **shape)
    return found | {f"{FLAT}/{subject}" if subject else FLAT: flat for subject in subjects}


def mean_colour(ground_truth: Path) -> np.ndarray:
    """Mean colour of the readable ground-truth clips, (3,) uint8; one clip is in memory at a time."""
    problems, total, pixels = read_problems([ground_truth]), np.zeros(3), 0
    for clip, frames in iterate_clips(ground_truth, "frames"):
        if clip not in problems:
            total += frames.sum(axis=(0, 1, 2), dtype=np.int64)
            pixels += frames[..., 0].size
    return np.rint(total / pixels).astype(np.uint8)
