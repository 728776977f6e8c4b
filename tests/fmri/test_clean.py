"""Detrending and z-scoring against numpy.polyfit, vertex by vertex."""

import numpy as np
import pytest

from mind_animator.fmri.clean import CleanedRun, clean_run, legendre_basis


def slow(run: np.ndarray, order: int, ddof: int) -> np.ndarray:
    """The definition: a polynomial fit a vertex in float64, then the z-score of what is left."""
    positions = np.linspace(-1, 1, len(run))
    out = np.empty(run.shape)
    for vertex in range(run.shape[1]):
        x = run[:, vertex].astype(np.float64)
        rest = x - np.polyval(np.polyfit(positions, x, order), positions)
        out[:, vertex] = rest / np.sqrt(np.sum((rest - rest.mean()) ** 2) / (len(rest) - ddof))
    return out


@pytest.fixture
def run() -> np.ndarray:
    rng = np.random.default_rng(3)
    drift = np.linspace(-1, 1, 240)[:, None] ** np.arange(1, 5) @ rng.normal(0, 300, (4, 70))
    return (10_000 + drift + rng.normal(0, 100, (240, 70))).astype(np.float32)


@pytest.mark.parametrize(("order", "ddof"), [(0, 0), (1, 1), (4, 0), (4, 1)])
def test_equals_a_polynomial_fit_per_vertex(run, order, ddof):
    kept = run.copy()
    cleaned, _ = clean_run(run, order, ddof)
    # values below 5 from sums of 240 float32 products: 240 x 6e-8 x 5 = 7e-5 at the very most
    np.testing.assert_allclose(cleaned, slow(run, order, ddof), atol=7e-5)
    np.testing.assert_array_equal(run, kept)
    assert cleaned.dtype == np.float32


def test_layout_in_memory_and_type_do_not_matter(run):
    by_volume, _ = clean_run(np.ascontiguousarray(run))
    by_vertex, _ = clean_run(np.asfortranarray(run))
    np.testing.assert_allclose(by_volume, by_vertex, atol=7e-5)
    np.testing.assert_allclose(clean_run(run.astype(np.float64))[0], by_vertex, atol=7e-5)


@pytest.mark.parametrize("kind", [np.int16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("missing", [False, True])
def test_a_mapped_file_gives_what_an_array_does(run, tmp_path, kind, missing):
    """Its rows are read, not mapped: other bytes before them, volumes left out, a last block that is short."""
    wide = np.tile(run, (1, 16))
    wide[:, ::3] *= -3  # differences that int16 could not hold
    wide = wide.astype(kind)
    if missing and wide.dtype.kind == "f":
        wide[9] = np.nan
    with open(tmp_path / "a.bin", "wb") as stream:
        stream.write(b"x" * 4999)
        stream.write(np.ascontiguousarray(wide.T).tobytes())
    mapped = np.memmap(tmp_path / "a.bin", kind, "r", 4999, wide.T.shape).T
    for kept in (slice(None), slice(3, 238)):
        got = CleanedRun(mapped[kept])
        np.testing.assert_array_equal(got.whole(), CleanedRun(wide[kept]).whole())
        np.testing.assert_allclose(got.only(np.array([3, 900])).whole(), got.whole()[:, [3, 900]], atol=1e-6)
        if not missing:
            np.testing.assert_allclose(got.whole(), slow(wide[kept], 4, 0), atol=7e-5)


def test_a_copy_of_a_mapped_file_is_an_array(run, tmp_path):
    run.T.tofile(tmp_path / "a.bin")
    mapped = np.memmap(tmp_path / "a.bin", run.dtype, "r", 0, run.T.shape).T
    copied = mapped.astype(np.float32)
    assert isinstance(copied, np.memmap)
    np.testing.assert_array_equal(CleanedRun(copied).whole(), CleanedRun(run.astype(np.float32)).whole())


def test_more_vertices_than_a_block_change_nothing(run):
    wide = np.tile(run, (1, 30))  # 2,100 vertices: two blocks and a rest
    cleaned, _ = clean_run(wide)
    np.testing.assert_allclose(cleaned, np.tile(clean_run(run)[0], (1, 30)), atol=7e-5)


def test_blind_to_trends_and_scale(run):
    positions = np.linspace(-1, 1, 240)
    moved = (
        3 * run.astype(np.float64)
        + 500 * np.polynomial.legendre.legval(positions, [1, -2, 3, 1, -1])[:, None]
    )
    np.testing.assert_allclose(
        clean_run(moved)[0], clean_run(run)[0], atol=1e-4
    )  # float32 steps of 30,000: .002


def test_mean_zero_deviation_one(run):
    cleaned, _ = clean_run(run, 4, 0)
    # float32 of values a few deviations from the first volume: 6e-8 x 5 x sqrt(240)
    np.testing.assert_allclose(cleaned.mean(axis=0), 0, atol=5e-6)
    np.testing.assert_allclose(cleaned.std(axis=0), 1, atol=1e-5)


def test_a_constant_vertex_is_zero_and_has_no_tsnr(run):
    run[:, 5] = 1234.567
    run[:, 6] = 0
    cleaned, tsnr = clean_run(run)
    assert (cleaned[:, 5:7] == 0).all()
    assert (tsnr[5:7] == 0).all()
    assert np.isfinite(cleaned).all()


def test_tsnr_is_mean_over_deviation_of_what_the_trend_leaves(run):
    positions = np.linspace(-1, 1, 240)
    _, tsnr = clean_run(run, 4, 0)
    for vertex in (0, 33, 69):
        x = run[:, vertex].astype(np.float64)
        rest = x - np.polyval(np.polyfit(positions, x, 4), positions)
        assert tsnr[vertex] == pytest.approx(x.mean() / rest.std(), rel=1e-5)


def test_missing_volumes_stay_missing_and_have_no_part(run):
    holes = run.copy()
    holes[[3, 200]] = np.nan
    cleaned, _ = clean_run(holes)
    present = np.delete(np.arange(240), [3, 200])
    positions = np.linspace(-1, 1, 240)
    x = run[:, 7].astype(np.float64)
    rest = x[present] - np.polyval(np.polyfit(positions[present], x[present], 4), positions[present])
    np.testing.assert_allclose(cleaned[present, 7], rest / rest.std(), atol=7e-5)
    assert np.isnan(cleaned[[3, 200]]).all()


def test_chosen_volumes_are_those_of_the_whole_run(run):
    chosen = np.array([9, 4, 200])
    some = CleanedRun(run, volumes=chosen)
    assert some.shape == (3, run.shape[1])
    np.testing.assert_array_equal(some.whole(), clean_run(run)[0][chosen])
    np.testing.assert_array_equal(some.tsnr, clean_run(run)[1])
    holes = run.copy()
    holes[4] = np.nan
    assert CleanedRun(holes, volumes=chosen).present.tolist() == [True, False, True]


@pytest.mark.parametrize("vertex", [2, 1200])  # in the first block and in a later one
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_volume_that_is_not_finite_in_some_vertices_is_refused(run, vertex, value):
    wide = np.tile(run, (1, 30))
    wide[17, vertex] = value
    text = rf"got volume 17 with 1 of 2100 vertices not finite, the first {vertex} \(a.nii\)\.$"
    with pytest.raises(ValueError, match=text):
        CleanedRun(wide, where="a.nii").whole()
    missing = np.tile(run, (1, 30))
    missing[17] = np.nan
    missing[17, vertex] = 3
    with pytest.raises(
        ValueError, match=r"got volume 17 with 2099 of 2100 vertices not finite, the first 0\.$"
    ):
        clean_run(missing)


def test_errors(run):
    run[17, 2] = np.nan
    with pytest.raises(
        ValueError, match=r"^Expected volumes that are finite or missing in every vertex, got volume 17"
    ):
        clean_run(run)
    with pytest.raises(ValueError, match=r"^Expected a run \(volume, vertex\), got shape \(240,\)\.$"):
        clean_run(run[:, 0])
    with pytest.raises(ValueError, match=r"^Expected more than 5 volumes, got 5\.$"):
        clean_run(run[20:25])


def test_basis_is_orthonormal_and_spans_the_polynomials():
    basis = legendre_basis(50, 6)
    np.testing.assert_allclose(basis.T @ basis, np.eye(7), atol=1e-13)
    powers = np.vander(np.arange(50) / 50, 7)
    np.testing.assert_allclose(basis @ (basis.T @ powers), powers, atol=1e-12)
    with pytest.raises(ValueError, match=r"^Expected 0 <= order < n_volumes = 3, got order=3\.$"):
        legendre_basis(3, 3)
