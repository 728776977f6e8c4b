"""The interface of a metric, and of what a metric is computed from.

A metric is one class in one file: it describes a clip once, and compares the description of a ground truth with
that of a prediction. The comparison of a clip with its own prediction is the clip's score; comparisons with the
predictions of other clips give the block permutation tests. Nothing here imports torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mind_animator.metrics.frames import check_pair

Description = Mapping[str, np.ndarray]

# Groups of metrics in the order of tables and pages: title, and how to read them.
GROUPS = {
    "content": (
        "Content",
        "N-way: how often a classifier of images (I) or videos (V) prefers a class of the clip to n - 1 other classes.",
    ),
    "pixels": ("Pixels and colours", "Frame against frame, at the same moment."),
    "motion": ("Motion", "Optical flow: end-point error (EPE) and agreement of direction."),
    "consistency": (
        "Consistency over time",
        "Similarity of neighbouring frames: a still image scores highest, so high values alone are no evidence of "
        "quality.",
    ),
    "distribution": (
        "Distribution",
        "Distance between the set of reconstructions and the set of ground truths.",
    ),
    "retrieval": ("Retrieval", "Rank of the clip's own embedding among candidates, from decoded embeddings."),
    "targets": ("Decoders", "Decoded features against their own targets, before any video is generated."),
}


class NotComputed(ValueError):
    """A metric that cannot be computed for a clip; the message states the reason and appears in the tables."""


@dataclass(frozen=True)
class Input:
    """An array per clip that metrics describe; computed once per clip, however many metrics read it.

    Attributes
    ----------
    name : str
        Name of the array in the ground-truth file.
    compute : callable
        frames (frame, height, width, 3) uint8 -> array.
    """

    name: str
    compute: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Network:
    """An array per clip that a frozen network computes.

    Attributes
    ----------
    name : str
        Name of the array in the ground-truth file.
    model : str
        Key of ``config.models`` under which another id or folder can be given.
    model_id : str
        Model id, or file name of a checkpoint, by default. Revisions are in the lock file. Empty for a network
        that comes with an installed package.
    load : callable
        (model_id_or_path, lock, device) -> function of frames (clip, frame, height, width, 3) uint8 that returns an
        array (clip, ...) float32; raises `InputError` where the network cannot be loaded.
    stored : bool
        Whether the arrays of the ground truth are in its file; large ones are computed again for every method.
    """

    name: str
    model: str
    model_id: str
    load: Callable[[str, str, str], Callable[[np.ndarray], np.ndarray]]
    stored: bool = True


FRAMES = Input("frames", lambda frames: frames)


class Metric(ABC):
    """One metric. The docstring of a subclass states formula, range and source.

    Attributes
    ----------
    name : str
        Name in tables, which distinguishes definitions.
    label : str
        Name used in publications.
    unit : str
        ``1`` for dimensionless numbers.
    low, high : float or None
        Range; None where there is no bound.
    higher_is_better : bool
    published : bool
        Whether this is the definition of the published evaluation code.
    group : str
        Key of `GROUPS`, or a title of its own.
    inputs : tuple of Input and Network
        Arguments of `describe`, in this order.
    order : int
        Position in tables.
    standard : bool
        Whether the metric is computed by default (``scoring.metrics: [standard]``).
    paired : bool
        Whether predictions are also compared with the ground truths of other clips (tests of chance level).
    compact : bool
        Whether descriptions are small enough (below 100 kB) to be held for all clips. Pairs of other metrics are
        computed from frames of ``scoring.pair_size`` pixels.
    weighted : bool
        Whether the score of a set is the mean of its clips weighted by `weight`; a plain mean otherwise.
    undefined : str
        Reason in tables where `compare` returns nan.
    by_clip : tuple of str
        Arrays of the description that are stored per clip in addition to the pair scores, for separate tests.
    headline : str
        Interpretation of the metric, for the summary at the top of the report; empty for most.
    """

    name: str
    label: str
    unit: str = "1"
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = True
    published: bool = False
    group: str = "pixels"
    inputs: tuple[Input | Network, ...] = (FRAMES,)
    order: int = 100
    standard: bool = True
    paired: bool = True
    compact: bool = False
    weighted: bool = False
    undefined: str = "undefined"
    by_clip: tuple[str, ...] = ()
    headline: str = ""

    @classmethod
    def variants(cls, n_ways: Sequence[int]) -> "list[Metric]":
        """Metrics of this class that are computed with these settings: one, except for n-way accuracies."""
        return [cls()]

    @classmethod
    def named(cls, name: str) -> "Metric | None":
        """The metric of this class that has this name, or None."""
        return cls() if name == cls.name else None

    @property
    def direction(self) -> str:
        """``higher`` or ``lower``: which is better."""
        return "higher" if self.higher_is_better else "lower"

    @property
    def networks(self) -> tuple[Network, ...]:
        """Networks that the metric needs."""
        return tuple(source for source in self.inputs if isinstance(source, Network))

    def describe(self, *inputs: np.ndarray) -> dict[str, np.ndarray]:
        """What `compare` needs of one clip; by default the inputs themselves, under their names."""
        return {source.name: array for source, array in zip(self.inputs, inputs, strict=True)}

    @abstractmethod
    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray | float:
        """Score of a prediction: one value, or one per frame, whose mean is the score of the clip.

        Raises
        ------
        NotComputed
            If the metric is not defined for these inputs; the reason appears in the tables.
        """

    def compare_many(self, ground_truth: Description, predictions: Sequence[Description]) -> np.ndarray:
        """Scores (prediction,) float64 of many predictions for one ground truth, equal to those of `compare`."""
        return np.array(
            [np.mean(self.compare(ground_truth, prediction)) for prediction in predictions], np.float64
        )

    def weight(self, ground_truth: Description) -> float:
        """Weight of a clip in the mean over a set."""
        return 1.0

    def shuffled(
        self, ground_truth: Description, frames: np.ndarray, orders: np.ndarray
    ) -> np.ndarray | None:
        """Scores (order,) of the predicted frames in other orders (frame-shuffle test), if the metric offers them."""
        return None

    def frame_values(self, ground_truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """`compare` of two clips (frame, height, width, 3) uint8, for metrics that need no network."""
        check_pair(ground_truth, prediction)
        sides = [
            self.describe(*(source.compute(frames) for source in self.inputs))
            for frames in (ground_truth, prediction)
        ]
        return np.asarray(self.compare(*sides), np.float64)

    def __call__(self, ground_truth: np.ndarray, prediction: np.ndarray) -> float:
        """Score of one predicted clip, both clips (frame, height, width, 3) uint8; for metrics without a network."""
        return float(np.mean(self.frame_values(ground_truth, prediction)))


@dataclass(frozen=True)
class SetScore:
    """Value of a metric of a set of clips.

    Attributes
    ----------
    value : float
    n : int
        Number of clips.
    note : str
        What limits the value, e.g. the number of clips; empty if nothing does.
    """

    value: float
    n: int
    note: str = ""


class SetMetric(Metric):
    """A metric of a whole set of clips, e.g. a distance between distributions.

    `describe` is called once per clip as for any metric; its descriptions are held for all clips. There are no
    scores of single clips, and no interval: resampling clips changes the number of distinct clips, on which such
    distances depend.
    """

    paired, compact, group = False, True, "distribution"

    def compare(self, ground_truth: Description, prediction: Description) -> float:
        """Not defined: there is no score of one clip."""
        raise NotComputed(f"{self.name} is a score of a set of clips")

    @abstractmethod
    def compare_sets(
        self, ground_truths: Sequence[Description], predictions: Sequence[Description]
    ) -> SetScore:
        """Score of the predictions of all clips, in the order of the ground truths."""
