"""Figures of `mind-animator score`: distributions over clips, and sheets of the best, median and worst clips."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from mind_animator.artefacts.files import atomic
from mind_animator.errors import InputError
from mind_animator.report.figures import COLOURS, STYLE

GREY = "#9aa3b5"


def draw_distributions(rows: pd.DataFrame, folder: Path, *, baselines: Collection[str]) -> list[Path]:
    """One figure per metric: a dot per clip, a box of quartiles, and the mean, per method and baseline.

    Parameters
    ----------
    rows : DataFrame
        ``method, subject, clip, metric, value, label, unit, direction``; metrics without any value are left out.
    folder : path
        Folder of the figures, ``METRIC.png``; created if absent.
    baselines : collection of str
        Methods that are plotted in grey.

    Returns
    -------
    list of path
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    finite = rows[np.isfinite(rows["value"])]
    for metric, part in finite.groupby("metric", sort=False):
        groups = list(part.groupby(["method", "subject"], sort=False))
        several = part["subject"].nunique() > 1
        names = [f"{method}, subject {subject}" if several else method for (method, subject), _ in groups]
        with plt.rc_context(STYLE):
            figure, axes = plt.subplots(figsize=(7.5, 1.0 + 0.42 * len(groups)), layout="constrained")
            for height, ((method, _), group) in enumerate(groups):
                values = group["value"].to_numpy()
                colour = GREY if method in baselines else COLOURS[0]
                # steps of the golden ratio spread the points evenly without a random generator
                spread = 0.5 * (np.arange(len(values)) * 0.618034 % 1 - 0.5)
                axes.scatter(values, height + spread, s=9, color=colour, alpha=0.45, linewidths=0)
                axes.boxplot(
                    values, positions=[height], orientation="horizontal", widths=0.6, showfliers=False, showmeans=True,
                    medianprops={"color": "#1d2433"}, boxprops={"color": "#1d2433", "lw": 0.8},
                    meanprops={"marker": "D", "mfc": "white", "mec": "#1d2433", "ms": 5},
                    whiskerprops={"color": "#1d2433", "lw": 0.8}, capprops={"color": "#1d2433", "lw": 0.8},
                )  # fmt: skip
            first = part.iloc[0]
            unit = "" if first["unit"] == "1" else f", {first['unit']}"
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.set(
                xlabel=f"{first['label']}{unit} ({first['direction']} is better)",
                title=f"{metric}: {part['clip'].nunique()} clips; box: quartiles, diamond: mean",
            )
            written.append(folder / f"{metric}.png")
            with atomic(written[-1]) as temporary:
                figure.savefig(temporary, dpi=150)
            plt.close(figure)
    return written


def ranked_clips(rows: pd.DataFrame, count: int = 3) -> dict[str, list[tuple[str, float]]]:
    """The best, median and worst clips of one method by one metric, with their values; each clip occurs at most once.

    Parameters
    ----------
    rows : DataFrame
        ``clip, value, direction``; rows without a value are omitted.
    count : int
        Maximum number of clips per group: at most a third of the clips with a value, but at least one.

    Returns
    -------
    dict of ``best``, ``median`` and ``worst`` to list of (clip, value)
        Empty if no clip has a value.
    """
    rows = rows[np.isfinite(rows["value"])]
    if rows.empty:
        return {}
    falling = rows.sort_values("value", ascending=rows["direction"].iloc[0] == "lower", kind="stable")
    ranked = list(zip(falling["clip"], falling["value"], strict=True))
    count = min(count, max(1, len(ranked) // 3))
    if len(ranked) < 3:
        return {"best": ranked[:1], "worst": ranked[1:]} if len(ranked) > 1 else {"best": ranked}
    start = (len(ranked) - count) // 2
    return {"best": ranked[:count], "median": ranked[start : start + count], "worst": ranked[-count:][::-1]}


def draw_sheet(
    chosen: dict[str, Sequence[tuple[str, float]]],
    ground_truth: Callable[[str], np.ndarray],
    prediction: Callable[[str], np.ndarray],
    path: Path,
    *,
    title: str,
) -> None:
    """Contact sheet with one column per group of clips and the frames of each clip, ground truth above prediction.

    Parameters
    ----------
    chosen : dict of kind to list of (clip, value)
        From `ranked_clips`.
    ground_truth, prediction : callable
        clip -> frames (frame, height, width, 3) uint8; clips that raise `InputError` are omitted.
    path : path
        PNG file; its folder is created if absent.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    height = max(map(len, chosen.values()))
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, grid = plt.subplots(
            height, len(chosen), figsize=(5.2 * len(chosen), 0.5 + 1.75 * height), squeeze=False, layout="constrained"
        )  # fmt: skip
        for axes in grid.ravel():
            axes.axis("off")
        for column, (kind, clips) in enumerate(chosen.items()):
            for row, (clip, value) in enumerate(clips):
                try:
                    strips = [
                        np.concatenate(list(_few(side(clip))), axis=1) for side in (ground_truth, prediction)
                    ]
                except InputError:
                    continue
                between = np.full_like(strips[0][: max(1, len(strips[0]) // 20)], 255)
                grid[row, column].imshow(
                    np.concatenate([strips[0], between, strips[1]]), interpolation="nearest"
                )
                grid[row, column].set_title(f"{kind}: {clip} ({value:.3g})", fontsize=9)
        figure.suptitle(f"{title}: ground truth above, reconstruction below", fontsize=11, x=0.01, ha="left")
        with atomic(path) as temporary:
            figure.savefig(temporary, dpi=130)
        plt.close(figure)


def _few(frames: np.ndarray, most: int = 6) -> np.ndarray:
    """At most the given number of frames, evenly spaced."""
    return frames[np.unique(np.linspace(0, len(frames) - 1, most).astype(int))]
