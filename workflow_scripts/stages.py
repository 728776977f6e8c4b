"""The options of a stage, stated once: in the signature and the docstring of its script's function.

A script ``workflow_scripts/<stage>.py`` has one function with the same name. Each parameter is one option of the
command line; its type defines how the text is read and where the workflow takes the value from:

- `Input`, `Inputs`, `Output`, `Outputs`: input and output files of the rule with this name;
- ``Param[type]``: a param of the rule; a settings model (`mind_animator.config.base.Strict`) is read from JSON;
- ``Wildcard[type]``, `Threads`: a wildcard of the rule, its threads;
- any other type: an option for use by hand, which the workflow leaves at its default.

Parameters without a default are required. The numpydoc section "Parameters" contains the help texts. Options that
several stages have in common are the fields of an `Options` class of this module; a parameter with such a class as its
type stands for all of them. `command` builds the command line of such a function; `options_of` reads a script without
importing it, for the rules (``shell: stage("caption_clips")``, rules/common.smk).
"""

import argparse
import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from mind_animator.config.base import Strict, explain, parse_settings
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError
from mind_animator.methods.base import Needs

T = TypeVar("T")

Input = Annotated[Path, "input"]
Inputs = Annotated[list[Path], "input"]
Output = Annotated[Path, "output"]
Outputs = Annotated[list[Path], "output"]
Param = Annotated[T, "params"]
Wildcard = Annotated[T, "wildcards"]
Threads = Annotated[int, "threads"]
Device = Literal["cpu", "cuda"]


class Options:
    """Options that several stages have in common: a dataclass whose section "Attributes" contains the help texts."""


@dataclass(frozen=True, kw_only=True)
class GeneratorShard(Options):
    """
    Attributes
    ----------
    predictions
        Predictions of a method, with latents (clip, frame, channel, h, w) (HDF5).
    model
        Id or folder of Stable Diffusion.
    lock
        Lock file of the models.
    tokens
        Number of tokens of the text condition, including the start token.
    shard
        Index of the first clip of the shard.
    shard_size
        Number of clips per shard.
    seed
        Random seed.
    device
        Device to compute on.
    state
        Folder of finished batches, deleted at the end.
    """

    predictions: Input
    model: Param[str]
    lock: Param[str] | None = None
    tokens: Param[int]
    shard: Wildcard[int]
    shard_size: Param[int]
    seed: Param[int]
    device: Param[Device] = "cpu"
    state: Param[Path]


@dataclass(frozen=True, kw_only=True)
class TrainedMethod(Options):
    """
    Attributes
    ----------
    kind
        Method type.
    settings
        Settings of the method for this stage (JSON).
    needs
        Inputs that the method needs in addition to weights and responses.
    weights
        Weights of the method's parts.
    subject
        Subject of the responses.
    responses
        HDF5 (responses, clip), or .npy (voxel,) or (clip, voxel), scaled like the training clips.
    models
        Ids or folders of the models, and the lock file (JSON).
    t_r
        Seconds between volumes, for windows.
    seed
        Random seed.
    device
        Device to compute on.
    """

    kind: Param[str]
    settings: Param[str]
    needs: Param[Needs]
    weights: Param[dict[str, Path]] = field(default_factory=dict)
    subject: Wildcard[str]
    responses: Input
    models: Param[str] = "{}"
    t_r: Param[float] = 0.0
    seed: Param[int]
    device: Param[Device] = "cpu"


@dataclass(frozen=True, kw_only=True)
class Scored(Options):
    """
    Attributes
    ----------
    ground_truth
        Ground-truth file (HDF5).
    tables
        Clip tables of the test segments.
    dataset, subject
        Name in the tables.
    settings
        Settings of scoring (config.scoring).
    frames
        Frames per clip.
    seed
        Seed of the frame shuffles.
    threads
        Processes of the metrics without networks.
    scores
        Output: scores of videos, one row per clip and metric (Parquet).
    table
        Output: the same, one row per clip (TSV).
    pairs
        Output: pair scores (HDF5).
    """

    ground_truth: Input
    tables: Inputs
    dataset: Param[str]
    subject: Wildcard[str]
    settings: Param[ScoringConfig]
    frames: Param[int]
    seed: Param[int]
    threads: Threads = 1
    scores: Output
    table: Output
    pairs: Output


@dataclass(frozen=True, kw_only=True)
class Report(Options):
    """
    Attributes
    ----------
    title
        Title of the page.
    summary
        Means and intervals of all scores (TSV).
    tests
        Permutation tests (TSV).
    retrieval
        Retrieval by decoded embeddings (TSV).
    histories
        Training record of each method/subject/part (JSON).
    lag
        Figure of the haemodynamic lag of each subject (PNG).
    quality
        Figure of the data quality of each subject (PNG).
    maps
        Figure of activation patterns of each method/subject (PNG).
    dag
        Rule graph (SVG).
    provenance
        Configuration, versions and digests (JSON).
    benchmarks
        Folder of the jobs' benchmarks (TSV).
    page
        Output: the page (HTML).
    """

    title: Param[str]
    summary: Input
    tests: Input
    retrieval: Input
    histories: Param[dict[str, Path]] = field(default_factory=dict)
    lag: Param[dict[str, Path]] = field(default_factory=dict)
    quality: Param[dict[str, Path]] = field(default_factory=dict)
    maps: Param[dict[str, Path]] = field(default_factory=dict)
    dag: Input
    provenance: Input
    benchmarks: Param[Path] | None = None
    page: Output


class Option(NamedTuple):
    """One option of a stage: its type, default (``inspect.Parameter.empty`` if it is required), and help text."""

    hint: Any
    default: Any
    help: str


def command(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """The ``main(arguments=None)`` of a stage's function: reads the command line and calls it.

    Raises
    ------
    InputError
        If a value is not of its option's type; the option is named.
    """

    def main(arguments: list[str] | None = None) -> int | None:
        given = vars(parser(function).parse_args(arguments))
        values = {name: _value(option.hint, name, given[name]) for name, option in describe(function).items()}
        for name, group in _groups(function).items():
            values[name] = group(**{one.name: values.pop(one.name) for one in fields(group)})
        return function(**values)

    return main


def describe(function: Callable[..., Any]) -> dict[str, Option]:
    """All options of a stage's function by name, the fields of its `Options` among them."""
    hints, help_texts = get_type_hints(function), _help_texts(function.__doc__ or "")
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in (groups := _groups(function)):
            own, texts = get_type_hints(groups[name]), _help_texts(groups[name].__doc__ or "")
            for one in fields(groups[name]):
                default = inspect.Parameter.empty if one.default is MISSING else one.default
                default = default if one.default_factory is MISSING else one.default_factory()
                found[one.name] = Option(own[one.name], default, texts.get(one.name, ""))
        else:
            found[name] = Option(hints[name], parameter.default, help_texts.get(name, ""))
    return found


def _groups(function: Callable[..., Any]) -> dict[str, Any]:
    """Parameters of a stage's function that stand for several options, and their classes."""
    hints = get_type_hints(function).items()
    return {name: hint for name, hint in hints if isinstance(hint, type) and issubclass(hint, Options)}


@cache
def options_of(script: Path) -> dict[str, str]:
    """Options that the workflow passes to a script and the source of each, from the text of the script alone.

    Returns
    -------
    dict of str to str
        Name of the option -> ``input``, ``output``, ``params``, ``wildcards`` or ``threads``.

    Raises
    ------
    InputError
        If the script has no function of its own name.
    """
    for node in ast.parse(script.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name == script.stem:
            found = {}
            for argument in (*node.args.args, *node.args.kwonlyargs):
                names = [node.id for node in ast.walk(argument.annotation) if isinstance(node, ast.Name)]
                known = [globals()[name] for name in names if name in globals()]
                for annotation in known:
                    if isinstance(annotation, type) and issubclass(annotation, Options):
                        hints = get_type_hints(annotation, include_extras=True)
                        found |= {one.name: _source(hints[one.name]) for one in fields(annotation)}
                found[argument.arg] = next(filter(None, map(_source, known)), "")
            return {name: source for name, source in found.items() if source}
    raise InputError(f"Expected a function '{script.stem}' in {script}, found none.")


def _source(annotation: Any) -> str:
    """Field of a rule that a marked type names (see `Input`); an empty text for all other types."""
    if get_origin(annotation) is Annotated:
        return annotation.__metadata__[0]
    return next(filter(None, map(_source, get_args(annotation))), "")


def flag(name: str) -> str:
    """The option of a parameter: ``shard_size`` -> ``--shard-size``."""
    return "--" + name.replace("_", "-")


def parser(function: Callable[..., Any]) -> argparse.ArgumentParser:
    """The command line of a stage's function."""
    made = argparse.ArgumentParser(
        prog=f"python -m workflow_scripts.{function.__name__}",
        description=inspect.getmodule(function).__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, (hint, default, text) in describe(function).items():
        required = default is inspect.Parameter.empty
        several = get_origin(hint) in (list, dict)
        options: dict[str, Any] = {"required": True} if required else {"default": default}
        if several:
            options["nargs"] = "+" if required else "*"
        elif not required:
            options |= {"nargs": "?", "const": True if hint is bool else default}
        made.add_argument(
            flag(name), metavar=_metavar(hint), help=_with_default(text, default, required), **options
        )
    return made


def _metavar(hint: Any) -> str:
    """Form of a value, e.g. ``INT``, ``{cpu,cuda}``, ``LABEL=PATH``."""
    arguments = [argument for argument in get_args(hint) if argument is not type(None)]
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, arguments)) + "}"
    if get_origin(hint) is dict:
        return f"LABEL={_metavar(arguments[1])}"
    if arguments:
        return _metavar(arguments[0])
    return (
        "JSON"
        if issubclass(hint, Strict)
        else {"str": "TEXT", "bool": "{True,False}"}.get(hint.__name__, hint.__name__.upper())
    )


def _with_default(text: str, default: Any, required: bool) -> str:
    shown = "required" if required else f"default: {'none' if default in (None, (), {}, '') else default}"
    return f"{text.rstrip('.')} ({shown})".replace("%", "%%")


def _help_texts(docstring: str) -> dict[str, str]:
    """Texts of the section "Parameters" or "Attributes" of a numpydoc docstring, by name."""
    found = re.search(
        r"(?:Parameters|Attributes)\n-+\n(.*?)(?:\n\n\w+\n-+\n|\Z)", inspect.cleandoc(docstring), re.S
    )
    entries = re.findall(r"^(\w[\w, ]*?)(?: : .*)?\n((?: +.*\n?)+)", found[1] if found else "", re.M)
    return {name: " ".join(text.split()) for names, text in entries for name in names.split(", ")}


def _value(hint: Any, name: str, given: Any) -> Any:
    """A value of the annotated type, from the texts that argparse collected."""
    for kind in get_args(hint) or (hint,):
        if isinstance(kind, type) and issubclass(kind, Strict) and isinstance(given, str):
            return parse_settings(kind, given, flag(name))
    if get_origin(hint) is dict and isinstance(given, list):
        given = _labelled(given, name, several=get_origin(get_args(hint)[1]) is list)
    try:
        return TypeAdapter(hint).validate_python(given)
    except ValidationError as error:
        raise InputError(explain(error, flag(name))) from None


def _labelled(entries: list[str], name: str, several: bool) -> dict[str, Any]:
    """Entries ``label=value`` by label; if a label may have several values, all of them in order."""
    labelled: dict[str, Any] = {}
    for entry in entries:
        label, sign, value = entry.partition("=")
        if not sign or (label in labelled and not several):
            found = "a second one of this label" if sign else "no '='"
            raise InputError(
                f"{flag(name)} = '{entry}': must be LABEL=VALUE with its own label, found {found}."
            )
        if several:
            labelled.setdefault(label, []).append(value)
        else:
            labelled[label] = value
    return labelled
