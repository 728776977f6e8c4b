"""All scores of all methods and subjects -> tests, summaries with intervals, the retrieval table."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.streams import PairScores, read_pairs
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.base import parse_settings
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError, run_command
from mind_animator.scoring.compare import (
    TESTS,
    above_chance_tests,
    metric_table,
    motion_tests,
    paired_tests,
    retrieval_summary,
    summarise,
    swap_test,
    wide,
    with_pooled,
    with_units,
)
from mind_animator.scoring.score import COLUMNS


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, nargs="*", default=[], help="score tables of videos, Parquet")
    parser.add_argument(
        "--pairs", type=Path, nargs="*", default=[], help="their pair scores, in the same order"
    )
    parser.add_argument(
        "--decoded", type=Path, nargs="*", default=[], help="score tables of decoded features"
    )
    parser.add_argument(
        "--decoded-pairs", type=Path, nargs="*", default=[], help="their pair scores, same order"
    )
    parser.add_argument(
        "--swaps", nargs="*", default=[], metavar="METHOD=SWAPPED", help="methods and their swaps"
    )
    parser.add_argument("--settings", required=True, help="the scoring's settings, JSON")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--tests", type=Path, required=True, help="output, TSV")
    parser.add_argument(
        "--summary", type=Path, nargs="+", required=True, help="output; several for several formats"
    )
    parser.add_argument("--retrieval", type=Path, required=True, help="output, TSV")
    parser.add_argument(
        "--clips", type=Path, help="output, Parquet: one row a clip and metric, subjects pooled too"
    )
    parser.add_argument("--clip-table", type=Path, help="output, TSV: the same, one row a clip")
    parser.add_argument("--metrics", type=Path, help="output, TSV: unit, direction and range of each metric")
    given = parser.parse_args(arguments)

    settings = parse_settings(ScoringConfig, given.settings)
    for tables, pairs in ((given.scores, given.pairs), (given.decoded, given.decoded_pairs)):
        if len(tables) != len(pairs):
            raise InputError(f"Expected pair scores for each of {len(tables)} tables, got {len(pairs)}.")
    videos = [read_table(path, COLUMNS) for path in given.scores]
    decoded = [read_table(path, (*COLUMNS, "candidates")) for path in given.decoded]
    every = [table[list(COLUMNS)] for table in (*videos, *decoded)]
    rows = with_pooled(pd.concat(every, ignore_index=True))

    found: list[dict] = []
    motion: dict[tuple[str, str], PairScores] = {}
    for table, path in zip(videos, given.pairs, strict=True):
        who, scores = _who(table, path), read_pairs(path)
        motion[who["method"], who["subject"]] = scores
        epe = table[table["metric"] == "epe"].set_index("clip")["value"].reindex(scores.clips)
        found += above_chance_tests(scores.pairs, settings, **who, seed=given.seed)
        found += motion_tests(scores, epe, settings, **who, seed=given.seed)
    for table, path in zip(decoded, given.decoded_pairs, strict=True):
        found += above_chance_tests(read_pairs(path).pairs, settings, **_who(table, path), seed=given.seed)
    for text in given.swaps:
        method, _, other = text.partition("=")
        for table in videos:
            subject = table["subject"].iloc[0]
            if table["method"].iloc[0] != method:
                continue
            if (other, subject) not in motion:
                raise InputError(
                    f"Expected scores of '{other}' for subject {subject}, found none (--swaps {text})."
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
                seed=given.seed,
            )
    tests = [paired_tests(rows, settings, seed=given.seed), pd.DataFrame(found, columns=TESTS)]
    write_table(given.tests, pd.concat([part for part in tests if len(part)] or tests[:1], ignore_index=True))
    summary = summarise(rows, settings, seed=given.seed)
    for path in given.summary:
        write_table(path, summary)
    write_table(given.retrieval, retrieval_summary(decoded, settings, seed=given.seed))
    if given.clips:
        write_table(given.clips, with_units(rows))
    if given.clip_table:
        write_table(given.clip_table, wide(rows))
    if given.metrics:
        write_table(given.metrics, metric_table(list(dict.fromkeys(rows["metric"]))))


def _who(table: pd.DataFrame, path: Path) -> dict[str, str]:
    who = {name: table[name].unique() for name in ("dataset", "method", "subject")}
    for name, values in who.items():
        if len(values) != 1:
            raise InputError(
                f"Expected scores of one {name} a table, got {list(np.sort(values))} beside {path}."
            )
    return {name: str(values[0]) for name, values in who.items()}


if __name__ == "__main__":
    run_command(main)
