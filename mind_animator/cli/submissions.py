"""``mind-animator validate-submission`` and ``mind-animator leaderboard``: predictions with a card that
documents them."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mind_animator.cli.options import EXIT_CODES, Formatter, check_name
from mind_animator.cli.score import add_comparison, score
from mind_animator.errors import InputError

if TYPE_CHECKING:
    from mind_animator.config.clipfolder import LayoutConfig
    from mind_animator.config.submission import SubmissionConfig

CARD = """A submission is a folder with card.json and the clips (clips/, or the folders and HDF5 files that the card
names), or one HDF5 file with the data sets 'frames' (clip, frame, height, width, 3) uint8 and 'clip' (names), and the
card as the attribute 'card'. The card:

  {"format": "mind-animator submission 1", "method": "ours", "dataset": "CC2017", "authors": "A. Author, B. Author",
   "code": "https://...", "licence": "CC-BY-4.0", "paper": "https://...",
   "training": {"data": ["CC2017"], "pretrained": ["runwayml/stable-diffusion-v1-5"], "hardware": "1 x A100 80 GB",
                "gpu_hours": 30},
   "seen": {"test_stimuli": false, "test_responses": false, "other_subjects": false, "selected_on_test": false,
            "remarks": ""},
   "clips": {"1": "sub-1", "2": "sub-2.h5"}, "layout": {"name": "{clip}"}}"""
EXAMPLES = """examples:
  mind-animator validate-submission ours/ --ground-truth stimuli/
  mind-animator leaderboard ours/ theirs/ third.h5 --ground-truth stimuli/ --size 256 --frames 8 --out leaderboard/

"""


def add(commands: Any) -> None:
    """Add both commands to the parser."""
    texts = {"epilog": EXAMPLES + EXIT_CODES, "formatter_class": Formatter}
    help_text = "check the card and every clip of submissions to a leaderboard"
    validate = commands.add_parser(
        "validate-submission", help=help_text, description=f"{help_text.capitalize()}.\n\n{CARD}", **texts
    )
    _add_inputs(validate, required=False)
    validate.set_defaults(run=_validate)
    help_text = "score many submissions against one ground truth and write one static page"
    board = commands.add_parser(
        "leaderboard", help=help_text, description=f"{help_text.capitalize()}.\n\n{CARD}", **texts
    )
    _add_inputs(board, required=True)
    add_comparison(board, dataset=None)
    board.set_defaults(run=_leaderboard)


def _add_inputs(parser: argparse.ArgumentParser, *, required: bool) -> None:
    from mind_animator.config.clipfolder import PRESETS

    parser.add_argument(
        "submissions", type=Path, nargs="+", metavar="SUBMISSION", help="folder with card.json, or HDF5 file"
    )
    without = "" if required else " (default: names are not compared with a ground truth)"
    parser.add_argument(
        "--ground-truth", type=Path, required=required, help=f"folder of ground-truth videos{without}"
    )
    parser.add_argument(
        "--ground-truth-layout",
        default="{}",
        metavar="LAYOUT",
        help=f"layout of the ground truth: one of {', '.join(sorted(PRESETS))}, or JSON",
    )


def _validate(arguments: argparse.Namespace) -> None:
    from mind_animator.artefacts.clipfolder import scan_clips

    names = None
    if arguments.ground_truth is not None:
        scan = scan_clips(arguments.ground_truth, _ground_truth_layout(arguments))
        names = list(scan.files)
    faults = 0
    for path in arguments.submissions:
        try:
            card, clips = read_submission(path)
            print(
                f"{path}: the card of '{card.method}' is complete ({card.dataset}, {len(clips)} folder(s) or file(s))."
            )
            for key, (clips_path, layout) in clips.items():
                faults += _check_clips(key, clips_path, layout, names)
        except InputError as error:
            print(f"{path}: {error}", file=sys.stderr)
            faults += 1
    if faults:
        raise InputError(f"Expected submissions without faults, got {faults} fault(s), listed above.")
    print("Every submission is valid.")


def _check_clips(key: str, path: Path, layout: "LayoutConfig", names: Sequence[str] | None) -> int:
    """Read every clip, print the findings and return the number of faults."""
    from mind_animator.artefacts.arrays import read_clip_names
    from mind_animator.artefacts.clipfolder import scan_clips
    from mind_animator.scoring.sources import open_prediction

    if names is None:
        names = list(scan_clips(path, layout).files) if path.is_dir() else read_clip_names(path)
    source, notes = open_prediction(path, layout, names, size=64, count=1)
    for note in notes:
        print(note)
    faults = 0
    for clip in source.clips:
        try:
            source.read(clip)
        except InputError as error:
            print(f"{key}: {error}", file=sys.stderr)
            faults += 1
    missing = [clip for clip in names if clip not in set(source.clips)]
    if missing:
        named = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        print(f"{key}: no clip for {len(missing)} of {len(names)} ground truths: {named}", file=sys.stderr)
    print(f"{key}: {len(source.clips) - faults} of {len(names)} clips can be read.")
    return faults + len(missing)


def _leaderboard(arguments: argparse.Namespace) -> None:
    paths: dict[str, tuple[Path, LayoutConfig]] = {}
    cards: list[SubmissionConfig] = []
    for path in arguments.submissions:
        card, clips = read_submission(path)
        if any(card.method == other.method for other in cards):
            raise InputError(
                f"Expected different methods in submissions, got '{card.method}' twice ({path})."
            )
        if cards and card.dataset != cards[0].dataset:
            raise InputError(
                f"Expected submissions to one data set, got '{cards[0].dataset}' and '{card.dataset}' ({path})."
            )
        cards.append(card)
        paths |= clips
    arguments.dataset = arguments.dataset or cards[0].dataset
    score(arguments, _ground_truth_layout(arguments), paths, [card.model_dump(mode="json") for card in cards])


def read_submission(path: Path) -> "tuple[SubmissionConfig, dict[str, tuple[Path, LayoutConfig]]]":
    """Card of a submission, and its folders or files of clips by ``METHOD`` or ``METHOD/SUBJECT``.

    Raises
    ------
    InputError
        If there is no card, or one of its keys is missing, unknown or invalid.
    """
    from pydantic import ValidationError

    from mind_animator.artefacts.arrays import read_attrs
    from mind_animator.artefacts.files import read_json
    from mind_animator.config.base import explain
    from mind_animator.config.submission import SubmissionConfig

    if path.is_dir():
        content, where, folder = read_json(path / "card.json"), f"{path / 'card.json'}: card", path
    elif path.suffix.lower() in (".h5", ".hdf5"):
        text = read_attrs(path).get("card")
        if not isinstance(text, str):
            raise InputError(f"Expected the card as the text attribute 'card' of {path}, found none.")
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"Expected JSON in the attribute 'card' of {path}, got {error}.") from None
        where, folder = f"{path}: card", None
    else:
        raise InputError(f"Expected a folder with card.json or an HDF5 file at {path}, found none.")
    try:
        card = SubmissionConfig.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise InputError(explain(error, where)) from None
    check_name(card.method, "a submission's")
    layout = card.prediction_layout()
    if folder is None:
        return card, {card.method: (path, layout)}
    paths = card.clips if isinstance(card.clips, dict) else {"": card.clips}
    found = {}
    for subject, inside in paths.items():
        if not (folder / inside).exists():
            raise InputError(f"Expected clips at {folder / inside} (key 'clips' of the card), found none.")
        found[f"{card.method}/{subject}" if subject else card.method] = (folder / inside, layout)
    return card, found


def _ground_truth_layout(arguments: argparse.Namespace) -> "LayoutConfig":
    from mind_animator.config.base import parse_settings
    from mind_animator.config.clipfolder import PRESETS, LayoutConfig

    if arguments.ground_truth_layout in PRESETS:
        return PRESETS[arguments.ground_truth_layout][0]
    return parse_settings(LayoutConfig, arguments.ground_truth_layout, "--ground-truth-layout")
