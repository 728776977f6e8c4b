"""Pair scores: every prediction against the aligned ground truths of other clips, by definition and by look-up."""

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from mind_animator.artefacts.streams import ClipReader, write_stream
from mind_animator.errors import InputError
from mind_animator.metrics import motion, pixel
from mind_animator.metrics.nway import nway_image, nway_video
from mind_animator.metrics.retrieval import retrieval_ranks, top_k_hits
from mind_animator.scoring import pairs
from mind_animator.scoring.pairs import PairSide, describe_pair, nway_pairs, pixel_pairs, rank_pairs


def smooth(rng, count, frames=3, size=24):
    small = rng.integers(0, 256, (count * frames, 5, 5, 3), dtype=np.uint8)
    large = [cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC) for image in small]
    return np.array(large).reshape(count, frames, size, size, 3)


def test_pixel_and_motion_pairs_equal_the_metrics(rng):
    ground_truths, predictions = smooth(rng, 3), smooth(rng, 4)
    ground_truths[1, 0] = 7  # a flat frame: no variance, no hue contrast
    before = ground_truths.copy()
    sides = [describe_pair(prediction, 24) for prediction in predictions]
    for ground_truth in ground_truths:
        found = describe_pair(ground_truth, 24).compare(sides)
        for row, prediction in enumerate(predictions):
            # float32 moments about the mean: variances up to 1e4 keep 6 digits, so does each quotient
            assert abs(found["ssim"][row] - pixel.ssim(ground_truth, prediction).mean()) < 1e-5
            # float32 unit vectors of 1152 terms: rounding of sqrt(1152) 2^-24, and as much of the sum
            assert (
                abs(
                    found["hue_circular_corr"][row] - pixel.hue_circular_corr(ground_truth, prediction).mean()
                )
                < 1e-6
            )
            assert found["epe"][row] == motion.epe(ground_truth, prediction)
    np.testing.assert_array_equal(ground_truths, before)


class Given:
    """A source of arrays; a clip that is not there is an error, as everywhere."""

    def __init__(self, frames):
        self.frames = frames

    def read(self, clip):
        if clip not in self.frames:
            raise InputError(f"Expected clip '{clip}', found none.")
        return self.frames[clip]


def kept(path, clips, size):
    """A ground truth's file of these clips (None: unreadable), its reader."""
    with write_stream(path, list(clips)) as stream:
        for row, frames in enumerate(clips.values()):
            if frames is not None:
                stream.write(row, describe_pair(frames, size).arrays)
    return ClipReader([path])


def test_what_is_kept_of_the_ground_truth_changes_no_bit(rng, tmp_path):
    ground_truth, prediction = smooth(rng, 2, 3, 40)
    reader = kept(tmp_path / "ground_truth.h5", {"c": ground_truth}, 32)
    sides = [describe_pair(prediction, 32)]
    fresh, again = (
        side.compare(sides) for side in (describe_pair(ground_truth, 32), PairSide.kept(reader, "c"))
    )
    for name in PairSide.METRICS:
        np.testing.assert_array_equal(again[name], fresh[name])


@pytest.mark.parametrize("tile", [2, 12])
def test_pixel_pairs_by_offset(rng, monkeypatch, tmp_path, tile):
    """However many predictions are held at a time."""
    monkeypatch.setattr(pairs, "_TILE", tile)
    names = [f"c{index}" for index in range(6)]
    ground_truth, prediction = (dict(zip(names, smooth(rng, 6, 2, 32), strict=True)) for _ in range(2))
    del prediction["c4"]
    ground_truth["c3"] = None
    rows = np.array([[0, 1], [2, 3], [4, 5]])
    reader = kept(tmp_path / "ground_truth.h5", ground_truth, 32)
    found = dict(pixel_pairs(rows, names, reader, Given(prediction), size=32))
    for block in range(3):
        for other in range(3):
            for offset in range(2):
                value = found[offset]["ssim"][block, other]
                clip, own = names[rows[block, offset]], names[rows[other, offset]]
                assert np.isnan(value) == (clip == "c4" or own == "c3")
                if not np.isnan(value):
                    assert abs(value - pixel.ssim(ground_truth[own], prediction[clip]).mean()) < 1e-5
                    assert found[offset]["epe"][block, other] == motion.epe(
                        ground_truth[own], prediction[clip]
                    )
    smaller = kept(tmp_path / "smaller.h5", prediction | {"c4": None}, 16)
    found = dict(pixel_pairs(rows[:2], names, smaller, Given(prediction), size=16))
    np.testing.assert_allclose(np.diag(found[0]["ssim"]), 1, atol=1e-6)
    with pytest.raises(InputError, match=r"made for pairs of 32 pixels, got \(2, 16, 16\)"):
        next(pixel_pairs(rows[:2], names, smaller, Given(prediction), size=32))


@pytest.mark.parametrize("kind", ["image", "video"])
def test_nway_pairs_equal_the_metric(rng, kind):
    shape = (6, 3, 12) if kind == "image" else (6, 12)
    ground_truths, predictions = (rng.integers(0, 5, shape).astype(np.float32) for _ in range(2))  # with ties
    rows = np.array([[0, 1], [2, 3], [4, 5]])
    pairs = nway_pairs(ground_truths, predictions, rows, n_way=2)
    accuracy = nway_image if kind == "image" else nway_video
    for block in range(3):
        for other in range(3):
            for offset in range(2):
                sides = (ground_truths[rows[other, offset]], predictions[rows[block, offset]])
                direct = accuracy(*map(torch.from_numpy, sides), n_way=2)
                assert abs(pairs[block, other, offset] - float(direct)) < 1e-12
    ground_truths[0] = np.nan
    predictions[3] = np.nan
    nothing = np.zeros((3, 3, 2), bool)
    nothing[:, 0, 0] = nothing[1, :, 1] = True
    np.testing.assert_array_equal(np.isnan(nway_pairs(ground_truths, predictions, rows, n_way=2)), nothing)


def test_rank_pairs_equal_retrieval(rng):
    queries, candidates = rng.standard_normal((12, 4)), rng.standard_normal((12, 4))
    candidates[5] = candidates[2]  # captions repeat
    rows = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
    ranks, top = rank_pairs(queries, candidates, rows)
    own = retrieval_ranks(queries, candidates, np.arange(12))
    for block in range(3):
        np.testing.assert_array_equal(ranks[block, block], own.middle[rows[block]])
        np.testing.assert_allclose(top[block, block], top_k_hits(own, 10)[rows[block]], atol=1e-12)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, candidates)]
    similarity = np.round(unit[0] @ unit[1].T, 12)
    slow = np.array([rankdata(-row) for row in similarity])
    for block in range(3):
        for other in range(3):
            np.testing.assert_allclose(ranks[block, other], slow[rows[block], rows[other]])
