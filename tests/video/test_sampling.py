"""Frames by presentation time."""

import numpy as np
import pytest

from mind_animator.errors import InputError
from mind_animator.video.sampling import frames_shown_at, sample_indices

RULE = {"frames": 8, "rate": 4.0, "sampling": "true_rate", "where": "a.mp4"}


def test_frame_shown_is_the_last_one_that_began(rng):
    starts = np.sort(rng.uniform(0.2, 60, 500))
    times = rng.uniform(0, 70, 300)
    # the definition, one time after another; the clock starts with the first frame
    slow = [max(i for i, s in enumerate(starts) if s - starts[0] <= t + 2e-4) for t in times]
    assert frames_shown_at(starts, times).tolist() == slow


@pytest.mark.parametrize("fps", [24, 25, 30, 30000 / 1001])
def test_true_rate_at_constant_frame_rates(fps):
    starts = np.float32(np.arange(round(40 * fps)) / fps).astype(float)
    onsets = np.arange(0, 38, 2.0)
    indices = sample_indices(starts, 40.0, onsets, np.full(19, 2.0), **RULE)
    # a frame that begins within a fifth of a millisecond after the time counts as shown
    exact = np.floor((onsets[:, None] + np.arange(8) / 4 + 2e-4) * fps)
    assert np.array_equal(indices, exact)


def test_released_code_takes_every_eighth_frame_of_cc2017():
    starts = np.arange(14400) / 30
    onsets = 2.0 * np.arange(240)
    indices = sample_indices(starts, 480.0, onsets, np.full(240, 2.0), **RULE | {"sampling": "released_code"})
    assert np.array_equal(indices, 60 * np.arange(240)[:, None] + np.arange(0, 57, 8))


def test_every_third_frame_of_24_is_a_rate_of_8():
    indices = sample_indices(np.arange(240) / 24, 10.0, np.arange(9.0), np.ones(9), **RULE | {"rate": 8.0})
    assert np.array_equal(indices, 24 * np.arange(9)[:, None] + np.arange(0, 24, 3))


def test_times_count_from_the_first_frame_and_not_from_the_container_clock():
    starts = np.arange(300) / 30
    late = sample_indices(starts + 5.0, 15.0, np.zeros(1), np.full(1, 2.0), **RULE)
    assert np.array_equal(late, sample_indices(starts, 10.0, np.zeros(1), np.full(1, 2.0), **RULE))


def test_a_movie_shorter_than_its_table_is_refused_and_a_rounded_end_is_not():
    starts = np.arange(59) / 30
    kept = sample_indices(starts, 59 / 30, np.zeros(1), np.full(1, 2.0), **RULE)
    assert kept.tolist() == [[0, 7, 15, 22, 30, 37, 45, 52]]
    message = r"Expected a movie of 4 s or more \(clip 1 of its table\), got 2.000 s \(a.mp4\)"
    with pytest.raises(InputError, match=message):
        sample_indices(np.arange(60) / 30, 2.0, np.array([0.0, 2.0]), np.full(2, 2.0), **RULE)


def test_samples_that_do_not_fit_into_a_clip_are_refused():
    message = r"Expected 8 frames at 4 Hz to fit into a clip, got clips of 1 s \(a.mp4\)"
    with pytest.raises(InputError, match=message):
        sample_indices(np.arange(60) / 30, 2.0, np.zeros(1), np.ones(1), **RULE)
    with pytest.raises(InputError, match=r"Expected frame 56 in the movie, got 40 frames \(a.mp4\)"):
        sample_indices(
            np.arange(40) / 15, 40 / 15, np.zeros(1), np.full(1, 2.0), **RULE | {"sampling": "released_code"}
        )


def test_a_long_clip_is_covered_from_end_to_end_or_refused():
    """Clips of 12 s and of 1 s at 10 fps."""
    starts, onsets, durations = np.arange(200) / 10, np.array([0.0, 12.0]), np.array([12.0, 1.0])
    with pytest.raises(InputError, match=r"cover 2 s, but clip 0 .* lasts 12 s: .*whole_clip.* to 48\."):
        sample_indices(starts, 20.0, onsets, durations, **RULE)
    indices = sample_indices(starts, 20.0, onsets, durations, **RULE | {"sampling": "whole_clip"})
    assert indices.tolist() == [[0, 15, 30, 45, 60, 75, 90, 105], [120, 121, 122, 123, 125, 126, 127, 128]]
