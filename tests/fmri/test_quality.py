"""Noise ceilings and lags: against simulation, loops, and signals planted at a known lag."""

import numpy as np
import pytest

from mind_animator.fmri.quality import clip_features, cross_correlation, lag_curve, noise_ceiling


def test_noise_ceiling_is_what_the_true_signal_reaches():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=200_000)
    repeats = signal + rng.normal(0, 1.5, (4, len(signal)))
    pairs = np.corrcoef(repeats)[np.triu_indices(4, 1)].mean()
    reached = np.corrcoef(signal, repeats.mean(axis=0))[0, 1]
    # standard error of a correlation over 200,000 samples: .002
    assert noise_ceiling(np.array([pairs]), 4)[0] == pytest.approx(reached, abs=0.008)
    alone = np.mean([np.corrcoef(signal, repeat)[0, 1] for repeat in repeats])
    assert noise_ceiling(np.array([pairs]), 1)[0] == pytest.approx(alone, abs=0.008)


def test_noise_ceiling_edges():
    np.testing.assert_array_equal(noise_ceiling(np.array([0.0, -0.3, 1.0, np.nan]), 5), [0, 0, 1, 0])
    with pytest.raises(ValueError, match=r"^Expected at least one repeat, got 0\.$"):
        noise_ceiling(np.array([0.5]), 0)


def test_cross_correlation_equals_a_loop():
    rng = np.random.default_rng(1)
    responses = [rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(24, 4)).astype(np.float32)]
    feature = [rng.normal(size=30), rng.normal(size=24)]
    kept = [r.copy() for r in responses]
    shifts = [-3, 0, 1, 5]
    expected = []
    for shift in shifts:
        pairs = [
            (f[k], r[k + shift])
            for f, r in zip(feature, responses, strict=True)
            for k in range(len(f))
            if 0 <= k + shift < len(f)
        ]
        x = np.array([pair[0] for pair in pairs])
        y = np.array([pair[1] for pair in pairs])
        expected.append(np.mean([np.corrcoef(x, y[:, v])[0, 1] ** 2 for v in range(4)]))
    np.testing.assert_allclose(cross_correlation(responses, feature, shifts), expected, rtol=1e-5)
    for before, after in zip(kept, responses, strict=True):
        np.testing.assert_array_equal(before, after)


def planted(shift: int, seed: int = 0, strength: float = 0.3):
    """Two segments whose responses repeat a feature ``shift`` clips later, under noise."""
    rng = np.random.default_rng(seed)
    feature = [np.convolve(rng.normal(size=240), [0.5, 1, 0.5], "same") for _ in range(2)]
    gain = rng.normal(size=80)
    responses = [
        (strength * np.roll(f, shift)[:, None] * gain + rng.normal(size=(240, 80))).astype(np.float32)
        for f in feature
    ]
    return responses, feature


@pytest.mark.parametrize("shift", [-4, -1, 0, 1, 2, 5])
def test_a_planted_lag_is_found_to_the_volume(shift):
    responses, feature = planted(shift)
    curve = lag_curve(responses, feature, lag=4.0, clip_seconds=2.0)
    assert curve.peak == 4.0 + 2 * shift
    assert curve.clear
    np.testing.assert_array_equal(curve.lags, np.arange(-4, 15, 2))
    assert curve.fraction_at(curve.peak) == 1


def test_no_lag_is_found_in_noise():
    clear = []
    for seed in range(40):
        responses, feature = planted(0, seed, strength=0.0)
        clear.append(lag_curve(responses, feature, lag=4.0, clip_seconds=2.0).clear)
    assert sum(clear) <= 7  # binomial (40, .05): P(more than 7) = .0006


def test_short_segments_narrow_the_range():
    responses, feature = planted(1)
    curve = lag_curve([r[:30] for r in responses], [f[:30] for f in feature], lag=4.0, clip_seconds=2.0)
    assert curve.lags.min() >= -6
    assert curve.lags.max() <= 14
    assert np.isfinite(curve.chance)


def test_errors():
    responses, feature = planted(0)
    with pytest.raises(
        ValueError, match=r"^Expected as many clips as the feature's \[240, 239\], got \[240, 240\]\.$"
    ):
        cross_correlation(responses, [feature[0], feature[1][1:]], [0])
    with pytest.raises(ValueError, match=r"^Expected shifts of at most 237 clips, got 238\.$"):
        cross_correlation(responses, feature, [0, 238])


def test_features_of_a_clip():
    frames = np.zeros((3, 4, 6, 3), np.uint8)
    assert clip_features(frames) == {"luminance": 0, "contrast": 0, "motion_energy": 0}
    frames[1] = 255
    found = clip_features(frames)
    assert found["luminance"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["contrast"] == pytest.approx(0, abs=1e-6)
    assert found["motion_energy"] == pytest.approx(1, abs=1e-6)
    frames[1, :, :, 0] = 0  # cyan: .587 + .114
    assert clip_features(frames)["luminance"] == pytest.approx(0.701 / 3, abs=1e-6)
