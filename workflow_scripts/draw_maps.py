"""Draw the activation patterns of a method's outputs on the flattened cortex and per ROI."""

import matplotlib
import numpy as np

from mind_animator.artefacts.arrays import read_attrs, read_whole
from mind_animator.artefacts.cortex import N_CORTEX, flat_raster, sulcal_depth
from mind_animator.artefacts.files import atomic
from mind_animator.errors import run_command
from workflow_scripts.stages import Input, Output, Param, Wildcard, command

ROIS = 16


def draw_maps(
    *,
    maps: Input,
    subject: Wildcard[str],
    method: Wildcard[str],
    cortex: Param[bool] = False,
    figure: Output,
) -> None:
    """
    Parameters
    ----------
    maps
        Activation patterns (HDF5).
    subject
        Name of the subject.
    method
        Name of the method.
    cortex
        Draw a flat map: voxel_index counts the 59,412 cortical vertices.
    figure
        The figure (PNG).
    """
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    outputs = list(read_attrs(maps)["outputs"])
    names = [n for output in outputs for n in (output, f"{output}_permuted")]
    patterns = read_whole(maps, [*names, "voxel_index", "roi"])
    rois = np.array([name[2:] if name[:2] in ("L_", "R_") else name for name in patterns["roi"]])
    page, panels = plt.subplots(
        len(outputs),
        2,
        figsize=(12, 0.4 + 3.2 * len(outputs)),
        width_ratios=(2.2, 1),
        layout="constrained",
        squeeze=False,
    )
    page.suptitle(f"{method}, subject {subject}: mean absolute activation pattern of each output")
    for (left, right), output in zip(panels, outputs, strict=True):
        values = patterns[output]
        left.set_title(output, loc="left", fontsize=11)
        if cortex:
            _draw_flat(page, left, values, patterns["voxel_index"])
        else:
            left.text(
                0.5, 0.5, "no cortical surface for this data set", ha="center", transform=left.transAxes
            )
        left.axis("off")
        _draw_rois(right, values, patterns[f"{output}_permuted"], rois)
    with atomic(figure) as temporary:
        page.savefig(temporary, dpi=110)
    plt.close(page)


def _draw_flat(figure, panel, values: np.ndarray, voxel_index: np.ndarray) -> None:
    whole = np.full(N_CORTEX, np.nan)
    whole[voxel_index] = values
    raster = flat_raster()
    inside = raster >= 0
    depth = np.where(inside, sulcal_depth()[raster], np.nan)
    panel.imshow(depth, cmap="gray", vmin=-25, vmax=12, alpha=0.35)
    image = np.where(inside, whole[raster], np.nan)
    shown = panel.imshow(image, cmap="inferno", vmin=0, vmax=float(np.quantile(values, 0.995)) or 1.0)
    figure.colorbar(shown, ax=panel, shrink=0.7)


def _draw_rois(panel, values: np.ndarray, permuted: np.ndarray, rois: np.ndarray) -> None:
    """Mean per ROI in descending order, with the 95 % interval of block-permuted patterns."""
    names, counts = np.unique(rois, return_counts=True)
    kept = [name for name, count in zip(names, counts, strict=True) if name and count >= 5]
    means = {name: values[rois == name].mean() for name in kept}
    best = sorted(kept, key=lambda name: means[name], reverse=True)[:ROIS]
    for row, name in enumerate(best):
        low, high = np.quantile(permuted[:, rois == name].mean(axis=1), (0.025, 0.975))
        panel.plot([low, high], [row, row], color="0.75", linewidth=5, solid_capstyle="butt")
        panel.plot(means[name], row, "o", color="#1b6ca8", markersize=4)
    panel.set_yticks(range(len(best)), best, fontsize=7)
    panel.invert_yaxis()
    panel.set_xlim(left=0)
    panel.tick_params(axis="x", labelsize=7)
    panel.set_title("mean per ROI; grey: permuted blocks", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)


main = command(draw_maps)

if __name__ == "__main__":
    run_command(main)
