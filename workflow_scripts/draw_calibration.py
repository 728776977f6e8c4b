"""Draw the rejection rates of each test under the null hypothesis, for simulated data and for other p values."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from mind_animator.artefacts.files import atomic
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.errors import InputError, run_command
from mind_animator.statistics.calibration import Calibration, Null, calibrate
from workflow_scripts.stages import Inputs, Output, Param, command

SIMULATED = {
    "paired_sign_flip": "paired sign flips of blocks",
    "wilcoxon_of_bootstrap_means": "Wilcoxon of unpaired bootstrap means (published)",
}
LABELS = {
    **SIMULATED,
    "ridge_on_shuffled_pairs": "ridge regression, re-pairing of blocks (shuffled pairings)",
}


def draw_calibration(
    *,
    nulls: int = 1000,
    movies: int = 5,
    clips_per_movie: int = 240,
    hardness: float = 1.0,
    autocorrelation: float = 0.3,
    block: Param[int] = 10,
    permutations: int = 999,
    seed: Param[int],
    alpha: float = 0.05,
    add: Inputs = (),
    p_values: Output,
    table: Output,
    figure: Output,
) -> None:
    """
    Parameters
    ----------
    nulls
        Number of simulated null data sets; 0 for none.
    movies
        Movies of a simulated data set.
    clips_per_movie
        Clips per movie.
    hardness
        Standard deviation of the clip effect that both methods share.
    autocorrelation
        Autocorrelation of neighbouring clips.
    block
        Length of a block in clips.
    permutations
        Permutations of each test.
    seed
        Random seed.
    alpha
        Level of the tests.
    add
        Further tables with the columns test and p (TSV).
    p_values
        Every p value (TSV or Parquet).
    table
        Rejection rates (TSV).
    figure
        The figure (PNG or SVG).
    """
    if nulls < 0 or not 0 <= autocorrelation < 1 or not 0 < alpha < 1:
        raise InputError(
            "Expected --nulls >= 0, --autocorrelation in [0, 1) and --alpha in (0, 1), got "
            f"{nulls}, {autocorrelation} and {alpha}."
        )
    p: dict[str, np.ndarray] = {}
    for path in add:
        for test, rows in read_table(path, ("test", "p")).groupby("test", sort=False):
            if test in p or (nulls and test in SIMULATED):
                raise InputError(f"Expected every test once, got '{test}' again (file {path}).")
            p[str(test)] = rows["p"].to_numpy(float)
    if nulls:
        null = Null(movies, clips_per_movie, hardness, autocorrelation)
        simulated = calibrate(null, n_nulls=nulls, block=block, n_permutations=permutations, seed=seed)
        p = {**simulated.p, **p}
    if not p:
        raise InputError("Expected simulated nulls (--nulls) or tables of p values (--add), got neither.")
    rates = pd.DataFrame(Calibration(p).rejections(alpha))
    write_table(
        p_values,
        pd.concat(
            [pd.DataFrame({"test": test, "p": values}) for test, values in p.items()], ignore_index=True
        ),
    )
    write_table(table, rates.assign(alpha=alpha))
    with atomic(figure) as temporary:
        draw(temporary, p, rates, alpha)


def draw(path: Path, p: dict[str, np.ndarray], rates: pd.DataFrame, alpha: float) -> None:
    """Rejection rates with their intervals, and the distributions of p against the uniform distribution."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    colours = pyplot.get_cmap("tab10").colors
    positions = np.arange(len(rates))
    spread = np.stack([rates["rate"] - rates["low"], rates["high"] - rates["rate"]])
    for row, colour in zip(positions, colours, strict=False):
        left.errorbar(rates["rate"][row], row, xerr=spread[:, [row]], fmt="o", color=colour, capsize=4)
        text = f"{rates['rejections'][row]} of {rates['nulls'][row]}"
        left.annotate(text, (rates["rate"][row], row), (0, 8), textcoords="offset points", ha="center")
    left.axvline(alpha, color="0.4", linestyle="--", linewidth=1)
    left.set(
        xlim=(-0.08, 1.08),
        ylim=(len(rates) - 0.4, -0.6),
        xlabel=f"rate of p ≤ {alpha:g} under the null hypothesis",
    )
    left.set_yticks(positions, [LABELS.get(test, test).replace(" (", "\n(") for test in rates["test"]])
    for label, colour in zip(left.get_yticklabels(), colours, strict=False):
        label.set_color(colour)  # the names of both panels' marks
    for values, colour in zip(p.values(), colours, strict=False):
        fraction = np.arange(1, len(values) + 1) / len(values)
        right.step(np.sort(values), fraction, where="post", color=colour)
    right.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="a valid test")
    right.set(xlim=(0, 1), ylim=(0, 1), xlabel="p", ylabel="fraction of null data sets with at most this p")
    right.legend(frameon=False, fontsize=8, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


main = command(draw_calibration)

if __name__ == "__main__":
    run_command(main)
