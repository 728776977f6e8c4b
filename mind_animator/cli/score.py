"""``mind-animator score``: comparison of folders of existing videos with a folder of ground-truth videos."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mind_animator.cli.options import EXIT_CODES, Formatter, add_sides, at_least, positive, sides
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mind_animator.config.clipfolder import LayoutConfig
    from mind_animator.metrics.base import Metric
    from mind_animator.report.leaderboard import ClipVideo
    from mind_animator.scoring.folders import Standard
    from mind_animator.scoring.score import Networks, Scores, Source

BLOCK, MANY = 10, 100
DESCRIPTION = """Score reconstructions against ground-truth videos, without the workflow and without fMRI.

Computes the published metrics and corrected alternatives next to uninformative baselines, with confidence
intervals and paired tests. A clip is a video (mp4, mov, avi, webm, gif, webp, apng, ...), an array (npy, pt), a
folder of frames, or, in a folder of images alone, one image. Ground truth and predictions are resampled to one size
and number of frames, by default those of the ground truth. The tables have a row for every ground-truth clip; for a
clip that is missing or cannot be read the row contains the reason."""
EXAMPLES = """examples:
  mind-animator score --ground-truth stimuli/ --pred ours=reconstructions/ --out scores/
  mind-animator score --ground-truth gt/ --pred a=a/ --pred b=b.npy --size 256 --frames 8 --no-models --out scores/
  mind-animator score --ground-truth neurons/ --pred neurons=neurons/ --preset neurons --sheets ssim --out scores/
  mind-animator score --ground-truth gt/ --pred ours/1=sub-1/ --pred ours/2=sub-2/ --side-by-side 20 --out scores/

"""


def add(commands: Any) -> None:
    """Add the command to the parser's commands."""
    parser = commands.add_parser(
        "score",
        help="score folders of videos against a folder of ground-truth videos",
        description=DESCRIPTION,
        epilog=EXAMPLES + EXIT_CODES,
        formatter_class=Formatter,
    )
    add_sides(parser)
    add_comparison(parser)
    parser.set_defaults(run=_score)


def add_comparison(parser: argparse.ArgumentParser, *, dataset: str | None = "folder") -> None:
    """Add the options of comparison, models, statistics and output; ``dataset`` None: the data set named in
    the cards."""
    group = parser.add_argument_group("comparison")
    own = "(default: the ground truth's own)"
    group.add_argument("--size", type=at_least(16), help=f"height and width in pixels {own}")
    group.add_argument("--frames", type=at_least(1), help=f"frames per clip {own}")
    group.add_argument("--duration", type=positive, help=f"duration of a clip in seconds {own}")
    group.add_argument(
        "--clock",
        action="store_true",
        help="use each file's own time stamps (default: assume that a file spans the whole clip)",
    )
    group.add_argument(
        "--scene-cuts",
        type=Path,
        help="TSV with columns clip and scene_cut (true or false): scores are also given without the clips that span "
        "a scene cut (default: no clip does)",
    )
    group = parser.add_argument_group("models and baselines")
    group.add_argument(
        "--models",
        default="{}",
        metavar="JSON",
        help="model ids or local folders of vit, videomae, clip and vificlip (default: the published checkpoints)",
    )
    group.add_argument(
        "--metrics",
        nargs="+",
        default=["standard"],
        metavar="NAME",
        help="standard, all, names of docs/metrics.md, and Python files (*.py) that define metrics of your own "
        "(default: standard)",
    )
    group.add_argument(
        "--no-models", action="store_true", help="pixel and motion metrics only (default: all metrics)"
    )
    group.add_argument(
        "--no-baselines",
        action="store_true",
        help="do not score uninformative baselines (default: score them)",
    )
    group.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device of the models")
    group = parser.add_argument_group("statistics")
    group.add_argument(
        "--block",
        type=at_least(1),
        help="block length in clips of permutations and bootstrap "
        f"(default: {BLOCK} if there are at least {MANY} clips, otherwise 1)",
    )
    group.add_argument(
        "--shuffles", type=at_least(0), default=0, help="frame shuffles of the published motion test"
    )
    group.add_argument("--permutations", type=at_least(99), default=9999, help="permutations per test")
    group.add_argument(
        "--seed", type=at_least(0), default=0, help="seed of permutations, bootstrap and baselines"
    )
    group.add_argument(
        "--workers", type=at_least(1), default=1, help="processes of the pixel and motion metrics"
    )
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, required=True, help="folder of the results")
    named = "" if dataset else " (default: the data set that the cards name)"
    group.add_argument("--dataset", default=dataset, help=f"name of the data set in tables and page{named}")
    group.add_argument(
        "--videos", type=at_least(0), default=4, metavar="CLIPS", help="clips per method shown on the page"
    )
    group.add_argument(
        "--per-frame",
        action="store_true",
        help="write frames.csv, the metrics that have a value per frame or step (default: off)",
    )
    group.add_argument(
        "--figures",
        action="store_true",
        help="write figures/METRIC.png, the distribution over clips with the baselines (default: off)",
    )
    group.add_argument(
        "--sheets",
        nargs="+",
        default=[],
        metavar="METRIC",
        help="write sheets/METHOD.METRIC.png, the best, median and worst clips by these metrics (default: none)",
    )
    group.add_argument(
        "--side-by-side",
        type=at_least(0),
        default=0,
        metavar="CLIPS",
        help="write side_by_side/CLIP.mp4 of so many clips: ground truth, then every method",
    )


def _score(arguments: argparse.Namespace) -> None:
    true_layout, predictions = sides(arguments)
    score(arguments, true_layout, predictions)


def score(
    arguments: argparse.Namespace,
    true_layout: "LayoutConfig",
    paths: Mapping[str, tuple[Path, "LayoutConfig"]],
    cards: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Score predictions and write tables, page and figures; all options are validated before a video is read."""
    import pandas as pd

    from mind_animator.artefacts.clipfolder import scan_clips
    from mind_animator.artefacts.files import atomic, write_json
    from mind_animator.artefacts.streams import write_pairs
    from mind_animator.artefacts.tables import write_table
    from mind_animator.config.base import parse_settings
    from mind_animator.config.models import ModelsConfig
    from mind_animator.device import use_device
    from mind_animator.methods._derived import derived_kinds
    from mind_animator.metrics.registry import open_metrics
    from mind_animator.report.leaderboard import build_leaderboard
    from mind_animator.scoring.compare import (
        TESTS,
        above_chance_tests,
        metric_table,
        motion_tests,
        paired_tests,
        set_rows,
        summarise,
        wide,
        with_pooled,
        with_units,
    )
    from mind_animator.scoring.folders import FLAT, baseline_names, score_folders, standard_of
    from mind_animator.scoring.sources import FolderSource, open_prediction

    baselines_of = {} if arguments.no_baselines else baseline_names(list(paths))
    models = parse_settings(ModelsConfig, arguments.models, "--models")
    settings = _settings(
        size=arguments.size or 256, block=arguments.block or 1, shuffles=arguments.shuffles,
        permutations=arguments.permutations, metrics=tuple(arguments.metrics),
    )  # fmt: skip
    metrics = open_metrics(settings.metrics, settings.n_ways)
    check_metrics(arguments.sheets)
    scan = scan_clips(arguments.ground_truth, true_layout)
    names = list(scan.files)
    cuts, cut_notes = scene_cuts(arguments.scene_cuts, names)
    sources: dict[str, Source] = {}
    notes = [*scan.notes, *cut_notes]
    for key, (path, layout) in paths.items():
        sources[key], found = open_prediction(path, layout, names, size=1, count=1)
        notes += found
    use_device(arguments.device)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Expected a folder that can be made at {arguments.out} (--out), got: {error}."
        ) from None

    standard = standard_of(
        list(scan.files.values()), true_layout, size=arguments.size, frames=arguments.frames,
        duration=arguments.duration,
    )  # fmt: skip
    block = arguments.block or (BLOCK if len(names) >= MANY else 1)
    settings = settings.model_copy(update={"size": standard.size, "frames": standard.frames, "block": block})
    duration = standard.frames / standard.rate if arguments.clock else None
    for source in sources.values():
        source.size, source.count = standard.size, standard.frames
        if isinstance(source, FolderSource):
            source.duration = duration
    notes.append(
        f"Comparing {standard.frames} frame(s) of {standard.size} x {standard.size} at {standard.rate:.4g} Hz."
    )
    if not standard.timed:
        notes.append("The ground truth has no time stamps: one frame per second is assumed (--duration).")
    if standard.frames == 1:
        notes.append("One frame per clip: metrics of motion and of videos are not computed.")
    for note in notes:
        print(note, file=sys.stderr)
    ground_truth = FolderSource(
        scan.files, true_layout, size=standard.size, count=standard.frames, duration=duration
    )
    results = score_folders(
        ground_truth, sources, standard, _networks(arguments, metrics, models, standard.frames), settings,
        arguments.out,
        dataset=arguments.dataset, baselines=not arguments.no_baselines, scene_cuts=cuts, seed=arguments.seed,
        workers=arguments.workers,
    )  # fmt: skip

    rows = with_pooled(pd.concat([found.rows for found in results.values()], ignore_index=True))
    tests = [paired_tests(rows, settings, seed=arguments.seed)]
    sets: list[dict] = []
    for key, (table, pairs, *_) in results.items():
        method, _, subject = key.partition("/")
        who = {
            "dataset": arguments.dataset, "method": method, "subject": subject or "all",
        }  # fmt: skip
        sets += set_rows(pairs, **who)
        who["seed"] = arguments.seed
        epe = table[table["metric"] == "epe"].set_index("clip")["value"].reindex(pairs.clips)
        found = above_chance_tests(pairs.pairs, settings, **who) + motion_tests(pairs, epe, settings, **who)
        tests.append(pd.DataFrame(found, columns=TESTS))
        write_pairs(arguments.out / f"{key.replace('/', '.')}.pairs.h5", pairs)
    summary = summarise(rows, settings, seed=arguments.seed, sets=sets)
    write_table(arguments.out / "scores.parquet", with_units(rows))
    write_table(arguments.out / "clips.csv", with_units(rows))
    write_table(arguments.out / "metrics.tsv", metric_table(list(dict.fromkeys(summary["metric"]))))
    done = {
        (*(key.split("/") if "/" in key else (key, "all")), clip): note
        for key, found in results.items()
        for clip, note in found.notes.items()
    }
    clips = wide(rows)
    keys = zip(clips["method"], clips["subject"], clips["clip"], strict=True)
    write_table(arguments.out / "clips.tsv", clips.assign(note=[done.get(key, "") for key in keys]))
    for key in paths:
        for note, count in pd.Series(results[key].notes, dtype=object).value_counts().items():
            print(f"{key}, {count} clip(s), {note}", file=sys.stderr)
    for suffix in ("tsv", "parquet"):
        write_table(arguments.out / f"summary.{suffix}", summary)
    write_table(
        arguments.out / "tests.tsv", pd.concat([t for t in tests if len(t)] or tests[:1], ignore_index=True)
    )
    write_json(
        arguments.out / "settings.json",
        {"size": standard.size, "frames": standard.frames, "rate": standard.rate, "seed": arguments.seed,
         "timing": "clock" if arguments.clock else "stretch", **settings.model_dump(mode="json")},
    )  # fmt: skip
    _images(arguments, rows, results, sources, standard, baselines_of)
    methods = list(dict.fromkeys(key.partition("/")[0] for key in paths))
    page = build_leaderboard(
        _listed_as_pooled(summary),
        baselines=list(dict.fromkeys(key.partition("/")[0] for key in results if key not in paths)),
        baselines_of={name.partition("/")[0]: key.partition("/")[0] for name, key in baselines_of.items()},
        videos=_videos(arguments, sources, standard),
        cards=cards,
        title=f"{arguments.dataset}: a leaderboard" if cards else f"Scores of {', '.join(methods)}",
        subtitle=f"{standard.frames} frames of {standard.size} x {standard.size} px, {standard.rate:.4g} Hz. "
        f"Baselines: {FLAT} is the mean colour of these ground truths; "
        + "; ".join(f"{kind.kind} shows {kind.shows}" for kind in derived_kinds())
        + ".",
    )
    with atomic(arguments.out / "index.html") as temporary:
        temporary.write_text(page)
    for key in paths:
        _show(
            summary,
            key,
            [] if arguments.no_baselines else [*(f for f in results if baselines_of.get(f) == key), FLAT],
        )
    print(f"\nThe page: {arguments.out / 'index.html'}")


def _listed_as_pooled(summary: "pd.DataFrame") -> "pd.DataFrame":
    """The summary with methods without stated subjects also among the pooled rows, if others have several subjects."""
    import pandas as pd

    from mind_animator.scoring.compare import POOLED

    pooled = set(summary.loc[summary["subject"] == POOLED, "method"])
    if not pooled:
        return summary
    others = summary[(summary["subject"] == "all") & ~summary["method"].isin(pooled)]
    return pd.concat([summary, others.assign(subject=POOLED)], ignore_index=True)


def scene_cuts(path: Path | None, clips: Sequence[str]) -> tuple[dict[str, bool] | None, list[str]]:
    """The clips that span a scene cut, and a sentence about clips that the table does not contain.

    Raises
    ------
    InputError
        If the table contains an unknown clip or a clip twice, or a value other than true, false, 1 and 0.
    """
    from mind_animator.artefacts.texts import read_text_rows

    if path is None:
        return None, []
    values = {"true": True, "1": True, "false": False, "0": False}
    known, found = set(clips), {}
    for row in read_text_rows(path, ("clip", "scene_cut")):
        clip, value = row["clip"], row["scene_cut"].lower()
        if value not in values:
            raise InputError(
                f"Expected scene_cut of clip '{clip}' in {path} to be true, false, 1 or 0, got '{row['scene_cut']}'."
            )
        if clip not in known:
            raise InputError(
                f"Expected clips of the ground truth, such as '{clips[0]}', in {path}, got '{clip}' (--scene-cuts)."
            )
        if clip in found:
            raise InputError(f"Expected each clip once in {path}, got '{clip}' twice.")
        found[clip] = values[value]
    missing = [clip for clip in clips if clip not in found]
    if not missing:
        return found, []
    return found, [
        f"{path}: {len(missing)} clip(s) not listed, treated as without a scene cut ({missing[0]}, ...)."
    ]


def check_metrics(names: Sequence[str]) -> None:
    """Raise an `InputError` if a name is not a metric."""
    from mind_animator.metrics.registry import find_metric

    for name in names:
        try:
            find_metric(name)
        except InputError:
            raise InputError(f"Expected --sheets to name a metric, such as ssim, got '{name}'.") from None


def _networks(
    arguments: argparse.Namespace, metrics: "Sequence[Metric]", models: Any, frames: int
) -> "Networks":
    from mind_animator.scoring.networks import open_networks

    without = "--no-models" if arguments.no_models else ""
    absent = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if absent and not without:
        without = f"{absent[0]} is not installed (pip install 'mind-animator[workflow]')"
        print(f"metrics of networks are not computed: {without}", file=sys.stderr)
    if not without and not sys.stderr.isatty():
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
    networks = open_networks(metrics, models, frames=frames, device=arguments.device, without=without)
    for name, reason in networks.absent.items():
        if reason != without:
            print(f"not computed ({name}): {reason}", file=sys.stderr)
    return networks


def _evenly(clips: Sequence[str], count: int) -> list[str]:
    import numpy as np

    return (
        [clips[i] for i in np.unique(np.linspace(0, len(clips) - 1, count).astype(int))]
        if count and clips
        else []
    )


def _videos(
    arguments: argparse.Namespace, sources: Mapping[str, "Source"], standard: "Standard"
) -> list["ClipVideo"]:
    """Ground truth and prediction side by side, for evenly spaced clips."""
    from mind_animator.report.leaderboard import ClipVideo, side_by_side
    from mind_animator.scoring.sources import ArraySource

    ground_truth = ArraySource([arguments.out / "ground_truth.h5"], size=standard.size, count=standard.frames)
    videos = []
    for key, source in sources.items():
        method, _, subject = key.partition("/")
        for clip in _evenly(
            [clip for clip in source.clips if clip not in ground_truth.problems], arguments.videos
        ):
            try:
                uri = side_by_side(ground_truth.read(clip), source.read(clip), standard.rate)
            except InputError:
                continue  # its row contains the reason
            videos.append(ClipVideo(arguments.dataset, method, subject or "all", clip, uri))
    return videos


def _images(
    arguments: argparse.Namespace,
    rows: "pd.DataFrame",
    results: Mapping[str, "Scores"],
    sources: Mapping[str, "Source"],
    standard: "Standard",
    baselines_of: Mapping[str, str],
) -> None:
    """Write the optional output: frames.csv, figures, contact sheets, side-by-side videos."""
    from mind_animator.scoring.sources import ArraySource

    ground_truth = ArraySource([arguments.out / "ground_truth.h5"], size=standard.size, count=standard.frames)
    if arguments.per_frame:
        from mind_animator.artefacts.tables import write_table
        from mind_animator.scoring.score import frame_table

        own = {key: results[key] for key in sources}
        write_table(arguments.out / "frames.csv", frame_table(own, standard.rate))
    if arguments.figures:
        from mind_animator.metrics.registry import find_metric
        from mind_animator.report.score_figures import draw_distributions
        from mind_animator.scoring.compare import with_units
        from mind_animator.scoring.folders import FLAT

        labels = rows["metric"].map({name: find_metric(name).label for name in rows["metric"].unique()})
        baselines = {*(name.partition("/")[0] for name in baselines_of), FLAT}
        draw_distributions(
            with_units(rows).assign(label=labels), arguments.out / "figures", baselines=baselines
        )
    if arguments.sheets:
        from mind_animator.report.score_figures import draw_sheet, ranked_clips
        from mind_animator.scoring.compare import with_units

        for key, source in sources.items():
            method, _, subject = key.partition("/")
            own = with_units(rows[(rows["method"] == method) & (rows["subject"] == (subject or "all"))])
            for name in arguments.sheets:
                if chosen := ranked_clips(own[own["metric"] == name]):
                    path = arguments.out / "sheets" / f"{key.replace('/', '.')}.{name}.png"
                    draw_sheet(chosen, ground_truth.read, source.read, path, title=f"{key}, {name}")
                else:
                    print(f"no sheet of {key} by {name}: no clip has a value", file=sys.stderr)
    if arguments.side_by_side:
        from mind_animator.artefacts.video import write_mp4
        from mind_animator.report.page import side_by_side

        folder = arguments.out / "side_by_side"
        folder.mkdir(exist_ok=True)
        shared = [
            clip
            for clip in ground_truth.clips
            if clip not in ground_truth.problems and all(clip in source.clips for source in sources.values())
        ]
        for clip in _evenly(shared, arguments.side_by_side):
            try:
                columns = [ground_truth.read(clip), *(source.read(clip) for source in sources.values())]
            except InputError as error:
                print(f"no side-by-side video of clip '{clip}': {error}", file=sys.stderr)
                continue
            frames = side_by_side(columns)
            write_mp4(folder / f"{clip}.mp4", frames[:, : frames.shape[1] // 2 * 2], standard.rate)


def _show(summary: "pd.DataFrame", key: str, baselines: Sequence[str]) -> None:
    """Print the scores of one method with intervals and baselines, followed by the missing metrics and clips."""
    from mind_animator.scoring.folders import FLAT

    method, _, subject = key.partition("/")
    every = summary[(summary["clips"] == "all") & (summary["subject"] == (subject or "all"))]
    every = every.set_index(["method", "metric"])
    names = [name.partition("/")[0] for name in baselines]
    beside = {name: name if name == FLAT else name.removeprefix(f"{method}_") for name in names}
    own = every.loc[method]
    scored = own[own["n_clips"] > 0]
    print(f"\n{key}")
    lines = [("metric", "better", "unit", "mean", "interval", *beside.values(), "clips")]
    for metric, row in scored.iterrows():
        interval = f"{row['low']:.4g} to {row['high']:.4g}" if row["n_blocks"] > 1 else "one block"
        cells = [f"{every.loc[(name, metric), 'mean']:.4g}" for name in beside]
        clips = f"{row['n_clips']}/{row['n_expected']}"
        unit = "" if row["unit"] == "1" else row["unit"]
        lines.append((metric, row["direction"], unit, f"{row['mean']:.4g}", interval, *cells, clips))
    if len(lines) > 1:
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    for status, rows in own[own["status"] != "ok"].groupby("status", sort=False):
        print(f"{', '.join(rows.index)}: {status}")


def _settings(**values: object) -> Any:
    from pydantic import ValidationError

    from mind_animator.config.base import explain
    from mind_animator.config.scoring import ScoringConfig

    try:
        return ScoringConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(explain(error, "scoring")) from None
