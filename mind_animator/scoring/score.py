"""Scores of predicted videos: every clip by every metric, and every prediction with the ground truths of other clips.

One pass over the clips: each prediction is read once for the metrics of frames (and once more for those that
need networks) and described once per metric. The comparison with its own ground truth is its score;
comparisons with the ground truths at the same offset of other blocks are the pairs that the block permutation
tests look up. What depends on the ground truth alone is in its file (`mind_animator.scoring.ground_truth`). A
clip that cannot be read gets rows with the reason, and the rest is scored.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from mind_animator.artefacts.arrays import open_arrays, read_attrs
from mind_animator.artefacts.streams import ClipReader, PairScores, read_problems
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError
from mind_animator.metrics.base import (
    FRAMES,
    Description,
    Input,
    Metric,
    Network,
    NotComputed,
    SetMetric,
    SetScore,
)
from mind_animator.metrics.registry import networks_of, open_metrics
from mind_animator.scoring.sources import ArraySource
from mind_animator.statistics.blocks import aligned_blocks
from mind_animator.statistics.permutation import frame_orders
from mind_animator.video.conform import conform

COLUMNS = (
    "dataset", "method", "subject", "clip", "segment", "movie", "scene_cut", "metric", "value", "weight", "status",
)  # fmt: skip
# Predictions whose descriptions are held at a time; every ground truth of the offset is read once per tile.
TILE = 16
NO_MODEL = "no model given"


class Source(Protocol):
    """A reader of clips. It may have ``notes`` (what was done to a clip's pixels) and ``known(clip, name)``, an array
    that need not be computed again, or None."""

    def read(self, clip: str) -> np.ndarray:
        """Frames of a clip, (frame, size, size, 3) uint8; `InputError` if there are none."""


@dataclass(frozen=True)
class Networks:
    """Frozen networks as functions of clips, by the name of their `Network`.

    Attributes
    ----------
    functions : mapping of name to callable
        frames (clip, frame, height, width, 3) uint8 -> (clip, ...) float32.
    absent : mapping of name to str
        Why a network cannot be used; appears in the tables.
    """

    functions: Mapping[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ClipScore:
    """Scores of one predicted clip.

    Attributes
    ----------
    status : str
        ``ok``, or why there are no scores.
    values : dict of metric to array
        One value, or one per frame.
    reasons : dict of metric to str
        Why a metric was not computed.
    weights : dict of metric to float
    compact : dict of metric to description
        Of compact metrics that are paired or that score sets.
    shuffled : dict of metric to array of shape (order,)
        Scores with the predicted frames in other orders.
    note : str
        What was done to the prediction's pixels before.
    """

    status: str = "ok"
    values: dict[str, np.ndarray] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    compact: dict[str, Description] = field(default_factory=dict)
    shuffled: dict[str, np.ndarray] = field(default_factory=dict)
    note: str = ""


class Scores(NamedTuple):
    """Scores of one method and subject.

    Attributes
    ----------
    rows : DataFrame
        `COLUMNS`, one row per clip and metric. ``value`` is nan exactly where ``status`` is not ``ok``;
        ``weight`` is the clip's in a mean over clips.
    pairs : PairScores
    notes : dict of clip to str
        What was done to predictions before they were compared; clips without a note are left out.
    frames : DataFrame
        ``clip, metric, frame, value`` of metrics with a value per frame.
    """

    rows: pd.DataFrame
    pairs: PairScores
    notes: dict[str, str]
    frames: pd.DataFrame


class Arrays:
    """Arrays of one clip that metrics describe, each read or computed once.

    Parameters
    ----------
    frames : array of shape (frame, height, width, 3), uint8, or a function that returns them
    known : callable, optional
        name -> array that need not be computed, or None.
    functions : mapping of name to callable
        Networks for arrays that are not known.
    """

    def __init__(
        self,
        frames: np.ndarray | Callable[[], np.ndarray],
        known: Callable[[str], np.ndarray | None] | None = None,
        functions: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
    ) -> None:
        self._frames, self._known, self._functions = frames, known or (lambda name: None), functions or {}
        self._held: dict[str, np.ndarray] = {}

    @property
    def frames(self) -> np.ndarray:
        """The frames, read once."""
        if callable(self._frames):
            self._frames = self._frames()
        return self._frames

    def __getitem__(self, source: Input | Network) -> np.ndarray:
        """The array of an input; `NotComputed` if there is none."""
        if source is FRAMES:
            return self.frames
        if source.name not in self._held:
            array = self._known(source.name)
            if array is None and isinstance(source, Input):
                array = source.compute(self.frames)
            elif array is None and source.name in self._functions:
                array = self._functions[source.name](self.frames[None])[0]
            elif array is None:
                raise NotComputed(NO_MODEL)
            self._held[source.name] = array
        array = self._held[source.name]
        if isinstance(source, Network) and not np.isfinite(array).all():
            raise NotComputed("the model returned NaN or infinity for this clip")
        return array

    def describe(self, metric: Metric) -> Description | NotComputed:
        """Description of the clip by a metric, or why there is none."""
        try:
            return metric.describe(*(self[source] for source in metric.inputs))
        except NotComputed as error:
            return error

    def shrunk(self, size: int) -> "Arrays":
        """The clip at the size of the pairs; itself if it is not larger."""
        if self.frames.shape[1] <= size:
            return self
        return Arrays(conform(self.frames, size=size, count=len(self.frames)))


def score(
    clips: pd.DataFrame,
    ground_truth: Path | str,
    predictions: Mapping[str, Source],
    networks: Networks,
    settings: ScoringConfig,
    *,
    count: int,
    dataset: str,
    subject: str,
    seed: int,
    workers: int = 1,
) -> dict[str, Scores]:
    """Score predictions of one or more methods.

    Parameters
    ----------
    clips : DataFrame
        ``clip, segment, movie, scene_cut``: the test clips in order of time within a movie.
    ground_truth : path
        From `mind_animator.scoring.ground_truth.encode_ground_truth`.
    predictions : mapping of ``METHOD`` or ``METHOD/SUBJECT`` to Source
        Frames of ``settings.size`` and ``count``. What they need of a ground truth is computed once for all of them.
    networks : Networks
        Used where the ground-truth file was made with them.
    settings : ScoringConfig
    count : int
        Frames per clip.
    subject : str
        Where the key of a prediction names none.
    seed : int
        Of the frame shuffles.
    workers : int
        Processes for the metrics without networks; the numbers do not depend on it.

    Returns
    -------
    dict to Scores, with the keys of ``predictions``

    Raises
    ------
    InputError
        If the ground-truth file lacks what these settings need.
    """
    names = clips["clip"].tolist()
    rows = aligned_blocks(clips["segment"].tolist(), settings.block)
    job = _Job(Path(ground_truth), list(predictions.values()), settings, count, seed)
    scorer = _Scorer(job)
    tiles = list(_tiles(names, rows))
    found = [_Found({}, {}) for _ in predictions]
    ground_truths: dict[str, dict[str, Description]] = {}
    bar = tqdm(total=len(names), desc=", ".join([*predictions][:3]), mininterval=5, disable=None)
    for tile, result in zip(tiles, _run(scorer, job, tiles, workers), strict=True):
        bar.update(len(tile.clips))
        ground_truths |= result.ground_truths
        for mine, scores, pairs in zip(found, result.scores, result.pairs, strict=True):
            mine.scores.update(zip(tile.clips, scores, strict=True))
            for name, values in pairs.items():
                whole = mine.pairs.setdefault(name, np.full((len(rows), len(rows), rows.shape[1]), np.nan))
                whole[tile.start : tile.start + len(tile.clips), :, tile.offset] = values
    bar.close()
    results = {}
    for (key, source), mine in zip(predictions.items(), found, strict=True):
        method, _, own_subject = key.partition("/")
        of_clips = {**ground_truths}
        scorer.score_networks(names, source, networks, mine.scores, of_clips, settings.batch)
        table = _rows(clips, mine.scores, scorer.metrics).assign(
            dataset=dataset, method=method, subject=own_subject or subject
        )
        pairs = _pair_scores(names, rows, scorer, mine, of_clips)
        notes = {clip: one.note for clip in names if (one := mine.scores[clip]).note}
        results[key] = Scores(table[list(COLUMNS)], pairs, notes, _frame_rows(names, mine.scores))
    scorer.close()
    return results


class _Job(NamedTuple):
    """What a worker process needs: metrics are opened there by their names."""

    ground_truth: Path
    predictions: list[Source]
    settings: ScoringConfig
    count: int
    seed: int


class _Tile(NamedTuple):
    """Clips that are scored together, and the ground truths with which they are paired."""

    clips: list[str]
    others: list[str]
    offset: int = 0
    start: int = 0


class _TileScores(NamedTuple):
    """Scores, and pairs (clip, other) by metric, of each prediction; compact descriptions of the ground truths."""

    scores: list[list[ClipScore]]
    pairs: list[dict[str, np.ndarray]]
    ground_truths: dict[str, dict[str, Description]]


class _Found(NamedTuple):
    """Scores by clip, and pairs (block, block, offset) by metric, of one method."""

    scores: dict[str, ClipScore]
    pairs: dict[str, np.ndarray]


def _tiles(names: Sequence[str], rows: np.ndarray) -> Iterator[_Tile]:
    """All clips: those in whole blocks offset by offset, then the others, which have no pairs."""
    paired = rows if len(rows) > 1 else rows[:0]
    for offset in range(paired.shape[1] if len(paired) else 0):
        column = [names[row] for row in paired[:, offset]]
        for start in range(0, len(column), TILE):
            yield _Tile(column[start : start + TILE], column, offset, start)
    rest = [names[row] for row in np.setdiff1d(np.arange(len(names)), paired)]
    for start in range(0, len(rest), TILE):
        yield _Tile(rest[start : start + TILE], [])


def _run(scorer: "_Scorer", job: _Job, tiles: Sequence[_Tile], workers: int) -> Iterator[_TileScores]:
    if workers == 1:
        yield from map(scorer.score_tile, tiles)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_adopt, initargs=(job,)) as pool:
        # A window of jobs: results that wait for a slow tile do not accumulate.
        for start in range(0, len(tiles), 2 * workers):
            yield from pool.map(_score_in_worker, tiles[start : start + 2 * workers])


_scorer: "_Scorer | None" = None  # of a worker process: set once when it starts


def _adopt(job: _Job) -> None:
    global _scorer
    cv2.setNumThreads(1)
    _scorer = _Scorer(job)


def _score_in_worker(tile: _Tile) -> _TileScores:
    return _scorer.score_tile(tile)


class _Scorer:
    """Compares predictions with the ground truths of one file."""

    def __init__(self, job: _Job) -> None:
        self.predictions, self.settings = job.predictions, job.settings
        self.metrics = open_metrics(job.settings.metrics, job.settings.n_ways)
        self.by_frames = [metric for metric in self.metrics if not metric.networks]
        self.by_networks = [metric for metric in self.metrics if metric.networks]
        self.paired = [metric for metric in self.by_frames if metric.paired and not metric.compact]
        self.ground_truth = ArraySource([job.ground_truth], size=job.settings.size, count=job.count)
        self.kept = ClipReader([job.ground_truth])
        attrs = read_attrs(job.ground_truth)
        self.absent = {
            key.removeprefix("absent:"): str(why) for key, why in attrs.items() if key.startswith("absent:")
        }
        with open_arrays(job.ground_truth) as file:
            self.arrays = set(file)
        self.problems = read_problems([job.ground_truth])
        self.orders = None
        if job.settings.shuffles and job.count > 1:
            self.orders = frame_orders(job.count, job.settings.shuffles, np.random.default_rng(job.seed))
        self.sides = {metric.name: pair_arrays(metric, self.arrays) for metric in self.paired}
        self._check(job, attrs)

    def _check(self, job: _Job, attrs: Mapping[str, object]) -> None:
        """One error for a file that was made with other settings: it is not the fault of a clip."""
        needed = [source.name for metric in self.by_frames for source in metric.inputs]
        self.kept.require([name for name in dict.fromkeys(needed) if name not in self.absent])
        made = attrs.get("pair_size", job.settings.pair_size)
        lacking = [name for name, arrays in self.sides.items() if not arrays and name not in self.absent]
        if made != job.settings.pair_size or lacking:
            raise InputError(
                f"Expected a ground-truth file for pairs of {job.settings.pair_size} pixels "
                f"(scoring.pair_size) and the metrics {list(self.sides)}, got {job.ground_truth} for {made} "
                "pixels" + (f" without '{lacking[0]}'." if lacking else ".")
            )

    def close(self) -> None:
        """Close the ground-truth file."""
        self.kept.close()

    def known(self, clip: str, name: str) -> np.ndarray | None:
        """An array of the ground-truth file."""
        if name in self.absent:
            raise NotComputed(self.absent[name])
        return self.kept.read(clip, name) if name in self.arrays else None

    def score_tile(self, tile: _Tile) -> _TileScores:
        """Scores of the clips of a tile, and their pairs with the ground truths of its offset."""
        scores: list[list[ClipScore]] = [[] for _ in self.predictions]
        sides: list[list[dict[str, Description]]] = [[] for _ in self.predictions]
        ground_truths: dict[str, dict[str, Description]] = {}
        for clip in tile.clips:
            try:
                ground_truth = Arrays(self.ground_truth.read(clip), partial(self.known, clip))
            except InputError as error:
                for of_prediction, side in zip(scores, sides, strict=True):
                    of_prediction.append(ClipScore(str(error)))
                    side.append({})
                continue
            described = {metric.name: ground_truth.describe(metric) for metric in self.by_frames}
            ground_truths[clip] = {
                metric.name: described[metric.name] for metric in self.by_frames if metric.compact
            }
            for of_prediction, side, prediction in zip(scores, sides, self.predictions, strict=True):
                one, small = self._score_clip(clip, described, prediction, bool(tile.others))
                of_prediction.append(one)
                side.append(small)
        return _TileScores(scores, self._pairs(tile, sides), ground_truths)

    def _score_clip(
        self, clip: str, ground_truths: Mapping[str, Description], prediction: Source, paired: bool
    ) -> tuple[ClipScore, dict[str, Description]]:
        """Scores of one clip, and its descriptions for pairs."""
        try:
            frames = prediction.read(clip)
        except InputError as error:
            return ClipScore(str(error)), {}
        expected = self._shape(clip)
        if frames.shape != expected:
            return ClipScore(f"Expected frames of shape {expected}, got {frames.shape}."), {}
        known = getattr(prediction, "known", None)
        own = Arrays(frames, known and partial(known, clip))
        small = own.shrunk(self.settings.pair_size)
        one, side = ClipScore(note=note_of(prediction, clip)), {}
        for metric in self.by_frames:
            described = own.describe(metric)
            compare(metric, ground_truths[metric.name], described, one)
            if self.orders is not None and metric.name in one.values:
                shuffled = metric.shuffled(ground_truths[metric.name], frames, self.orders)
                if shuffled is not None:
                    one.shuffled[metric.name] = shuffled
            if paired and metric.name in self.sides:
                described = described if small is own else small.describe(metric)
                if not isinstance(described, NotComputed):
                    side[metric.name] = described
        return one, side

    def _shape(self, clip: str) -> tuple[int, ...]:
        return self.ground_truth.count, self.ground_truth.size, self.ground_truth.size, 3

    def _pairs(self, tile: _Tile, sides: list[list[dict[str, Description]]]) -> list[dict[str, np.ndarray]]:
        """Scores (clip, other) of each prediction by metric; nan where either side cannot be read."""
        shape = len(tile.clips), len(tile.others)
        found = [{name: np.full(shape, np.nan) for name in self.sides} if tile.others else {} for _ in sides]
        for column, other in enumerate(tile.others):
            if other in self.problems:
                continue
            for metric in self.paired:
                arrays = self.sides[metric.name]
                ground_truth = {key: self.kept.read(other, name) for key, name in arrays.items()}
                for side, values in zip(sides, found, strict=True):
                    there = [index for index, described in enumerate(side) if metric.name in described]
                    if there and ground_truth:
                        held = [side[index][metric.name] for index in there]
                        values[metric.name][there, column] = metric.compare_many(ground_truth, held)
        return found

    def score_networks(
        self,
        names: Sequence[str],
        source: Source,
        networks: Networks,
        scores: Mapping[str, ClipScore],
        ground_truths: dict[str, dict[str, Description]],
        batch: int,
    ) -> None:
        """Add the scores that need networks to ``scores``, and compact descriptions of ground truths to
        ``ground_truths``."""
        needed = networks_of(self.by_networks)
        known = getattr(source, "known", None)
        reasons = {
            name: networks.absent.get(name, NO_MODEL)
            for name, network in needed.items()
            if name not in networks.functions and not (known and network.stored)
        }
        reasons |= {
            name: f"the ground-truth file holds no '{name}'"
            for name, network in needed.items()
            if network.stored and name not in self.arrays
        }
        reasons |= {name: why for name, why in self.absent.items() if name in needed}
        computed = []
        for metric in self.by_networks:
            missing = [network.name for network in metric.networks if network.name in reasons]
            for one in scores.values():
                if missing:
                    one.reasons[metric.name] = f"not computed: {reasons[missing[0]]}"
            if not missing:
                computed.append(metric)
        if not computed:
            return
        compact = [metric for metric in computed if metric.compact]

        def true_arrays(clip: str) -> Arrays:
            return Arrays(
                partial(self.ground_truth.read, clip), partial(self.known, clip), networks.functions
            )

        for clip in names:
            if clip not in self.problems and compact:
                arrays = true_arrays(clip)
                described = {metric.name: arrays.describe(metric) for metric in compact}
                ground_truths[clip] = ground_truths.get(clip, {}) | described
        readable = [clip for clip in names if scores[clip].status == "ok"]
        used = list(networks_of(computed).values())
        embedded = (
            (
                (clip, Arrays(partial(source.read, clip), partial(known, clip), networks.functions))
                for clip in readable
            )
            if known
            else (
                (clip, Arrays(frames, arrays.get))
                for clip, frames, arrays in embed_clips(readable, source, networks, used, batch=batch)
            )
        )
        for clip, arrays in tqdm(embedded, "networks", len(readable), mininterval=5, disable=None):
            true = true_arrays(clip)
            for metric in computed:
                described = ground_truths[clip][metric.name] if metric.compact else true.describe(metric)
                compare(metric, described, arrays.describe(metric), scores[clip])


def frame_table(found: Mapping[str, Scores], rate: float) -> pd.DataFrame:
    """Values per frame: ``method, subject, clip, frame, time, metric, value``, time in seconds.

    Metrics of motion have a value per step, listed at its first frame. Clips that cannot be read are left out.

    Parameters
    ----------
    found : mapping of ``METHOD`` or ``METHOD/SUBJECT`` to Scores
    rate : float
        Frames per second.
    """
    tables = []
    for key, scores in found.items():
        method, _, subject = key.partition("/")
        who = {"method": method, "subject": subject or "all", "time": scores.frames["frame"] / rate}
        tables.append(scores.frames.assign(**who))
    columns = ["method", "subject", "clip", "frame", "time", "metric", "value"]
    return pd.concat(tables, ignore_index=True)[columns]


def compare(
    metric: Metric,
    ground_truth: Description | NotComputed,
    described: Description | NotComputed,
    one: ClipScore,
) -> None:
    """Add the score by one metric, or the reason why there is none."""
    try:
        for side in (ground_truth, described):
            if isinstance(side, NotComputed):
                raise side
        if metric.compact and (metric.paired or isinstance(metric, SetMetric)):
            one.compact[metric.name] = described
        if isinstance(metric, SetMetric):
            return
        value = np.asarray(metric.compare(ground_truth, described), np.float64)
    except NotComputed as error:
        one.reasons[metric.name] = f"not computed: {error}"
        return
    one.weights[metric.name] = metric.weight(ground_truth)
    if np.isfinite(value).all():
        one.values[metric.name] = value
    else:
        one.reasons[metric.name] = metric.undefined


def embed_clips(
    clips: Iterable[str], source: Source, networks: Networks, used: Sequence[Network], *, batch: int
) -> Iterator[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
    """Logits and embeddings of every readable clip, ``batch`` clips per forward pass.

    A short last batch is padded with its last clip, so that every forward pass has one shape and no result depends on
    its neighbours. Unreadable clips are left out.

    Yields
    ------
    clip : str
    frames : array of shape (frame, height, width, 3), uint8
    arrays : dict of network name to array, float32
    """
    functions = {network.name: networks.functions[network.name] for network in used}
    waiting: list[tuple[str, np.ndarray]] = []

    def flush() -> Iterator[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
        frames = np.stack([frames for _, frames in waiting] + [waiting[-1][1]] * (batch - len(waiting)))
        found = {name: np.asarray(function(frames), np.float32) for name, function in functions.items()}
        for row, (clip, own) in enumerate(waiting):
            yield clip, own, {name: values[row] for name, values in found.items()}

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


def note_of(source: Source, clip: str) -> str:
    """What a source did to a clip that it has read (`FolderSource.notes`); empty where it did nothing."""
    return "; ".join(getattr(source, "notes", {}).get(clip, ()))


def pair_name(metric: Metric, key: str) -> str:
    """Name in the ground-truth file of an array of a metric's description for pairs."""
    return f"pair:{metric.name}:{key}"


def pair_arrays(metric: Metric, arrays: Iterable[str]) -> dict[str, str]:
    """Arrays of a metric's description for pairs -> their names in the ground-truth file."""
    start = pair_name(metric, "")
    return {name.removeprefix(start): name for name in sorted(arrays) if name.startswith(start)}


def _pair_scores(
    names: list[str],
    rows: np.ndarray,
    scorer: _Scorer,
    found: _Found,
    ground_truths: Mapping[str, dict[str, Description]],
) -> PairScores:
    """Pairs of all metrics in the order of tables, arrays by clip, and scores of the set."""
    pairs, by_clip, sets = {}, {}, {}
    for metric in scorer.metrics:
        described = [found.scores[name].compact.get(metric.name) for name in names]
        of_ground_truth = [ground_truths.get(name, {}).get(metric.name) for name in names]
        of_ground_truth = [None if isinstance(one, NotComputed) else one for one in of_ground_truth]
        if metric.name in found.pairs:
            pairs[metric.name] = found.pairs[metric.name]
        elif metric.paired and metric.compact and len(rows) > 1 and any(d is not None for d in described):
            pairs[metric.name] = _compact_pairs(metric, of_ground_truth, described, rows)
        for key in metric.by_clip:
            by_clip[f"{key}_ground_truth"], by_clip[key] = (
                _stacked([one and one[key] for one in side]) for side in (of_ground_truth, described)
            )
        shuffled = [found.scores[name].shuffled.get(metric.name) for name in names]
        if any(one is not None for one in shuffled):
            by_clip[f"shuffled_{metric.name}"] = _stacked(shuffled)
        if isinstance(metric, SetMetric):
            both = [
                (t, d)
                for t, d in zip(of_ground_truth, described, strict=True)
                if t is not None and d is not None
            ]
            sets[metric.name] = _set_score(metric, both, found.scores)
    return PairScores(names, rows, pairs, by_clip, sets)


def _set_score(
    metric: SetMetric, both: list[tuple[Description, Description]], scores: Mapping[str, ClipScore]
) -> dict[str, object]:
    """Value, number of clips and status of a score of a set."""
    reasons = [one.reasons.get(metric.name) or one.status for one in scores.values()]
    status = next((reason for reason in reasons if reason != "ok"), "ok")
    try:
        if not both:
            raise NotComputed(status.removeprefix("not computed: "))
        result: SetScore = metric.compare_sets(*map(list, zip(*both, strict=True)))
    except NotComputed as error:
        return {"value": np.nan, "n": 0, "n_expected": len(scores), "status": f"not computed: {error}"}
    return {"value": result.value, "n": result.n, "n_expected": len(scores), "status": result.note or "ok"}


def _stacked(arrays: list[np.ndarray | None]) -> np.ndarray:
    """One array of all clips, nan where there is none."""
    nothing = np.full(next((one.shape for one in arrays if one is not None), (2,)), np.nan)
    return np.array([nothing if one is None else one for one in arrays])


def _compact_pairs(
    metric: Metric,
    ground_truths: list[Description | None],
    described: list[Description | None],
    rows: np.ndarray,
) -> np.ndarray:
    """Scores (block, block, offset) of every prediction with every aligned ground truth; nan where there is none."""
    found = np.full((len(rows), len(rows), rows.shape[1]), np.nan)
    for offset in range(rows.shape[1]):
        there = [block for block, row in enumerate(rows[:, offset]) if described[row] is not None]
        held = [described[rows[block, offset]] for block in there]
        for column, row in enumerate(rows[:, offset]):
            if ground_truths[row] is not None and held:
                found[there, column, offset] = metric.compare_many(ground_truths[row], held)
    return found


def _rows(clips: pd.DataFrame, scores: Mapping[str, ClipScore], metrics: Sequence[Metric]) -> pd.DataFrame:
    """One row per clip and metric."""
    found = []
    for row in clips[["clip", "segment", "movie", "scene_cut"]].itertuples(index=False):
        one = scores[row.clip]
        for metric in metrics:
            if isinstance(metric, SetMetric):
                continue
            value, status = one.values.get(metric.name), one.status
            if status == "ok" and value is None:
                status = one.reasons.get(metric.name, f"not computed: {NO_MODEL}")
            number = np.nan if value is None else float(value.mean())
            weight = one.weights.get(metric.name, np.nan if metric.weighted else 1.0)
            found.append((*row[:3], bool(row.scene_cut), metric.name, number, weight, status))
    columns = ["clip", "segment", "movie", "scene_cut", "metric", "value", "weight", "status"]
    return pd.DataFrame(found, columns=columns)


def _frame_rows(names: Sequence[str], scores: Mapping[str, ClipScore]) -> pd.DataFrame:
    found = [
        (clip, name, frame, float(value))
        for clip in names
        for name, values in scores[clip].values.items()
        if values.ndim
        for frame, value in enumerate(values)
    ]
    return pd.DataFrame(found, columns=["clip", "metric", "frame", "value"])
