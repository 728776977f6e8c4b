"""All scores of all methods and subjects -> tests, summaries with intervals, the retrieval table."""

from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.streams import PairScores, read_pairs
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError, run_command
from mind_animator.metrics.registry import open_metrics
from mind_animator.scoring.compare import (
    POOLED,
    TESTS,
    above_chance_tests,
    metric_table,
    motion_tests,
    paired_tests,
    pooled_pairs,
    retrieval_summary,
    set_rows,
    summarise,
    swap_test,
    wide,
    with_pooled,
    with_units,
)
from mind_animator.scoring.score import COLUMNS
from workflow_scripts.stages import Inputs, Output, Outputs, Param, command


def test_methods(
    *,
    scores: Inputs = (),
    pairs: Inputs = (),
    decoded: Inputs = (),
    decoded_pairs: Inputs = (),
    swaps: Param[dict[str, str]] = {},  # noqa: B006
    settings: Param[ScoringConfig],
    seed: Param[int],
    tests: Output,
    summary: Outputs,
    retrieval: Output,
    clips: Output | None = None,
    clip_table: Output | None = None,
    metrics: Output | None = None,
) -> None:
    """
    Parameters
    ----------
    scores
        Score tables of videos (Parquet).
    pairs
        Their pair scores, in the same order (HDF5).
    decoded
        Score tables of decoded features (Parquet).
    decoded_pairs
        Their pair scores, in the same order (HDF5).
    swaps
        Pairs of a method and the method with the same decoders whose motion decoder receives the responses to
        another clip.
    settings
        Settings of scoring (config.scoring).
    seed
        Seed of bootstraps and permutations.
    tests
        Tests (TSV).
    summary
        Means with intervals; one file per format (TSV, Parquet).
    retrieval
        Retrieval with its chance level; for all subjects together from the mean of each clip (TSV).
    clips
        One row per clip and metric, pooled subjects included (Parquet).
    clip_table
        The same, one row per clip (TSV).
    metrics
        Unit, direction and range of each metric (TSV).
    """
    open_metrics(settings.metrics, settings.n_ways)  # registers the metrics of the user's files
    for tables, of_tables in ((scores, pairs), (decoded, decoded_pairs)):
        if len(tables) != len(of_tables):
            raise InputError(f"Expected pair scores for each of {len(tables)} tables, got {len(of_tables)}.")
    videos = [read_table(path, COLUMNS) for path in scores]
    features = [read_table(path, (*COLUMNS, "candidates")) for path in decoded]
    every = [table[list(COLUMNS)] for table in (*videos, *features)]
    rows = with_pooled(pd.concat(every, ignore_index=True))

    found: list[dict] = []
    by_method: dict[tuple[str, str, str], list[PairScores]] = {}
    sets: list[dict] = []
    motion: dict[tuple[str, str], PairScores] = {}
    for table, path in zip(videos, pairs, strict=True):
        who, own = _who(table, path), read_pairs(path)
        motion[who["method"], who["subject"]] = own
        sets += set_rows(own, **who)
        epe = table[table["metric"] == "epe"].set_index("clip")["value"].reindex(own.clips)
        by_method.setdefault((who["dataset"], who["method"], "videos"), []).append(own)
        found += above_chance_tests(own.pairs, settings, **who, seed=seed)
        found += motion_tests(own, epe, settings, **who, seed=seed)
    for table, path in zip(features, decoded_pairs, strict=True):
        who, own = _who(table, path), read_pairs(path)
        by_method.setdefault((who["dataset"], who["method"], "features"), []).append(own)
        found += above_chance_tests(own.pairs, settings, **who, seed=seed)
    for (dataset, method, _), subjects in by_method.items():
        about = {"dataset": dataset, "method": method, "subject": POOLED, "seed": seed}
        found += above_chance_tests(pooled_pairs(subjects), settings, **about)
    for method, other in swaps.items():
        for table in videos:
            subject = table["subject"].iloc[0]
            if table["method"].iloc[0] != method:
                continue
            if (other, subject) not in motion:
                raise InputError(
                    f"Expected scores of '{other}' for subject {subject}, found none (--swaps {method}={other})."
                )
            segments = table.drop_duplicates("clip").set_index("clip")["segment"]
            full = motion[method, subject]
            found += swap_test(
                full,
                motion[other, subject],
                segments.reindex(full.clips).tolist(),
                settings,
                dataset=table["dataset"].iloc[0],
                method=method,
                other=other,
                subject=subject,
                seed=seed,
            )
    parts = [paired_tests(rows, settings, seed=seed), pd.DataFrame(found, columns=TESTS)]
    write_table(tests, pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True))
    means = summarise(rows, settings, seed=seed, sets=sets)
    for path in summary:
        write_table(path, means)
    write_table(retrieval, retrieval_summary([*features, *_pooled(rows, features)], settings, seed=seed))
    if clips:
        write_table(clips, with_units(rows))
    if clip_table:
        write_table(clip_table, wide(rows))
    if metrics:
        write_table(metrics, metric_table(list(dict.fromkeys(means["metric"]))))


def _pooled(rows: pd.DataFrame, features: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Pooled rows of decoded features with their number of candidates, one table per method; none of one subject."""
    keys = ["dataset", "method", "metric"]
    known = pd.concat(features).groupby(keys, as_index=False)["candidates"].max() if features else None
    pooled = rows[rows["subject"] == POOLED]
    if known is None or pooled.empty:
        return []
    return [own for _, own in pooled.merge(known, on=keys).groupby(keys[:2], sort=False)]


def _who(table: pd.DataFrame, path: Path) -> dict[str, str]:
    who = {name: table[name].unique() for name in ("dataset", "method", "subject")}
    for name, values in who.items():
        if len(values) != 1:
            raise InputError(
                f"Expected scores of one {name} per table, got {list(np.sort(values))} in addition to {path}."
            )
    return {name: str(values[0]) for name, values in who.items()}


main = command(test_methods)

if __name__ == "__main__":
    run_command(main)
