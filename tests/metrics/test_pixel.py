"""SSIM, PSNR and hue against scikit-image, OpenCV and plain definitions."""

import colorsys

import cv2
import numpy as np
import pytest
from scipy.spatial.distance import cosine
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mind_animator.metrics.base import NotComputed
from mind_animator.metrics.hue_circular_corr import HueCircularCorr, hue_pattern
from mind_animator.metrics.hue_cos_published import HueCosPublished
from mind_animator.metrics.psnr import Psnr
from mind_animator.metrics.ssim import Ssim

PAIRED = [Ssim(), Psnr(), HueCosPublished(), HueCircularCorr()]


def by_frame(metric, ground_truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Values (..., frame) of clips (..., frame, height, width, 3)."""
    shape = ground_truth.shape
    pairs = zip(ground_truth.reshape(-1, *shape[-4:]), prediction.reshape(-1, *shape[-4:]), strict=True)
    values = np.array([metric.frame_values(t, p) for t, p in pairs])
    return values.reshape(*shape[:-4], -1)


def smooth(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Frames with structure at several scales, in the full range of bytes."""
    frames = np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)
    flat = frames.reshape(-1, *shape[-3:])
    blurred = np.stack([cv2.GaussianBlur(f, (5, 5), 0) for f in flat]).reshape(shape)
    return np.where(np.arange(shape[-2])[:, None] % 7 < 3, frames, blurred)


@pytest.mark.parametrize("size", [(7, 7), (7, 30), (31, 8), (64, 48), (29, 4099)])
def test_ssim_equals_scikit_image(size: tuple[int, int]) -> None:
    # Window sums are exact; seven float32 roundings of relative error 2^-24 each remain: below 1e-6.
    ground_truth, prediction = smooth(0, (2, *size, 3)), smooth(1, (2, *size, 3))
    expected = [
        structural_similarity(t, p, win_size=7, channel_axis=-1, data_range=255)
        for t, p in zip(ground_truth, prediction, strict=True)
    ]
    np.testing.assert_allclose(by_frame(Ssim(), ground_truth, prediction), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("low", [0, 254])
def test_ssim_does_not_overflow_at_the_ends_of_the_range(low: int) -> None:
    values = np.random.default_rng(0).integers(0, 2, size=(2, 1, 40, 40, 3), dtype=np.uint8)
    for frames in (values + np.uint8(low), values * np.uint8(255)):
        ground_truth, prediction = frames
        expected = structural_similarity(ground_truth[0], prediction[0], channel_axis=-1, data_range=255)
        np.testing.assert_allclose(by_frame(Ssim(), ground_truth, prediction)[0], expected, rtol=0, atol=1e-6)


def test_ssim_is_symmetric_one_for_equal_frames_and_independent_of_the_batch() -> None:
    ground_truth, prediction = smooth(0, (3, 2, 20, 24, 3)), smooth(1, (3, 2, 20, 24, 3))
    whole = by_frame(Ssim(), ground_truth, prediction)
    assert whole.shape == (3, 2) and whole.dtype == np.float64
    np.testing.assert_array_equal(whole, by_frame(Ssim(), prediction, ground_truth))
    np.testing.assert_array_equal(whole[1], by_frame(Ssim(), ground_truth[1], prediction[1]))
    np.testing.assert_array_equal(by_frame(Ssim(), ground_truth, ground_truth), np.ones((3, 2)))


def test_psnr_equals_scikit_image_and_has_a_cap() -> None:
    ground_truth, prediction = smooth(0, (2, 3, 20, 24, 3)), smooth(1, (2, 3, 20, 24, 3))
    values = by_frame(Psnr(), ground_truth, prediction)
    for index in np.ndindex(2, 3):
        expected = peak_signal_noise_ratio(ground_truth[index], prediction[index], data_range=255)
        np.testing.assert_allclose(values[index], expected, rtol=1e-13)
    np.testing.assert_array_equal(by_frame(Psnr(), ground_truth, ground_truth), np.full((2, 3), 100.0))
    one_level = ground_truth.copy()
    one_level[0, 0, 0, 0, 0] ^= 1  # an MSE of 1 / 1440, still below the cap
    np.testing.assert_allclose(
        by_frame(Psnr(), ground_truth, one_level)[0, 0], 20 * np.log10(255 * np.sqrt(1440)), rtol=1e-13
    )


def test_published_hue_is_the_mean_cosine_of_six_frames() -> None:
    ground_truth, prediction = smooth(0, (2, 8, 12, 10, 3)), smooth(1, (2, 8, 12, 10, 3))
    expected = [
        np.mean(
            [
                1 - cosine(*(cv2.cvtColor(f, cv2.COLOR_BGR2HSV)[..., 0].ravel().astype(float) for f in pair))
                for pair in list(zip(t, p, strict=True))[:6]
            ]
        )
        for t, p in zip(ground_truth, prediction, strict=True)
    ]
    np.testing.assert_allclose(
        by_frame(HueCosPublished(), ground_truth, prediction).mean(-1), expected, rtol=1e-13
    )
    short = by_frame(HueCosPublished(), ground_truth[:, :2], prediction[:, :2]).mean(-1)
    assert short.shape == (2,) and not np.allclose(short, expected)


def test_published_hue_of_independent_noise_is_near_three_quarters() -> None:
    # The hue of uniform noise is nearly uniform: (E h)^2 / E h^2 = 3 / 4, compared with any image.
    noise = np.random.default_rng(3).integers(0, 256, size=(2, 6, 64, 64, 3), dtype=np.uint8)
    assert abs(HueCosPublished()(noise[0], noise[1]) - 0.75) < 0.01
    assert abs(by_frame(HueCircularCorr(), noise[0], noise[1]).mean()) < 0.02  # 4 sigma of 6 x 4096 pixels


def test_circular_hue_is_the_real_part_of_a_complex_correlation() -> None:
    ground_truth, prediction = smooth(0, (2, 12, 10, 3)), smooth(1, (2, 12, 10, 3))
    values = by_frame(HueCircularCorr(), ground_truth, prediction)
    for t, p, value in zip(ground_truth, prediction, values, strict=True):
        z = []
        for frame in (t, p):
            hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV).reshape(-1, 3).astype(float)
            z.append(hsv[:, 1] / 255 * np.exp(1j * np.deg2rad(2 * hsv[:, 0])))
        np.testing.assert_allclose(value, np.corrcoef(z[1], z[0])[0, 1].real, rtol=0, atol=1e-12)


def test_circular_hue_agrees_with_unrounded_hues() -> None:
    # 8-bit hues are off by at most a degree, saturations by 1 / 510: each vector by at most .0195 of a length
    # of at most 1, where the vectors' own root mean square is .55: 2 x .0195 / .55 on the correlation.
    ground_truth, prediction = smooth(4, (1, 16, 16, 3)), smooth(5, (1, 16, 16, 3))
    z = []
    for frame in (ground_truth[0], prediction[0]):
        hsv = np.array([colorsys.rgb_to_hsv(*(rgb / 255)) for rgb in frame.reshape(-1, 3)])
        z.append(hsv[:, 1] * np.exp(2j * np.pi * hsv[:, 0]))
    expected = np.corrcoef(z[1], z[0])[0, 1].real
    np.testing.assert_allclose(
        by_frame(HueCircularCorr(), ground_truth, prediction)[0], expected, rtol=0, atol=0.07
    )


def test_circular_hue_has_no_first_hue() -> None:
    ground_truth, prediction = smooth(0, (2, 12, 10, 3)), smooth(1, (2, 12, 10, 3))
    turned = [np.ascontiguousarray(np.roll(frames, 1, axis=-1)) for frames in (ground_truth, prediction)]
    own = by_frame(HueCircularCorr(), ground_truth, ground_truth)
    np.testing.assert_allclose(own, 1, rtol=1e-12)
    # rolling the channels turns every hue by 120 degrees; rounded hues may differ by one count (2 degrees)
    np.testing.assert_allclose(
        by_frame(HueCircularCorr(), ground_truth, turned[0]), np.cos(2 * np.pi / 3), atol=0.035
    )
    np.testing.assert_allclose(
        by_frame(HueCircularCorr(), *turned),
        by_frame(HueCircularCorr(), ground_truth, prediction),
        atol=0.035,
    )


def test_flat_and_grey_predictions_score_zero() -> None:
    ground_truth = smooth(0, (2, 12, 10, 3))
    flat = np.broadcast_to(np.array([200, 40, 90], np.uint8), ground_truth.shape).copy()
    grey = np.repeat(ground_truth[..., :1], 3, axis=-1)
    for prediction in (flat, grey):
        np.testing.assert_array_equal(by_frame(HueCircularCorr(), ground_truth, prediction), [0, 0])
    assert HueCosPublished()(ground_truth, grey) == 0


@pytest.mark.parametrize("metric", PAIRED)
def test_inputs_stay_as_they_are(metric) -> None:
    ground_truth, prediction = smooth(0, (2, 12, 10, 3)), smooth(1, (2, 12, 10, 3))
    copies = ground_truth.copy(), prediction.copy()
    ground_truth.setflags(write=False)
    prediction.setflags(write=False)
    metric(ground_truth, prediction)
    np.testing.assert_array_equal(ground_truth, copies[0])
    np.testing.assert_array_equal(prediction, copies[1])


@pytest.mark.parametrize("metric", PAIRED)
def test_views_of_larger_frames_score_the_same(metric) -> None:
    grid = smooth(0, (2, 14, 40, 3))
    ground_truth, prediction = grid[:, 2:14, 2:18], grid[:, 2:14, 20:36]
    expected = metric(np.ascontiguousarray(ground_truth), np.ascontiguousarray(prediction))
    np.testing.assert_array_equal(metric(ground_truth, prediction), expected)


@pytest.mark.parametrize("metric", PAIRED)
def test_errors_say_what_was_expected_and_found(metric) -> None:
    good = np.zeros((2, 8, 8, 3), np.uint8)
    cases = {
        "Expected RGB frames (..., frame, height, width, 3) uint8, got (2, 8, 8, 3) float32.": good.astype(
            np.float32
        ),
        "Expected RGB frames (..., frame, height, width, 3) uint8, got (2, 8, 8, 4) uint8.": good[
            ..., [0, 1, 2, 2]
        ],
        "Expected RGB frames (..., frame, height, width, 3) uint8, got (2, 8, 8) uint8.": good[..., 0],
        "Expected RGB frames (..., frame, height, width, 3) uint8, got list.": good.tolist(),
        "Expected clips of at least 1 frame(s), none of them empty, got (0, 8, 8, 3).": good[:0],
        "Expected ground truth and prediction of one shape, got (2, 8, 8, 3) and (1, 8, 8, 3).": good[:1],
    }
    for text, bad in cases.items():
        with pytest.raises(ValueError) as error:
            metric(good, bad)
        assert str(error.value) == text


def test_ssim_needs_one_whole_window() -> None:
    small = np.zeros((1, 6, 9, 3), np.uint8)
    with pytest.raises(NotComputed, match="expected frames of at least 7 x 7 pixels, got 9 x 6"):
        Ssim()(small, small)


def test_what_is_kept_of_a_frame_is_exact() -> None:
    frames = smooth(0, (3, 300, 140, 3))  # several strips
    described = Ssim().describe(frames)
    for k, channel in ((0, 0), (2, 1)):  # the definition, window by window
        for y, x in ((0, 0), (90, 50), (293, 133)):
            window = frames[k, y : y + 7, x : x + 7, channel].astype(int)
            assert described["sums"][k, y, x, channel] == window.sum()
            assert described["variances"][k, y, x, channel] == 49 * (window**2).sum() - window.sum() ** 2
    pattern = HueCircularCorr().describe(frames)["pattern"]
    np.testing.assert_array_equal(pattern[1], hue_pattern(frames[1]))
    np.testing.assert_allclose(np.linalg.norm(pattern, axis=1), 1, rtol=1e-12)
