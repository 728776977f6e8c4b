"""Figure of a study: score against a factor, one panel per metric and subject."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure


def draw_study(scores: pd.DataFrame, question: str, x_label: str, log_x: bool, path: Path) -> None:
    """One panel per metric (rows) and subject (columns): replicates as points, means as lines, one colour per arm.

    Grey dashed: the highest ceiling of a panel.
    """
    metrics, subjects = (list(dict.fromkeys(scores[name])) for name in ("metric", "subject"))
    arms = list(dict.fromkeys(scores["arm"]))
    figure = Figure(figsize=(1.5 + 3.2 * len(subjects), 0.8 + 2.3 * len(metrics)), layout="constrained")
    axes = figure.subplots(len(metrics), len(subjects), squeeze=False, sharex=True, sharey="row")
    for row, metric in zip(axes, metrics, strict=True):
        for panel, subject in zip(row, subjects, strict=True):
            part = scores[(scores["metric"] == metric) & (scores["subject"] == subject)]
            if part["ceiling"].notna().any():
                panel.axhline(part["ceiling"].max(), color="0.6", linestyle="--", linewidth=1)
            for index, arm in enumerate(arms):
                own = part[part["arm"] == arm].sort_values("x")
                means = own.groupby("x")[["value", "low", "high"]].mean()
                panel.plot(own["x"], own["value"], "o", color=f"C{index}", markersize=2.5, alpha=0.5)
                panel.plot(means.index, means["value"], color=f"C{index}", label=arm)
                panel.fill_between(
                    means.index, means["low"], means["high"], color=f"C{index}", alpha=0.15, linewidth=0
                )
            if log_x:
                panel.set_xscale("log")
                ticks = sorted(set(part["x"]))
                panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
                panel.minorticks_off()
            panel.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(str(scores[scores["metric"] == metric]["label"].iloc[0]))
    for panel, subject in zip(axes[0], subjects, strict=True):
        panel.set_title(f"subject {subject}", fontsize=10)
    for panel in axes[-1]:
        panel.set_xlabel(x_label)
    if len(arms) > 1:
        axes[0, 0].legend(frameon=False, fontsize=8)
    figure.suptitle(question, fontsize=11)
    figure.savefig(path, dpi=150)
