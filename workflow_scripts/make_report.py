"""Tables, figures and videos -> one self-contained page."""

import json
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
from mind_animator.metrics.base import GROUPS
from mind_animator.metrics.registry import find_metric
from mind_animator.report.figures import draw_comparison, draw_costs, draw_retrieval, draw_training
from mind_animator.report.page import (
    Cell,
    Figure,
    Group,
    Section,
    Table,
    Tile,
    VideoRow,
    build_page,
    data_uri,
    enlarge,
    side_by_side,
)
from workflow_scripts.stages import Inputs, Param, Report, command

SHOWN = 12
VIDEO_HEIGHT = 192
TESTS = {
    "motion_pairing": "Motion pairing: flow of the own clip against other clips",
    "motion_swap": "Motion swap: responses to another clip in the motion decoder",
    "frame_shuffle": "Frame shuffle",
    "frame_shuffle_published": "Frame shuffle (published)",
}


def make_report(
    given: Report,
    *,
    ground_truth: Inputs,
    captions: Inputs = (),
    rate: Param[float],
    videos: Param[dict[str, list[Path]]],
    oracles: Param[list[str]] = (),
    baselines: Param[dict[str, str]] = {},  # noqa: B006
) -> None:
    """
    Parameters
    ----------
    ground_truth
        Frames of the test segments (HDF5).
    captions
        Tables of captions (TSV).
    rate
        Frames per second of the videos.
    videos
        Shards of frames of each method/subject (HDF5).
    oracles
        Methods that are split-half oracles.
    baselines
        What the frames of each baseline show.
    """
    scores = read_table(
        given.summary, ("method", "subject", "metric", "label", "group", "mean", "low", "high")
    )
    labels = scores.drop_duplicates("metric").set_index("metric")["label"]
    tested = read_table(given.tests, ("test", "method", "subject", "metric", "p"))
    ranks = read_table(given.retrieval, ("method", "subject", "embedding", "metric", "value", "chance"))
    texts = (
        pd.concat([read_table(path, ("clip", "caption")) for path in captions]).set_index("clip")["caption"]
        if captions
        else pd.Series(dtype=str)
    )
    with tempfile.TemporaryDirectory() as folder:
        assets = Path(folder)
        own = list(dict.fromkeys(key.split("/")[0] for key in videos))
        sections = [
            _glance(scores, tested, ranks, own),
            _parts(given.histories, read_json(given.provenance)["config"]),
            *(
                _videos(subject, ground_truth, videos, texts, rate, assets)
                for subject in dict.fromkeys(key.split("/")[1] for key in videos)
            ),
            _scores(scores, own, oracles, baselines),
            _comparison(scores, tested, own, {*oracles, *baselines}, given.benchmarks, assets),
            _retrieval(ranks, assets),
            _tests(tested[~tested[["method", "other"]].isin(oracles).any(axis=1)], own, labels),
            *shared_sections(
                given,
                assets,
                "Correlation of the selected voxels with the movie, by the lag between a clip and its volume. If the "
                "lag is set correctly, the curves peak at the grey line.",
                "Subject {0}: correlation with luminance, contrast and motion energy of the clips.",
            ),
        ]
        html = build_page(
            given.title,
            "Videos reconstructed from brain activity: ground truth and reconstruction are shown side by side, and "
            "every score is shown next to its baselines.",
            [section for section in sections if section is not None],
        )
    with atomic(given.page) as temporary:
        temporary.write_text(html)


def shared_sections(given: Report, assets: Path, lag_text: str, lag_caption: str) -> list[Section | None]:
    """Sections of every report after the scores: patterns, training, lag, data quality, rules, costs, provenance."""
    record = read_json(given.provenance)
    return [
        _figures("maps", "Activation patterns", "Maps", "Mean absolute activation pattern of each decoder (Haufe et "
                 "al. 2014: covariance of the voxels with its output) on the flat cortex, left and right hemisphere, "
                 "and the ROIs with the largest mean, with the values for permuted blocks of clips (grey).",
                 given.maps, "Decoders of {0}, subject {1}.", wide=True),
        _training(given.histories, assets),
        _figures("lag", "Haemodynamic lag", "Lag", lag_text, given.lag, lag_caption),
        _figures("quality", "Data quality", "Data", "Reliability of each voxel, its noise ceiling, its signal-to-"
                 "noise ratio, and the selected voxels. Voxels are selected on training runs only.", given.quality,
                 "Subject {0}.", wide=True),
        Section("workflow", "The workflow", "All rules that this page depends on, from the data at the top to the "
                "page at the bottom. A line connects a rule with a rule that uses its files.", nav="Workflow",
                svg=given.dag.read_text()),
        _costs(given.benchmarks, assets),
        _provenance(record),
    ]  # fmt: skip


def _glance(
    summary: pd.DataFrame, tests: pd.DataFrame, retrieval: pd.DataFrame, own: list[str]
) -> Section | None:
    """A few scores of the first method over all subjects, each with its score against the ground truths of
    other clips."""
    every = summary[(summary["clips"] == "all") & np.isfinite(summary["mean"].astype(float))]
    subject = "pooled" if "pooled" in set(every["subject"]) else every["subject"].iloc[0]
    every = every[(every["subject"] == subject) & (every["method"] == own[0])].set_index("metric")
    tests = tests[(tests["test"] == "above_chance") & (tests["method"] == own[0])].set_index("metric")
    tiles = []
    for name in every.index:
        words = _headline(name)
        if not words or name not in tests.index:
            continue
        row, tested = every.loc[name], tests.loc[[name]]
        chance = (tested["score"] - tested["statistic"]).mean()
        against = f"other clips: {chance:.2f}"
        if name.startswith("retrieval"):
            rows = retrieval[(retrieval["embedding"] == "image") & (retrieval["metric"] == "top_10")]
            against = f"chance: {rows['chance'].iloc[0]:.2f}"
        tiles.append(Tile(words, f"{row['mean']:.2f}", f"{row['low']:.3f} to {row['high']:.3f}", against))
    if not tiles:
        return None
    who = "all subjects" if subject == "pooled" else f"subject {subject}"
    return Section(
        "glance",
        "Overview",
        f"{own[0]}, {who}, {int(every['n_clips'].max())} test clips. Below each score are its "
        f"{every['level'].max():.0%} interval and the score of the same videos against the ground truths of other "
        "clips; "
        "the difference between the two measures the information that was decoded from the responses.",
        tiles=tiles,
    )


def _parts(histories: dict[str, Path], config: dict) -> Section | None:
    """Which parts of the methods contributed to this run, from the training records and the configuration."""
    found: dict[tuple[str, str], dict[str, Cell]] = {}
    for key, path in histories.items():
        method, subject, part = key.split("/")
        record = read_json(path)
        losses = [row["validation_loss"] for row in record.get("history", [])]
        for target, fractions in record.get(
            "stack", {}
        ).items():  # of closed-form stages; the first one is ridge regression
            r2 = record["out_of_fold_r2"][target]
            detail = f"R2 out of fold {r2['stack']:.3f}; ridge {r2['ridge']:.3f}"
            alone = not any(list(fractions.values())[1:])
            state = Cell("idle", "ridge regression alone") if alone else Cell("at work", detail)
            found.setdefault((method, f"second stage, {target}"), {})[subject] = state
        if not losses:
            continue
        settings, last = record.get("settings", {}), len(losses) - 1
        keeps = settings.get("optimisation", {}).get("keep", "best")
        kept = last if keeps == "last" else losses.index(min(losses))
        epochs = f"epoch {kept} of {last} kept"
        start = "linear baseline alone" if settings.get("linear") is not None else "initial weights"
        state = Cell("at work", epochs) if kept else Cell("idle", f"{epochs}: {start}")
        found.setdefault((method, f"{part} decoder"), {})[subject] = state
    if not found:
        return None
    subjects = list(dict.fromkeys(subject for states in found.values() for subject in states))
    state = Cell("at work", f"{config['stimuli']['frames']} frames per clip")
    if config["reconstruction"]["motion"] == "warped":
        state = Cell("idle", "one frame per clip: an image network")
    for method in dict.fromkeys(method for method, _ in found):
        found[method, "inflated generator"] = dict.fromkeys(subjects, state)
    rows: list[list[Cell | str]] = [
        [Cell(part, method), *(states.get(subject, "") for subject in subjects)]
        for (method, part), states in sorted(found.items(), key=lambda entry: entry[0][0])
    ]
    every = [state for states in found.values() for state in states.values()]
    idle = sum(state.text == "idle" for state in every)
    return Section(
        "parts",
        "Contribution of each part",
        f"{idle} of {len(every)} trained or sampled parts were idle in this run: they did "
        "not change the result. A decoder is idle if no epoch of its training improved on its initial weights; "
        "a second stage, if its weights did not improve on ridge regression for held-out training movies.",
        nav="Parts",
        tables=[Table(["", *(f"subject {subject}" for subject in subjects)], [Group(rows)])],
    )


def _videos(
    subject: str,
    ground_truth: list[Path],
    shards: dict[str, list[Path]],
    captions: pd.Series,
    rate: float,
    assets: Path,
) -> Section:
    """Ground truth and the video of every method for evenly spaced clips, selected by position, never by score."""
    methods = [key.split("/")[0] for key in shards if key.split("/")[1] == subject]
    names, _ = read_arrays(ground_truth, [])
    chosen = [names[i] for i in np.linspace(0, len(names) - 1, min(SHOWN, len(names))).round().astype(int)]
    columns = {"ground_truth": read_arrays(ground_truth, ["frames"], chosen)[1]["frames"]}
    for method in methods:
        columns[method] = read_arrays(shards[f"{method}/{subject}"], ["frames"], chosen)[1]["frames"]
    rows = []
    for index, clip in enumerate(chosen):
        path = assets / f"{subject}-{index}.mp4"
        shown = [enlarge(frames[index], VIDEO_HEIGHT) for frames in columns.values()]
        write_mp4(path, side_by_side(shown), rate)
        rows.append(VideoRow(clip, str(captions.get(clip, "")), data_uri(path)))
    return Section(
        f"subject-{subject}",
        f"Ground truth and reconstruction: subject {subject}",
        f"{len(chosen)} of {len(names)} test clips, evenly spaced in the test movies, not selected by score. "
        + ("The caption of the ground-truth video is printed below each clip." if len(captions) else ""),
        nav=f"Subject {subject}",
        rows=rows,
        columns=list(columns),
    )


def _scores(summary: pd.DataFrame, own: list[str], oracles: list[str], baselines: dict[str, str]) -> Section:
    """Mean and interval of each metric, with methods as columns, so that every score is shown next to its baselines."""
    every = summary[summary["clips"] == "all"]
    others = [name for name in dict.fromkeys(every["method"]) if name not in own]
    methods = [*own, *sorted(others, key=lambda name: name in oracles)]
    subjects = sorted(dict.fromkeys(every["subject"].astype(str)), key=lambda subject: subject != "pooled")
    tables = []
    for subject in subjects:
        part = every[every["subject"].astype(str) == subject].set_index(["metric", "method"])
        groups = []
        of_metric = part.reset_index().drop_duplicates("metric").set_index("metric")["group"]
        shown = [
            *(key for key in GROUPS if key != "retrieval"),
            *of_metric[~of_metric.isin(list(GROUPS))].unique(),
        ]
        for key in shown:
            names, (title, text) = list(of_metric.index[of_metric == key]), GROUPS.get(key, (key, ""))
            if names:
                groups.append(
                    Group([_score_row(part.loc[name], methods, oracles) for name in names], title, text)
                )
        title = "All subjects" if subject == "pooled" else f"Subject {subject}"
        tables.append(Table(["", *methods], groups, title, faint=1 + len(own), folded=subject != subjects[0]))
    return Section(
        "scores",
        "Scores and baselines",
        f"Means over test clips, with the {every['level'].max():.0%} intervals of a block bootstrap within movies "
        "below. "
        "Arrows show which direction is better; the best value of a row is bold."
        + (
            f" The grey columns are baselines: {'; '.join(f'{name} shows {text}' for name, text in baselines.items())}."
            if baselines
            else ""
        )
        + (
            " split_half_oracle: ground-truth video of the test clip whose second half of repeats is most similar to "
            "this clip's first half."
            if oracles
            else ""
        ),
        nav="Scores",
        tables=tables,
    )


def _score_row(rows: pd.DataFrame, methods: list[str], oracles: list[str]) -> list[Cell | str]:
    """A metric's name and its score by each method."""
    known = rows.iloc[0]
    means = rows.loc[~rows.index.isin(oracles), "mean"].astype(float)
    best = means.max() if known["direction"] == "higher" else means.min()
    unit = "" if known["unit"] == "1" else f", {known['unit']}"
    cells: list[Cell | str] = [
        Cell(f"{known['label']} {'↑' if known['direction'] == 'higher' else '↓'}",
             ("as published" if known["definition"] == "published" else "ours") + unit)
    ]  # fmt: skip
    for method in methods:
        if method not in rows.index:
            cells.append("")
            continue
        row = rows.loc[method]
        if np.isfinite(row["mean"]):
            cells.append(
                Cell(
                    f"{row['mean']:.3f}",
                    f"{row['low']:.3f} – {row['high']:.3f}"
                    if np.isfinite(row["low"])
                    else str(row["status"]),
                    method in means.index and row["mean"] == best,
                )
            )
        else:
            cells.append(Cell("–", f"not computed: {row['status']}"))
    return cells


def _retrieval(table: pd.DataFrame, assets: Path) -> Section:
    path = assets / "retrieval.svg"
    draw_retrieval(table, path)
    small = table[table["candidates_set"] == "small"]
    return Section(
        "retrieval",
        "Retrieval",
        "The decoded embedding of each test clip is compared with those of all "
        f"{int(small['n_candidates'].max())} clips. The curves show how often the correct clip is among the k "
        "nearest. This measures what was decoded from the "
        "responses, independently of the generator.",
        figures=[
            Figure(
                data_uri(path), "Top-k retrieval among the test clips; bands are 95 % intervals.", wide=True
            )
        ],
    )


def _tests(tests: pd.DataFrame, own: list[str], labels: pd.Series) -> Section | None:
    """Permutation tests against chance, of motion, and between decoders; the tests of the baselines serve as
    controls."""
    tests = tests.assign(subject=tests["subject"].astype(str))
    baselines = [name for name in dict.fromkeys(tests["method"]) if name not in own]
    tables = []
    for title, methods in (
        ("Methods against chance", own),
        ("The same tests for the baselines, as controls", baselines),
    ):
        part = tests[tests["method"].isin(methods) & tests["test"].isin(["above_chance", *TESTS])]
        pairs = list(dict.fromkeys(zip(part["method"], part["subject"], strict=True)))
        groups = []
        chance = part[part["test"] == "above_chance"]
        shown = [name for name in dict.fromkeys(chance["metric"]) if not name.startswith("retrieval_")]
        retrieval = [name for name in dict.fromkeys(chance["metric"]) if name.startswith("retrieval_")]
        known = shown + [name for name in retrieval if name.endswith(("_top10", "_median_rank"))]
        rows = [
            _test_row(labels.get(name, name.replace("_", " ")), chance[chance["metric"] == name], pairs)
            for name in known
        ]
        if rows:
            groups.append(Group(rows, "Above chance", "Mean difference between the score with the ground truth of "
                                                      "the same clip and "
                                "with those of other clips, and p of a permutation of whole blocks of "
                                "clips."))  # fmt: skip
        moves = {
            text: part[part["test"] == name] for name, text in TESTS.items() if (part["test"] == name).any()
        }
        if moves:
            note = "Any smooth video passes the frame shuffle, even without responses; it is shown only for comparison."
            rows = [_test_row(text, chosen, pairs) for text, chosen in moves.items()]
            groups.append(
                Group(rows, "Motion", note if any(text.startswith("Frame") for text in moves) else "")
            )
        if groups:
            head = ["", *(f"{method}, subject {subject}" for method, subject in pairs)]
            tables.append(Table(head, groups, title, folded=methods is baselines))
    paired = tests[
        (tests["test"] == "paired") & tests["metric"].str.startswith("target_") & (tests["method"] == own[0])
    ]
    if not paired.empty:
        pairs = list(dict.fromkeys(zip(paired["other"], paired["subject"], strict=True)))
        paired = paired.assign(method=paired["other"])
        names = [name for name in dict.fromkeys(paired["metric"]) if name.endswith("_corr")]
        rows = [
            _test_row(labels.get(name, name.replace("_", " ")), paired[paired["metric"] == name], pairs)
            for name in names
        ]
        head = [
            "",
            *(f"against {other}, {'all' if sub == 'pooled' else f'subject {sub}'}" for other, sub in pairs),
        ]
        tables.insert(1, Table(head, [Group(rows)], f"Decoders of {own[0]} against the others'"))
    if not tables:
        return None
    return Section(
        "tests",
        "Tests",
        "Every permutation uses blocks of neighbouring clips as units, since neighbours resemble each other. Bold: "
        "p ≤ .001.",
        tables=tables,
    )


def _comparison(
    scores: pd.DataFrame,
    tests: pd.DataFrame,
    own: list[str],
    omitted: set[str],
    benchmarks: Path | None,
    assets: Path,
) -> Section | None:
    """All methods and metrics, with paired tests against the shown methods; None unless there are further methods."""
    methods = [name for name in dict.fromkeys(scores["method"]) if name not in omitted]
    if not set(methods) - set(own):
        return None
    every = scores[(scores["clips"] == "all") & scores["method"].isin(methods)]
    every = every.assign(subject=every["subject"].astype(str))
    subject = "pooled" if (every["subject"] == "pooled").any() else every["subject"].iloc[0]
    paired = tests[(tests["test"] == "paired") & (tests["clips"] == "all")]
    paired = paired[paired["subject"].astype(str) == subject]
    if paired.empty:
        return None
    every = every[every["subject"] == subject].drop_duplicates(["metric", "method"])
    known = every.drop_duplicates("metric").set_index("metric")
    # the difference of both orders of each pair
    both = [
        paired,
        paired.assign(method=paired["other"], other=paired["method"], statistic=-paired["statistic"]),
    ]
    both = pd.concat(both).drop_duplicates(["method", "other", "metric"])
    both = both[both["method"].isin(methods) & both["metric"].isin(known.index)]
    both = both.assign(
        label=both["metric"].map(known["label"]),
        better=(both["statistic"] > 0) == (both["metric"].map(known["direction"]) == "higher"),
        reference=both["other"],
    )
    tables, means = [], every.set_index(["metric", "method"])["mean"]
    for reference in own:
        found = both[both["reference"] == reference].set_index(["metric", "method"])
        rows = []
        for metric in known.index:
            cells: list[Cell | str] = [
                f"{known['label'][metric]} {'↑' if known['direction'][metric] == 'higher' else '↓'}"
            ]
            for method in methods:
                mean = f"{means[metric, method]:.3f}" if (metric, method) in means.index else "–"
                if (metric, method) not in found.index:
                    cells.append(Cell(mean, "reference" if method == reference else ""))
                    continue
                test = found.loc[(metric, method)]
                cells.append(Cell(mean, f"{test['statistic']:+.3f}, p = {test['p_holm']:.4f}",
                                  bool(test["better"] and test["p_holm"] <= 0.001)))  # fmt: skip
            rows.append(cells)
        if benchmarks:
            rows.append(
                [
                    "training of all parts and subjects, s",
                    *(_training_seconds(benchmarks, m) for m in methods),
                ]
            )
        tables.append(
            Table(["", *methods], [Group(rows)], f"Against {reference}", folded=reference != own[-1])
        )
    path = assets / "comparison.svg"
    draw_comparison(both, own, path)
    return Section(
        "comparison", "Comparison of all methods",
        "Means over test clips; below them the paired difference from the reference, and p of a block sign flip, "
        "corrected for the number of metrics (Holm). Bold: better, p ≤ .001. "
        "Chance levels and baselines are in the table above.",
        nav="Comparison", tables=tables,
        figures=[Figure(data_uri(path), "Better (blue) or worse (red) than the reference, by metric.", wide=True)],
    )  # fmt: skip


def _training_seconds(benchmarks: Path, method: str) -> str:
    """Seconds of all training jobs of a method, from Snakemake's benchmark files."""
    files = [*(benchmarks / "train_part" / method).rglob("*.tsv")]
    if not files:
        return "–"
    return f"{sum(pd.read_csv(path, sep=chr(9), na_values='-')['s'].max() for path in files):,.0f}"


def _headline(name: str) -> str:
    """Text of a metric in the overview of the report; empty for most metrics and for those from a user's file."""
    try:
        return find_metric(name).headline
    except InputError:
        return ""


def _test_row(label: str, rows: pd.DataFrame, pairs: list[tuple[str, str]]) -> list[Cell | str]:
    """Statistic and p of one test by method and subject."""
    found = rows.drop_duplicates(["method", "subject"]).set_index(["method", "subject"])
    cells: list[Cell | str] = [label]
    for pair in pairs:
        if pair not in found.index:
            cells.append("")
            continue
        row = found.loc[pair]
        p = f"p = {row['p']:.4f}" if row["p"] < 0.1 else f"p = {row['p']:.2f}"
        if np.isfinite(row.get("least_p", np.nan)):
            p += f" (least {row['least_p']:.2g})"
        cells.append(Cell(f"{row['statistic']:+.3f}", p, row["p"] <= 0.001))
    return cells


def _training(histories: dict[str, Path], assets: Path) -> Section | None:
    records = {key: read_json(path).get("history", []) for key, path in histories.items()}
    if not any(records.values()):
        return None
    path = assets / "training.svg"
    draw_training(records, path)
    return Section(
        "training",
        "Training",
        "Loss on held-out training movies (strong lines) and on the fitted movies (faint lines). Training stops "
        "early, and "
        "the weights of the ringed epoch are kept. Epoch 0 is the start; its weights are kept if no epoch is better.",
        figures=[
            Figure(data_uri(path), "Loss by epoch of each decoder that is trained in steps.", wide=True)
        ],
    )


def _figures(
    name: str, title: str, nav: str, text: str, files: dict[str, Path], caption: str, wide: bool = False
) -> Section | None:
    """Figures of one kind; the caption takes the parts of their keys."""
    if not files:
        return None
    figures = [Figure(data_uri(path), caption.format(*key.split("/")), wide) for key, path in files.items()]
    return Section(name, title, text, nav=nav, figures=figures)


def _costs(folder: Path | None, assets: Path) -> Section | None:
    """Time and memory of each rule, from Snakemake's benchmark files, and GPU use from the logs
    (`mind_animator.device`)."""
    rows = []
    for path in sorted(folder.rglob("*.tsv")) if folder else []:
        table = pd.read_csv(path, sep="\t", na_values="-")
        log = (folder.parent / "logs" / path.relative_to(folder)).with_suffix(".log")
        use = read_use(log.read_text(errors="replace")) if log.is_file() else None
        gpu_memory, gpu_busy = use[1:] if use else (math.nan, math.nan)
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        rows.append((rule, table["s"].max(), table["max_rss"].max(), gpu_memory, gpu_busy))
    if not rows:
        return None
    every = pd.DataFrame(rows, columns=["rule", "seconds", "memory", "gpu_memory", "gpu_busy"])
    cost = every.groupby("rule").agg(jobs=("seconds", "size"), seconds=("seconds", "sum"), longest=("seconds", "max"),
                                     peak_memory_MB=("memory", "max"), GPU_memory_MB=("gpu_memory", "max"),
                                     GPU_busy_percent=("gpu_busy", "mean")).reset_index()  # fmt: skip
    cost = cost.sort_values("seconds", ascending=False)
    path = assets / "costs.svg"
    draw_costs(cost, path)
    head = ["rule", "jobs", "seconds, all jobs", "seconds, longest job", "memory, MB at most"]
    on_gpu = bool(cost["GPU_memory_MB"].notna().any())
    if on_gpu:
        head += ["GPU memory, MB at most", "GPU busy, % on average"]
    lines = [
        [
            row.rule,
            f"{row.jobs:.0f}",
            f"{row.seconds:,.1f}",
            f"{row.longest:,.1f}",
            f"{row.peak_memory_MB:,.0f}",
        ]
        + ([f"{row.GPU_memory_MB:,.0f}", f"{row.GPU_busy_percent:.0f}"] if on_gpu else [])
        for row in cost.itertuples()
    ]
    return Section(
        "costs",
        "Computing resources",
        f"{len(every)} jobs took {every['seconds'].sum() / 60:.1f} minutes in total, each counted from its "
        "last run. GPU memory and use are given for jobs that ran on a GPU for which NVML reported them.",
        nav="Costs",
        figures=[Figure(data_uri(path), "Time and memory by rule (number of jobs).", wide=True)],
        tables=[Table(head, [Group(lines)])],
    )


def _provenance(record: dict) -> Section:
    """Provenance of the results: the main facts as a table, and the complete record, folded."""
    facts = {
        "mind_animator": f"{record['mind_animator']}, commit {record['commit']}",
        "seed": str(record["config"]["seed"]),
        "data": record["data"]["summary"],
        "python": record["python"],
        "packages": ", ".join(f"{name} {version}" for name, version in record["packages"].items()),
        "machine": ", ".join(map(str, record["machine"].values())),
        "device": record["config"]["device"],
    }
    folded = [
        (title, json.dumps(record[key], indent=1))
        for title, key in (
            ("Configuration", "config"),
            ("Digests of the code of every stage", "code"),
            ("Models: sha256 of their weights", "models"),
            ("Data: digests by movie and subject", "data"),
        )
    ]
    return Section(
        "provenance",
        "Provenance",
        "Configuration, code, data, models and packages with which all results on this page were computed.",
        tables=[Table([], [Group([[key, text] for key, text in facts.items()])], prose=True)],
        folded=folded,
    )


main = command(make_report)

if __name__ == "__main__":
    run_command(main)
