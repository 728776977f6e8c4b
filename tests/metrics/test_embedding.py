"""Embedding metrics against plain loops."""

import numpy as np
import pytest
from scipy.spatial.distance import cosine as cosine_distance

from mind_animator.metrics.base import NotComputed
from mind_animator.metrics.clip_consistency_gated import ClipConsistencyGated
from mind_animator.metrics.clip_consistency_to_ground_truth import ClipConsistencyToGroundTruth
from mind_animator.metrics.clip_consistency_ungated import ClipConsistencyUngated
from mind_animator.metrics.cosine import cosine
from mind_animator.metrics.vifi_score import VifiScore


def vectors(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def score(metric, ground_truth, prediction) -> float:
    return float(np.mean(metric.compare(metric.describe(*ground_truth), metric.describe(*prediction))))


def test_vifi_score_is_the_cosine_of_mean_unit_embeddings() -> None:
    for t, p in zip(vectors(0, 4, 8, 16), vectors(1, 4, 6, 16), strict=True):
        means = [
            np.mean([v / np.sqrt((v**2).sum()) for v in frames.astype(float)], axis=0) for frames in (t, p)
        ]
        value = score(VifiScore(), [t], [p])
        assert value == pytest.approx(1 - cosine_distance(*means), abs=1e-12)
        assert score(VifiScore(), [3 * t], [p]) == pytest.approx(value, rel=1e-6)


def test_consistency_is_the_mean_cosine_of_neighbours() -> None:
    for clip in vectors(0, 3, 5, 16):
        expected = np.mean([1 - cosine_distance(*clip[k : k + 2].astype(float)) for k in range(4)])
        assert score(ClipConsistencyUngated(), [-clip], [clip]) == pytest.approx(expected, abs=1e-12)
        frozen = np.repeat(clip[:1], 5, axis=0)
        assert score(ClipConsistencyUngated(), [clip], [frozen]) == pytest.approx(1, abs=1e-12)


def test_gate_opens_above_six_tenths_only() -> None:
    clip = vectors(0, 5, 16)
    own = score(ClipConsistencyUngated(), [clip], [clip])
    vifi = np.array([[1.0, 0.0]])
    # the cosine of (3, 4) with the first axis is .6 exactly
    for vector, passes in (
        ([0.59, np.sqrt(1 - 0.59**2)], 0),
        ([3.0, 4.0], 0),
        ([3.0, 3.999], 1),
        ([0.9, 0.1], 1),
    ):
        value = score(ClipConsistencyGated(), [clip, vifi], [clip, np.array([vector])])
        assert value == own * passes


def test_consistency_to_ground_truth_compares_frame_by_frame() -> None:
    ground_truth, prediction = vectors(0, 5, 16), vectors(1, 5, 16)
    expected = [
        1 - cosine_distance(a.astype(float), b.astype(float))
        for a, b in zip(ground_truth, prediction, strict=True)
    ]
    metric = ClipConsistencyToGroundTruth()
    values = metric.compare(metric.describe(ground_truth), metric.describe(prediction))
    np.testing.assert_allclose(values, expected, atol=1e-12)
    assert score(metric, [ground_truth], [ground_truth]) == pytest.approx(1, abs=1e-12)


def test_inputs_stay_as_they_are() -> None:
    ground_truth, prediction = vectors(0, 5, 16), vectors(1, 5, 16)
    copies = ground_truth.copy(), prediction.copy()
    for metric in (VifiScore(), ClipConsistencyUngated(), ClipConsistencyToGroundTruth()):
        score(metric, [ground_truth], [prediction])
    score(ClipConsistencyGated(), [ground_truth] * 2, [prediction] * 2)
    np.testing.assert_array_equal(ground_truth, copies[0])
    np.testing.assert_array_equal(prediction, copies[1])


def test_errors_say_what_was_expected_and_found() -> None:
    good = vectors(0, 4, 8)
    broken, zero = good.copy(), good.copy()
    broken[0, 0], zero[1] = np.nan, 0
    unsound = "Expected finite embeddings other than 0, got NaN, infinity or a zero vector."
    cases = [
        (unsound, lambda: score(VifiScore(), [good], [broken])),
        (unsound, lambda: score(ClipConsistencyUngated(), [good], [zero])),
        ("Expected embeddings (..., dim), none of them empty, got (0, 8).", lambda: cosine(good[:0], good)),
    ]
    for text, call in cases:
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == text
    with pytest.raises(NotComputed, match="at least 2 frames, got"):
        score(ClipConsistencyUngated(), [good], [good[:1]])
