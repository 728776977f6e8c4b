"""Print the table of positive and negative controls on the synthetic data set; exit with status 1 if a row fails."""

import sys
from pathlib import Path

import pandas as pd

from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.errors import InputError, run_command
from mind_animator.scoring.demo_controls import calibration_rows, evaluate_subjects
from workflow_scripts.stages import Input, Param, command

SIGNALS = ("full", "no_motion", "none")
MAP_COLUMNS = ("subject", "decoder", "auc", "low", "high", "voxels_alone")


def check_controls(
    *,
    tests: Param[dict[str, Path]],
    maps: Param[dict[str, Path]] = {},  # noqa: B006
    calibration: Input | None = None,
    method: Param[str],
    baseline: Param[str] = "",
    table: Param[Path] | None = None,
) -> int:
    """
    Parameters
    ----------
    tests
        Table of tests (tests.tsv) of each group of simulated subjects: full, no_motion, none.
    maps
        Table of activation patterns of each group (TSV).
    calibration
        Rejection rates of `ridge` on shuffled pairings (TSV).
    method
        The headline method, to which the tests refer.
    baseline
        Method to which its decoders must not be significantly inferior (none: not tested).
    table
        Table to write (TSV).
    """
    unknown = {*tests, *maps} - set(SIGNALS)
    if unknown:
        raise InputError(f"--tests and --maps: labels must be among {SIGNALS}, found {sorted(unknown)}.")
    of_tests = {
        name: read_table(tests[name], ("subject", "test", "method", "metric", "p"))
        for name in SIGNALS
        if name in tests
    }
    of_maps = {name: read_table(maps[name], MAP_COLUMNS) for name in SIGNALS if name in maps}
    rows, notes = evaluate_subjects(of_tests, of_maps, method=method, baseline=baseline)
    if calibration:
        rates = read_table(calibration, ("test", "rejections", "nulls", "alpha"))
        rows += calibration_rows(rates, "ridge_on_shuffled_pairs")
    made = pd.DataFrame([vars(row) for row in rows])
    shown = made.assign(
        statistic=made["statistic"].map("{:.4g}".format),
        p=made["p"].map("{:.4g}".format),
        passes=made["passes"].map({True: "pass", False: "FAIL"}),
    )
    print(shown.to_string(index=False))
    for note in notes:
        print(note)
    failed = int((~made["passes"]).sum())
    print(f"{len(made) - failed} of {len(made)} rows pass.")
    if table:
        write_table(table, made)
    if failed:
        print(f"{failed} rows fail.", file=sys.stderr)
    return 1 if failed else 0


main = command(check_controls)

if __name__ == "__main__":
    run_command(main)
