"""Draw one subject's quality: reliability, noise ceiling and tSNR on the flat cortex, voxels by area."""

import argparse
from pathlib import Path

import matplotlib
import numpy as np

from mind_animator.artefacts.arrays import read_whole
from mind_animator.artefacts.cortex import N_CORTEX, flat_raster
from mind_animator.artefacts.files import atomic
from mind_animator.artefacts.tables import read_table
from mind_animator.errors import run_command

TITLES = {
    "reliability": "repeat reliability (mean r, training)",
    "noise_ceiling": "noise ceiling (r, test)",
    "tsnr": "temporal SNR",
    "selected": "chosen voxels",
}
AREAS = 24


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subject", required=True)
    parser.add_argument("--maps", type=Path, required=True, help="of preprocess_subject, HDF5")
    parser.add_argument("--voxels", type=Path, required=True, help="of preprocess_subject, TSV")
    parser.add_argument("--figure", type=Path, required=True, help="output, PNG")
    given = parser.parse_args(arguments)
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    maps = read_whole(given.maps, list(TITLES))
    table = read_table(given.voxels, ("area", "voxels", "selected"))
    figure, panels = plt.subplot_mosaic("aabb;ccdd;eeee", figsize=(11, 10), layout="constrained")
    figure.suptitle(
        f"Subject {given.subject}: {int(maps['selected'].sum())} of {len(maps['selected'])} voxels chosen"
    )
    for key, (name, title) in zip("abcd", TITLES.items(), strict=True):
        panel, values = panels[key], maps[name].astype(np.float32)
        known = values[np.isfinite(values)]
        panel.set_title(title, fontsize=10)
        if not len(known):
            panel.text(0.5, 0.5, "not known for this data set", ha="center", transform=panel.transAxes)
            panel.axis("off")
        elif len(values) == N_CORTEX:
            raster = flat_raster()
            picture = np.where(raster < 0, np.nan, values[raster])
            bottom, top = min(0, float(np.quantile(known, 0.005))), float(np.quantile(known, 0.999))
            shown = panel.imshow(picture, cmap="viridis", vmin=bottom, vmax=top)
            panel.axis("off")
            figure.colorbar(shown, ax=panel, shrink=0.7)
        else:
            panel.hist(known, bins=60, color="#1b6ca8")
            panel.set_ylabel("voxels")
    most = table[table["selected"] > 0].nlargest(AREAS, "selected")
    panel = panels["e"]
    panel.bar(most["area"], most["voxels"], color="0.85", label="all")
    panel.bar(most["area"], most["selected"], color="#1b6ca8", label="chosen")
    panel.set_title("voxels by area", fontsize=10)
    panel.tick_params(axis="x", rotation=90, labelsize=7)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False)
    with atomic(given.figure) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    run_command(main)
