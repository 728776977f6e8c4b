"""Score folders of videos against a folder of ground-truth videos, without the workflow and without fMRI."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from mind_animator.artefacts.arrays import iterate_clips
from mind_animator.artefacts.streams import ClipReader, PairScores, read_problems
from mind_animator.config.clipfolder import LayoutConfig
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError
from mind_animator.methods.frozen import Frozen
from mind_animator.methods.shuffled_frames import ShuffledFrames
from mind_animator.metrics import pixel
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
    """Size, number and rate of frames to which every clip of a comparison is resampled.

    Attributes
    ----------
    size : int
        Height and width, pixels.
    frames : int
        Frames per clip.
    rate : float
        Frames per second.
    """

    size: int
    frames: int
    rate: float


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
    if size is None or frames is None or duration is None:
        own_size, own_frames, own_rate = shape_of_ground_truth(
            files, layout, one_shape=size is None or frames is None
        )
        size, frames = size or own_size, frames or own_frames
        duration = duration or own_frames / own_rate
    return Standard(size, frames, frames / duration)


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
) -> dict[str, tuple[pd.DataFrame, PairScores, dict[str, str]]]:
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
    dict of ``METHOD`` or ``METHOD/SUBJECT`` to (rows, pairs, notes)
        ``notes`` by clip: what was done to ground truth and prediction to make them comparable, where
        anything was.
    """
    names = ground_truth.clips
    shape = {"size": standard.size, "count": standard.frames}
    path = out / "ground_truth.h5"
    encode_ground_truth(
        names, ground_truth, networks, path, batch=settings.batch, rate=standard.rate,
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
    sources = dict(predictions)
    if baselines:
        sources = with_baselines(sources, names, mean_colour(path), shape, settings.block, seed)
    scores: dict[str, dict[str, ClipScore]] = {method: {} for method in sources}
    with closing(ClipReader([path])) as kept:
        scored = score_clips(
            names, ArraySource([path], **shape), list(sources.values()), kept=kept,
            orders=shuffled_orders(settings, standard.frames, seed), workers=workers,
        )  # fmt: skip
        for found in tqdm(scored, "clips, by every method", len(names), mininterval=5, disable=None):
            for method, score in zip(sources, found, strict=True):
                scores[method][score.clip] = score
    results = {}
    for key, prediction in sources.items():
        method, _, subject = key.partition("/")
        rows, pairs = judge(
            clips, path, prediction, networks, settings, count=standard.frames, dataset=dataset,
            method=method, subject=subject or "all", seed=seed, scores=scores[key],
        )  # fmt: skip
        sides = {
            name: {"ground_truth": note_of(ground_truth, name), "prediction": scores[key][name].note}
            for name in names
        }
        notes = {
            name: "; ".join(f"{side}: {note}" for side, note in found.items() if note)
            for name, found in sides.items()
        }
        results[key] = rows, pairs, {name: note for name, note in notes.items() if note}
    return results


def baseline_names(predictions: Sequence[str], *, mismatched: bool = True) -> dict[str, str]:
    """Baselines made of each prediction's frames, by name (``METHOD_frozen`` or ``METHOD_frozen/SUBJECT``).

    Raises
    ------
    InputError
        If a prediction has the name of a baseline.
    """
    kinds = (
        *(baseline.kind for baseline in (Frozen, ShuffledFrames)),
        *(("mismatched",) if mismatched else ()),
    )
    found = {}
    for key in predictions:
        method, slash, subject = key.partition("/")
        found |= {f"{method}_{kind}{slash}{subject}": key for kind in kinds}
    methods = {key.partition("/")[0] for key in predictions}
    taken = {"flat_mean", *(name.partition("/")[0] for name in found)} & methods
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
    """The sources, each followed by its baselines, and ``flat_mean`` (of every subject) at the end."""
    found: dict[str, Source] = {}
    of_baseline = baseline_names(list(sources), mismatched=len(clips) > 1)
    changes = {baseline.kind: baseline.change for baseline in (Frozen, ShuffledFrames)}
    for key, source in sources.items():
        found[key] = source
        for name in (name for name, of in of_baseline.items() if of == key):
            kind = name.partition("/")[0].removeprefix(f"{key.partition('/')[0]}_")
            if kind in changes:
                found[name] = ChangedSource(source, changes[kind], clips, seed)
            else:
                found[name] = DonorSource(
                    source, dict(zip(clips, exchanged(clips, block, seed), strict=True))
                )
    subjects = dict.fromkeys(key.partition("/")[2] for key in sources)
    flat = FlatSource(colour, **shape)
    return found | {f"flat_mean/{subject}" if subject else "flat_mean": flat for subject in subjects}


def frame_table(ground_truth: ArraySource, sources: Mapping[str, Source], rate: float) -> pd.DataFrame:
    """Pixel metrics of every frame: ``method, subject, clip, frame, time, metric, value``; time in seconds.

    Clips that cannot be read are left out (their rows are in the table of clips).
    """
    rows = []
    for clip in tqdm(ground_truth.clips, "frames", mininterval=5, disable=None):
        if clip in ground_truth.problems:
            continue
        frames = ground_truth.read(clip)
        for key, source in sources.items():
            method, _, subject = key.partition("/")
            try:
                prediction = source.read(clip)
            except InputError:
                continue
            for metric in (pixel.ssim, pixel.psnr, pixel.hue_circular_corr):
                for index, value in enumerate(np.asarray(metric(frames, prediction), np.float64)):
                    rows.append((method, subject or "all", clip, index, index / rate, metric.__name__, value))
    return pd.DataFrame(rows, columns=["method", "subject", "clip", "frame", "time", "metric", "value"])


def mean_colour(ground_truth: Path) -> np.ndarray:
    """Mean colour of the readable ground-truth clips, (3,) uint8; one clip is in memory at a time."""
    problems, total, pixels = read_problems([ground_truth]), np.zeros(3), 0
    for clip, frames in iterate_clips(ground_truth, "frames"):
        if clip not in problems:
            total += frames.sum(axis=(0, 1, 2), dtype=np.int64)
            pixels += frames[..., 0].size
    return np.rint(total / pixels).astype(np.uint8)
