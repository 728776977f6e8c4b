"""Tables, figures and videos -> one self-contained page."""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.files import atomic, read_json
from mind_animator.artefacts.tables import read_table
from mind_animator.artefacts.video import write_mp4
from mind_animator.device import read_use
from mind_animator.errors import InputError, run_command
from mind_animator.report.figures import draw_costs, draw_retrieval, draw_training
from mind_animator.report.page import Figure, Section, VideoRow, build_page, data_uri, enlarge, table_html

SHOWN = 12
VIDEO_HEIGHT = 128


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--title", required=True)
    parser.add_argument("--truth", type=Path, nargs="+", required=True, help="frames of the test segments")
    parser.add_argument("--captions", type=Path, nargs="*", default=[], help="tables of captions")
    parser.add_argument("--rate", type=float, required=True, help="frames a second")
    parser.add_argument("--videos", nargs="+", required=True, metavar="METHOD/SUBJECT=FILE", help="shards")
    parser.add_argument("--summary", type=Path, required=True)
    parser.add_argument("--tests", type=Path, required=True)
    parser.add_argument("--retrieval", type=Path, required=True)
    parser.add_argument("--histories", nargs="*", default=[], metavar="METHOD/SUBJECT/DECODER=FILE")
    parser.add_argument("--lag", nargs="*", default=[], metavar="SUBJECT=FILE")
    parser.add_argument("--quality", nargs="*", default=[], metavar="SUBJECT=FILE")
    parser.add_argument("--maps", nargs="*", default=[], metavar="METHOD/SUBJECT=FILE")
    parser.add_argument("--dag", type=Path, required=True)
    parser.add_argument("--provenance", type=Path, required=True)
    parser.add_argument("--benchmarks", type=Path, help="folder of what the jobs took")
    parser.add_argument("--page", type=Path, required=True, help="output, HTML")
    given = parser.parse_args(arguments)

    summary = read_table(given.summary, ("method", "subject", "metric", "mean", "low", "high"))
    tests = read_table(given.tests, ("test", "method", "subject", "metric", "p"))
    retrieval = read_table(given.retrieval, ("method", "subject", "embedding", "metric", "value", "chance"))
    shards = _grouped(given.videos)
    captions = (
        pd.concat([read_table(path, ("clip", "caption")) for path in given.captions]).set_index("clip")[
            "caption"
        ]
        if given.captions
        else pd.Series(dtype=str)
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sections = [
            *(
                _videos(subject, given.truth, shards, captions, given.rate, place)
                for subject in dict.fromkeys(key.split("/")[1] for key in shards)
            ),
            _scores(summary),
            _retrieval(retrieval, place),
            _motion(tests),
            _figures("maps", "What each decoder reads", "Mean absolute activation pattern (Haufe: covariance of the "
                     "voxels with the decoder's output) on the flat cortex.", given.maps),
            _training(given.histories, place),
            _figures("lag", "Haemodynamic lag", "Correlation of the responses with features of the film, by lag of "
                     "the volume behind its clip. A peak away from the grey line says that the lag is set wrong.",
                     given.lag),
            _figures("quality", "Quality of the data", "Repeat reliability, noise ceiling, temporal SNR and the "
                     "voxels chosen (on training runs only).", given.quality),
            Section("dag", "The workflow", "Every rule behind this page.", svg=given.dag.read_text()),
            _costs(given.benchmarks, place),
            _provenance(read_json(given.provenance)),
        ]  # fmt: skip
        page = build_page(
            given.title,
            "Truth and reconstruction side by side, every score beside its floor. One file: it works offline.",
            [section for section in sections if section is not None],
        )
    with atomic(given.page) as temporary:
        temporary.write_text(page)


def _grouped(entries: list[str]) -> dict[str, list[Path]]:
    """Files by the key before ``=``."""
    groups: dict[str, list[Path]] = {}
    for entry in entries:
        key, separator, path = entry.partition("=")
        if not separator:
            raise InputError(f"Expected KEY=FILE, got '{entry}'.")
        groups.setdefault(key, []).append(Path(path))
    return groups


def _videos(
    subject: str,
    truth: list[Path],
    shards: dict[str, list[Path]],
    captions: pd.Series,
    rate: float,
    place: Path,
) -> Section:
    """Truth and every method's video of evenly spaced clips: chosen by position, never by score."""
    methods = [key.split("/")[0] for key in shards if key.split("/")[1] == subject]
    names, _ = read_arrays(truth, [])
    chosen = [names[i] for i in np.linspace(0, len(names) - 1, min(SHOWN, len(names))).round().astype(int)]
    columns = {"truth": read_arrays(truth, ["frames"], chosen)[1]["frames"]}
    for method in methods:
        columns[method] = read_arrays(shards[f"{method}/{subject}"], ["frames"], chosen)[1]["frames"]
    rows = []
    for index, clip in enumerate(chosen):
        videos = []
        for method, frames in columns.items():
            path = place / f"{subject}-{method}-{index}.mp4"
            write_mp4(path, enlarge(frames[index], VIDEO_HEIGHT), rate)
            videos.append(data_uri(path))
        rows.append(VideoRow(clip, str(captions.get(clip, "")), videos))
    return Section(
        f"subject-{subject}",
        f"Subject {subject}",
        f"{len(chosen)} of {len(names)} test clips, evenly spaced through the test films, not chosen by score.",
        rows=rows,
        columns=list(columns),
    )


def _scores(summary: pd.DataFrame) -> Section:
    """Mean and interval of each metric, methods as columns, so that every score stands beside its floors."""
    every = summary[summary["clips"] == "all"].copy()
    every["cell"] = [
        f"{mean:.3f} [{low:.3f}, {high:.3f}]" if np.isfinite(mean) else f"not computed: {status}"
        for mean, low, high, status in zip(
            every["mean"], every["low"], every["high"], every["status"], strict=True
        )
    ]
    every["metric"] = every["label"] + every["direction"].map({"higher": " ↑", "lower": " ↓"})
    every = every[~every["label"].str.startswith(("top-", "retrieval"))]
    tables = []
    for subject, part in every.groupby("subject", sort=False):
        methods = list(dict.fromkeys(part["method"]))
        wide = part.pivot(index="metric", columns="method", values="cell").reindex(
            index=list(dict.fromkeys(part["metric"])), columns=methods
        )
        wide.columns.name = None
        tables.append(f"<h3>subject {subject}</h3>" + table_html(wide.fillna("").reset_index()))
    return Section(
        "scores",
        "Scores beside their floors",
        "Mean over test clips with a 95 % interval of a block bootstrap within films. Arrows: which way is better. "
        "flat_mean, frozen, mismatched and shuffled_frames are floors: a score is read as its distance from them.",
        tables=tables,
    )


def _retrieval(table: pd.DataFrame, place: Path) -> Section:
    path = place / "retrieval.png"
    draw_retrieval(table, path)
    return Section(
        "retrieval",
        "Retrieval",
        "How often the clip that was watched is among the k nearest to the decoded embedding. It does not depend on "
        "the generator.",
        figures=[Figure(data_uri(path), "Top-k retrieval among the test clips; bands: 95 % intervals")],
    )


def _motion(tests: pd.DataFrame) -> Section | None:
    names = ["above_chance", "motion_pairing", "motion_swap", "frame_shuffle", "frame_shuffle_published"]
    rows = tests[tests["test"].isin(names)]
    if rows.empty:
        return None
    columns = [c for c in ("test", "method", "subject", "metric", "statistic", "p", "p_holm", "p_published", "n_clips",
                           "note") if c in rows]  # fmt: skip
    text = (
        "above_chance: own truth against other clips' truths. motion_pairing: does the direction of motion match, "
        "against re-paired blocks of clips? motion_swap: the same films with another clip's brain in the motion "
        "decoder alone. "
        "The frame-shuffle test measures smoothness: any smooth video passes it, with or without a brain."
    )
    formats = {"statistic": "{:.4f}", "p": "{:.4f}", "p_holm": "{:.4f}", "p_published": "{:.4f}"}
    return Section("tests", "Tests", text, tables=[table_html(rows[columns], formats)])


def _training(histories: list[str], place: Path) -> Section | None:
    records = {key: read_json(paths[0]).get("history", []) for key, paths in _grouped(histories).items()}
    if not any(records.values()):
        return None
    path = place / "training.png"
    draw_training(records, path)
    text = "Early stopping on whole held-out training films; the best epoch is kept. Epoch 0 is the start."
    return Section("training", "Training", text, figures=[Figure(data_uri(path), "Loss by epoch")])


def _figures(name: str, title: str, text: str, entries: list[str]) -> Section | None:
    if not entries:
        return None
    figures = [Figure(data_uri(paths[0]), key) for key, paths in _grouped(entries).items()]
    return Section(name, title, text, figures=figures)


def _costs(folder: Path | None, place: Path) -> Section | None:
    """What each rule took: Snakemake's benchmark files, and what logs say of cards (`mind_animator.device`)."""
    rows = []
    for path in sorted(folder.rglob("*.tsv")) if folder else []:
        table = pd.read_csv(path, sep="\t", na_values="-")
        log = (folder.parent / "logs" / path.relative_to(folder)).with_suffix(".log")
        use = read_use(log.read_text(errors="replace")) if log.is_file() else None
        card_memory, card_busy = use[1:] if use else (math.nan, math.nan)
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        rows.append((rule, table["s"].max(), table["max_rss"].max(), card_memory, card_busy))
    if not rows:
        return None
    every = pd.DataFrame(rows, columns=["rule", "seconds", "memory", "card_memory", "card_busy"])
    cost = every.groupby("rule").agg(jobs=("seconds", "size"), seconds=("seconds", "sum"), longest=("seconds", "max"),
                                     peak_memory_MB=("memory", "max"), GPU_memory_MB=("card_memory", "max"),
                                     GPU_busy_percent=("card_busy", "mean")).reset_index()  # fmt: skip
    cost = cost.sort_values("seconds", ascending=False)
    path = place / "costs.png"
    draw_costs(cost, path)
    formats = {"seconds": "{:.1f}", "longest": "{:.1f}", "peak_memory_MB": "{:.0f}"}
    if cost["GPU_memory_MB"].notna().any():
        formats |= {"GPU_memory_MB": "{:.0f}", "GPU_busy_percent": "{:.0f}"}
    else:
        cost = cost.drop(columns=["GPU_memory_MB", "GPU_busy_percent"])
    text = (
        "Jobs, seconds (all and the longest) and peak memory of each rule, from the last time that it ran; GPU memory "
        "and mean use where it ran on a card and NVML answered."
    )
    tables = [table_html(cost, formats)]
    return Section(
        "costs",
        "What it took",
        text,
        figures=[Figure(data_uri(path), "Time and memory by rule")],
        tables=tables,
    )


def _provenance(record: dict) -> Section:
    plain = pd.DataFrame(
        [
            ("mind_animator", record["mind_animator"]),
            ("commit", record["commit"]),
            ("seed", record["config"]["seed"]),
            ("python", record["python"]),
            ("machine", record["machine"]["system"]),
            *record["packages"].items(),
            *((f"weights {Path(path).parent.name}", digest) for path, digest in record["models"].items()),
        ],
        columns=["what", "version"],
    )
    return Section(
        "provenance",
        "Provenance",
        "The whole configuration and the digests of every script are in provenance.json beside this page.",
        tables=[table_html(plain)],
    )


if __name__ == "__main__":
    run_command(main)
