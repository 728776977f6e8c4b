"""Figures of the report: training curves, retrieval compared with chance, and time and memory of each rule."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from mind_animator.artefacts.files import atomic

COLOURS = ("#2f54b5", "#d0651b", "#2b8a5b", "#8c4aa8", "#b8345b", "#4b5d6b")
DASHES = ("-", "--", "-.", (0, (1, 1)))
STYLE = {
    "font.size": 10, "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.edgecolor": "#8a94a8", "axes.labelcolor": "#3c465a", "xtick.color": "#5b667c", "ytick.color": "#5b667c",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e9edf5",
    "axes.axisbelow": True, "svg.fonttype": "path", "legend.frameon": False, "legend.fontsize": 9,
}  # fmt: skip


def draw_training(histories: Mapping[str, Sequence[Mapping[str, Any]]], path: Path | str) -> None:
    """Loss by epoch with one panel per decoder; colours denote methods, dashes subjects, and a ring the selected epoch.

    Parameters
    ----------
    histories : mapping of ``method/subject/decoder`` to rows
        Rows with ``epoch``, ``train_loss`` and ``validation_loss``; entries without rows (closed-form fits)
        are omitted.
    """
    drawn = {tuple(name.split("/")): rows for name, rows in histories.items() if rows}
    if not drawn:
        raise ValueError("Expected at least one history, got none.")
    decoders = list(dict.fromkeys(name[2] for name in drawn))
    look = _looks(name[:2] for name in drawn)
    with _panels(path, len(decoders)) as panels:
        for panel, decoder in zip(panels, decoders, strict=True):
            for (method, subject, name), rows in drawn.items():
                if name != decoder:
                    continue
                epochs = [row["epoch"] for row in rows]
                losses = [row["validation_loss"] for row in rows]
                style = look[method, subject]
                panel.plot(epochs, losses, label=f"{method}, subject {subject}", **style)
                panel.plot(epochs, [row["train_loss"] for row in rows], **style | {"alpha": 0.3})
                best = losses.index(min(losses))
                panel.plot(epochs[best], losses[best], "o", mfc="white", mec=style["color"], ms=7)
            panel.set(title=decoder, xlabel="epoch")
            panel.xaxis.get_major_locator().set_params(integer=True)
        panels[0].set_ylabel("loss")


def draw_retrieval(table: pd.DataFrame, path: Path | str) -> None:
    """Fraction of test clips whose own embedding is among the k nearest, and chance; one panel per embedding.

    Parameters
    ----------
    table : DataFrame
        ``retrieval.tsv``: ``method, subject, embedding, candidates_set, metric, value, low, high, chance``.
    """
    top = table[table["metric"].str.startswith("top_") & (table["candidates_set"] == "small")].copy()
    if "similarity" in top:
        top = top[top["similarity"] == "published"].copy()
    if top.empty:
        raise ValueError("Expected rows of top-k retrieval in the small set, got none.")
    top["k"] = top["metric"].str.removeprefix("top_").astype(int)
    kinds = list(dict.fromkeys(top["embedding"]))
    look = _looks(zip(top["method"], top["subject"], strict=True))
    with _panels(path, len(kinds), sharey=True) as panels:
        for panel, kind in zip(panels, kinds, strict=True):
            part = top[top["embedding"] == kind]
            for (method, subject), rows in part.groupby(["method", "subject"], sort=False):
                rows, style = rows.sort_values("k"), look[method, subject]
                panel.plot(
                    rows["k"], rows["value"], marker="o", ms=4, label=f"{method}, subject {subject}", **style
                )
                panel.fill_between(
                    rows["k"], rows["low"], rows["high"], color=style["color"], alpha=0.1, lw=0
                )
            chance = part.drop_duplicates("k").sort_values("k")
            panel.plot(chance["k"], chance["chance"], ":", color="#5b667c", label="chance")
            panel.set(
                title=f"by the {kind} embedding", xlabel="k nearest candidates", xscale="log", ylim=(0, 1.02)
            )
            panel.set_xticks(sorted(set(part["k"])), [str(k) for k in sorted(set(part["k"]))])
            panel.minorticks_off()
        panels[0].set_ylabel("fraction of test clips")


def draw_costs(cost: pd.DataFrame, path: Path | str) -> None:
    """Total seconds and peak memory by rule, sorted by time, with GPU memory if a GPU was used.

    Parameters
    ----------
    cost : DataFrame
        ``rule, jobs, seconds, peak_memory_MB, GPU_memory_MB``.
    """
    rows = cost.sort_values("seconds")
    names = [f"{rule} ({jobs})" for rule, jobs in zip(rows["rule"], rows["jobs"], strict=True)]
    with plt.rc_context(STYLE):
        figure, (time, memory) = plt.subplots(
            1, 2, figsize=(9.5, 0.8 + 0.24 * len(rows)), sharey=True, layout="constrained"
        )
        time.barh(names, rows["seconds"], color=COLOURS[0])
        time.set(xlabel="total time of all jobs [s]", xscale="log")
        memory.barh(names, rows["peak_memory_MB"], color="#9aa3b5", label="main memory")
        if rows["GPU_memory_MB"].notna().any():
            memory.barh(names, rows["GPU_memory_MB"], height=0.4, color=COLOURS[1], label="GPU memory")
            memory.legend()
        memory.set(xlabel="peak memory per job [MB]")
        time.margins(y=0.01)
        with atomic(path) as temporary:
            figure.savefig(temporary, dpi=150)
        plt.close(figure)


def draw_comparison(table: pd.DataFrame, references: Sequence[str], path: Path | str) -> None:
    """Evidence for a difference between each method and a reference, by metric; one panel per reference.

    Parameters
    ----------
    table : DataFrame
        ``reference, method, label, better, p_holm``; ``better`` is True where the method has the better mean.
    references : sequence of str
    """
    labels, methods = list(dict.fromkeys(table["label"])), list(dict.fromkeys(table["method"]))
    size = (3 + 0.45 * len(methods) * len(references), 1.8 + 0.2 * len(labels))
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, panels = plt.subplots(
            1, len(references), figsize=size, sharey=True, squeeze=False, layout="constrained"
        )
        for panel, reference in zip(panels[0], references, strict=True):
            own = table[table["reference"] == reference]
            evidence = -np.log10(own["p_holm"].clip(lower=1e-4)) * np.where(own["better"], 1, -1)
            cells = own.assign(evidence=evidence).pivot(index="label", columns="method", values="evidence")
            image = panel.imshow(
                cells.reindex(index=labels, columns=methods), cmap="RdBu", vmin=-4, vmax=4, aspect="auto"
            )
            panel.set_xticks(range(len(methods)), methods, rotation=60, ha="right")
            panel.set_yticks(range(len(labels)), labels, fontsize=7)
            panel.set_title(f"against {reference}")
        bar = figure.colorbar(image, ax=panels[0], ticks=(-4, -2, 0, 2, 4), shrink=0.6)
        bar.ax.set_yticklabels(
            ["worse, p ≤ .0001", "worse, p = .01", "equal", "better, p = .01", "better, p ≤ .0001"]
        )
        with atomic(path) as temporary:
            figure.savefig(temporary, dpi=150)
        plt.close(figure)


def _looks(pairs: Iterator[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Colour by method and dashes by subject, in order of appearance."""
    pairs = list(dict.fromkeys(pairs))
    methods = list(dict.fromkeys(method for method, _ in pairs))
    subjects = list(dict.fromkeys(subject for _, subject in pairs))
    return {
        (method, subject): {
            "color": COLOURS[methods.index(method) % len(COLOURS)],
            "ls": DASHES[subjects.index(subject) % len(DASHES)],
        }
        for method, subject in pairs
    }


@contextmanager
def _panels(path: Path | str, count: int, **options: Any) -> Iterator[list[plt.Axes]]:
    """Panels side by side with a common legend below; the figure is written to the path (svg or png) at the end."""
    with plt.rc_context(STYLE):
        width = max(9.5, 3.7 * count)
        figure, panels = plt.subplots(
            1, count, figsize=(width, 3.3), squeeze=False, layout="constrained", **options
        )
        yield list(panels[0])
        handles = {}
        for panel in panels[0]:
            handles |= {label: line for line, label in zip(*panel.get_legend_handles_labels(), strict=True)}
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 4)
        )
        with atomic(path) as temporary:
            figure.savefig(temporary, dpi=150)
        plt.close(figure)
