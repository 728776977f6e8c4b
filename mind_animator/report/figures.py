"""Figures of the report: training curves, retrieval against chance, and what each rule took."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

from mind_animator.artefacts.files import atomic


def draw_training(histories: Mapping[str, Sequence[Mapping[str, Any]]], path: Path | str) -> None:
    """Validation loss by epoch, one panel a decoder, one line a subject and method.

    Parameters
    ----------
    histories : mapping of ``method/subject/decoder`` to rows
        Rows with ``epoch``, ``train_loss`` and ``validation_loss``; entries without rows (closed-form fits)
        are left out.
    """
    drawn = {name: rows for name, rows in histories.items() if rows}
    if not drawn:
        raise ValueError("Expected at least one history, got none.")
    decoders = list(dict.fromkeys(name.split("/")[-1] for name in drawn))
    figure, panels = plt.subplots(
        1, len(decoders), figsize=(4.2 * len(decoders), 3.2), squeeze=False, constrained_layout=True
    )
    for panel, decoder in zip(panels[0], decoders, strict=True):
        for name, rows in drawn.items():
            if not name.endswith(f"/{decoder}"):
                continue
            epochs = [row["epoch"] for row in rows]
            (line,) = panel.plot(
                epochs, [row["validation_loss"] for row in rows], marker=".", label=name.rsplit("/", 1)[0]
            )
            panel.plot(epochs, [row["train_loss"] for row in rows], ls=":", color=line.get_color())
        panel.set(title=decoder, xlabel="epoch", ylabel="loss (validation; training dotted)")
        panel.legend(frameon=False, fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def draw_retrieval(table: pd.DataFrame, path: Path | str) -> None:
    """Share of test clips whose own embedding is among the k nearest, against chance, one panel an embedding.

    Parameters
    ----------
    table : DataFrame
        ``retrieval.tsv``: ``method, subject, embedding, candidates_set, metric, value, low, high, chance``.
    """
    top = table[table["metric"].str.startswith("top_") & (table["candidates_set"] == "small")].copy()
    if top.empty:
        raise ValueError("Expected rows of top-k retrieval in the small set, got none.")
    top["k"] = top["metric"].str.removeprefix("top_").astype(int)
    kinds = list(dict.fromkeys(top["embedding"]))
    figure, panels = plt.subplots(
        1, len(kinds), figsize=(4.6 * len(kinds), 3.4), squeeze=False, sharey=True, constrained_layout=True
    )
    for panel, kind in zip(panels[0], kinds, strict=True):
        part = top[top["embedding"] == kind]
        for (method, subject), rows in part.groupby(["method", "subject"], sort=False):
            rows = rows.sort_values("k")
            (line,) = panel.plot(rows["k"], rows["value"], marker="o", label=f"{method}, subject {subject}")
            panel.fill_between(rows["k"], rows["low"], rows["high"], color=line.get_color(), alpha=0.15, lw=0)
        chance = part.drop_duplicates("k").sort_values("k")
        panel.plot(chance["k"], chance["chance"], "k:", label="chance")
        panel.set(title=f"by {kind} embedding", xlabel="k nearest candidates", xscale="log", ylim=(0, 1))
        panel.set_xticks(sorted(set(part["k"])), [str(k) for k in sorted(set(part["k"]))])
        panel.legend(frameon=False, fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("share of test clips")
    _save(figure, path)


def draw_costs(cost: pd.DataFrame, path: Path | str) -> None:
    """Seconds of all jobs and peak memory by rule, the longest at the top; memory of cards where there is any.

    Parameters
    ----------
    cost : DataFrame
        ``rule, jobs, seconds, peak_memory_MB, GPU_memory_MB``.
    """
    rows = cost.sort_values("seconds")
    figure, (time, memory) = plt.subplots(
        1, 2, figsize=(9, 0.8 + 0.24 * len(rows)), sharey=True, constrained_layout=True
    )
    names = [f"{rule} ({jobs})" for rule, jobs in zip(rows["rule"], rows["jobs"], strict=True)]
    time.barh(names, rows["seconds"], color="tab:blue")
    time.set(xlabel="seconds, all jobs of the rule", xscale="log")
    memory.barh(names, rows["peak_memory_MB"], color="tab:gray", label="main memory")
    if rows["GPU_memory_MB"].notna().any():
        memory.barh(names, rows["GPU_memory_MB"], height=0.4, color="tab:green", label="GPU memory")
    memory.set(xlabel="MB at most, one job")
    memory.legend(frameon=False, fontsize=8)
    for panel in (time, memory):
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(axis="y", labelsize=8)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path | str) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=130)
    plt.close(figure)
