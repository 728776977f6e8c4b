"""The tests' own error rates, the published test and the noise ceilings."""

import numpy as np
import pytest
from scipy import stats

from mind_animator.statistics.calibration import Null, binomial_interval, calibrate
from mind_animator.statistics.ceiling import identify_halves
from mind_animator.statistics.published import wilcoxon_of_bootstrap_means


def test_binomial_interval_inverts_the_binomial_tails() -> None:
    low, high = binomial_interval(7, 100)
    assert stats.binom.sf(6, 100, low) == pytest.approx(0.025, abs=1e-9)
    assert stats.binom.cdf(7, 100, high) == pytest.approx(0.025, abs=1e-9)
    assert binomial_interval(0, 10)[0] == 0 and binomial_interval(10, 10)[1] == 1


def test_simulated_nulls_have_the_moments_they_name() -> None:
    null = Null(n_movies=400, clips_per_movie=50, hardness=2.0, autocorrelation=0.6)
    first, second = null.draw(np.random.default_rng(0))
    assert first.shape == (20_000,) and len(null.movies()) == 20_000
    clips = np.stack([first, second]).reshape(2, 400, 50)
    # 20,000 clips of effective number 5,000: 4.5 sigma of a variance of 5 is .45, of a correlation .03
    np.testing.assert_allclose(clips.var(axis=(1, 2)), 5, atol=0.45)
    assert abs(np.corrcoef(first, second)[0, 1] - 0.8) < 0.03
    neighbours = [np.corrcoef(side[:, :-1].ravel(), side[:, 1:].ravel())[0, 1] for side in clips]
    np.testing.assert_allclose(neighbours, 0.6, atol=0.04)
    assert abs((first - second).mean()) < 4.5 * np.sqrt(2 * 4 / 20_000)


def test_paired_test_keeps_its_level_and_the_published_one_does_not() -> None:
    null = Null(n_movies=2, clips_per_movie=60)
    rows = {row["test"]: row for row in calibrate(null, n_nulls=200, n_permutations=199, seed=1).rejections()}
    paired, published = rows["paired_sign_flip"], rows["wilcoxon_of_bootstrap_means"]
    assert paired["low"] <= 0.05 <= paired["high"] and paired["nulls"] == 200
    assert published["low"] > 0.5


def test_nulls_do_not_depend_on_how_many_there_are() -> None:
    null = Null(n_movies=1, clips_per_movie=40)
    short, long = (calibrate(null, n_nulls=n, n_permutations=99, seed=2).p for n in (3, 6))
    for name in short:
        np.testing.assert_array_equal(short[name], long[name][:3])


def test_published_test_is_a_wilcoxon_of_resampled_means() -> None:
    first, second = np.random.default_rng(0).standard_normal((2, 50))
    generator = np.random.default_rng(1)
    means = []
    for values in (first, second):
        drawn = generator.integers(50, size=(100, 50))
        means.append([np.mean([values[i] for i in row]) for row in drawn])
    expected = stats.wilcoxon(*means).pvalue
    found = wilcoxon_of_bootstrap_means(first, second, generator=np.random.default_rng(1))
    assert found == pytest.approx(expected, rel=1e-9)
    assert wilcoxon_of_bootstrap_means(np.ones(9), np.ones(9), generator=generator) == 1


def test_published_p_falls_with_the_number_of_bootstraps() -> None:
    first, second = np.random.default_rng(3).standard_normal((2, 200))
    p = [
        wilcoxon_of_bootstrap_means(first, second, n_bootstraps=n, generator=np.random.default_rng(4))
        for n in (25, 100, 1600)
    ]
    assert p[2] < p[1] and p[2] < 1e-6  # two samples of one law


def test_identification_is_perfect_without_noise_and_chance_without_signal() -> None:
    generator = np.random.default_rng(7)
    clean = generator.standard_normal((200, 60))
    nearest, ranks = identify_halves(clean, 3 * clean + 1)
    assert ranks.n_candidates == 200 and (ranks.middle == 1).all()
    np.testing.assert_array_equal(nearest, np.arange(200))
    noise = generator.standard_normal((200, 60))
    nearest, ranks = identify_halves(clean, noise)
    assert abs(ranks.middle.mean() - 100.5) < 4.5 * 200 / np.sqrt(12 * 200)
    # by definition: correlation over voxels, each voxel centred over clips
    for clip in (0, 17, 199):
        own = clean[clip] - clean.mean(axis=0)
        others = [np.corrcoef(own, other)[0, 1] for other in noise - noise.mean(axis=0)]
        assert nearest[clip] == np.argmax(others)
        assert ranks.middle[clip] == 1 + (np.array(others) > others[clip]).sum()


def test_errors_say_what_was_expected_and_found() -> None:
    cases = [
        (
            "Expected 0 <= hits <= trials and 0 < level < 1, got 5, 4 and 0.95.",
            lambda: binomial_interval(5, 4),
        ),
        ("Expected at least one null, got 0.", lambda: calibrate(Null(), n_nulls=0, seed=0)),
        (
            "Expected finite scores (clip,), got (2,) or NaN.",
            lambda: wilcoxon_of_bootstrap_means(
                np.array([1, np.nan]), np.ones(2), generator=np.random.default_rng(0)
            ),
        ),
    ]
    for text, call in cases:
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == text
