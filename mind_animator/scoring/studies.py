"""Results of a study: scores of every arm with references, paired tests, and trends along a factor."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mind_animator.config.scoring import ScoringConfig
from mind_animator.config.study import ALL, StudyConfig
from mind_animator.errors import InputError
from mind_animator.scoring.compare import summarise
from mind_animator.statistics.blocks import block_labels
from mind_animator.statistics.bootstrap import block_bootstrap
from mind_animator.statistics.permutation import holm, sign_flip_test

SCORES = (
    "study", "arm", "subject", "minutes", "seed", "x", "metric", "label", "unit", "value", "low", "high", "baseline",
    "ceiling", "n_clips",
)  # fmt: skip
TESTS = (
    "study", "test", "arm", "subject", "x", "metric", "estimate", "low", "high", "p", "p_holm", "n_clips", "n_blocks",
    "verdict",
)  # fmt: skip


def describe_arms(study: StudyConfig, minutes: float) -> pd.DataFrame:
    """One row per arm: ``method`` (its name), ``arm``, ``x``, ``minutes``, ``seed``, ``baseline`` and ``ceiling``.

    Parameters
    ----------
    minutes : float
        Minutes of all training movies.

    Returns
    -------
    DataFrame
        ``baseline`` and ``ceiling`` are names of other arms, or None. ``x`` is a number; the level null of
        ``training.minutes`` is the number of all minutes.
    """
    arms = study.arms()
    by_levels = {tuple(arm.levels.items()): arm.name for arm in arms}
    rows = []
    for arm in arms:
        shown = [label for factor, label in arm.levels.items() if factor not in (study.x, study.replicates)]
        row: dict[str, Any] = {
            "method": arm.name,
            "arm": ", ".join(shown) or study.name,
            "x": minutes if arm.levels[study.x] == ALL else float(arm.levels[study.x]),
            "minutes": minutes if arm.method.training.minutes is None else arm.method.training.minutes,
            "seed": arm.levels[study.replicates] if study.replicates else "0",
        }
        for role in ("baseline", "ceiling"):
            other = by_levels[tuple((arm.levels | getattr(study, role)).items())]
            row[role] = None if other == arm.name else other
        rows.append(row)
    return pd.DataFrame(rows)


def study_scores(
    study: StudyConfig, arms: pd.DataFrame, rows: pd.DataFrame, settings: ScoringConfig, seed: int
):
    """Mean over test clips of every arm, subject and metric, with its block-bootstrap interval: columns `SCORES`.

    Parameters
    ----------
    arms : DataFrame
        From `describe_arms`.
    rows : DataFrame
        Score rows (`mind_animator.scoring.score.COLUMNS`) of all arms.
    """
    table = summarise(rows, settings, seed=seed)
    table = table[table["clips"] == "all"].merge(arms, on="method")
    means = table.set_index(["method", "subject", "metric"])["mean"]
    for role in ("baseline", "ceiling"):
        keys = zip(table[role], table["subject"], table["metric"], strict=True)
        table[role] = [means.get(key, np.nan) if key[0] is not None else np.nan for key in keys]
    return table.assign(study=study.name, value=table["mean"])[list(SCORES)]


def study_tests(
    study: StudyConfig, arms: pd.DataFrame, rows: pd.DataFrame, settings: ScoringConfig, seed: int
) -> pd.DataFrame:
    """Tests on clips, means over replicates: each arm against its baseline, and the trend along x.

    ``difference``: mean paired difference to the baseline arm. ``trend``: slope of the score per doubling of x
    (``log_x``) or over the whole range of x; it is linear in the scores of a clip, so that whole blocks of clips are
    resampled and change sign. Holm over all tests of the study. With ``equivalence``, the verdict is ``equivalent`` if
    the whole interval lies within the bound.
    """
    merged = rows.merge(arms, on="method")
    order = rows.drop_duplicates("clip")[["clip", "segment"]].reset_index(drop=True)
    blocks = pd.Series(block_labels(order["segment"].tolist(), settings.block), index=order["clip"])
    found = []
    for (subject, metric), group in merged.groupby(["subject", "metric"], sort=False, observed=True):
        means = group.groupby(["arm", "x", "clip"], sort=False)["value"].mean().unstack("clip")
        means = means.reindex(columns=order["clip"])
        common = {"study": study.name, "subject": subject, "metric": metric}
        for (arm, x), own in means.iterrows():
            others = group[(group["arm"] == arm) & (group["x"] == x)]["baseline"].dropna()
            if len(others):
                other = arms.set_index("method").loc[others.iloc[0]]
                difference = own - means.loc[(other["arm"], other["x"])]
                found.append(
                    common
                    | {"test": "difference", "arm": arm, "x": x}
                    | _test(difference, blocks, settings, seed)
                )
        for arm, table in means.groupby(level="arm", sort=False):
            x = table.index.get_level_values("x").to_numpy(float)
            if len(x) > 1:
                slopes = pd.Series(_slope_weights(x, study.log_x) @ table.to_numpy(), index=table.columns)
                result = _test(slopes, blocks, settings, seed)
                bound = study.equivalence
                if bound is not None and -bound < result["low"] and result["high"] < bound:
                    result["verdict"] = "equivalent"
                found.append(common | {"test": "trend", "arm": arm, "x": np.nan} | result)
    table = pd.DataFrame(found).reindex(columns=TESTS)
    if len(table):
        table["p_holm"] = holm(table["p"].to_numpy())
    return table


def _slope_weights(x: np.ndarray, log_x: bool) -> np.ndarray:
    """Weights of the scores at x that give the least-squares slope: per doubling, or over the range of x."""
    scaled = np.log2(x) if log_x else x / np.ptp(x)
    centred = scaled - scaled.mean()
    return centred / (centred**2).sum()


def _test(values: pd.Series, blocks: pd.Series, settings: ScoringConfig, seed: int) -> Mapping[str, Any]:
    """Mean over clips with interval and two-sided sign-flip test of blocks; clips without a value are left out."""
    values = values.dropna()
    if values.empty:
        raise InputError("Expected scores of the same clips for the arms of a study, got none in common.")
    labels = blocks[values.index].to_numpy()
    interval = block_bootstrap(
        values.to_numpy(), labels, n_draws=settings.bootstraps, level=settings.confidence,
        generator=np.random.default_rng(seed),
    )  # fmt: skip
    result = sign_flip_test(
        values.to_numpy(), labels, n_permutations=settings.permutations, generator=np.random.default_rng(seed)
    )
    return {
        "estimate": interval.estimate, "low": interval.low, "high": interval.high, "p": result.p,
        "n_clips": result.n_clips, "n_blocks": result.n_blocks, "verdict": "",
    }  # fmt: skip
