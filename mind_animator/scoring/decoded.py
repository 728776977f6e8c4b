"""Scores of decoded features, before any video is made: retrieval, and each decoder on its own target."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import iterate_clips, read_arrays
from mind_animator.artefacts.reconstructions import has_array
from mind_animator.artefacts.streams import PairScores
from mind_animator.errors import InputError
from mind_animator.metrics.retrieval import aligned_ranks, retrieval_ranks, top_k_hits, two_way
from mind_animator.scoring.score import COLUMNS
from mind_animator.statistics.blocks import aligned_blocks

TOP = (1, 10, 50, 100)
# Arrays of the feature files that scores compare with.
FEATURES = ("clip_embedding_text", "clip_embedding_image", "prompt_embedding", "latents")
# target -> (array of the predictions, array of the features, frames of it)
TARGETS = {
    "semantic": ("semantic", "clip_embedding_text", slice(None)),
    "prompt_embedding": ("prompt_embedding", "prompt_embedding", slice(None)),
    "structure": ("structure", "latents", 0),
    "motion": ("latents", "latents", slice(1, None)),
}


def read_features(
    clips: Sequence[str],
    *,
    text: Sequence[Path] = (),
    image: Sequence[Path] = (),
    extra_text: Sequence[Path] = (),
    extra_image: Sequence[Path] = (),
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Features of the test clips, and further candidates (`score_decoded`), from their shards.

    What the shards do not contain is left out; without further candidates there is no large set.

    Raises
    ------
    InputError
        If there is no embedding, or further candidates have embeddings of another width.
    """
    features, extra = {}, {}
    for paths, names in (
        (text, ("clip_embedding_text", "prompt_embedding")),
        (image, ("clip_embedding_image", "latents")),
    ):
        there = [name for name in names if paths and has_array(paths[0], name)]
        features |= read_arrays(paths, there, list(clips))[1] if there else {}
    if not {"clip_embedding_text", "clip_embedding_image"} & set(features):
        raise InputError(
            f"Expected embeddings of text or image in {[*map(str, text), *map(str, image)]}, got none."
        )
    for kind, paths in (("text", extra_text), ("image", extra_image)):
        name = f"clip_embedding_{kind}"
        if paths and name in features:
            extra[kind] = read_arrays(paths, [name])[1][name]
            widths = features[name].shape[1], extra[kind].shape[1]
            if widths[0] != widths[1]:
                raise InputError(
                    f"Expected further candidates (scoring.candidates_from) of width {widths[0]} as the data set's, "
                    f"got {widths[1]} in {paths[0]}."
                )
    return features, extra


def score_decoded(
    clips: pd.DataFrame,
    predictions: Mapping[str, np.ndarray],
    features: Mapping[str, np.ndarray],
    extra: Mapping[str, np.ndarray],
    means: Mapping[str, np.ndarray] | None = None,
    *,
    block: int,
    dataset: str,
    method: str,
    subject: str,
) -> tuple[pd.DataFrame, PairScores, dict[str, int]]:
    """Retrieval and target scores of one method and subject.

    Parameters
    ----------
    clips : DataFrame
        ``clip, segment, movie, scene_cut``, the order of all arrays.
    predictions : mapping
        ``semantic`` (clip, dim), and where there are any ``prompt_embedding, structure, latents``.
    features : mapping
        ``clip_embedding_text`` (clip, dim) and ``prompt_embedding``, and with frames ``clip_embedding_image``, ``latents``, of the same
        clips.
    extra : mapping
        ``text``, ``image`` (candidate, dim): further candidates of the large set; empty for none.
    means : mapping, optional
        Mean of each feature over the training clips (`training_means`); without it there are neither centred
        ranks nor R2 against the training mean.
    block : int

    Returns
    -------
    rows : DataFrame
        `COLUMNS`; ranks and top-k hits by cosine as published (``retrieval_text_rank``, ...), by the cosine of
        embeddings minus the mean embedding of the training clips (``retrieval_text_centred_rank``, ...) with the
        two-way accuracy (``retrieval_text_centred_2way``), among further candidates (``retrieval_text_large_rank``,
        ...), and ``target_*``.
    pairs : PairScores
        ``retrieval_{text,image}[_centred]_{cosine,rank,top10}``.
    candidates : dict of str to int
        Number of candidates by the middle of the name (``text``, ``text_large``, ``text_large_centred``, ...).
    """
    values: dict[str, np.ndarray] = {}
    candidates: dict[str, int] = {}
    pairs: dict[str, np.ndarray] = {}
    rows = aligned_blocks(clips["segment"].tolist(), block)
    query = np.asarray(predictions["semantic"])
    own = np.arange(len(query))
    for kind in ("text", "image"):
        if f"clip_embedding_{kind}" not in features:
            continue
        small = np.asarray(features[f"clip_embedding_{kind}"])
        sets = {kind: small}
        if kind in extra:
            sets[f"{kind}_large"] = np.concatenate([small, extra[kind]])
        centres = {"": None}
        if means and f"clip_embedding_{kind}" in means:
            centres["_centred"] = means[f"clip_embedding_{kind}"]
        for suffix, centre in centres.items():
            for name, pool in sets.items():
                ranks = retrieval_ranks(query, pool, own, centre)
                candidates[name + suffix] = len(pool)
                values[f"retrieval_{name}{suffix}_rank"] = ranks.middle
                for k in TOP:
                    if k <= len(pool):
                        values[f"retrieval_{name}{suffix}_top{k}"] = top_k_hits(ranks, k)
                if centre is not None and len(pool) > 1:
                    values[f"retrieval_{name}{suffix}_2way"] = two_way(ranks)
            if len(rows) > 1:
                found = aligned_ranks(query, small, rows, centre)
                for measure, aligned in zip(("cosine", "rank", "top10"), found, strict=True):
                    if measure != "top10" or len(small) >= 10:
                        pairs[f"retrieval_{kind}{suffix}_{measure}"] = aligned
    for name, target in decoder_targets(features).items():
        predicted, wanted, frames = TARGETS[name]
        if predicted in predictions:
            guess = np.asarray(predictions[predicted])
            guess = guess[:, frames] if predicted == "latents" else guess
            values[f"target_{name}_corr"], values[f"target_{name}_r2"] = target_scores(target, guess)
            if means and wanted in means:
                mean = means[wanted][frames] if wanted == "latents" else means[wanted]
                values[f"target_{name}_trainr2"] = r2_against(target, guess, mean)
    place = clips[["clip", "segment", "movie", "scene_cut"]].reset_index(drop=True)
    table = pd.concat(
        [place.assign(metric=name, value=value, weight=1.0, status="ok") for name, value in values.items()],
        ignore_index=True,
    ).assign(dataset=dataset, method=method, subject=subject)
    return table[list(COLUMNS)], PairScores(clips["clip"].tolist(), rows, pairs, {}), candidates


def decoder_targets(features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What each decoder aims at, (clip, ...), of those whose features are there."""
    return {
        name: np.asarray(features[wanted])[:, frames] if wanted == "latents" else np.asarray(features[wanted])
        for name, (_, wanted, frames) in TARGETS.items()
        if wanted in features
    }


def target_scores(target: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How close each clip's prediction is to its target, the mean target of all clips taken off both.

    With t and p the target and the prediction less the mean target, as one vector a clip::

        corr = t . p / (|t| |p|),      r2 = 1 - |t - p|^2 / mean over clips of |t|^2

    so that a decoder that always answers the mean target scores 0 on both; the mean of ``r2`` over clips is
    the share of variance explained.

    Parameters
    ----------
    target, prediction : array of shape (clip, ...)

    Returns
    -------
    corr, r2 : arrays of shape (clip,), float64
        In [-1, 1] and (-inf, 1], higher is better.
    """
    if target.shape != prediction.shape:
        raise ValueError(
            f"Expected targets and predictions of one shape, got {target.shape} and {prediction.shape}."
        )
    mean = target.mean(axis=0, dtype=np.float64)
    corr, error, power = np.empty(len(target)), np.empty(len(target)), np.empty(len(target))
    for row, (t, p) in enumerate(zip(target, prediction, strict=True)):
        t, p = (t - mean).ravel(), (p - mean).ravel()
        power[row] = t @ t
        norm = np.sqrt(power[row] * (p @ p))
        corr[row] = t @ p / norm if norm > 0 else 0.0
        error[row] = (t - p) @ (t - p)
    return corr, 1 - error / power.mean()


def r2_against(target: np.ndarray, prediction: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """R2 of each clip's prediction against a constant prediction, the mean target of the training clips::

        r2 = 1 - |target - prediction|^2 / mean over clips of |target - mean|^2

    A decoder that always predicts the training mean scores 0. The mean target of the test clips, which
    `target_scores` compares with, is not known to any decoder.

    Parameters
    ----------
    target, prediction : array of shape (clip, ...)
    mean : array of shape (...)

    Returns
    -------
    array of shape (clip,), float64
        In (-inf, 1], higher is better.
    """
    error, power = np.empty(len(target)), np.empty(len(target))
    for row, (t, p) in enumerate(zip(target, prediction, strict=True)):
        error[row] = np.square(np.subtract(t, p, dtype=np.float64)).sum()
        power[row] = np.square(np.subtract(t, mean, dtype=np.float64)).sum()
    return 1 - error / power.mean()


def training_means(
    clips: Sequence[str], paths: Sequence[Path], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Mean over clips, float64, of the named arrays that feature files contain, one clip in memory at a time."""
    means = {}
    for name in names:
        there = [path for path in paths if has_array(path, name)]
        if there:
            total = sum(np.asarray(array, np.float64) for _, array in iterate_clips(there, name, clips))
            means[name] = total / len(clips)
    return means
