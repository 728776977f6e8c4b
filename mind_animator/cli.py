"""``mind-animator``: score anyone's videos, and make and score pages for human ratings. No workflow, no fMRI."""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from mind_animator.artefacts.files import write_json
from mind_animator.artefacts.streams import write_pairs
from mind_animator.artefacts.tables import write_table
from mind_animator.config.base import explain
from mind_animator.config.clipfolder import PRESETS, LayoutConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError, run_command


def main() -> None:
    """Entry point of the console script."""
    run_command(_main)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="mind-animator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_score(commands.add_parser("score", help="score folders of videos against a folder of truths"))
    arguments = parser.parse_args()
    arguments.run(arguments)


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Score folders of reconstructions (gif, mp4, avi, webm, folders of png) against a folder of truths: eight "
        "published metrics under their right names and ours beside them, intervals and paired tests. "
        "Truth and prediction are resampled to one size and number of frames, the truth's own unless stated."
    )
    parser.add_argument("--truth", type=Path, required=True, help="folder of true videos")
    parser.add_argument(
        "--pred",
        action="append",
        required=True,
        metavar="[NAME=]FOLDER",
        help="folder of predictions; repeatable",
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), help="a published layout of both sides")
    parser.add_argument("--truth-layout", help='JSON, e.g. {"name": "gt_{number}", "first": 0}')
    parser.add_argument("--pred-layout", help='JSON, e.g. {"name": "{number}", "grid": {"column": 1}}')
    parser.add_argument("--size", type=int, help="height and width of the comparison, pixels")
    parser.add_argument("--frames", type=int, help="frames a clip of the comparison")
    parser.add_argument(
        "--duration", type=float, help="seconds a clip lasts (default: the truth's files say)"
    )
    parser.add_argument(
        "--clock", action="store_true", help="files' own clocks count; default: a file covers its clip"
    )
    parser.add_argument("--scene-cuts", type=Path, help="TSV with columns clip, scene_cut")
    parser.add_argument(
        "--block", type=int, default=1, help="neighbouring clips that statistics keep together"
    )
    parser.add_argument("--shuffles", type=int, default=0, help="frame shuffles of the published motion test")
    parser.add_argument("--permutations", type=int, default=9999)
    parser.add_argument(
        "--models", default="{}", help="JSON: model ids or local folders (vit, videomae, clip, vificlip)"
    )
    parser.add_argument("--no-models", action="store_true", help="pixel and motion metrics only")
    parser.add_argument("--dataset", default="folder", help="name in the tables")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.set_defaults(run=_score)


def _score(arguments: argparse.Namespace) -> None:
    from mind_animator.metrics.compare import (
        TESTS,
        above_chance_tests,
        motion_tests,
        paired_tests,
        summarise,
        wide,
    )
    from mind_animator.metrics.folders import score_folders, standard_of
    from mind_animator.metrics.score import Networks

    given = PRESETS.get(arguments.preset, (LayoutConfig(), LayoutConfig()))
    true_layout = _layout(arguments.truth_layout, "--truth-layout") or given[0]
    layout = _layout(arguments.pred_layout, "--pred-layout") or given[1]
    predictions = {}
    for text in arguments.pred:
        name, _, folder = text.rpartition("=")
        name = name or Path(folder).name or "prediction"
        if name in predictions:
            raise InputError(
                f"Expected different names of predictions, got '{name}' twice (use NAME=FOLDER)."
            )
        predictions[name] = (Path(folder), layout)
    models = _validated(ModelsConfig, arguments.models, "--models")
    standard = standard_of(
        arguments.truth,
        true_layout,
        size=arguments.size,
        frames=arguments.frames,
        duration=arguments.duration,
    )
    print(
        f"Comparing {standard.frames} frames of {standard.size} x {standard.size} at {standard.rate:.4g} Hz.",
        file=sys.stderr,
    )
    settings = _settings(
        size=standard.size, frames=standard.frames, block=arguments.block, shuffles=arguments.shuffles,
        permutations=arguments.permutations,
    )  # fmt: skip
    networks = Networks(absent=dict.fromkeys(("image_logits", "video_logits", "clip", "vifi"), "--no-models"))
    if not arguments.no_models:
        from mind_animator.metrics.networks import open_networks

        networks = open_networks(models, device=arguments.device)
        for name, reason in networks.absent.items():
            print(f"not computed ({name}): {reason}", file=sys.stderr)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = score_folders(
        (arguments.truth, true_layout), predictions, standard, networks, settings, arguments.out,
        dataset=arguments.dataset, clock=arguments.clock, seed=arguments.seed, workers=arguments.workers,
    )  # fmt: skip
    rows = pd.concat([table for table, _ in results.values()], ignore_index=True)
    tests = [paired_tests(rows, settings, seed=arguments.seed)]
    for method, (table, pairs) in results.items():
        who = {"dataset": arguments.dataset, "method": method, "subject": "all", "seed": arguments.seed}
        epe = table[table["metric"] == "epe"].set_index("clip")["value"].reindex(pairs.clips)
        found = above_chance_tests(pairs.pairs, settings, **who) + motion_tests(pairs, epe, settings, **who)
        tests.append(pd.DataFrame(found, columns=TESTS))
        write_pairs(arguments.out / f"{method}.pairs.h5", pairs)
    summary = summarise(rows, settings, seed=arguments.seed)
    write_table(arguments.out / "scores.parquet", rows)
    write_table(arguments.out / "clips.tsv", wide(rows))
    write_table(arguments.out / "summary.tsv", summary)
    write_table(
        arguments.out / "tests.tsv", pd.concat([t for t in tests if len(t)] or tests[:1], ignore_index=True)
    )
    write_json(
        arguments.out / "settings.json",
        {"size": standard.size, "frames": standard.frames, "rate": standard.rate, "seed": arguments.seed,
         "timing": "clock" if arguments.clock else "stretch", **settings.model_dump(mode="json")},
    )  # fmt: skip
    _show(summary)


def _show(summary: pd.DataFrame) -> None:
    for row in summary[summary["clips"] == "all"].itertuples(index=False):
        if row.n_clips:
            interval = f"[{row.low:.4g}, {row.high:.4g}]" if row.n_blocks > 1 else "[no interval: one block]"
            note = "" if row.status == "ok" else f"  ({row.status})"
            print(
                f"{row.method}\t{row.metric}\t{row.mean:.5g} {interval} {row.unit}\t{row.direction} is better\t"
                f"{row.n_clips}/{row.n_expected}{note}"
            )
        else:
            print(f"{row.method}\t{row.metric}\t{row.status}")


def _settings(**values: object) -> ScoringConfig:
    try:
        return ScoringConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(explain(error, "scoring")) from None


def _layout(text: str | None, option: str) -> LayoutConfig | None:
    return None if text is None else _validated(LayoutConfig, text, option)


def _validated(model: type, text: str, option: str):  # noqa: ANN202
    try:
        json.loads(text)
        return model.model_validate_json(text)
    except json.JSONDecodeError as error:
        raise InputError(f"Expected JSON in {option}, got {text!r} ({error}).") from None
    except ValidationError as error:
        raise InputError(explain(error, option)) from None


if __name__ == "__main__":
    main()
