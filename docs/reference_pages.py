"""Pages of the documentation site that are made from the code: configuration keys, commands, stages, Python API.

A hook of mkdocs (mkdocs.yml); `mkdocs build` calls `on_files`.
"""

import argparse
import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from mkdocs.structure.files import File
from pydantic import BaseModel

import mind_animator
from mind_animator.config import Config
from mind_animator.methods.base import available, open_kind

ROOT = Path(__file__).resolve().parents[1]


def on_files(files, config):
    """Add the generated pages to the site."""
    pages = {
        "reference/configuration.md": configuration(),
        "reference/commands.md": commands(),
        "reference/stages.md": stages(),
    }
    packages = api_pages()
    pages |= packages
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    for section in config.nav:
        for entry in section.get("Reference", ()):
            if "Python API" in entry:
                entry["Python API"] = list(packages)
    return files


def configuration() -> str:
    """Every key of the configuration with type, default and meaning."""
    text = [
        "# Configuration keys\n",
        "A configuration file states only what differs from these defaults. An unknown key is an error.\n",
        "## Top level\n",
        _table(Config),
    ]
    for name, field in Config.model_fields.items():
        model = _model(field.annotation)
        if model is not None and name != "methods":
            text += [f"## `{name}`\n", _summary(model), "", _tables(model)]
    text += ["## `methods`\n", "Each entry has a name of your choice, a `kind` and that kind's `options`.\n"]
    for kind in available():
        method = open_kind(kind)
        text += [f"### `kind: {kind}`\n", _summary(inspect.getmodule(method)), "", _tables(method.Options)]
    return "\n".join(text)


def _tables(model: type[BaseModel], prefix: str = "") -> str:
    text = [_table(model, prefix)]
    for name, field in model.model_fields.items():
        inner = _model(field.annotation)
        if inner is not None:
            text += [f"**`{prefix}{name}`**\n", _tables(inner, f"{prefix}{name}.")]
    return "\n".join(text)


def _table(model: type[BaseModel], prefix: str = "") -> str:
    meaning = _attributes(model)
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        limits = ", ".join(_limit(part) for part in field.metadata if dataclasses.is_dataclass(part))
        kind = _type(field.annotation) + (f" ({limits})" if limits else "")
        rows.append(
            f"| `{prefix}{name}` | {_cell(kind)} | {_cell(default)} | {_cell(meaning.get(name, ''))} |"
        )
    return "\n".join(rows) + "\n" if len(rows) > 2 else "No options.\n"


def _attributes(model: type) -> dict[str, str]:
    """Texts of the numpydoc section "Attributes" of a class and its bases, by name."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        doc = inspect.cleandoc(base.__doc__ or "").partition("Attributes\n----------\n")[2]
        names: list[str] = []
        for line in doc.splitlines():
            if re.match(r"\w[\w, ]* : ", line):
                names = [name.strip() for name in line.partition(" : ")[0].split(",")]
                found |= dict.fromkeys(names, "")
            elif names:
                found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return found


def _summary(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0].replace("\n", " ") + "\n"


def _model(annotation: Any) -> type[BaseModel] | None:
    for part in (annotation, *get_args(annotation)):
        if inspect.isclass(part) and issubclass(part, BaseModel):
            return part
    return None


def _type(annotation: Any) -> str:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "section"
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_type(part) for part in get_args(annotation) if part is not type(None))
    if get_args(annotation):
        inner = ", ".join(_type(part) for part in get_args(annotation) if part is not Ellipsis)
        return f"{get_origin(annotation).__name__} of {inner}"
    return getattr(annotation, "__name__", str(annotation))


def _limit(constraint: Any) -> str:
    """A constraint of annotated_types, e.g. ``>= 0``."""
    words = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}
    name = dataclasses.fields(constraint)[0].name
    return f"{words.get(name, name)} {getattr(constraint, name)}"


def _shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{json.dumps(value, default=_plain)}`"


def _plain(value: Any) -> Any:
    return (
        value.model_dump(mode="json", exclude_defaults=True) if isinstance(value, BaseModel) else str(value)
    )


def _cell(text: str) -> str:
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def commands() -> str:
    """Help of the console script and of each of its commands."""
    from mind_animator.cli import parser

    top = parser()
    text = ["# Commands\n", "```text", top.format_help(), "```\n"]
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                text += [f"## `mind-animator {name}`\n", "```text", command.format_help(), "```\n"]
    return "\n".join(text)


def stages() -> str:
    """Help of each script of the workflow."""
    from workflow_scripts.stages import parser

    text = [
        "# Stages\n",
        "Each rule of the workflow runs one script; each script can be run by hand with these options.\n",
    ]
    for path in sorted((ROOT / "workflow_scripts").glob("*.py")):
        if f"main = command({path.stem})" in path.read_text():
            function = getattr(importlib.import_module(f"workflow_scripts.{path.stem}"), path.stem)
            text += [f"## `{path.stem}`\n", "```text", parser(function).format_help(), "```\n"]
    return "\n".join(text)


def on_page_content(html, **_):
    """Docstrings introduce a block of code by two colons; the site shows one."""
    return html.replace("::</p>", ":</p>")


def api_pages() -> dict[str, str]:
    """A page with the list of packages, and one page per package with its modules by their docstrings."""
    listed, pages = ["# Python API\n", "| package | content |", "|---|---|"], {}
    for found in pkgutil.iter_modules(mind_animator.__path__):
        if found.name in ("assets", "synthetic", "cli"):
            continue
        module = importlib.import_module(f"mind_animator.{found.name}")
        names = [m.name for m in pkgutil.iter_modules(getattr(module, "__path__", []))]
        text = [f"# `{module.__name__}`\n", _summary(module)]
        text += [f"::: {module.__name__}.{name}\n" for name in names] or [f"::: {module.__name__}\n"]
        pages[f"reference/api/{found.name}.md"] = "\n".join(text)
        listed.append(f"| [`{module.__name__}`](api/{found.name}.md) | {_cell(_summary(module))} |")
    return {"reference/api.md": "\n".join(listed) + "\n"} | pages
