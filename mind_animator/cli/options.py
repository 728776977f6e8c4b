"""Options shared by several commands, and the format of help texts."""

import argparse
from collections.abc import Callable
from pathlib import Path

from mind_animator.config.base import parse_settings
from mind_animator.config.clipfolder import PRESETS, LayoutConfig
from mind_animator.errors import InputError

EXIT_CODES = """exit status:
  0  finished; clips that could not be scored are listed with the reason
  2  an option or an input is wrong; a line on stderr says which, and nothing was scored
  1  an error of the program (please report it), with a traceback"""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help formatter that keeps line breaks of description and examples and adds the default of every option."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        stated = "default" in text or action.required or action.nargs == 0 or not action.option_strings
        if stated or action.default in (None, [], argparse.SUPPRESS):
            return text
        return f"{text} (default: %(default)s)"


def at_least(least: int) -> Callable[[str], int]:
    """Type of an option: a whole number of at least the given value."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, got '{text}'") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    return number


def positive(text: str) -> float:
    """Type of an option: a number greater than zero."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got '{text}'") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be greater than 0, got {text}")
    return value


def add_sides(parser: argparse.ArgumentParser) -> None:
    """Add the options for the ground truth, the predictions and their layouts."""
    parser.add_argument("--ground-truth", type=Path, required=True, help="folder of ground-truth videos")
    parser.add_argument(
        "--pred",
        action="append",
        required=True,
        metavar="[NAME[/SUBJECT]=]PATH",
        help="folder of predictions, or one file of all of them (.h5, .npy, .pt); repeatable. The default of NAME "
        "is the folder's name",
    )
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="published layout of both sides (default: names as they are)",
    )
    parser.add_argument(
        "--ground-truth-layout",
        metavar="LAYOUT",
        help='preset, or JSON, e.g. {"name": "gt_{number}", "first": 0} (default: that of --preset)',
    )
    parser.add_argument(
        "--pred-layout",
        action="append",
        default=[],
        metavar="[NAME=]LAYOUT",
        help='layout of all predictions, or of one: ours={"name": "{number}", "grid": {"column": 1}}; repeatable '
        "(default: that of --preset)",
    )


def sides(arguments: argparse.Namespace) -> tuple[LayoutConfig, dict[str, tuple[Path, LayoutConfig]]]:
    """Layout of the ground truth, and path and layout of each prediction by ``NAME`` or ``NAME/SUBJECT``."""
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
        name, equals, path = text.partition("=")
        if not equals:
            name, path = "", text
        if not path:
            raise InputError(f"Expected a path after '=' in --pred, got '{text}'.")
        name = name or Path(path).name or "prediction"
        check_name(name, "--pred")
        if name in predictions:
            raise InputError(
                f"Expected different names of predictions, got '{name}' twice (use NAME=FOLDER)."
            )
        predictions[name] = (Path(path), own.get(name, own.get(name.partition("/")[0], layout)))
    known = {*predictions, *(name.partition("/")[0] for name in predictions)}
    if strange := own.keys() - known:
        raise InputError(
            f"Expected --pred-layout of one of {list(predictions)}, got one of '{min(strange)}'."
        )
    return true_layout, predictions


def check_name(name: str, where: str) -> None:
    """Raise an `InputError` unless a ``NAME`` or ``NAME/SUBJECT`` can be part of a file name."""
    parts = name.split("/")
    if len(parts) > 2 or not all(part and part.isprintable() and part[0] not in ".-" for part in parts):
        raise InputError(
            f"Expected {where} NAME or NAME/SUBJECT of printable characters, not starting with '.' or '-', "
            f"got '{name}'."
        )


def _layout(text: str, option: str, *, side: int) -> LayoutConfig:
    """One side (0: ground truth, 1: prediction) of the named preset, or a layout given as JSON."""
    if text in PRESETS:
        return PRESETS[text][side]
    if not text.lstrip().startswith("{"):
        raise InputError(f"Expected {option} to be one of {sorted(PRESETS)} or JSON, got '{text}'.")
    return parse_settings(LayoutConfig, text, option)
