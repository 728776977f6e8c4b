"""From two sources of clips to a table of scores: one row a clip and metric, one clip in memory at a time.

Each video is read, and each frame embedded, once; what depends on the ground truth alone is computed once: flows,
logits and embeddings are taken from its file, SSIM's window sums and hue patterns serve all predictions that
a clip is compared with. A clip that cannot be read gets its rows with the reason, and the rest is scored.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Protocol

import cv2
import numpy as np
import pandas as pd

from mind_animator.artefacts.streams import ClipReader
from mind_animator.errors import InputError
from mind_animator.metrics import embedding, motion, pixel
from mind_animator.metrics.catalogue import metric, metric_names

COLUMNS = (
    "dataset",
    "method",
    "subject",
    "clip",
    "segment",
    "movie",
    "scene_cut",
    "metric",
    "value",
    "weight",
    "status",
)


class Source(Protocol):
    """Anything that gives a clip's frames (frame, size, size, 3) uint8, or raises an `InputError`."""

    def read(self, clip: str) -> np.ndarray:
        """Frames of a clip."""


def note_of(source: Source, clip: str) -> str:
    """What a source did to a clip that it has read (`FolderSource.notes`); empty where it did nothing."""
    return "; ".join(getattr(source, "notes", {}).get(clip, ()))


@dataclass(frozen=True)
class Networks:
    """The frozen models as functions of frames; None where a model is not to be had.

    Attributes
    ----------
    image_logits : callable, optional
        frames (n, height, width, 3) uint8 -> (n, classes) float32
    video_logits : callable, optional
        frames (clip, frame, height, width, 3) uint8 -> (clip, classes) float32
    clip_embedding_image, vifi : callable, optional
        frames (n, height, width, 3) uint8 -> (n, dim) float32 image embeddings
    efficientnet : callable, optional
        as ``image_logits``, of the classifier that comes from the package index: scores under a name of
        their own.
    absent : mapping of str to str
        Why a function is None, by its name; shown in the table.
    """

    image_logits: Callable[[np.ndarray], np.ndarray] | None = None
    video_logits: Callable[[np.ndarray], np.ndarray] | None = None
    clip_embedding_image: Callable[[np.ndarray], np.ndarray] | None = None
    vifi: Callable[[np.ndarray], np.ndarray] | None = None
    efficientnet: Callable[[np.ndarray], np.ndarray] | None = None
    absent: Mapping[str, str] = field(default_factory=dict)


# family of metrics -> the network (and the array of embeddings) that it needs
NEEDS = {
    "image_classifier": "image_logits",
    "video_classifier": "video_logits",
    "vifi": "vifi",
    "clip": "clip_embedding_image",
}
NETWORKS = (*NEEDS.values(), "efficientnet")
MOTION = ("flow_published", "flow", "mean_flow", "speed")
NOT_ASKED = "not asked for"
_NOT_FINITE = "not computed: the model answers NaN or infinity for this clip"
_EFFICIENTNET = "_efficientnet_lite0"


def describe_motion(frames: np.ndarray) -> dict[str, np.ndarray]:
    """What the motion metrics need of a true clip.

    Parameters
    ----------
    frames : array of shape (frame, height, width, 3), uint8

    Returns
    -------
    dict
        ``flow_published`` and ``flow`` (frame - 1, height, width, 2) float32, ``mean_flow`` (2,) and
        ``speed`` () float64, pixels a frame.
    """
    flow = motion.flows(frames)
    return {
        "flow_published": motion.flows(frames, grey="published"),
        "flow": flow,
        "mean_flow": motion.mean_flow(flow),
        "speed": motion.mean_speed(flow),
    }


@dataclass(frozen=True)
class TrueClip:
    """A true clip and all that pixel and motion metrics ask of it alone.

    Attributes
    ----------
    frames : array of shape (frame, height, width, 3), uint8
    sums, patterns : arrays
        `pixel.window_sums`, and `pixel.hue_pattern` of each frame.
    motion : mapping of str to array
        From `describe_motion`.
    """

    frames: np.ndarray
    sums: np.ndarray
    patterns: np.ndarray
    motion: Mapping[str, np.ndarray]


def describe_ground_truth(frames: np.ndarray, known: Mapping[str, np.ndarray]) -> TrueClip:
    """A true clip with its window sums and hue patterns; ``known`` is its motion."""
    patterns = np.stack([pixel.hue_pattern(frame) for frame in frames])
    return TrueClip(frames, pixel.window_sums(frames), patterns, known)


def compare_pixels(ground_truth: TrueClip, prediction: np.ndarray) -> dict[str, float]:
    """Pixel metrics of one clip: means over frames of SSIM, PSNR, hue correlation, and the published hue."""
    frames = ground_truth.frames
    return {
        "ssim": float(pixel.ssim(frames, prediction, ground_truth.sums).mean()),
        "psnr": float(pixel.psnr(frames, prediction).mean()),
        "hue_cos_published": float(pixel.hue_cos_published(frames, prediction)),
        "hue_circular_corr": float(pixel.hue_circular_corr(frames, prediction, ground_truth.patterns).mean()),
    }


def compare_motion(ground_truth: TrueClip, prediction: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """Motion metrics of one clip, and the prediction's mean flow (2,).

    A ground truth without any motion has no `epe_relative` (nan).
    """
    published = motion.flows(prediction, grey="published")
    flow, known = motion.flows(prediction), ground_truth.motion
    mean_flow = motion.mean_flow(flow)
    error = motion.epe_of_flows(known["flow"], flow)
    values = {
        "epe_published": float(motion.epe_of_flows(known["flow_published"], published)),
        "epe": float(error),
        "epe_relative": float(motion.epe_relative(error, known["speed"])),
        "flow_cosine": float(motion.flow_cosine(known["mean_flow"], mean_flow)),
    }
    return values, mean_flow


@dataclass(frozen=True)
class ClipScore:
    """Scores of one clip without a model.

    Attributes
    ----------
    clip : str
    status : str
        ``ok``, or why there are no values.
    values : dict of metric to float
    speed : float
        Mean speed of the ground truth, pixels a frame; nan where there are no values.
    mean_flow : array of shape (2,)
        Of the prediction, pixels a frame; nan where there is none.
    shuffled_epe : array of shape (shuffles,)
        End-point error under each shuffle of the frames; empty without shuffles.
    note : str
        What was done to the prediction's pixels before (`note_of`).
    """

    clip: str
    status: str
    values: dict[str, float] = field(default_factory=dict)
    speed: float = math.nan
    mean_flow: np.ndarray = field(default_factory=lambda: np.full(2, np.nan))
    shuffled_epe: np.ndarray = field(default_factory=lambda: np.empty(0))
    note: str = ""


def score_clip(
    clip: str,
    ground_truth: Source,
    predictions: Sequence[Source],
    kept: ClipReader | None,
    orders: np.ndarray | None,
) -> list[ClipScore]:
    """Pixel and motion scores of one clip by each prediction; what is unreadable gives its reason, no exception.

    Parameters
    ----------
    clip : str
    ground_truth : Source
    predictions : sequence of Source
        All that are compared with this ground truth: what they ask of it is computed once.
    kept : ClipReader, optional
        File with the ground truth's motion (see `describe_motion`); computed here where it is None.
    orders : array of shape (shuffles, frame), optional
        From `mind_animator.statistics.permutation.frame_orders`, for the frame-shuffle test.
    """
    try:
        frames = ground_truth.read(clip)
        moves = {name: kept.read(clip, name) for name in MOTION} if kept else describe_motion(frames)
    except InputError as error:
        return [ClipScore(clip, str(error)) for _ in predictions]
    known = describe_ground_truth(frames, moves)
    return [_compare(clip, known, prediction, orders) for prediction in predictions]


def _compare(clip: str, ground_truth: TrueClip, prediction: Source, orders: np.ndarray | None) -> ClipScore:
    try:
        frames = prediction.read(clip)
    except InputError as error:
        return ClipScore(clip, str(error))
    if ground_truth.frames.shape != frames.shape:
        return ClipScore(clip, f"Expected frames of shape {ground_truth.frames.shape}, got {frames.shape}.")
    moving, mean_flow = compare_motion(ground_truth, frames)
    shuffled = np.empty(0)
    if orders is not None:
        shuffled = motion.shuffled_epe(motion.shuffle_epe_table(ground_truth.motion["flow"], frames), orders)
    values = compare_pixels(ground_truth, frames) | moving
    speed, note = float(ground_truth.motion["speed"]), note_of(prediction, clip)
    return ClipScore(clip, "ok", values, speed, mean_flow, shuffled, note)


def score_clips(
    clips: Sequence[str],
    ground_truth: Source,
    predictions: Sequence[Source],
    *,
    kept: ClipReader | None = None,
    orders: np.ndarray | None = None,
    workers: int = 1,
) -> Iterator[list[ClipScore]]:
    """`score_clip` for every clip in order; the numbers do not depend on the number of processes.

    Raises
    ------
    InputError
        If the ground truth's file lacks an array of `MOTION`: it is not one clip's fault.
    """
    if kept is not None:
        kept.require(MOTION)
    if workers == 1:
        for clip in clips:
            yield score_clip(clip, ground_truth, predictions, kept, orders)
        return
    job = (ground_truth, predictions, kept, orders)
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_adopt, initargs=job)
    with pool:
        # A window of jobs: results that wait for a slow clip do not pile up.
        window = 4 * workers
        for start in range(0, len(clips), window):
            yield from pool.map(_score_in_worker, clips[start : start + window])


_job: tuple | None = None  # what a worker process scores: set once when it starts


def _adopt(*job: object) -> None:
    global _job
    cv2.setNumThreads(1)
    _job = job


def _score_in_worker(clip: str) -> list[ClipScore]:
    return score_clip(clip, *_job)


def embed_clips(
    clips: Iterable[str], source: Source, networks: Networks, *, batch: int
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Logits and embeddings of every readable clip, each frame once, ``batch`` clips a forward.

    A short last batch is padded with its last clip, so that every forward has one shape and no result
    depends on its neighbours. Unreadable clips are left out.

    Yields
    ------
    clip : str
    arrays : dict
        ``image_logits`` (frame, classes), ``video_logits`` (classes,), ``clip_embedding_image`` and ``vifi`` (frame,
        dim), float32; those whose network is there.
    """
    waiting: list[tuple[str, np.ndarray]] = []

    def flush() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        names = [clip for clip, _ in waiting]
        frames = np.stack([frames for _, frames in waiting] + [waiting[-1][1]] * (batch - len(waiting)))
        flat = frames.reshape(-1, *frames.shape[2:])
        found: dict[str, np.ndarray] = {}
        for name in ("image_logits", "clip_embedding_image", "vifi", "efficientnet"):
            network = getattr(networks, name)
            if network is not None:
                values = np.asarray(network(flat), np.float32)
                found[name] = values.reshape(batch, frames.shape[1], *values.shape[1:])
        if networks.video_logits is not None:
            found["video_logits"] = np.asarray(networks.video_logits(frames), np.float32)
        for row, clip in enumerate(names):
            yield clip, {name: values[row] for name, values in found.items()}

    for clip in clips:
        try:
            waiting.append((clip, source.read(clip)))
        except InputError:
            continue
        if len(waiting) == batch:
            yield from flush()
            waiting.clear()
    if waiting:
        yield from flush()


def compare_embeddings(
    ground_truth: Mapping[str, np.ndarray], prediction: Mapping[str, np.ndarray], n_ways: Sequence[int]
) -> tuple[dict[str, float], dict[str, str]]:
    """Model-based metrics of one clip, and why some of them are not to be had.

    Parameters
    ----------
    ground_truth, prediction : mappings
        From `embed_clips`.
    n_ways : sequence of int

    Returns
    -------
    values : dict of metric to float
    refused : dict of metric to reason
    """
    import torch  # not needed where no model is

    from mind_animator.metrics.nway import N_TARGETS, nway_image, nway_video

    values: dict[str, float] = {}
    refused: dict[str, str] = {}
    broken = {
        name
        for name in ground_truth.keys() & prediction.keys()
        if not (np.isfinite(ground_truth[name]).all() and np.isfinite(prediction[name]).all())
    }
    sources = (
        ("image_logits", "image", "", nway_image),
        ("video_logits", "video", "", nway_video),
        ("efficientnet", "image", _EFFICIENTNET, nway_image),
    )
    for name, kind, ending, accuracy in sources:
        if name not in ground_truth or name not in prediction:
            continue
        if name in broken:
            refused |= dict.fromkeys((f"{kind}_{n}way{ending}" for n in n_ways), _NOT_FINITE)
            continue
        classes = ground_truth[name].shape[-1]
        scores = [torch.from_numpy(np.array(side[name])) for side in (ground_truth, prediction)]
        for n in n_ways:
            if n > classes - N_TARGETS + 1:
                refused[f"{kind}_{n}way{ending}"] = f"not computed: the {kind} model has {classes} classes"
            else:
                values[f"{kind}_{n}way{ending}"] = float(accuracy(*scores, n_way=n))
    both = {
        name for name in ("clip_embedding_image", "vifi") if name in ground_truth and name in prediction
    } - broken
    for name, family in (("clip_embedding_image", "clip"), ("vifi", "vifi")):
        if name in broken:
            refused |= dict.fromkeys(metric_names((), (family,)), _NOT_FINITE)
    if "vifi" in both:
        values["vifi_score"] = float(embedding.vifi_score(ground_truth["vifi"], prediction["vifi"]))
    if "clip_embedding_image" in both:
        values["clip_consistency_ungated"] = float(
            embedding.clip_consistency_ungated(prediction["clip_embedding_image"])
        )
        values["clip_consistency_to_ground_truth"] = float(
            embedding.clip_consistency_to_ground_truth(
                ground_truth["clip_embedding_image"], prediction["clip_embedding_image"]
            )
        )
        if "vifi" in both:
            values["clip_consistency_gated"] = float(
                embedding.clip_consistency_gated(
                    prediction["clip_embedding_image"], np.array(values["vifi_score"])
                )
            )
        else:
            refused["clip_consistency_gated"] = "not computed: its gate is the VIFI score, which is absent"
    return values, refused


def score_rows(
    clips: pd.DataFrame,
    scores: Mapping[str, ClipScore],
    networks: Networks,
    modelled: Mapping[str, tuple[dict[str, float], dict[str, str]]],
    *,
    n_ways: tuple[int, ...],
    dataset: str,
    method: str,
    subject: str,
) -> pd.DataFrame:
    """The long table: one row a clip and metric, `COLUMNS`, whatever went wrong.

    Parameters
    ----------
    clips : DataFrame
        ``clip``, ``segment``, ``movie``, ``scene_cut``: every clip that should be scored.
    scores : mapping of clip to ClipScore
    networks : Networks
        For the reasons of what is absent.
    modelled : mapping of clip to (values, refused)
        From `compare_embeddings`.

    Returns
    -------
    DataFrame
        ``value`` is nan exactly where ``status`` is not ``ok``; ``weight`` is the clip's in a mean over clips
        (`mind_animator.metrics.catalogue.Metric.weighted`).
    """
    names = metric_names(n_ways)
    if networks.efficientnet is not None or networks.absent.get("efficientnet", NOT_ASKED) != NOT_ASKED:
        names += [f"image_{n}way{_EFFICIENTNET}" for n in n_ways]
    rows = []
    for place in clips.itertuples(index=False):
        score = scores[place.clip]
        values, refused = modelled.get(place.clip, ({}, {}))
        values = score.values | values
        for name in names:
            value, status = values.get(name, math.nan), score.status
            need = "efficientnet" if name.endswith(_EFFICIENTNET) else NEEDS.get(metric(name).family)
            if status == "ok" and name not in values:
                status = refused.get(name) or f"not computed: {networks.absent.get(need, 'no model given')}"
            elif status == "ok" and not math.isfinite(value):
                value, status = math.nan, "undefined: the ground truth does not move"
            rows.append(
                (
                    dataset,
                    method,
                    subject,
                    place.clip,
                    place.segment,
                    place.movie,
                    bool(place.scene_cut),
                    name,
                    value if status == "ok" else math.nan,
                    score.speed if metric(name).weighted else 1.0,
                    status,
                )
            )
    return pd.DataFrame(rows, columns=COLUMNS)
