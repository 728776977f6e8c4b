"""Studies: arms from factors, minutes of whole movies, tests and trends with planted effects, figure."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from mind_animator.config import Config
from mind_animator.config.base import explain
from mind_animator.config.scoring import ScoringConfig
from mind_animator.config.study import StudyConfig
from mind_animator.errors import InputError
from mind_animator.methods._clips import choose_minutes, units_of_validation
from mind_animator.report.study_figure import draw_study
from mind_animator.scoring.studies import SCORES, TESTS, describe_arms, study_scores, study_tests

SETTINGS = ScoringConfig(block=5, bootstraps=200, permutations=499)
BASE = {
    "name": "minutes",
    "question": "Does it grow?",
    "method": {"kind": "ridge", "options": {"repeats": "mean"}},
    "factors": {
        "training.minutes": [5, 10, 20, None],
        "training.order": [0, 1],
        "strategy": {"plain": {}, "noise": {"options": {"repeats": "single"}}},
    },
    "x": "training.minutes",
    "log_x": True,
    "replicates": "training.order",
    "metrics": ["target_semantic_corr"],
    "baseline": {"strategy": "plain"},
    "ceiling": {"training.minutes": "all"},
}


def test_arms_are_all_combinations_with_their_settings():
    arms = {arm.name: arm.method for arm in StudyConfig(**BASE).arms()}
    assert len(arms) == 16
    noisy = arms["minutes_10_1_noise"]
    assert (noisy.training.minutes, noisy.training.order, noisy.options) == (10, 1, {"repeats": "single"})
    assert arms["minutes_all_0_plain"].training.minutes is None
    assert arms["minutes_all_0_plain"].options == {"repeats": "mean"}


def test_arms_become_methods_of_the_config():
    config = Config(results="r", dataset={"name": "demo", "data_root": "d"}, study=BASE)
    assert {"ridge", "minutes_5_0_plain"} <= set(config.methods)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"x": "minutes"}, "study.x = 'minutes': must be one of the factors"),
        (
            {"baseline": {"strategy": "none"}},
            r"study.baseline.strategy = 'none': must be one of \['plain', 'noise'\]",
        ),
        (
            {"factors": {"training.minutes": [5, 5]}, "replicates": None, "baseline": {}, "ceiling": {}},
            "must have different levels",
        ),
        ({"x": "strategy", "ceiling": {}}, "must be numbers"),
        ({"method": {"kind": "ridge", "training": {"minute": 5}}}, "minute"),
        ({"name": "a b"}, "study.name"),
    ],
)
def test_faults_are_named(change, expected):
    with pytest.raises(ValidationError) as raised:
        Config(results="r", dataset={"name": "demo", "data_root": "d"}, study=BASE | change)
    assert re.search(expected, explain(raised.value, "config"))


def movie_table(lengths: dict[str, int], duration: float = 2.0) -> pd.DataFrame:
    return pd.DataFrame({"movie": np.repeat(list(lengths), list(lengths.values())), "duration": duration})


def test_minutes_are_whole_movies_nested_and_ordered_by_a_seed():
    table = movie_table({"a": 60, "b": 60, "c": 60, "d": 30})  # three movies of 2 minutes, one of 1
    chosen = {minutes: set(choose_minutes(table, minutes, 3)) for minutes in (0.5, 2, 3, 4, 5.5, 7)}
    previous: set[int] = set()
    for minutes, rows in chosen.items():
        assert len(rows) * 2 / 60 == pytest.approx(minutes)
        assert previous <= rows
        previous = rows
        cut = [name for name, own in table.groupby("movie") if 0 < len(rows & set(own.index)) < len(own)]
        assert len(cut) <= 1
        for name in cut:  # from its beginning
            own = table.index[table["movie"] == name]
            assert rows & set(own) == set(own[: len(rows & set(own))])
    orders = {tuple(choose_minutes(table, 2, order)) for order in range(8)}
    assert len(orders) > 1
    assert list(choose_minutes(table, None, 3)) == list(range(210))
    for minutes in (8, 0.01):
        with pytest.raises(InputError, match=r"training\.minutes"):
            choose_minutes(table, minutes, 0)


def test_part_of_one_movie_is_cross_validated_over_its_quarters():
    table = movie_table({"a": 10, "b": 3})
    assert units_of_validation(table) == ["a"] * 10 + ["b"] * 3
    assert units_of_validation(table[:10]) == [
        f"a, part {part} of 4" for part in (1, 1, 1, 2, 2, 3, 3, 3, 4, 4)
    ]


def planted(study: StudyConfig, slope: float, noise_effect: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of 60 clips in each arm: ``slope`` per doubling of minutes; ``noise_effect`` of the arm 'noise'."""
    rng = np.random.default_rng(0)
    arms = describe_arms(study, 40.0)
    clip_effect = rng.normal(0, 0.1, 60)
    rows = []
    for subject in ("1", "2"):
        for arm in arms.itertuples():
            value = (
                clip_effect
                + slope * np.log2(arm.x)
                + noise_effect * (arm.arm == "noise")
                + rng.normal(0, 0.02, 60)
            )
            rows.append(
                pd.DataFrame(
                    {
                        "dataset": "demo", "method": arm.method, "subject": subject,
                        "clip": [f"c{i:02d}" for i in range(60)], "segment": np.repeat(["s1", "s2"], 30), "movie": "m",
                        "scene_cut": False, "metric": "target_semantic_corr", "value": value, "weight": 1.0,
                        "status": "ok",
                    }
                )
            )  # fmt: skip
    return arms, pd.concat(rows, ignore_index=True)


def test_planted_effects_are_found_with_their_size_and_their_references():
    study = StudyConfig(**BASE)
    arms, rows = planted(study, slope=0.05, noise_effect=-0.03)
    scores = study_scores(study, arms, rows, SETTINGS, seed=1)
    assert tuple(scores.columns) == SCORES
    assert len(scores) == 32
    row = scores[(scores["arm"] == "noise") & (scores["x"] == 5) & (scores["subject"] == "1")].iloc[0]
    assert row["baseline"] == pytest.approx(row["value"] + 0.03, abs=0.02)
    assert row["ceiling"] == pytest.approx(row["value"] + 3 * 0.05, abs=0.02)
    assert set(scores["minutes"]) == {5, 10, 20, 40}
    tests = study_tests(study, arms, rows, SETTINGS, seed=1)
    assert tuple(tests.columns) == TESTS
    trend = tests[tests["test"] == "trend"]
    assert trend["estimate"].to_numpy() == pytest.approx(0.05, abs=0.005)
    assert (trend["p_holm"] < 0.05).all()
    assert ((trend["low"] < 0.05) & (trend["high"] > 0.05)).mean() >= 0.5
    difference = tests[tests["test"] == "difference"]
    assert set(difference["arm"]) == {"noise"}
    assert difference["estimate"].to_numpy() == pytest.approx(-0.03, abs=0.02)


def test_no_effect_is_equivalent_only_within_the_bound_that_was_stated():
    study = StudyConfig(**BASE | {"equivalence": 0.02})
    tests = study_tests(study, *planted(study, slope=0.0, noise_effect=0.0), SETTINGS, seed=1)
    trend = tests[tests["test"] == "trend"]
    assert (trend["verdict"] == "equivalent").all()
    assert (tests["p_holm"] > 0.05).all()
    strict = StudyConfig(**BASE | {"equivalence": 1e-5})
    tests = study_tests(strict, *planted(strict, slope=0.0, noise_effect=0.0), SETTINGS, seed=1)
    assert not (tests["verdict"] == "equivalent").any()


def test_a_clip_without_a_score_is_left_out_of_every_arm_that_is_compared():
    study = StudyConfig(**BASE)
    arms, rows = planted(study, slope=0.05, noise_effect=0.0)
    lost = (rows["clip"] == "c07") & (rows["method"] == "minutes_5_0_plain")
    rows.loc[lost, "value"] = np.nan
    tests = study_tests(study, arms, rows, SETTINGS, seed=1)
    assert np.isfinite(tests["estimate"]).all()


def test_figure(tmp_path: Path):
    study = StudyConfig(**BASE)
    scores = study_scores(study, *planted(study, 0.05, -0.03), SETTINGS, seed=1)
    draw_study(scores, study.question, "minutes", True, tmp_path / "study.png")
    assert (tmp_path / "study.png").stat().st_size > 10_000
