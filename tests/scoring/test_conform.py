"""One size and number of frames for all videos."""

import cv2
import numpy as np
import pytest

from mind_animator.video.conform import conform


def clip(count, size=12):
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize(("given", "count"), [(8, 8), (14, 6), (6, 8), (1, 4), (30, 7), (3, 9)])
def test_frames_on_show_at_the_middle_of_equal_spans(given, count):
    frames = clip(given)
    expected = []
    for k in range(count):
        middle = (k + 0.5) / count
        expected.append(max(j for j in range(given) if j / given <= middle))
    result = conform(frames, size=12, count=count)
    np.testing.assert_array_equal(result, frames[expected])


def test_uneven_times_and_the_files_own_clock():
    frames = clip(3)
    times = [0.0, 0.1, 0.2, 2.0]  # the last frame is on show nearly all the time
    np.testing.assert_array_equal(conform(frames, size=12, count=4, times=times), frames[[2, 2, 2, 2]])
    times = [0.0, 0.5, 1.0, 1.5]
    # at 4 Hz over 2 s the last half second repeats the last frame
    chosen = conform(frames, size=12, count=8, times=times, duration=2.0)
    np.testing.assert_array_equal(chosen, frames[[0, 0, 1, 1, 2, 2, 2, 2]])
    np.testing.assert_array_equal(conform(frames, size=12, count=2, times=times, duration=1.0), frames[:2])


def test_same_shape_is_untouched_and_input_too():
    frames = clip(8)
    before = frames.copy()
    assert conform(frames, size=12, count=8) is frames
    conform(frames, size=5, count=3)
    np.testing.assert_array_equal(frames, before)


def test_shrinking_is_roi_averaging():
    frames = clip(1, 12)
    blocks = frames[0].reshape(4, 3, 4, 3, 3).astype(float).mean((1, 3))
    assert np.abs(conform(frames, size=4, count=1)[0] - blocks).max() <= 0.5 + 1e-9
    grown = conform(frames, size=24, count=1)[0]
    np.testing.assert_array_equal(grown, cv2.resize(frames[0], (24, 24), interpolation=cv2.INTER_CUBIC))


def test_errors():
    with pytest.raises(ValueError, match="Expected uint8 frames"):
        conform(clip(2).astype(float), size=4, count=2)
    with pytest.raises(ValueError, match="Expected at least one frame"):
        conform(clip(2)[:0], size=4, count=2)
    with pytest.raises(ValueError, match="Expected 3 rising times for 2 frames"):
        conform(clip(2), size=4, count=2, times=[0, 0, 1])
