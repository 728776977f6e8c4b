"""Embedding metrics against plain loops."""

import numpy as np
import pytest
from scipy.spatial.distance import cosine as cosine_distance

from mind_animator.metrics import embedding


def vectors(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_vifi_score_is_the_cosine_of_mean_unit_embeddings() -> None:
    ground_truth, prediction = vectors(0, 4, 8, 16), vectors(1, 4, 6, 16)
    values = embedding.vifi_score(ground_truth, prediction)
    for t, p, value in zip(ground_truth.astype(float), prediction.astype(float), values, strict=True):
        means = [np.mean([v / np.sqrt((v**2).sum()) for v in frames], axis=0) for frames in (t, p)]
        assert value == pytest.approx(1 - cosine_distance(*means), abs=1e-12)
    np.testing.assert_allclose(embedding.vifi_score(3 * ground_truth, prediction), values, rtol=1e-6)


def test_consistency_is_the_mean_cosine_of_neighbours() -> None:
    prediction = vectors(0, 3, 5, 16)
    expected = [
        np.mean([1 - cosine_distance(*clip[k : k + 2].astype(float)) for k in range(4)])
        for clip in prediction
    ]
    np.testing.assert_allclose(embedding.clip_consistency_ungated(prediction), expected, atol=1e-12)
    frozen = np.repeat(prediction[:, :1], 5, axis=1)
    np.testing.assert_allclose(embedding.clip_consistency_ungated(frozen), 1, atol=1e-12)


def test_gate_opens_above_six_tenths_only() -> None:
    prediction = vectors(0, 4, 5, 16)
    vifi = np.array([0.59, 0.6, np.nextafter(0.6, 1), 0.9])
    own = embedding.clip_consistency_ungated(prediction)
    np.testing.assert_array_equal(embedding.clip_consistency_gated(prediction, vifi), [0, 0, own[2], own[3]])


def test_consistency_to_ground_truth_compares_frame_by_frame() -> None:
    ground_truth, prediction = vectors(0, 3, 5, 16), vectors(1, 3, 5, 16)
    expected = [
        np.mean([1 - cosine_distance(a.astype(float), b.astype(float)) for a, b in zip(t, p, strict=True)])
        for t, p in zip(ground_truth, prediction, strict=True)
    ]
    np.testing.assert_allclose(
        embedding.clip_consistency_to_ground_truth(ground_truth, prediction), expected, atol=1e-12
    )
    np.testing.assert_allclose(
        embedding.clip_consistency_to_ground_truth(ground_truth, ground_truth), 1, atol=1e-12
    )


def test_inputs_stay_as_they_are_and_batches_do_not_matter() -> None:
    ground_truth, prediction = vectors(0, 3, 5, 16), vectors(1, 3, 5, 16)
    copies = ground_truth.copy(), prediction.copy()
    for metric in (embedding.vifi_score, embedding.clip_consistency_to_ground_truth):
        np.testing.assert_array_equal(
            metric(ground_truth, prediction)[1], metric(ground_truth[1], prediction[1])
        )
    np.testing.assert_array_equal(ground_truth, copies[0])
    np.testing.assert_array_equal(prediction, copies[1])


def test_errors_say_what_was_expected_and_found() -> None:
    good = vectors(0, 2, 4, 8)
    broken, zero = good.copy(), good.copy()
    broken[0, 0, 0], zero[1, 2] = np.nan, 0
    unsound = "Expected finite embeddings other than 0, got NaN, infinity or a zero vector."
    cases = [
        (unsound, lambda: embedding.vifi_score(good, broken)),
        (unsound, lambda: embedding.clip_consistency_ungated(zero)),
        (
            "Expected embeddings (..., dim), none of them empty, got (2, 0, 8).",
            lambda: embedding.vifi_score(good[:, :0], good),
        ),
        (
            "Expected embeddings (..., frame, dim) of at least 2 frames, got (2, 1, 8).",
            lambda: embedding.clip_consistency_ungated(good[:, :1]),
        ),
        (
            "Expected embeddings of one shape, got (2, 4, 8) and (2, 3, 8).",
            lambda: embedding.clip_consistency_to_ground_truth(good, good[:, :3]),
        ),
        (
            "Expected one finite VIFI score a clip (2,), got (3,).",
            lambda: embedding.clip_consistency_gated(good, np.ones(3)),
        ),
        (
            "Expected one finite VIFI score a clip (2,), got (2,).",
            lambda: embedding.clip_consistency_gated(good, np.array([0.7, np.nan])),
        ),
    ]
    for text, call in cases:
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == text
