"""Print what the synthetic data set shows beside what it must show; exit 1 where a row fails."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.errors import InputError, run_command
from mind_animator.scoring.demo_controls import calibration_rows, judge_subjects

BRAINS = ("full", "no_motion", "none")
MAP_COLUMNS = ("subject", "decoder", "auc", "low", "high", "voxels_alone")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for brain in BRAINS:
        name = brain.replace("_", "-")
        parser.add_argument(f"--{name}-tests", type=Path, help=f"tests.tsv of the brain '{brain}'")
        parser.add_argument(f"--{name}-maps", type=Path, help=f"maps of '{brain}', TSV")
    parser.add_argument("--calibration", type=Path, help="rejections of `ridge` on dealt pairs, TSV")
    parser.add_argument("--method", default="mind_animator")
    parser.add_argument("--baseline", default="ridge", help="whose decoders the method must not fall behind")
    parser.add_argument("--table", type=Path, help="output, TSV; no file by default")
    given = vars(parser.parse_args(arguments))

    tests, maps = {}, {}
    for brain in BRAINS:
        if given[f"{brain}_tests"]:
            tests[brain] = read_table(given[f"{brain}_tests"], ("subject", "test", "method", "metric", "p"))
        if given[f"{brain}_maps"]:
            maps[brain] = read_table(given[f"{brain}_maps"], MAP_COLUMNS)
    if not tests:
        raise InputError("Expected the tests of at least one brain (--full-tests, ...), got none.")
    rows, notes = judge_subjects(tests, maps, method=given["method"], baseline=given["baseline"])
    if given["calibration"]:
        rates = read_table(given["calibration"], ("test", "rejections", "nulls", "alpha"))
        rows += calibration_rows(rates, "ridge_on_dealt_pairs")
    table = pd.DataFrame([vars(row) for row in rows])
    shown = table.assign(
        statistic=table["statistic"].map("{:.4g}".format),
        p=table["p"].map("{:.4g}".format),
        passes=table["passes"].map({True: "pass", False: "FAIL"}),
    )
    print(shown.to_string(index=False))
    for note in notes:
        print(note)
    failed = int((~table["passes"]).sum())
    print(f"{len(table) - failed} of {len(table)} rows hold.")
    if given["table"]:
        write_table(given["table"], table)
    if failed:
        print(f"{failed} rows fail.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    run_command(main)
