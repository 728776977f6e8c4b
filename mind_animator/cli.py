"""``mind-animator``: score anyone's videos, make and score pages for human ratings. No workflow, no fMRI."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from pydantic import ValidationError

from mind_animator.artefacts.files import atomic, write_json
from mind_animator.artefacts.streams import write_pairs
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.base import explain, parse_settings
from mind_animator.config.clipfolder import PRESETS, LayoutConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError, run_command

if TYPE_CHECKING:
    from mind_animator.scoring.folders import Standard

BLOCK, MANY = 10, 100


def main() -> None:
    """Entry point of the console script."""
    run_command(_main)


def _main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="mind-animator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_score(commands.add_parser("score", help="score folders of videos against a folder of ground truths"))
    _add_ratings(
        commands.add_parser("ratings", help="pages for human ratings, and the scoring of their answers")
    )
    arguments = parser.parse_args(given)
    arguments.run(arguments)


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Score folders of reconstructions (gif, mp4, avi, webm, folders of png) against a folder of ground truths: "
        "eight published metrics under their right names and ours beside them, intervals and paired tests. "
        "Ground truth and prediction are resampled to one size and number of frames, the ground truth's own unless stated."
    )
    parser.add_argument("--ground-truth", type=Path, required=True, help="folder of true videos")
    parser.add_argument(
        "--pred",
        action="append",
        required=True,
        metavar="[NAME=]FOLDER",
        help="folder of predictions; repeatable",
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), help="a published layout of both sides")
    parser.add_argument(
        "--ground-truth-layout", help='a preset, or JSON, e.g. {"name": "gt_{number}", "first": 0}'
    )
    parser.add_argument(
        "--pred-layout",
        action="append",
        default=[],
        metavar="[NAME=]LAYOUT",
        help='the same of all predictions, or of one: ours={"name": "{number}", "grid": {"column": 1}}; repeatable',
    )
    parser.add_argument("--size", type=int, help="height and width of the comparison, pixels")
    parser.add_argument("--frames", type=int, help="frames a clip of the comparison")
    parser.add_argument(
        "--duration", type=float, help="seconds a clip lasts (default: the ground truth's files say)"
    )
    parser.add_argument(
        "--clock", action="store_true", help="files' own clocks count; default: a file covers its clip"
    )
    parser.add_argument("--scene-cuts", type=Path, help="TSV with columns clip, scene_cut")
    parser.add_argument(
        "--block",
        type=int,
        help=f"neighbouring clips that statistics keep together (default: {BLOCK} of {MANY} clips or more, else 1)",
    )
    parser.add_argument("--shuffles", type=int, default=0, help="frame shuffles of the published motion test")
    parser.add_argument("--permutations", type=int, default=9999)
    parser.add_argument(
        "--models", default="{}", help="JSON: model ids or local folders (vit, videomae, clip, vificlip)"
    )
    parser.add_argument(
        "--efficientnet", action="store_true", help="also n-way accuracy by EfficientNet-Lite0"
    )
    parser.add_argument("--no-models", action="store_true", help="pixel and motion metrics only")
    parser.add_argument(
        "--no-baselines", action="store_true", help="without frozen, shuffled, mismatched, flat_mean"
    )
    parser.add_argument(
        "--videos", type=int, default=4, help="clips shown of each method on the page; 0 for none"
    )
    parser.add_argument("--dataset", default="folder", help="name in the tables")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.set_defaults(run=_score)


def _score(arguments: argparse.Namespace) -> None:
    from mind_animator.artefacts.clipfolder import find_clips
    from mind_animator.report.leaderboard import build_leaderboard
    from mind_animator.scoring.compare import (
        TESTS,
        above_chance_tests,
        metric_table,
        motion_tests,
        paired_tests,
        summarise,
        wide,
        with_units,
    )
    from mind_animator.scoring.folders import score_folders, standard_of
    from mind_animator.scoring.score import NOT_ASKED, Networks

    true_layout, predictions = _sides(arguments)
    models = parse_settings(ModelsConfig, arguments.models, "--models")
    standard = standard_of(
        arguments.ground_truth,
        true_layout,
        size=arguments.size,
        frames=arguments.frames,
        duration=arguments.duration,
    )
    print(
        f"Comparing {standard.frames} frames of {standard.size} x {standard.size} at {standard.rate:.4g} Hz.",
        file=sys.stderr,
    )
    files = find_clips(arguments.ground_truth, true_layout)
    if arguments.duration is None and true_layout.rate is None and any(p.is_dir() for p in files.values()):
        print("Folders of images have no clock: one frame a second is assumed (--duration).", file=sys.stderr)
    block = arguments.block
    if block is None:
        block = BLOCK if len(files) >= MANY else 1
    settings = _settings(
        size=standard.size, frames=standard.frames, block=block, shuffles=arguments.shuffles,
        permutations=arguments.permutations,
    )  # fmt: skip
    if arguments.no_models:
        absent = dict.fromkeys(
            ("image_logits", "video_logits", "clip_embedding_image", "vifi"), "--no-models"
        )
        networks = Networks(absent=absent)
        if arguments.efficientnet:
            from mind_animator.scoring.networks import open_efficientnet

            network, absent["efficientnet"] = open_efficientnet(arguments.device)
            networks = Networks(efficientnet=network, absent=absent)
    else:
        from mind_animator.scoring.networks import open_networks

        networks = open_networks(models, device=arguments.device, efficientnet=arguments.efficientnet)
        for name, reason in networks.absent.items():
            if reason and reason != NOT_ASKED:
                print(f"not computed ({name}): {reason}", file=sys.stderr)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Expected a folder that can be made at {arguments.out} (--out), got: {error}."
        ) from None
    results = score_folders(
        (arguments.ground_truth, true_layout), predictions, standard, networks, settings, arguments.out,
        dataset=arguments.dataset, clock=arguments.clock, baselines=not arguments.no_baselines,
        scene_cuts=_scene_cuts(arguments.scene_cuts), seed=arguments.seed, workers=arguments.workers,
    )  # fmt: skip
    rows = pd.concat([table for table, *_ in results.values()], ignore_index=True)
    tests = [paired_tests(rows, settings, seed=arguments.seed)]
    for method, (table, pairs, _) in results.items():
        who = {"dataset": arguments.dataset, "method": method, "subject": "all", "seed": arguments.seed}
        epe = table[table["metric"] == "epe"].set_index("clip")["value"].reindex(pairs.clips)
        found = above_chance_tests(pairs.pairs, settings, **who) + motion_tests(pairs, epe, settings, **who)
        tests.append(pd.DataFrame(found, columns=TESTS))
        write_pairs(arguments.out / f"{method}.pairs.h5", pairs)
    summary = summarise(rows, settings, seed=arguments.seed)
    write_table(arguments.out / "scores.parquet", with_units(rows))
    write_table(arguments.out / "metrics.tsv", metric_table(list(dict.fromkeys(rows["metric"]))))
    notes = {
        (method, clip): note for method, (_, _, found) in results.items() for clip, note in found.items()
    }
    clips = wide(rows)
    keys = zip(clips["method"], clips["clip"], strict=True)
    write_table(arguments.out / "clips.tsv", clips.assign(note=[notes.get(key, "") for key in keys]))
    for method in predictions:
        for note, count in pd.Series(results[method][2], dtype=object).value_counts().items():
            print(f"{method}, {count} clip(s), {note}", file=sys.stderr)
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
    baselines = [method for method in results if method not in predictions]
    baselines_of = {
        baseline: max((name for name in predictions if baseline.startswith(f"{name}_")), key=len)
        for baseline in baselines
        if baseline != "flat_mean"  # everyone's, whatever the predictions' names
    }
    videos = _videos(arguments, predictions, standard)
    page = build_leaderboard(
        summary, baselines=baselines, baselines_of=baselines_of, videos=videos, title=f"Scores of {', '.join(predictions)}",
        subtitle=f"{standard.frames} frames of {standard.size} x {standard.size} px, {standard.rate:.4g} Hz. "
        "Baselines: flat_mean is the mean colour of these ground truths; frozen, shuffled and mismatched are made of "
        "the predictions.",
    )  # fmt: skip
    with atomic(arguments.out / "index.html") as temporary:
        temporary.write_text(page)
    _show(
        summary,
        {
            name: {
                baseline: baseline.removeprefix(f"{name}_") if baseline in baselines_of else baseline
                for baseline in baselines
                if baselines_of.get(baseline, name) == name
            }
            for name in predictions
        },
    )
    print(f"\nThe page: {arguments.out / 'index.html'}")


def _videos(arguments: argparse.Namespace, predictions: dict, standard: "Standard") -> list:
    """Ground truth and prediction side by side, of clips at even distances."""
    import numpy as np

    from mind_animator.artefacts.clipfolder import find_clips
    from mind_animator.report.leaderboard import ClipVideo, side_by_side
    from mind_animator.scoring.sources import ArraySource, FolderSource

    path = arguments.out / "ground_truth.h5"
    shape = {"size": standard.size, "count": standard.frames}
    ground_truth, rate = ArraySource([path], **shape), standard.rate
    duration = standard.frames / rate if arguments.clock else None
    videos = []
    for method, (folder, layout) in predictions.items():
        source = FolderSource(find_clips(folder, layout), layout, **shape, duration=duration)
        good = [clip for clip in source.clips if clip not in ground_truth.problems]
        places = (
            np.unique(np.linspace(0, len(good) - 1, arguments.videos).astype(int)) if arguments.videos else []
        )
        for clip in (good[place] for place in places):
            try:
                uri = side_by_side(ground_truth.read(clip), source.read(clip), rate)
            except InputError:
                continue  # its row says why
            videos.append(ClipVideo(arguments.dataset, method, "all", clip, uri))
    return videos


def _scene_cuts(path: Path | None) -> dict[str, bool] | None:
    if path is None:
        return None
    table = read_table(path, ("clip", "scene_cut"))
    return dict(
        zip(table["clip"], table["scene_cut"].astype(str).str.lower().isin(("true", "1")), strict=True)
    )


def _add_ratings(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", required=True)
    make = steps.add_parser(
        "make", help="write a page that raters open in a browser, and the key to its answers"
    )
    make.add_argument("--ground-truth", type=Path, required=True, help="folder of true videos")
    make.add_argument("--pred", action="append", required=True, metavar="[NAME=]FOLDER", help="repeatable")
    make.add_argument("--preset", choices=sorted(PRESETS))
    make.add_argument("--ground-truth-layout", help="as for score")
    make.add_argument("--pred-layout", action="append", default=[], help="as for score")
    make.add_argument("--clips", type=int, default=20, help="clips rated of each method")
    make.add_argument("--checks", type=int, default=5, help="attention checks")
    make.add_argument(
        "--block", type=int, default=10, help="a rival ground truth is at least this many clips away"
    )
    make.add_argument("--size", type=int, default=256, help="height of the videos, pixels")
    make.add_argument("--frames", type=int, default=8)
    make.add_argument("--rate", type=float, default=4.0, help="frames a second")
    make.add_argument("--seed", type=int, required=True)
    make.add_argument(
        "--page", type=Path, required=True, help="output, HTML; its name binds answers to the key"
    )
    make.add_argument(
        "--key", type=Path, required=True, help="output, JSON: the right answers; keep it to yourself"
    )
    make.set_defaults(run=_make_ratings)
    score = steps.add_parser("score", help="score returned files of answers")
    score.add_argument("--key", type=Path, required=True)
    score.add_argument("--answers", type=Path, nargs="+", required=True, help="files that raters returned")
    score.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    score.add_argument("--scores", type=Path, required=True, help="output, TSV")
    score.add_argument("--raters", type=Path, required=True, help="output, TSV: one row a file")
    score.set_defaults(run=_score_ratings)


def _make_ratings(arguments: argparse.Namespace) -> None:
    import numpy as np

    from mind_animator.artefacts.clipfolder import find_clips
    from mind_animator.report.leaderboard import video_uri
    from mind_animator.report.ratings import build_rating_page, draw_questions, key_of
    from mind_animator.scoring.sources import FolderSource

    true_layout, predictions = _sides(arguments)
    shape = {"size": arguments.size, "count": arguments.frames}
    ground_truth = FolderSource(find_clips(arguments.ground_truth, true_layout), true_layout, **shape)
    sources = {
        name: FolderSource(find_clips(folder, layout), layout, **shape)
        for name, (folder, layout) in predictions.items()
    }
    lost: set[str] = set()

    def video(name: str, source: FolderSource, clip: str) -> str:
        try:
            return video_uri(source.read(clip), arguments.rate, size=arguments.size)
        except InputError as error:
            print(f"left out: clip '{clip}' of {name}: {error}", file=sys.stderr)
            lost.add(clip)
            return ""

    for name, source in sources.items():
        for clip in ground_truth.clips:
            if clip not in source.files:
                video(name, source, clip)
    ground_truths, shown, complete = {}, {}, False
    while not complete:  # only what is drawn is read; where a clip cannot be, all are drawn again without it
        clips = [clip for clip in ground_truth.clips if clip not in lost]
        questions = draw_questions(
            clips, ["all"] * len(clips), [(name, "all") for name in sources], count=arguments.clips,
            checks=arguments.checks, block=arguments.block, generator=np.random.default_rng(arguments.seed),
        )  # fmt: skip
        for question in questions:
            for clip in (question.first, question.second):
                if clip not in ground_truths:
                    ground_truths[clip] = video("ground_truth", ground_truth, clip)
            own = (question.method, question.subject, question.clip)
            if question.method != "attention" and own not in shown:
                shown[own] = video(question.method, sources[question.method], question.clip)
        complete = lost.isdisjoint(clips)
    with atomic(arguments.page) as temporary:
        temporary.write_text(build_rating_page(questions, ground_truths, shown, page=arguments.page.stem))
    write_json(arguments.key, key_of(questions, arguments.page.stem))
    print(f"{len(questions)} questions in {arguments.page}; the key is {arguments.key}.")


def _score_ratings(arguments: argparse.Namespace) -> None:
    import numpy as np

    from mind_animator.artefacts.files import read_json
    from mind_animator.report.ratings import score_ratings

    key = read_json(arguments.key)
    if not isinstance(key, dict) or not {"page", "questions"} <= set(key):
        raise InputError(
            f"Expected a key with 'page' and 'questions' in {arguments.key}, got something else."
        )
    scores, raters = score_ratings(key, arguments.answers, generator=np.random.default_rng(arguments.seed))
    write_table(arguments.scores, scores)
    write_table(arguments.raters, raters)
    print(scores.to_string(index=False))
    for row in raters[~raters["used"]].itertuples(index=False):
        print(f"left out: {row.file}: {row.note}")


def _sides(arguments: argparse.Namespace) -> tuple[LayoutConfig, dict[str, tuple[Path, LayoutConfig]]]:
    """Layout of the ground truth; folder and layout of each prediction by name."""
    true_layout, layout = PRESETS.get(arguments.preset, (LayoutConfig(), LayoutConfig()))
    if arguments.ground_truth_layout is not None:
        true_layout = _layout(arguments.ground_truth_layout, "--ground-truth-layout", side=0)
    own: dict[str, LayoutConfig] = {}
    for text in arguments.pred_layout:
        name, equals, rest = text.partition("=")
        if equals and "{" not in name:
            own[name] = _layout(rest, f"--pred-layout {name}", side=1)
        else:
            layout = _layout(text, "--pred-layout", side=1)
    predictions = {}
    for text in arguments.pred:
        name, equals, folder = text.partition("=")
        if not equals:
            name, folder = "", text
        name = name or Path(folder).name or "prediction"
        if name in predictions:
            raise InputError(
                f"Expected different names of predictions, got '{name}' twice (use NAME=FOLDER)."
            )
        predictions[name] = (Path(folder), own.get(name, layout))
    if strange := own.keys() - predictions.keys():
        raise InputError(
            f"Expected --pred-layout of one of {list(predictions)}, got one of '{min(strange)}'."
        )
    return true_layout, predictions


def _layout(text: str, option: str, *, side: int) -> LayoutConfig:
    """A side (0: ground truth, 1: prediction) of the preset of that name, or what the JSON says."""
    if text in PRESETS:
        return PRESETS[text][side]
    if not text.lstrip().startswith("{"):
        raise InputError(f"Expected {option} to be one of {sorted(PRESETS)} or JSON, got '{text}'.")
    return parse_settings(LayoutConfig, text, option)


def _show(summary: pd.DataFrame, baselines: Mapping[str, Mapping[str, str]]) -> None:
    """A table for each method: its scores with their intervals, its baselines beside them, what is missing below.

    Each method's baselines bring the titles of their columns.
    """
    every = summary[summary["clips"] == "all"].set_index(["method", "metric"])
    for method, beside in baselines.items():
        own = every.loc[method]
        scored = own[own["n_clips"] > 0]
        print(f"\n{method}")
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
                print(
                    "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
                )
        for status, rows in own[own["status"] != "ok"].groupby("status", sort=False):
            print(f"{', '.join(rows.index)}: {status}")


def _settings(**values: object) -> ScoringConfig:
    try:
        return ScoringConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(explain(error, "scoring")) from None


if __name__ == "__main__":
    main()
