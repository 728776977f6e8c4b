"""Draw the data quality of one subject: maps on the flat cortex, voxels per ROI, tSNR and reliability per run."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mind_animator.artefacts.arrays import read_whole
from mind_animator.artefacts.cortex import N_CORTEX, flat_raster
from mind_animator.artefacts.files import atomic
from mind_animator.artefacts.tables import read_table
from mind_animator.errors import run_command
from workflow_scripts.stages import Input, Output, Wildcard, command

TITLES = {
    "reliability": "repeat reliability (mean r, training)",
    "noise_ceiling": "noise ceiling (r, test)",
    "tsnr": "temporal SNR",
    "selected": "chosen voxels",
}
ROIS = 24
AGREEMENT = (
    ("reliability_selected", "agreement with the other repeats", "#588157"),
    ("noise_ceiling_selected", "noise ceiling of a run", "#a26769"),
)
RUNS = (
    "segment",
    "split",
    "run",
    "missing_volumes",
    "missing_clips",
    "note",
    *(name for name, _, _ in AGREEMENT),
)


def draw_quality(
    *,
    subject: Wildcard[str],
    maps: Input,
    voxels: Input,
    quality: Input,
    figure: Output,
) -> None:
    """
    Parameters
    ----------
    subject
        Name of the subject.
    maps
        Values of every voxel, from preprocess_subject (HDF5).
    voxels
        Voxels by ROI, from preprocess_subject (TSV).
    quality
        Quality of each run, from preprocess_subject (TSV).
    figure
        Figure (PNG).
    """
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    values_of = read_whole(maps, list(TITLES))
    table = read_table(voxels, ("roi", "voxels", "selected"))
    runs = read_table(quality, RUNS)
    drawn, panels = plt.subplot_mosaic(
        "aabb;ccdd;eeee;ffff", figsize=(11, 11), height_ratios=(1, 1, 1, 0.9), layout="constrained"
    )
    chosen = f"{int(values_of['selected'].sum())} of {len(values_of['selected'])} voxels chosen"
    drawn.suptitle("\n".join([f"Subject {subject}: {chosen}", *missing_data(runs)]), fontsize=11)
    for key, (name, title) in zip("abcd", TITLES.items(), strict=True):
        panel, values = panels[key], values_of[name].astype(np.float32)
        known = values[np.isfinite(values)]
        panel.set_title(title, fontsize=10)
        if not len(known):
            _mark_unavailable(panel)
        elif len(values) == N_CORTEX:
            raster = flat_raster()
            image = np.where(raster < 0, np.nan, values[raster])
            bottom, top = min(0, float(np.quantile(known, 0.005))), float(np.quantile(known, 0.999))
            shown = panel.imshow(image, cmap="viridis", vmin=bottom, vmax=top)
            panel.axis("off")
            if name != "selected":
                drawn.colorbar(shown, ax=panel, shrink=0.7)
        else:
            panel.hist(known, bins=60, color="#1b6ca8")
            panel.set_ylabel("voxels")
    most = table[table["selected"] > 0].nlargest(ROIS, "selected")
    panel = panels["e"]
    panel.set_title("voxels per ROI", fontsize=10)
    if table["roi"].fillna("").astype(str).str.len().any():
        panel.bar(most["roi"], most["voxels"], color="0.85", label="all")
        panel.bar(most["roi"], most["selected"], color="#1b6ca8", label="selected")
        panel.tick_params(axis="x", rotation=90, labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
    else:
        _mark_unavailable(panel)
    draw_runs(panels["f"], runs)
    with atomic(figure) as temporary:
        drawn.savefig(temporary, dpi=110)
    plt.close(drawn)


def _mark_unavailable(panel: Axes) -> None:
    panel.text(0.5, 0.5, "not available for this data set", ha="center", transform=panel.transAxes)
    panel.axis("off")


def missing_data(runs: pd.DataFrame) -> list[str]:
    """Lines that state how many clips have no response and which runs were not used."""
    lines = []
    by_split = (
        runs.groupby(["segment", "split"], sort=False)["missing_clips"]
        .max()
        .groupby("split", sort=False)
        .sum()
    )
    if by_split.sum():
        counts = ", ".join(f"{int(count)} {split}" for split, count in by_split.items() if count)
        lines.append(f"clips without a response, excluded: {counts}")
    notes = runs[runs["note"].fillna("") != ""]
    if len(notes):
        shown = [
            f"{row.run if isinstance(row.run, str) and row.run else row.segment}: {row.note}"
            for row in notes.itertuples()
        ]
        more = f" (and {len(shown) - 3} more)" if len(shown) > 3 else ""
        lines.append("runs not used: " + "; ".join(shown[:3]) + more)
    return lines


def draw_runs(panel: Axes, quality: pd.DataFrame) -> None:
    """Median tSNR of every run; for the selected voxels, its correlation with the other repeats and its noise
    ceiling."""
    positions = np.arange(len(quality))
    if "median_tsnr" not in quality and quality[[column for column, *_ in AGREEMENT]].isna().all(axis=None):
        panel.set_title("values per run", fontsize=10)
        _mark_unavailable(panel)
        return
    segments = quality["segment"].to_numpy()
    starts = np.flatnonzero(np.append(True, segments[1:] != segments[:-1]))
    panel.set_title("values per run (runs with missing volumes in red)", fontsize=10)
    lines = []
    if "median_tsnr" in quality:
        missing = quality["missing_volumes"].to_numpy() > 0
        colours = np.where(missing, "#c8553d", "#1b6ca8")
        lines.append(panel.scatter(positions, quality["median_tsnr"], s=14, c=colours, label="median tSNR"))
        panel.set_ylabel("median tSNR")
        panel.set_ylim(0, 1.2 * quality["median_tsnr"].max())
    else:
        panel.set_yticks([])
    right = panel.twinx()
    for column, label, colour in AGREEMENT:
        lines += right.plot(positions, quality[column], color=colour, drawstyle="steps-mid", label=label)
    right.set_ylim(bottom=min(0, right.get_ylim()[0]))
    right.set_ylabel("selected voxels, mean r")
    panel.set_xticks(starts, segments[starts], rotation=90, fontsize=7)
    for axes in (panel, right):
        axes.spines["top"].set_visible(False)
    panel.legend(handles=lines, frameon=False, fontsize=8, loc="lower left")


main = command(draw_quality)

if __name__ == "__main__":
    run_command(main)
