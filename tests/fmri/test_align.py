"""The volume that stands for a clip."""

import numpy as np
import pytest

from mind_animator.fmri.align import volumes_of_clips


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
