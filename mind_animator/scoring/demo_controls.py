"""Positive and negative controls: the expected results of simulated subjects and the comparison with the actual ones.

Positive rows require p <= .001 in each subject. Null rows require that nothing is significant (Holm over
subjects and metrics, family-wise .01).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from mind_animator.statistics.permutation import expected_false_alarms, holm

POSITIVE = 0.001
FAMILY = 0.01
CONTENT = (
    "retrieval_text_top10",
    "retrieval_text_median_rank",
    "image_2way",
    "video_2way",
    "ssim",
    "hue_circular_corr",
)
WITHOUT_MOTION = tuple(name for name in CONTENT if name != "video_2way")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    signal, row, subject : str
    statistic : float
        In the unit of the test: own minus others; full minus ridge; AUC.
    p : float
        Uncorrected for positive rows, Holm-adjusted over the family for null rows; nan for intervals.
    rule : str
        Condition for passing.
    passes : bool
    note : str
    """

    signal: str
    row: str
    subject: str
    statistic: float
    p: float
    rule: str
    passes: bool
    note: str = ""


def positive_rows(
    tests: pd.DataFrame, signal: str, method: str, metrics: tuple[str, ...], motion: bool
) -> list[Row]:
    """Above chance in every subject: p <= .001, uncorrected. A test that was not made is a row that fails."""
    found = []
    for subject in _subjects(tests):
        for name, row in _expected(tests, method, subject, metrics, motion):
            if row is None:
                found.append(
                    Row(signal, name, subject, np.nan, np.nan, f"p <= {POSITIVE}", False, "not tested")
                )
            else:
                passes = bool(row["p"] <= POSITIVE) and np.isfinite(row["statistic"])
                found.append(
                    Row(signal, name, subject, row["statistic"], row["p"], f"p <= {POSITIVE}", passes)
                )
    return found


def null_rows(
    tests: pd.DataFrame, signal: str, method: str, metrics: tuple[str, ...], motion: bool
) -> tuple[list[Row], str]:
    """Nothing above chance: Holm over subjects and metrics, family-wise .01; and a note on false alarms."""
    expected_rows = [
        (subject, name, row)
        for subject in _subjects(tests)
        for name, row in _expected(tests, method, subject, metrics, motion)
    ]
    there = [entry for entry in expected_rows if entry[2] is not None]
    adjusted = iter(holm(np.array([row["p"] for _, _, row in there])))
    rule, found = f"Holm p > {FAMILY}", []
    for subject, name, row in expected_rows:
        if row is None:
            found.append(Row(signal, name, subject, np.nan, np.nan, rule, False, "not tested"))
        else:
            p = float(next(adjusted))
            found.append(
                Row(
                    signal,
                    name,
                    subject,
                    row["statistic"],
                    p,
                    rule,
                    p > FAMILY,
                    f"uncorrected {row['p']:.4g}",
                )
            )
    expected, none = expected_false_alarms(len(there), 0.05)
    note = (
        f"{signal}: {len(there)} null tests; at .05 without correction {expected:.2g} false alarms are "
        f"expected, and all would pass with probability {none:.2f} if they were independent"
    )
    return found, note


def decoder_rows(tests: pd.DataFrame, signal: str, method: str, baseline: str) -> list[Row]:
    """No decoder significantly worse than the baseline on its own target: Holm over subjects and decoders."""
    names = [f"target_{decoder}_corr" for decoder in ("semantic", "structure", "change")]
    expected_rows: list[tuple[str, str, float, float]] = []
    for subject in _subjects(tests):
        for name in names:
            both = tests[
                (tests["test"] == "paired") & (tests["subject"] == subject) & (tests["metric"] == name)
                & (tests["clips"] == "all")
            ]  # fmt: skip
            ahead = both[(both["method"] == method) & (both["other"] == baseline)]
            behind = both[(both["method"] == baseline) & (both["other"] == method)]
            if len(ahead):
                expected_rows.append(
                    (subject, name, float(ahead["statistic"].iloc[0]), float(ahead["p"].iloc[0]))
                )
            elif len(behind):
                expected_rows.append(
                    (subject, name, -float(behind["statistic"].iloc[0]), float(behind["p"].iloc[0]))
                )
            else:
                expected_rows.append((subject, name, np.nan, np.nan))
    there = [p for *_, p in expected_rows if np.isfinite(p)]
    adjusted = iter(holm(np.array(there)))
    found = []
    for subject, name, difference, p in expected_rows:
        if not np.isfinite(p):
            found.append(
                Row(
                    signal, f"{name} vs {baseline}", subject, np.nan, np.nan, "not worse", False, "not tested"
                )
            )
            continue
        p = float(next(adjusted))
        rule = f"not worse (two-sided Holm p > {FAMILY} or ahead)"
        found.append(
            Row(signal, f"{name} vs {baseline}", subject, difference, p, rule, difference >= 0 or p > FAMILY)
        )
    return found


def map_rows(maps: pd.DataFrame, signal: str) -> list[Row]:
    """Activation patterns: the areas that carry the signal of a decoder, compared with the others.

    Parameters
    ----------
    maps : DataFrame
        ``subject, decoder, auc, low, high, voxels_alone``: area under the curve, the interval of permuted maps,
        and the number of chosen voxels in areas whose signal drives this decoder alone.
    signal : str
        ``full``: AUC >= .9. ``no_motion``: the motion map is lost (its AUC is inside the permutation
        interval) and the others are not. ``none``: the permutation interval covers every AUC, and .5.
    """
    found = []
    for row in maps.itertuples(index=False):
        lost = signal == "none" or (signal == "no_motion" and row.decoder == "motion")
        inside = row.low <= row.auc <= row.high and row.low <= 0.5 <= row.high
        if lost:
            rule, passes = "inside the permutation interval, which covers .5", inside
        else:
            rule, passes = "AUC >= .9", row.auc >= 0.9
        note = f"permutations [{row.low:.3f}, {row.high:.3f}]; {row.voxels_alone} voxels in areas of this decoder only"
        found.append(
            Row(
                signal,
                f"map_{row.decoder}",
                str(row.subject),
                float(row.auc),
                np.nan,
                rule,
                bool(passes),
                note,
            )
        )
    return found


def calibration_rows(rates: pd.DataFrame, test: str) -> list[Row]:
    """A valid test rejects nulls at its level: the number of rejections is within the central
    95 % of its binomial distribution.

    Parameters
    ----------
    rates : DataFrame
        ``test, rejections, nulls, alpha``.
    test : str
        Name of the test.
    """
    found = []
    for row in rates[rates["test"] == test].itertuples(index=False):
        low, high = stats.binom.ppf([0.025, 0.975], int(row.nulls), row.alpha)
        rule = f"{low:.0f} to {high:.0f} rejections of {row.nulls} at {row.alpha:g}"
        passes = bool(low <= row.rejections <= high)
        found.append(Row("shuffled", test, "1", float(row.rejections), np.nan, rule, passes))
    return found or [Row("shuffled", test, "1", np.nan, np.nan, "tested", False, "not tested")]


def evaluate_subjects(
    tests: Mapping[str, pd.DataFrame],
    maps: Mapping[str, pd.DataFrame],
    *,
    method: str,
    baseline: str,
) -> tuple[list[Row], list[str]]:
    """Every row of the table, and notes on the null families.

    Parameters
    ----------
    tests, maps : mapping of signal (``full``, ``no_motion``, ``none``) to DataFrame
        ``tests.tsv`` of the subjects with each signal; maps in the format of `map_rows`, for signals that have maps.
    method, baseline : str
        The evaluated method, and the method than whose decoders it must not be worse.
    """
    rows: list[Row] = []
    notes: list[str] = []
    if "full" in tests:
        rows += positive_rows(tests["full"], "full", method, CONTENT, motion=True)
        rows += decoder_rows(tests["full"], "full", method, baseline) if baseline else []
    if "no_motion" in tests:
        rows += positive_rows(tests["no_motion"], "no_motion", method, WITHOUT_MOTION, motion=False)
        found, note = null_rows(tests["no_motion"], "no_motion", method, (), motion=True)
        rows, notes = rows + found, [*notes, note]
    if "none" in tests:
        found, note = null_rows(tests["none"], "none", method, CONTENT, motion=True)
        rows, notes = rows + found, [*notes, note]
    for signal, table in maps.items():
        rows += map_rows(table, signal)
    return rows, notes


def _subjects(tests: pd.DataFrame) -> list[str]:
    return [subject for subject in dict.fromkeys(tests["subject"].astype(str)) if subject != "pooled"]


def _expected(
    tests: pd.DataFrame, method: str, subject: str, metrics: tuple[str, ...], motion: bool
) -> list[tuple[str, pd.Series | None]]:
    own = tests[(tests["method"] == method) & (tests["subject"].astype(str) == subject)]
    chance = own[own["test"] == "above_chance"].drop_duplicates("metric").set_index("metric")
    found = [(name, chance.loc[name] if name in chance.index else None) for name in metrics]
    if motion:
        pairing = own[own["test"] == "motion_pairing"]
        found.append(("motion_pairing", pairing.iloc[0] if len(pairing) else None))
    return found
