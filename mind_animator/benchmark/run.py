"""Run the lines, keep what was measured, and present it as JSON, table and figure."""

import gc
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from mind_animator.artefacts.files import read_json, write_json
from mind_animator.benchmark.lines import Machine, Work, lines
from mind_animator.device import matrix_precision
from mind_animator.errors import InputError
from mind_animator.provenance import code_digest, fingerprint, package_versions

COLUMNS = {
    "line": "line", "units_per_second": "per second", "unit": "unit", "tflops": "TFLOP/s",
    "fraction": "fraction of limit", "precision": "precision", "peak_gb": "peak GB", "error": "relative error",
    "note": "note",
}  # fmt: skip


def benchmark(machine: Machine, folder: Path, *, seconds: float, minutes: float) -> dict[str, Any]:
    """Measure every line that the folder does not contain yet.

    Parameters
    ----------
    machine : Machine
    folder : Path
        ``lines/<name>.json`` per line, ``gpu.json``, ``gpu.tsv`` and ``gpu.png``. A line that was measured by
        other code, on another device or with other sizes is measured again.
    seconds : float
        Duration of each speed measurement.
    minutes : float
        No line is begun after this time; run the command again for the remaining ones.

    Returns
    -------
    dict
        Contents of ``gpu.json``.
    """
    started, rows = time.monotonic(), {}
    identity = {
        "device": torch.cuda.get_device_name() if machine.device == "cuda" else "cpu",
        "shapes": machine.shapes.name,
        "stable_diffusion": machine.stable_diffusion or "random weights",
    }
    stamp = fingerprint(**identity, code=code_digest("mind_animator/benchmark/run.py"))
    every = lines(machine.device)
    for index, (name, make) in enumerate(every.items(), start=1):
        path = folder / "lines" / f"{name}.json"
        stored = read_json(path) if path.is_file() else {}
        if stored.get("stamp") == stamp:
            rows[name] = stored["row"]
            continue
        passed = time.monotonic() - started
        if passed > 60 * minutes:
            rows[name] = {"note": f"not measured: {minutes:g} minutes were over; run the command again"}
            continue
        left = passed / max(1, index - 1) * (len(every) - index + 1)
        print(f"{index}/{len(every)} {name}, {passed:.0f} s passed, about {left:.0f} s left", file=sys.stderr)
        rows[name] = _measure(machine, make, rows, seconds)
        write_json(path, {"stamp": stamp, "row": rows[name]})
    result = identity | {
        "torch": package_versions(["torch"]),
        "tflops": max(
            (row.get("tflops", 0.0) for name, row in rows.items() if name.startswith("product")), default=0.0
        ),
        "lines": rows,
    }
    write_json(folder / "gpu.json", result)
    table = to_table(rows)
    table.to_csv(folder / "gpu.tsv", sep="\t", index=False, float_format="%.4g")
    draw(table, identity["device"], folder / "gpu.png")
    return result


def _measure(
    machine: Machine, make: Any, rows: Mapping[str, Mapping[str, Any]], seconds: float
) -> dict[str, Any]:
    """One row; a line that does not fit into the memory says so."""
    cuda = machine.device == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        with torch.random.fork_rng(devices=[0] if cuda else []):
            torch.manual_seed(0)
            made = make(machine)
            row = time_work(made, rows, seconds, cuda) if isinstance(made, Work) else made
    except (torch.OutOfMemoryError, InputError) as error:
        return {"note": f"not measured: {str(error).splitlines()[0]}"}
    finally:
        made = None
        gc.collect()
    if cuda:
        row["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return row


@torch.no_grad()
def time_work(
    work: Work, rows: Mapping[str, Mapping[str, Any]], seconds: float, cuda: bool
) -> dict[str, Any]:
    """Units and operations per second of repeated calls, and their fraction of the limit measured before.

    The operations are counted in an eager call; the first timed kind of call (compilation, choice of kernels) is not
    timed.
    """

    def now() -> float:
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    with matrix_precision(work.precision):
        with FlopCounterMode(display=False) as counter:
            work.call()
        if work.prepare:
            work.prepare()
        work.call()
        calls, started = 0, now()
        while not calls or (elapsed := now() - started) < seconds:
            work.call()
            calls += 1
        elapsed = now() - started
    tflops = counter.get_total_flops() * calls / elapsed / 1e12
    row = {
        "unit": work.unit, "units_per_second": work.units * calls / elapsed, "seconds": elapsed / calls,
        "calls": calls, "precision": work.precision, "tflops": tflops, **work.facts,
    }  # fmt: skip
    limit = rows.get(f"product_{work.precision}", {}).get("tflops")
    if limit and tflops:
        row["fraction"] = tflops / limit
    return row


def to_table(rows: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row per line with the columns of `COLUMNS`."""
    table = pd.DataFrame([{"line": name, **row} for name, row in rows.items()])
    return table.reindex(columns=list(COLUMNS)).rename(columns=COLUMNS)


def draw(table: pd.DataFrame, device: str, path: Path) -> None:
    """Fraction of the measured limit that each stage reaches, and errors of the faster precisions."""
    from matplotlib.figure import Figure

    speeds = table[table["fraction of limit"].notna() & ~table["line"].str.startswith("product")]
    errors = table[table["relative error"].notna()]
    figure = Figure(figsize=(9, 0.5 + 0.32 * max(len(speeds), len(errors), 3)), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.barh(speeds["line"], speeds["fraction of limit"], color="0.35")
    left.set(xlim=(0, 1), xlabel="fraction of the machine's limit", title=device)
    right.plot(errors["relative error"], errors["line"].str.removesuffix("_agreement"), "o", color="0.35")
    right.set(xlabel="relative error against float32 on the CPU")
    right.set_xscale("symlog", linthresh=1e-7)
    right.grid(axis="x", color="0.9")
    for axes in (left, right):
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
