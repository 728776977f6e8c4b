"""The options of a stage, stated once: in the signature and the docstring of its script's function.

A script ``workflow_scripts/<stage>.py`` has one function with the same name. Each parameter is one option of the
command line; its type defines how the text is read and where the workflow takes the value from:

- `Input`, `Inputs`, `Output`, `Outputs`: input and output files of the rule with this name;
- ``Param[type]``: a param of the rule; a settings model (`mind_animator.config.base.Strict`) is read from JSON;
- ``Wildcard[type]``, `Threads`: a wildcard of the rule, its threads;
- any other type: an option for use by hand, which the workflow leaves at its default.

Parameters without a default are required. The numpydoc section "Parameters" contains the help texts. `command` builds
the command line of such a function; `options_of` reads a script without importing it, for the rules
(``shell: stage("caption_clips")``, rules/common.smk).
"""

import argparse
import ast
import inspect
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from mind_animator.config.base import Strict, explain, parse_settings
from mind_animator.errors import InputError

T = TypeVar("T")

Input = Annotated[Path, "input"]
Inputs = Annotated[list[Path], "input"]
Output = Annotated[Path, "output"]
Outputs = Annotated[list[Path], "output"]
Param = Annotated[T, "params"]
Wildcard = Annotated[T, "wildcards"]
Threads = Annotated[int, "threads"]
Device = Literal["cpu", "cuda"]

SOURCES = {
    "Input": "input",
    "Inputs": "input",
    "Output": "output",
    "Outputs": "output",
    "Param": "params",
    "Wildcard": "wildcards",
    "Threads": "threads",
}


def command(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """The ``main(arguments=None)`` of a stage's function: reads the command line and calls it.

    Raises
    ------
    InputError
        If a value is not of its option's type; the option is named.
    """

    def main(arguments: list[str] | None = None) -> int | None:
        given = vars(parser(function).parse_args(arguments))
        hints = get_type_hints(function)
        return function(**{name: _value(hints[name], name, text) for name, text in given.items()})

    return main


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
            marked = {
                argument.arg: [
                    name.id for name in ast.walk(argument.annotation) if isinstance(name, ast.Name)
                ]
                for argument in (*node.args.args, *node.args.kwonlyargs)
            }
            found = {
                name: [SOURCES[marker] for marker in names if marker in SOURCES]
                for name, names in marked.items()
            }
            return {name: sources[0] for name, sources in found.items() if sources}
    raise InputError(f"Expected a function '{script.stem}' in {script}, found none.")


def flag(name: str) -> str:
    """The option of a parameter: ``shard_size`` -> ``--shard-size``."""
    return "--" + name.replace("_", "-")


def parser(function: Callable[..., Any]) -> argparse.ArgumentParser:
    """The command line of a stage's function."""
    module = inspect.getmodule(function)
    help_texts = _help_texts(function.__doc__ or "")
    made = argparse.ArgumentParser(
        prog=f"python -m workflow_scripts.{function.__name__}", description=module.__doc__
    )
    hints = get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        required = parameter.default is parameter.empty
        several = get_origin(hints[name]) in (list, dict)
        options: dict[str, Any] = {"required": True} if required else {"default": parameter.default}
        if several:
            options["nargs"] = "+" if required else "*"
        elif not required:
            options |= {"nargs": "?", "const": True if hints[name] is bool else parameter.default}
        made.add_argument(
            flag(name),
            metavar=_metavar(hints[name]),
            help=_with_default(help_texts.get(name, ""), parameter.default, parameter.empty),
            **options,
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


def _with_default(text: str, default: Any, empty: Any) -> str:
    shown = (
        "required" if default is empty else f"default: {'none' if default in (None, (), {}, '') else default}"
    )
    return f"{text.rstrip('.')} ({shown})".replace("%", "%%")


def _help_texts(docstring: str) -> dict[str, str]:
    """Texts of the section "Parameters" of a numpydoc docstring, by parameter."""
    found = re.search(r"Parameters\n-+\n(.*?)(?:\n\n\w+\n-+\n|\Z)", inspect.cleandoc(docstring), re.S)
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
