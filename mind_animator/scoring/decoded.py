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
# target -> (array of the predictions, array of the features)
TARGETS = {
    "semantic": ("semantic", "clip_embedding_text"),
    "prompt_embedding": ("prompt_embedding", "prompt_embedding"),
    "structure": ("structure", "latents"),
    "change": ("latents", "latents"),
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
        ``clip_embedding_text`` (clip, dim) and ``prompt_embedding``, and with frames
        ``clip_embedding_image``, ``latents``, of the same clips.
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
        ...), and ``target_*``. For the change within a clip: the prediction
        with its frames reversed and that of a clip of the next block (``swapped``), as negative controls; a frozen
        clip scores 0.
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
    # a clip of the next block, as a negative control
    next_block = np.roll(own, -block)
    for name, target in decoder_targets(features).items():
        predicted = TARGETS[name][0]
        if predicted not in predictions:
            continue
        prediction = np.asarray(predictions[predicted])
        prediction = change_of(prediction) if name == "change" else prediction
        variants = {name: prediction}
        if name == "change":
            variants |= {"change_reversed": prediction[:, ::-1]}
            variants |= {"change_swapped": prediction[next_block]} if len(rows) > 1 else {}
        for control, shown in variants.items():
            corr, r2 = target_scores(target, shown, subtract_mean=name != "change")
            values |= {f"target_{control}_corr": corr, f"target_{control}_r2": r2}
        if means and TARGETS[name][1] in means:
            mean = decoder_targets({TARGETS[name][1]: means[TARGETS[name][1]][None]})[name][0]
            values[f"target_{name}_trainr2"] = r2_against(target, prediction, mean)
    if "flow" in predictions and "latents" in features:
        velocity = latent_velocity(np.asarray(features["latents"]))
        prediction = np.asarray(predictions["flow"]).mean(axis=(2, 3), dtype=np.float64)
        values["target_flow_cosine"] = cosines(velocity, prediction)
        if len(rows) > 1:
            values["target_flow_swapped_cosine"] = cosines(velocity, prediction[next_block])
    labels = clips[["clip", "segment", "movie", "scene_cut"]].reset_index(drop=True)
    table = pd.concat(
        [labels.assign(metric=name, value=value, weight=1.0, status="ok") for name, value in values.items()],
        ignore_index=True,
    ).assign(dataset=dataset, method=method, subject=subject)
    return table[list(COLUMNS)], PairScores(clips["clip"].tolist(), rows, pairs, {}), candidates


def decoder_targets(features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The targets (clip, ...) of the decoders whose features are given.

    ``structure`` is the latent of the first frame; ``change``, the target of the motion decoder, is `change_of` the
    latents. (Whole latents do not measure motion: most of their variance is the still image.)
    """
    select = {"structure": lambda latents: latents[:, 0], "change": change_of}
    return {
        name: select.get(name, np.asarray)(np.asarray(features[array]))
        for name, (_, array) in TARGETS.items()
        if array in features
    }


def change_of(latents: np.ndarray) -> np.ndarray:
    """Latents (clip, frame, channel, h, w) minus the mean over the frames of their clip; 0 for a frozen clip."""
    return latents - latents.mean(axis=1, keepdims=True)


def latent_velocity(latents: np.ndarray) -> np.ndarray:
    """Mean velocity (clip, 2) of what moves in latents (clip, frame, channel, h, w), latent pixels per frame."""
    import torch

    from mind_animator.decoders.flow import moving_flow

    flow = moving_flow(torch.from_numpy(np.ascontiguousarray(latents, np.float32)), 1)
    return flow.flatten(1).double().numpy()


def cosines(target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Cosine of the angle between vectors (clip, 2), (clip,) float64; 0 where either is 0."""
    norm = np.linalg.norm(target, axis=1) * np.linalg.norm(prediction, axis=1)
    return np.divide((target * prediction).sum(axis=1), norm, out=np.zeros(len(norm)), where=norm > 0)


def target_scores(
    target: np.ndarray, prediction: np.ndarray, *, subtract_mean: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Agreement of each clip's prediction with its target, the mean target of all clips subtracted from both.

    With t and p the target and the prediction minus the mean target, as one vector per clip::

        corr = t . p / (|t| |p|),      r2 = 1 - |t - p|^2 / mean over clips of |t|^2

    so that a decoder that always predicts the mean target scores 0 on both; the mean of ``r2`` over clips is
    the fraction of variance explained.

    Parameters
    ----------
    target, prediction : array of shape (clip, ...)
    subtract_mean : bool
        False for targets that are centred in each clip (`change_of`): no mean target is subtracted, so that a
        prediction of 0 scores 0.

    Returns
    -------
    corr, r2 : arrays of shape (clip,), float64
        In [-1, 1] and (-inf, 1], higher is better.
    """
    if target.shape != prediction.shape:
        raise ValueError(
            f"Expected targets and predictions of one shape, got {target.shape} and {prediction.shape}."
        )
    mean = target.mean(axis=0, dtype=np.float64) if subtract_mean else 0.0
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
