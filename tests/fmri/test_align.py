"""The volume that stands for a clip."""

import numpy as np
import pytest

from mind_animator.fmri.align import clip_weights, mean_over_spans, volumes_of_clips


def test_equals_the_published_choice_for_both_kinds_of_run():
    onsets = 2.0 * np.arange(240)
    early = volumes_of_clips(onsets, n_volumes=245, repetition_time=2, recording_start=2, lag=4)
    late = volumes_of_clips(onsets, n_volumes=246, repetition_time=2, recording_start=0, lag=4)
    np.testing.assert_array_equal(early, np.arange(1, 241))
    np.testing.assert_array_equal(late, np.arange(2, 242))


def test_is_the_volume_nearest_to_onset_plus_lag():
    rng = np.random.default_rng(0)
    onsets = np.sort(rng.uniform(0, 200, 50))
    chosen = volumes_of_clips(onsets, n_volumes=300, repetition_time=0.8, recording_start=-3.1, lag=4.7)
    starts = -3.1 + 0.8 * np.arange(300)
    np.testing.assert_array_equal(chosen, [np.abs(starts - (onset + 4.7)).argmin() for onset in onsets])


def test_a_tie_goes_to_the_earlier_volume():
    chosen = volumes_of_clips(np.array([1.0]), n_volumes=9, repetition_time=2, recording_start=0, lag=4)
    assert chosen.tolist() == [2]  # 5 s lies between volumes 2 (4 s) and 3 (6 s)


def test_errors():
    onsets = 2.0 * np.arange(240)
    with pytest.raises(
        ValueError,
        match=r"^Expected volumes 0\.\.244 for 240 clips at a lag of 14 s, got volume 245 for clip 239\.$",
    ):
        volumes_of_clips(onsets, n_volumes=245, repetition_time=2, recording_start=2, lag=14)
    with pytest.raises(ValueError, match=r"at a lag of 0 s, got volume -1 for clip 0\.$"):
        volumes_of_clips(onsets, n_volumes=245, repetition_time=2, recording_start=2, lag=0)
    with pytest.raises(ValueError, match=r"^Expected a positive repetition time, got 0\.$"):
        volumes_of_clips(onsets, n_volumes=245, repetition_time=0, recording_start=2, lag=0)


@pytest.mark.parametrize(
    ("tr", "length"), [(1.0, 2.0), (1.2, 3.0), (1.5, 2.0), (1.75, 3.0), (2.0, 2.0), (3.0, 2.0)]
)
@pytest.mark.parametrize("first", [0.0, 0.5, 20.0])
def test_no_phase_between_clips_and_volumes_shifts_a_response(tr, length, first):
    """Volumes that say when they were measured: the response of a clip is the clip's middle, exactly."""
    begins = first + 4.3 + length * np.arange(12)
    weights, covered = clip_weights(
        begins, length, first=first, repetition_time=tr, present=np.ones(60, bool)
    )
    assert covered.all()
    assert (weights >= -1e-12).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights @ (first + tr * np.arange(60)), begins + length / 2, atol=1e-9)


def test_clips_as_long_as_a_volume_interpolate_or_pick_one(rng):
    values = rng.standard_normal((20, 3)).astype(np.float32)
    np.testing.assert_array_equal(mean_over_spans(values, 2.0, 2.0 * np.arange(3, 9), 2.0), values[3:9])
    late = mean_over_spans(values, 2.0, 2.0 * np.arange(3, 9) + 0.5, 2.0)
    np.testing.assert_allclose(late, 0.75 * values[3:9] + 0.25 * values[4:10], rtol=1e-5)


def test_a_clip_without_half_of_its_volumes_is_missing(rng):
    values = rng.standard_normal((10, 3)).astype(np.float32)
    values[4] = np.nan
    got = mean_over_spans(values, 2.0, np.array([-1.1, -0.9, 7.0, 8.0, 9.0, 18.9, 19.1]), 2.0)
    assert np.isnan(got).all(axis=1).tolist() == [True, False, False, True, False, False, True]
    np.testing.assert_array_equal(got[2], values[3])
    np.testing.assert_array_equal(got[4], values[5])
