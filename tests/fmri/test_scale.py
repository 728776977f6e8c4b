"""Scaling: fitted on training clips alone, unless the published way is asked for by name."""

import numpy as np
import pytest

from mind_animator.fmri.scale import fit_scale, scale_splits


@pytest.fixture
def responses() -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, (60, 7)).astype(np.float32)


IS_TRAIN = np.arange(60) < 40


def test_training_clips_decide(responses):
    kept = responses.copy()
    scaled, train, test = scale_splits(responses, IS_TRAIN)
    mean, deviation = kept[:40].astype(float).mean(axis=0), kept[:40].astype(float).std(axis=0)
    np.testing.assert_allclose(scaled, (kept - mean) / deviation, atol=1e-6)
    np.testing.assert_array_equal(train[0], test[0])
    np.testing.assert_array_equal(responses, kept)
    assert scaled.dtype == np.float32


def test_a_changed_test_clip_changes_itself_alone(responses):
    before, _, _ = scale_splits(responses, IS_TRAIN)
    responses[50] += 100
    after, _, _ = scale_splits(responses, IS_TRAIN)
    np.testing.assert_array_equal(np.delete(before, 50, axis=0), np.delete(after, 50, axis=0))


def test_released_code_scales_each_split_by_its_own(responses):
    scaled, train, test = scale_splits(responses, IS_TRAIN, "released_code")
    for rows in (slice(0, 40), slice(40, 60)):
        np.testing.assert_allclose(scaled[rows].mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(scaled[rows].std(axis=0), 1, atol=1e-6)
    assert not np.allclose(train[0], test[0])


def test_a_constant_voxel_is_zero(responses):
    responses[:, 2] = 5.3
    scaled, _, _ = scale_splits(responses, IS_TRAIN)
    np.testing.assert_allclose(scaled[:, 2], 0, atol=1e-6)
    assert fit_scale(responses)[1][2] == 1


def test_errors(responses):
    with pytest.raises(ValueError, match=r"^Expected scaling 'train' or 'released_code', got 'all'\.$"):
        scale_splits(responses, IS_TRAIN, "all")
    with pytest.raises(ValueError, match=r"^Expected training clips to fit the scale on, got none\.$"):
        scale_splits(responses, np.zeros(60, bool))
