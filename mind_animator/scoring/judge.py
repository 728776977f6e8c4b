"""One method, one subject: every score of every clip, and the pair scores that the block tests look up."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from mind_animator.artefacts.arrays import read_attrs
from mind_animator.artefacts.streams import ClipReader, PairScores
from mind_animator.config.scoring import ScoringConfig
from mind_animator.scoring.pairs import nway_pairs, pixel_pairs
from mind_animator.scoring.score import (
    NETWORKS,
    ClipScore,
    Networks,
    Source,
    compare_embeddings,
    embed_clips,
    score_clips,
    score_rows,
)
from mind_animator.scoring.sources import ArraySource
from mind_animator.statistics.blocks import aligned_blocks
from mind_animator.statistics.permutation import frame_orders, pair_scores

N_TARGETS = 3
Embed = Callable[[Sequence[str]], Iterator[tuple[str, dict[str, np.ndarray]]]]


def judge(
    clips: pd.DataFrame,
    ground_truth: Path | str,
    prediction: Source,
    networks: Networks,
    settings: ScoringConfig,
    *,
    count: int,
    dataset: str,
    method: str,
    subject: str,
    seed: int,
    workers: int = 1,
    scores: Mapping[str, ClipScore] | None = None,
    embed: Embed | None = None,
) -> tuple[pd.DataFrame, PairScores]:
    """Score one method's predictions of one subject.

    Parameters
    ----------
    clips : DataFrame
        ``clip, segment, movie, scene_cut``: the test clips in order of time within a movie.
    ground_truth : path
        From `mind_animator.scoring.ground_truth.encode_ground_truth`.
    prediction : Source
        Gives frames of ``settings.size`` and ``count``.
    networks : Networks
        Only those that the ground truth's file was made with are asked.
    settings : ScoringConfig
    count : int
        Frames a clip.
    seed : int
        Of the frame shuffles.
    workers : int
        Processes for the pixel and motion metrics; the numbers do not depend on it.
    scores : mapping of clip to ClipScore, optional
        Pixel and motion scores where they are known already (`score_clips`); by default they are computed.
    embed : callable, optional
        Logits and embeddings of clips where they are known already; by default the networks are asked
        (`embed_clips`).

    Returns
    -------
    rows : DataFrame
        `mind_animator.scoring.score.COLUMNS`.
    pairs : PairScores
    """
    names = clips["clip"].tolist()
    kept = ClipReader([ground_truth])
    ground_truths = ArraySource([ground_truth], size=settings.size, count=count)
    networks = _as_in_ground_truth(networks, ground_truth)
    if scores is None:
        orders = shuffled_orders(settings, count, seed)
        scored = score_clips(names, ground_truths, [prediction], kept=kept, orders=orders, workers=workers)
        bar = tqdm(scored, f"{method} {subject}", len(names), mininterval=5)
        scores = {score.clip: score for (score,) in bar}

    readable = [name for name in names if scores[name].status == "ok"]
    modelled, logits = {}, {"image_logits": {}, "video_logits": {}}
    if any(getattr(networks, need) is not None for need in NETWORKS):
        embedded = (
            embed(readable) if embed else embed_clips(readable, prediction, networks, batch=settings.batch)
        )
        for clip, arrays in tqdm(embedded, f"{method} {subject}, models", len(readable), mininterval=5):
            known = {name: kept.read(clip, name) for name in arrays}
            modelled[clip] = compare_embeddings(known, arrays, settings.n_ways)
            for name in logits.keys() & arrays.keys():
                logits[name][clip] = arrays[name]
    table = score_rows(
        clips, scores, networks, modelled,
        n_ways=settings.n_ways, dataset=dataset, method=method, subject=subject,
    )  # fmt: skip

    rows = aligned_blocks(clips["segment"].tolist(), settings.block)
    true_flow = np.array([_or_nan(kept, name) for name in names])
    flow = np.array([scores[name].mean_flow for name in names])
    pairs: dict[str, np.ndarray] = {}
    if len(rows) > 1:
        shape = (len(rows), len(rows), rows.shape[1])
        pairs = {name: np.full(shape, np.nan) for name in ("ssim", "hue_circular_corr", "epe")}
        for offset, found in pixel_pairs(rows, names, kept, prediction, size=settings.pair_size):
            for name, values in found.items():
                pairs[name][:, :, offset] = values
        pairs["flow_cosine"] = _flow_pairs(flow, true_flow, rows)
        for kind in ("image", "video"):
            values = _nway_pairs(kind, names, kept, logits[f"{kind}_logits"], rows)
            if values is not None:
                pairs[f"{kind}_2way"] = values
    by_clip = {"mean_flow_ground_truth": true_flow, "mean_flow": flow}
    if settings.shuffles:
        nothing = np.full(settings.shuffles, np.nan)
        by_clip["shuffled_epe"] = np.array(
            [scores[name].shuffled_epe if scores[name].status == "ok" else nothing for name in names]
        )
    kept.close()
    return table, PairScores(names, rows, pairs, by_clip)


def shuffled_orders(settings: ScoringConfig, count: int, seed: int) -> np.ndarray | None:
    """Orders of ``count`` frames for the frame-shuffle test (shuffle, frame); None where it is left out."""
    if not settings.shuffles:
        return None
    return frame_orders(count, settings.shuffles, np.random.default_rng(seed))


def _as_in_ground_truth(networks: Networks, ground_truth: Path | str) -> Networks:
    """Without the networks that the ground truth's file was made without; its reason is the reason."""
    absent = {
        key.removeprefix("absent:"): str(why)
        for key, why in read_attrs(ground_truth).items()
        if key.startswith("absent:")
    }
    there = {need: None if need in absent else getattr(networks, need) for need in NETWORKS}
    return Networks(**there, absent={**networks.absent, **absent})


def _or_nan(kept: ClipReader, clip: str) -> np.ndarray:
    return kept.read(clip, "mean_flow") if kept.has(clip) else np.full(2, np.nan)


def _flow_pairs(flow: np.ndarray, true_flow: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Cosines of mean flows; nan where a clip has none."""
    values = pair_scores(np.nan_to_num(flow), np.nan_to_num(true_flow), rows)
    values[np.isnan(flow[rows, 0])[:, None] | np.isnan(true_flow[rows, 0])[None]] = np.nan
    return values


def _nway_pairs(
    kind: str, names: Sequence[str], kept: ClipReader, logits: dict[str, np.ndarray], rows: np.ndarray
) -> np.ndarray | None:
    """Two-way accuracies of aligned pairs; None without the classifier or with too few classes."""
    if not logits:
        return None
    shape = next(iter(logits.values())).shape
    if shape[-1] <= N_TARGETS:
        return None
    nothing = np.full(shape, np.nan, np.float32)
    ground_truths = np.array([kept.read(name, f"{kind}_logits") for name in names])
    return nway_pairs(ground_truths, np.array([logits.get(name, nothing) for name in names]), rows, n_way=2)
