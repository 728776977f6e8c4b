"""Repeats, their agreement, and the voxels that it chooses, against numpy and scipy."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from mind_animator.fmri.clean import CleanedRun, clean_run
from mind_animator.fmri.reliability import (
    agreement_of_repeats,
    average_repeats,
    in_mask,
    in_rois,
    most_reliable,
    segment_t,
    significant,
)


def runs(n_repeats: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(120, 40)) * np.linspace(0, 2, 40)
    return [clean_run(common + rng.normal(size=common.shape))[0] for _ in range(n_repeats)]


@pytest.mark.parametrize("n_repeats", [2, 3, 6])
def test_average_equals_numpy(n_repeats):
    given = runs(n_repeats)
    kept = [run.copy() for run in given]
    average = average_repeats(iter(given))
    np.testing.assert_allclose(average.mean, np.mean(given, axis=0), atol=1e-6)
    np.testing.assert_allclose(average.half_1, np.mean(given[::2], axis=0), atol=1e-6)
    np.testing.assert_allclose(average.half_2, np.mean(given[1::2], axis=0), atol=1e-6)
    pairs = [
        [np.corrcoef(given[i][:, v], given[j][:, v])[0, 1] for i, j in combinations(range(n_repeats), 2)]
        for v in range(40)
    ]
    np.testing.assert_allclose(average.reliability, np.mean(pairs, axis=1), atol=2e-6)
    assert (average.n_repeats, average.n_missing) == (n_repeats, 0)
    for before, after in zip(kept, given, strict=True):
        np.testing.assert_array_equal(before, after)


def test_one_repeat_has_no_halves_and_no_reliability():
    average = average_repeats(runs(1))
    assert average.half_1 is None
    assert average.half_2 is None
    assert np.isnan(average.reliability).all()
    np.testing.assert_array_equal(average.mean, runs(1)[0])


def test_halves_need_not_be_made():
    whole, without = average_repeats(runs(4)), average_repeats(runs(4), halves=False)
    assert without.half_1 is None
    np.testing.assert_array_equal(whole.mean, without.mean)
    np.testing.assert_array_equal(whole.reliability, without.reliability)


def test_more_vertices_than_a_block_change_nothing():
    wide = average_repeats([np.tile(run, (1, 20)) for run in runs(3)])
    narrow = average_repeats(runs(3))
    for name in ("mean", "half_1", "half_2"):
        np.testing.assert_array_equal(getattr(wide, name), np.tile(getattr(narrow, name), (1, 20)))
    np.testing.assert_allclose(wide.reliability, np.tile(narrow.reliability, 20), atol=2e-6)


def test_a_missing_volume_is_left_out_of_the_mean():
    given = runs(3)
    given[1][5] = np.nan
    for run in given:
        run[9] = np.nan
    average = average_repeats(given)
    np.testing.assert_allclose(average.mean[5], (given[0][5] + given[2][5]) / 2, atol=1e-6)
    assert np.isnan(average.half_2[5]).all()
    assert np.isnan(average.mean[9]).all()
    assert average.n_missing == 1
    assert average.missing == (1, 2, 1)


@pytest.mark.parametrize("cleaned", [False, True])
def test_a_repeat_counted_twice_is_refused(cleaned):
    """A row logged twice would make noise look perfectly reliable."""
    rng = np.random.default_rng(3)
    raw = [rng.normal(100, 5, (60, 900)).astype(np.float32) for _ in range(3)]
    raw[2] = raw[0].copy()
    for run in raw:
        run[:, :600] = 3  # the first block of vertices does not vary
    given = (CleanedRun(run) for run in raw) if cleaned else (clean_run(run)[0] for run in raw)
    with pytest.raises(
        ValueError, match=r"^Expected repeats that differ, got the same values in repeats 1 and 3"
    ):
        average_repeats(given)


def test_means_of_repeats_make_no_reliability():
    """Repeats with large means of their own, as betas have: only what varies over clips counts."""
    rng = np.random.default_rng(6)
    given = [(rng.normal(size=(90, 40)) + 1000 + 50 * k).astype(np.float32) for k in range(3)]
    given[1][[4, 30]] = np.nan
    given[2][:, 7] = 1000.1
    average = average_repeats(given)
    assert average.constant == (0, 0, 1)
    assert np.isnan(average.reliability[7])
    kept = [np.nan_to_num(run - np.nanmean(run, axis=0, dtype=np.float64)) for run in given]
    for vertex in (0, 12, 39):
        units = [run[:, vertex] / np.linalg.norm(run[:, vertex]) for run in kept]
        by_hand = np.mean([units[i] @ units[j] for i in range(3) for j in range(i)])
        assert abs(average.reliability[vertex] - by_hand) < 1e-4  # what float32 keeps of a mean of 1000
    np.testing.assert_allclose(average.mean, np.nanmean(given, axis=0), rtol=1e-6)


def test_a_constant_vertex_has_no_reliability():
    given = runs(2)
    given[1][:, 3] = 0
    average = average_repeats(given)
    assert np.isnan(average.reliability[3])
    assert average.constant == (0, 1)
    assert np.isfinite(np.delete(average.reliability, 3)).all()
    assert np.isfinite(average.mean).all()


def test_runs_may_be_cleaned_as_they_are_read():
    rng = np.random.default_rng(4)
    raw = [rng.normal(1000, 10, (120, 1300)).astype(np.float32) for _ in range(3)]
    raw[2][7] = np.nan
    raw[1][:, 5] = 3
    blockwise = average_repeats(CleanedRun(run) for run in raw)
    before = average_repeats(clean_run(run)[0] for run in raw)
    for name in ("mean", "half_1", "half_2", "missing", "constant"):
        np.testing.assert_array_equal(getattr(blockwise, name), getattr(before, name))
    # norms that a missing volume of 120 makes unequal are taken for equal: .4 % of a correlation
    np.testing.assert_allclose(blockwise.reliability, before.reliability, atol=2e-3)


def test_agreement_tells_a_repeat_that_came_late():
    given = [run.T for run in runs(5)]
    given[3] = np.roll(given[3], 5, axis=1)
    by_hand = [
        [
            np.mean([np.corrcoef(given[i][v], given[j][v])[0, 1] for j in range(5) if j != i])
            for v in range(40)
        ]
        for i in range(5)
    ]
    agreement = agreement_of_repeats(np.stack(given))
    np.testing.assert_allclose(agreement, by_hand, atol=2e-6)
    means = agreement[:, 20:].mean(axis=1)
    assert int(np.argmin(means)) == 3 and means[3] < 0.1 < np.delete(means, 3).min()


@pytest.mark.parametrize("cleaned", [True, False])
def test_some_voxels_are_those_of_all(cleaned):
    rng = np.random.default_rng(8)
    raw = [rng.normal(1000, 10, (120, 1300)).astype(np.float32) for _ in range(4)]
    raw[1][3] = np.nan
    raw[2][:, 640] = 5
    given = [CleanedRun(run) if cleaned else clean_run(run)[0] for run in raw]
    voxels = np.array([0, 511, 512, 640, 1299])
    whole, some = average_repeats(given), average_repeats(given, voxels=voxels)
    for name in ("mean", "half_1", "half_2"):
        np.testing.assert_array_equal(getattr(some, name), getattr(whole, name)[:, voxels])
    np.testing.assert_array_equal(some.reliability, whole.reliability)
    np.testing.assert_array_equal((some.missing, some.constant), (whole.missing, whole.constant))
    kept = [np.nan_to_num(clean_run(run)[0][:, voxels].T) for run in raw]
    by_hand = [
        np.mean([np.corrcoef(kept[i][1], kept[j][1])[0, 1] for j in range(4) if j != i]) for i in range(4)
    ]
    np.testing.assert_allclose(some.agreement[:, 1], by_hand, atol=2e-6)
    assert np.isnan(some.agreement[:, 3]).all() and some.agreement.shape == (4, 5)
    assert average_repeats(given[:2], voxels=voxels).agreement is None
    none = average_repeats(given, voxels=np.arange(0))
    assert none.mean.shape == (120, 0)
    np.testing.assert_array_equal(none.reliability, whole.reliability)


def test_average_errors():
    with pytest.raises(ValueError, match=r"^Expected at least one run, got none\.$"):
        average_repeats([])
    first, second = runs(2)
    with pytest.raises(ValueError, match=r"^Expected repeats of shape \(120, 40\), got \(119, 40\)\.$"):
        average_repeats([first, second[1:]])


def test_t_equals_scipy():
    correlations = np.random.default_rng(1).uniform(-0.5, 0.9, (18, 30))
    expected = stats.ttest_1samp(np.arctanh(correlations), 0, axis=0).statistic
    np.testing.assert_allclose(segment_t(correlations), expected, rtol=1e-12)


def test_t_where_it_cannot_be_computed():
    correlations = np.array([[0.5, np.nan, 1.0], [0.5, 0.3, 1.0]])
    assert np.isnan(segment_t(correlations)).all()
    with pytest.raises(
        ValueError, match=r"^Expected correlations \(segment >= 2, vertex\), got shape \(1, 3\)\.$"
    ):
        segment_t(correlations[:1])


def test_most_reliable_takes_the_highest_t_and_never_a_reversed_vertex():
    t = np.array([3.0, -50.0, 2.0, np.nan, 3.0, 9.0])
    assert most_reliable(t, 2).tolist() == [0, 5]  # of the two at 3 the lower index
    assert most_reliable(t, 3).tolist() == [0, 4, 5]
    assert most_reliable(t, 4).tolist() == [0, 2, 4, 5]
    with pytest.raises(
        ValueError, match=r"^Expected 1 to 5 voxels \(those whose repeats vary\), got count=6\.$"
    ):
        most_reliable(t, 6)


def test_significant_equals_one_sided_bonferroni():
    t = np.random.default_rng(2).normal(2, 3, 500)
    t[7] = np.nan
    p = stats.t.sf(t, 17) * 499
    np.testing.assert_array_equal(significant(t, 18, 0.05), np.flatnonzero(p < 0.05))
    with pytest.raises(ValueError, match=r"^Expected voxels with a corrected p below 0\.05, got none"):
        significant(np.zeros(10), 18, 0.05)


def test_rois_by_name():
    names = ["L_V1", "R_V1", "L_V10", "R_MT", "L_MT", ""]
    assert in_rois(names, ["V1"]).tolist() == [0, 1]
    assert in_rois(names, ["R_MT", "L_V10"]).tolist() == [2, 3]
    with pytest.raises(ValueError, match=r"got \['V7'\]\.$"):
        in_rois(names, ["V1", "V7"])


def test_masks_of_any_type_are_distinguished_from_lists_of_indices():
    """200 of 500 voxels as 0 and 1 are a mask, regardless of their type; they are never taken for voxels 0 and 1."""
    mask = np.zeros(500, bool)
    mask[100:300] = True
    for kind in (bool, np.uint8, np.int64, np.float32):
        assert in_mask(mask.astype(kind), 500).tolist() == list(range(100, 300))
    assert in_mask(np.array([4, 1]), 5).tolist() == [1, 4]
    assert in_mask(np.array([4.0, 1.0]), 5).tolist() == [1, 4]
    for values, text in (
        (np.array([True]), r"^Expected a mask of 3 values, one per voxel, got 1\.$"),
        (np.array([0, 1, 1, 0]), r"^Expected a mask of 3 values, one per voxel, got 4\.$"),
        (np.array([2, 2, 1]), r"^Expected each index once, got 1 repeated values among 3\.$"),
        (np.array([0, 3]), "Expected indices 0..2, got 0..3"),
        (np.array([0.5]), "Expected 0 and 1, or whole numbers that are indices, got float64"),
        (np.zeros(3, np.uint8), "Expected a mask that selects at least one voxel"),
        (np.zeros((2, 2), bool), "Expected a mask of one dimension"),
        (np.array(["a"]), "Expected booleans or numbers"),
    ):
        with pytest.raises(ValueError, match=text):
            in_mask(values, 3)
    with pytest.raises(ValueError, match="which could be both: save the mask as booleans"):
        in_mask(np.array([1, 0]), 2)
