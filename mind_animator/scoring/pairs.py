"""Every prediction against the truths of other clips, aligned in blocks, so that any re-pairing is a look-up.

``pairs[b, c, o]`` is the score of the prediction of clip (b, o), the clip at offset o of block b, against
the truth of clip (c, o), the clip at the same offset of block c. The "other clips" of a clip are thus those
at its own offset in every other block: n_blocks - 1 of them, all at least a block away in time.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from mind_animator.errors import InputError
from mind_animator.metrics import motion
from mind_animator.metrics.pixel import WINDOW, hue_pattern
from mind_animator.scoring.score import Source
from mind_animator.video.conform import conform

# Truths held at a time, for each of which every prediction is prepared anew: memory hardly grows with the clips.
_TILE = 12
_LUMINANCE = np.float32((0.01 * 255) ** 2)
_CONTRAST = np.float32((0.03 * 255) ** 2)


def pixel_pairs(
    rows: np.ndarray, clips: Sequence[str], truth: Source, prediction: Source, *, size: int
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """SSIM, hue correlation and end-point error of aligned pairs, an offset at a time: each clip is read once.

    Parameters
    ----------
    rows : integer array of shape (block, offset)
        From `mind_animator.statistics.blocks.aligned_blocks`.
    clips : sequence of str
        What the rows count.
    truth, prediction : Source
    size : int
        Height and width of the comparison, pixels.

    Yields
    ------
    offset : int
    pairs : dict
        ``ssim``, ``hue_circular_corr`` and ``epe``, each (block, block), float64; a row of nan for a
        prediction that cannot be read, a column for a truth.
    """
    makers = {"ssim": ssim_pairs, "hue_circular_corr": hue_pairs, "epe": epe_pairs}
    for offset in range(rows.shape[1]):
        names = [clips[row] for row in rows[:, offset]]
        predictions = [_read(prediction, name, size) for name in names]
        found = {name: np.empty((len(names), len(names))) for name in makers}
        for start in range(0, len(names), _TILE):
            tile = slice(start, start + _TILE)
            truths = [_read(truth, name, size) for name in names[tile]]
            for name, make in makers.items():
                found[name][:, tile] = make(truths, predictions)
        yield offset, found


def ssim_pairs(truths: Sequence[np.ndarray | None], predictions: Sequence[np.ndarray | None]) -> np.ndarray:
    """`mind_animator.metrics.pixel.ssim`, mean over frames, of every prediction with every truth.

    Each clip's window moments are computed once; only the product of the two sides is left for a pair.

    Parameters
    ----------
    truths, predictions : sequences of arrays of shape (frame, height, width, 3), uint8, or None
        One shape for all.

    Returns
    -------
    array of shape (prediction, truth), float64
        Equal to `ssim` to 1e-5 (float32 moments about each image's mean); nan where a side is None.
    """
    result = np.full((len(predictions), len(truths)), np.nan)
    columns = _there(truths)
    known = [_Moments(truths[column]) for column in columns]
    for row in _there(predictions):
        moments = _Moments(predictions[row])
        result[row, columns] = [moments.ssim(other) for other in known]
    return result


def _there(side: Sequence[np.ndarray | None]) -> list[int]:
    return [place for place, frames in enumerate(side) if frames is not None]


class _Moments:
    """Local means and variances of a clip, frames and channels side by side as channels of one image."""

    def __init__(self, frames: np.ndarray) -> None:
        height, width = frames.shape[1:3]
        image = np.ascontiguousarray(frames.transpose(1, 2, 0, 3), dtype=np.float32).reshape(
            height, width, -1
        )
        centre = image.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
        self.image = image - centre  # covariances do not mind, and lose fewer digits
        local = _local_mean(self.image)
        self.variance = (_local_mean(self.image * self.image) - local * local) * _UNBIASED
        self.local, self.mean = local, local + centre
        self.power = self.mean * self.mean

    def ssim(self, other: "_Moments") -> float:
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


_UNBIASED = np.float32(WINDOW**2 / (WINDOW**2 - 1))


def _local_mean(image: np.ndarray) -> np.ndarray:
    margin = WINDOW // 2
    means = cv2.boxFilter(image, cv2.CV_32F, (WINDOW, WINDOW))
    return np.ascontiguousarray(means[margin:-margin, margin:-margin])


def hue_pairs(truths: Sequence[np.ndarray | None], predictions: Sequence[np.ndarray | None]) -> np.ndarray:
    """`mind_animator.metrics.pixel.hue_circular_corr`, mean over frames, of all predictions and truths.

    Parameters and result as `ssim_pairs`. A matrix product: a frame's score is a dot product of unit vectors.
    """
    result = np.full((len(predictions), len(truths)), np.nan)
    columns = _there(truths)
    if not columns:
        return result
    right = np.stack([_hue_units(truths[column]) for column in columns])
    for row in _there(predictions):
        result[row, columns] = right @ _hue_units(predictions[row]) / len(predictions[row])
    return result


def epe_pairs(truths: Sequence[np.ndarray | None], predictions: Sequence[np.ndarray | None]) -> np.ndarray:
    """`mind_animator.metrics.motion.epe` of all predictions and truths, each flow computed once.

    Parameters and result as `ssim_pairs`, pixels a frame at the size of these frames.
    """
    result = np.full((len(predictions), len(truths)), np.nan)
    columns = _there(truths)
    known = [motion.flows(truths[column]) for column in columns]
    for row in _there(predictions):
        flow = motion.flows(predictions[row])
        result[row, columns] = [motion.epe_of_flows(other, flow) for other in known]
    return result


def _hue_units(frames: np.ndarray) -> np.ndarray:
    """Centred hue vectors of each frame at unit length (0 for a frame of one colour vector), in one row."""
    return np.concatenate([hue_pattern(frame) for frame in frames])


def nway_pairs(
    truths: np.ndarray, predictions: np.ndarray, rows: np.ndarray, *, n_way: int, n_targets: int = 3
) -> np.ndarray:
    """N-way accuracy of every prediction for the target classes of every aligned truth.

    Parameters
    ----------
    truths, predictions : array of shape (clip, ..., classes), float32
        Logits; dimensions between are averaged (the frames of 2-way-I).
    rows : integer array of shape (block, offset)

    Returns
    -------
    array of shape (block, block, offset), float64
        nan where a prediction's or a truth's logits are.
    """
    import torch

    from mind_animator.metrics.nway import nway_accuracy, top_classes

    n_blocks, n_offsets = rows.shape
    whole = [np.isfinite(side).all(axis=tuple(range(1, side.ndim)))[rows] for side in (truths, predictions)]
    truths, predictions = (
        torch.from_numpy(np.nan_to_num(side))[torch.from_numpy(rows)] for side in (truths, predictions)
    )
    targets = top_classes(truths, n_targets)  # (block, offset, ..., targets)
    result = np.empty((n_blocks, n_blocks, n_offsets))
    for column in range(n_blocks):
        target = targets[column].expand(n_blocks, *targets[column].shape)
        values = nway_accuracy(predictions, target, n_way=n_way)
        result[:, column] = values.reshape(n_blocks, n_offsets, -1).mean(-1).numpy()
    result[~(whole[1][:, None] & whole[0][None])] = np.nan
    return result


def _read(source: Source, clip: str, size: int) -> np.ndarray | None:
    try:
        frames = source.read(clip)
    except InputError:
        return None
    return frames if frames.shape[1] <= size else conform(frames, size=size, count=len(frames))


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
