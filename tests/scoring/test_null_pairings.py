"""Ridge and its test on shuffled pairings: valid where pairs mean nothing, and blind to real pairs."""

import numpy as np
import pandas as pd
import pytest

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.scoring.demo_controls import calibration_rows
from mind_animator.scoring.null_pairings import null_pairings
from workflow_scripts.calibrate_ridge import main


def simulated(rng: np.random.Generator, movies: int = 4, clips: int = 60):
    """Responses that predict their targets very well; neighbours are similar."""
    segments = [f"seg{movie}" for movie in range(movies) for _ in range(clips)]
    aims = rng.standard_normal((movies * clips, 3)).astype(np.float32)
    aims[1:] += aims[:-1]
    responses = aims @ rng.standard_normal((3, 20)).astype(np.float32)
    return responses + 0.1 * rng.standard_normal(responses.shape).astype(np.float32), aims, segments


def test_p_values_of_shuffled_pairs_are_uniform(rng: np.random.Generator):
    responses, aims, segments = simulated(rng)
    train = np.array(segments) != "seg3"
    before = responses.copy(), aims.copy()
    movies = np.array(segments)
    p = null_pairings(
        responses[train], responses[~train], aims[train], aims[~train], movies[train], movies[~train],
        draws=100, permutations=199, seed=3,
    )  # fmt: skip
    assert p.shape == (100,)
    # 99.9 % of the binomial law of 100 draws at .2
    assert 8 <= (p <= 0.2).sum() <= 34
    assert p.min() >= 1 / 200
    np.testing.assert_array_equal(responses, before[0])
    np.testing.assert_array_equal(aims, before[1])


def test_a_draw_does_not_depend_on_the_number_of_draws(rng: np.random.Generator):
    responses, aims, segments = simulated(rng, movies=3)
    movies, train = np.array(segments), np.array(segments) != "seg2"
    parts = responses[train], responses[~train], aims[train], aims[~train], movies[train], movies[~train]
    few = null_pairings(*parts, draws=3, permutations=99, seed=1)
    many = null_pairings(*parts, draws=9, permutations=99, seed=1)
    # one float32 regression of more targets may round otherwise, which moves at most a tie or two
    np.testing.assert_allclose(few, many[:3], atol=0.02)


def test_the_script_writes_every_p(tmp_path, rng: np.random.Generator):
    responses, aims, segments = simulated(rng, movies=3)
    clips = [f"{segment}-{row:05d}" for row, segment in enumerate(segments)]
    write_arrays(tmp_path / "responses.h5", {"responses": responses}, clips)
    write_arrays(tmp_path / "text.h5", {"clip_embedding_text": aims}, clips)
    table = pd.DataFrame({"clip": clips, "segment": segments})
    table["split"] = np.where(table["segment"] == "seg2", "test", "train")
    write_table(tmp_path / "clips.tsv", table)
    main(
        ["--responses", f"{tmp_path}/responses.h5", "--features", f"{tmp_path}/text.h5", "--clips",
         f"{tmp_path}/clips.tsv", "--draws", "5", "--block", "10", "--permutations", "99", "--seed", "1",
         "--p-values", f"{tmp_path}/p.tsv"]
    )  # fmt: skip
    found = read_table(tmp_path / "p.tsv", ("test", "p"))
    assert found["test"].tolist() == ["ridge_on_shuffled_pairs"] * 5 and found["p"].between(0, 1).all()


@pytest.mark.parametrize(
    ("rejections", "passes"), [(3, False), (4, True), (10, True), (16, True), (17, False)]
)
def test_rejections_must_lie_in_their_binomial_law(rejections, passes):
    rates = pd.DataFrame([{"test": "t", "rejections": rejections, "nulls": 200, "alpha": 0.05}])
    (row,) = calibration_rows(rates, "t")
    assert row.passes is passes
    assert not calibration_rows(rates, "another")[0].passes
