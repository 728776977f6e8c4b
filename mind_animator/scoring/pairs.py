"""Every prediction against the ground truths of other clips, aligned in blocks, so that any re-pairing is a look-up.

``pairs[b, c, o]`` is the score of the prediction of clip (b, o), the clip at offset o of block b, against
the ground truth of clip (c, o), the clip at the same offset of block c. The "other clips" of a clip are thus those
at its own offset in every other block: n_blocks - 1 of them, all at least a block away in time.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from mind_animator.artefacts.streams import ClipReader
from mind_animator.errors import InputError
from mind_animator.metrics import motion
from mind_animator.metrics.pixel import WINDOW, hue_pattern
from mind_animator.scoring.score import Source
from mind_animator.video.conform import conform

# Predictions held at a time; past each tile every ground truth of the offset is read once more: memory does not grow.
_TILE = 12
_LUMINANCE = np.float32((0.01 * 255) ** 2)
_CONTRAST = np.float32((0.03 * 255) ** 2)
_UNBIASED = np.float32(WINDOW**2 / (WINDOW**2 - 1))
_PREFIX = "pair_"  # of a side's arrays in the ground truth's file


def pixel_pairs(
    rows: np.ndarray, clips: Sequence[str], ground_truth: ClipReader, prediction: Source, *, size: int
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """SSIM, hue correlation and end-point error of aligned pairs, an offset at a time.

    Each prediction is read and described once; each ground truth was, when its file was made (`PairSide.arrays`).

    Parameters
    ----------
    rows : integer array of shape (block, offset)
        From `mind_animator.statistics.blocks.aligned_blocks`.
    clips : sequence of str
        What the rows count.
    ground_truth : ClipReader
        The ground truth's file; a clip whose arrays are nan there is unreadable.
    prediction : Source
    size : int
        Height and width of the comparison, pixels; the ground truth's file was made for the same.

    Yields
    ------
    offset : int
    pairs : dict
        ``ssim``, ``hue_circular_corr`` and ``epe``, each (block, block), float64; a row of nan for a
        prediction that cannot be read, a column for a ground truth.
    """
    for offset in range(rows.shape[1]):
        names = [clips[row] for row in rows[:, offset]]
        found = {name: np.full((len(names), len(names)), np.nan) for name in PairSide.METRICS}
        for start in range(0, len(names), _TILE):
            sides = [_read(prediction, name, size) for name in names[start : start + _TILE]]
            there = [place for place, side in enumerate(sides) if side is not None]
            held = [sides[place] for place in there]
            if not held:
                continue
            for column, name in enumerate(names):
                known = PairSide.kept(ground_truth, name)
                if known is None:
                    continue
                if known.shape != held[0].shape:
                    raise InputError(
                        f"Expected a ground truth's file made for pairs of {size} pixels, got {known.shape} "
                        f"(frames, height, width) beside predictions of {held[0].shape}."
                    )
                for metric, values in known.compare(held).items():
                    found[metric][[start + place for place in there], column] = values
        yield offset, found


class PairSide:
    """What pairs ask of one clip, described once: each pair adds what takes both sides.

    Frames and channels lie side by side as channels of one image.

    Parameters
    ----------
    frames : array of shape (frame, height, width, 3), uint8
    """

    METRICS = ("ssim", "hue_circular_corr", "epe")
    _ARRAYS = ("image", "centre", "local", "variance", "hue", "flow")

    def __init__(self, frames: np.ndarray) -> None:
        height, width = frames.shape[1:3]
        image = np.ascontiguousarray(frames.transpose(1, 2, 0, 3), dtype=np.float32)
        image = image.reshape(height, width, -1)
        self.centre = image.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
        self.image = image - self.centre  # covariances do not mind, and lose fewer digits
        self.local = _local_mean(self.image)
        self.variance = (_local_mean(self.image * self.image) - self.local * self.local) * _UNBIASED
        self.hue = np.concatenate([hue_pattern(frame) for frame in frames]).astype(np.float32)
        self.flow = motion.flows(frames)
        self._derive()

    def _derive(self) -> None:
        self.mean = self.local + self.centre
        self.power = self.mean * self.mean

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, height, width."""
        return len(self.flow) + 1, *self.image.shape[:2]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What a file keeps of it, float32."""
        return {_PREFIX + name: getattr(self, name) for name in self._ARRAYS}

    @classmethod
    def kept(cls, reader: ClipReader, clip: str) -> "PairSide | None":
        """A side whose `arrays` were kept; None for a clip that was never written (nan)."""
        side = cls.__new__(cls)
        side.centre = reader.read(clip, _PREFIX + "centre")
        if not np.isfinite(side.centre).all():
            return None
        for name in cls._ARRAYS:
            setattr(side, name, reader.read(clip, _PREFIX + name))
        side._derive()
        return side

    def compare(self, others: Sequence["PairSide"]) -> dict[str, np.ndarray]:
        """Scores of this ground truth with each prediction, means over frames.

        Returns
        -------
        dict of metric to array of shape (prediction,), float64
            ``ssim`` equal to `mind_animator.metrics.pixel.ssim` to 1e-5 (float32 moments about each image's
            mean), ``hue_circular_corr`` to 1e-6 (float32 dot products of unit vectors), ``epe`` to that of
            `mind_animator.metrics.motion.epe`, pixels a frame at the size of these frames.
        """
        hue = np.array([other.hue for other in others]) @ self.hue
        return {
            "ssim": np.array([self._ssim(other) for other in others]),
            "hue_circular_corr": hue.astype(np.float64) / self.shape[0],
            "epe": np.array([motion.epe_of_flows(self.flow, other.flow) for other in others]),
        }

    def _ssim(self, other: "PairSide") -> float:
        """Mean over windows, channels and frames."""
        product = _local_mean(cv2.multiply(self.image, other.image))
        product -= self.local * other.local
        product *= 2 * _UNBIASED
        product += _CONTRAST
        above = self.mean * other.mean
        above *= 2
        above += _LUMINANCE
        above *= product
        below = self.power + other.power
        below += _LUMINANCE
        product = self.variance + other.variance
        product += _CONTRAST
        below *= product
        above /= below
        return float(above.mean(dtype=np.float64))


def describe_pair(frames: np.ndarray, size: int) -> PairSide:
    """A clip's side of the pairs, shrunk to ``size`` pixels where it is larger."""
    return PairSide(frames if frames.shape[1] <= size else conform(frames, size=size, count=len(frames)))


def _local_mean(image: np.ndarray) -> np.ndarray:
    margin = WINDOW // 2
    means = cv2.boxFilter(image, cv2.CV_32F, (WINDOW, WINDOW))
    return np.ascontiguousarray(means[margin:-margin, margin:-margin])


def _read(source: Source, clip: str, size: int) -> PairSide | None:
    try:
        return describe_pair(source.read(clip), size)
    except InputError:
        return None


def nway_pairs(
    ground_truths: np.ndarray, predictions: np.ndarray, rows: np.ndarray, *, n_way: int, n_targets: int = 3
) -> np.ndarray:
    """N-way accuracy of every prediction for the target classes of every aligned ground truth.

    Parameters
    ----------
    ground_truths, predictions : array of shape (clip, ..., classes), float32
        Logits; dimensions between are averaged (the frames of 2-way-I).
    rows : integer array of shape (block, offset)

    Returns
    -------
    array of shape (block, block, offset), float64
        nan where a prediction's or a ground truth's logits are.
    """
    import torch

    from mind_animator.metrics.nway import nway_accuracy, top_classes

    n_blocks, n_offsets = rows.shape
    whole = [
        np.isfinite(side).all(axis=tuple(range(1, side.ndim)))[rows] for side in (ground_truths, predictions)
    ]
    ground_truths, predictions = (
        torch.from_numpy(np.nan_to_num(side))[torch.from_numpy(rows)] for side in (ground_truths, predictions)
    )
    targets = top_classes(ground_truths, n_targets)  # (block, offset, ..., targets)
    result = np.empty((n_blocks, n_blocks, n_offsets))
    for column in range(n_blocks):
        target = targets[column].expand(n_blocks, *targets[column].shape)
        values = nway_accuracy(predictions, target, n_way=n_way)
        result[:, column] = values.reshape(n_blocks, n_offsets, -1).mean(-1).numpy()
    result[~(whole[1][:, None] & whole[0][None])] = np.nan
    return result


def rank_pairs(
    queries: np.ndarray, candidates: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rank (ties at mid-rank) and top-10 share of every aligned candidate for every query.

    Parameters
    ----------
    queries, candidates : array of shape (clip, dim)
        Decoded embeddings and the test clips' own.
    rows : integer array of shape (block, offset)

    Returns
    -------
    ranks, top10 : arrays of shape (block, block, offset), float64
        ``[b, c, o]``: where clip (c, o) stands, among all test clips, for the query of clip (b, o).
    """
    ks = min(10, len(candidates))
    left, right = (unit_rows(vectors) for vectors in (queries, candidates))
    distinct, which, copies = np.unique(right, axis=0, return_inverse=True, return_counts=True)
    which = which.ravel()
    ranks = np.empty((len(rows), len(rows), rows.shape[1]))
    top = np.empty_like(ranks)
    for block, members in enumerate(rows):
        for offset, query in enumerate(members):
            similarity = distinct @ left[query]
            order = np.argsort(-similarity, kind="stable")
            ordered, count = -similarity[order], np.concatenate([[0], np.cumsum(copies[order])])
            mine = -similarity[which[rows[:, offset]]]
            better = count[np.searchsorted(ordered, mine, side="left")]
            ties = count[np.searchsorted(ordered, mine, side="right")] - better - 1
            ranks[block, :, offset] = 1 + better + ties / 2
            top[block, :, offset] = np.clip((ks - better) / (ties + 1), 0, 1)
    return ranks, top


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows at unit length, float64; refuses what is not finite or has no length."""
    vectors = np.asarray(vectors, np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(length).all() and length.all()):
        raise ValueError("Expected finite embeddings other than 0, got NaN, infinity or a zero vector.")
    return vectors / length
