"""Show how often each test rejects where nothing is to be found: simulated nulls, and other p values."""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from mind_animator.artefacts.files import atomic
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.errors import InputError, run_command
from mind_animator.statistics.calibration import Calibration, Null, calibrate

SIMULATED = {
    "paired_sign_flip": "paired sign flips of blocks",
    "wilcoxon_of_bootstrap_means": "Wilcoxon of unpaired bootstrap means (published)",
}
LABELS = {**SIMULATED, "ridge_on_dealt_pairs": "ridge, re-pairing of blocks (dealt pairs)"}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nulls", type=int, default=1000, help="simulated nulls; 0 for none")
    parser.add_argument("--movies", type=int, default=5)
    parser.add_argument("--clips-per-movie", type=int, default=240)
    parser.add_argument("--hardness", type=float, default=1.0, help="spread that the two methods share")
    parser.add_argument("--autocorrelation", type=float, default=0.3, help="of neighbouring clips")
    parser.add_argument("--block", type=int, default=10, help="clips a block")
    parser.add_argument("--permutations", type=int, default=999)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--add", type=Path, nargs="*", default=[], help="tables with the columns test and p")
    parser.add_argument("--p-values", type=Path, required=True, help="output: every p, TSV or Parquet")
    parser.add_argument("--table", type=Path, required=True, help="output: rejection rates, TSV")
    parser.add_argument("--figure", type=Path, required=True, help="output, PNG or SVG")
    given = parser.parse_args(arguments)
    if given.nulls < 0 or not 0 <= given.autocorrelation < 1 or not 0 < given.alpha < 1:
        raise InputError(
            "Expected --nulls >= 0, --autocorrelation in [0, 1) and --alpha in (0, 1), got "
            f"{given.nulls}, {given.autocorrelation} and {given.alpha}."
        )
    p: dict[str, np.ndarray] = {}
    for path in given.add:
        for test, rows in read_table(path, ("test", "p")).groupby("test", sort=False):
            if test in p or (given.nulls and test in SIMULATED):
                raise InputError(f"Expected every test once, got '{test}' again (file {path}).")
            p[str(test)] = rows["p"].to_numpy(float)
    if given.nulls:
        null = Null(given.movies, given.clips_per_movie, given.hardness, given.autocorrelation)
        simulated = calibrate(
            null, n_nulls=given.nulls, block=given.block, n_permutations=given.permutations, seed=given.seed
        )
        p = {**simulated.p, **p}
    if not p:
        raise InputError("Expected simulated nulls (--nulls) or tables of p values (--add), got neither.")
    rates = pd.DataFrame(Calibration(p).rejections(given.alpha))
    write_table(
        given.p_values,
        pd.concat(
            [pd.DataFrame({"test": test, "p": values}) for test, values in p.items()], ignore_index=True
        ),
    )
    write_table(given.table, rates.assign(alpha=given.alpha))
    with atomic(given.figure) as temporary:
        draw(temporary, p, rates, given.alpha)


def draw(path: Path, p: dict[str, np.ndarray], rates: pd.DataFrame, alpha: float) -> None:
    """Rejection rates with their intervals, and beside them the laws of p against the uniform one."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    colours = pyplot.get_cmap("tab10").colors
    place = np.arange(len(rates))
    spread = np.stack([rates["rate"] - rates["low"], rates["high"] - rates["rate"]])
    for row, colour in zip(place, colours, strict=False):
        left.errorbar(rates["rate"][row], row, xerr=spread[:, [row]], fmt="o", color=colour, capsize=4)
        text = f"{rates['rejections'][row]} of {rates['nulls'][row]}"
        left.annotate(text, (rates["rate"][row], row), (0, 8), textcoords="offset points", ha="center")
    left.axvline(alpha, color="0.4", linestyle="--", linewidth=1)
    left.set(
        xlim=(-0.08, 1.08),
        ylim=(len(rates) - 0.4, -0.6),
        xlabel=f"rate of p ≤ {alpha:g} where nothing is to be found",
    )
    left.set_yticks(place, [LABELS.get(test, test).replace(" (", "\n(") for test in rates["test"]])
    for label, colour in zip(left.get_yticklabels(), colours, strict=False):
        label.set_color(colour)  # the names of both panels' marks
    for values, colour in zip(p.values(), colours, strict=False):
        share = np.arange(1, len(values) + 1) / len(values)
        right.step(np.sort(values), share, where="post", color=colour)
    right.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="a valid test")
    right.set(xlim=(0, 1), ylim=(0, 1), xlabel="p", ylabel="share of nulls with a p at most this")
    right.legend(frameon=False, fontsize=8, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    run_command(main)
