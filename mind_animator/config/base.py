"""Strict models: an unknown key or a wrong type stops the run before any work."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mind_animator.errors import InputError


class Strict(BaseModel):
    """A frozen settings model that forbids unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


Settings = TypeVar("Settings", bound=Strict)


def explain(error: ValidationError, where: str = "config") -> str:
    """One line for the first fault of a settings model: the key, what was expected, what was found."""
    faults = error.errors()
    first = faults[0]
    key = ".".join([where, *map(str, first["loc"])])
    if first["type"] == "extra_forbidden":
        text = f"Expected only known keys, got '{key}' (unknown key; is it misspelt?)."
    elif first["type"] == "missing":
        text = f"Expected a value for '{key}', found none."
    else:
        text = f"Expected '{key}': {first['msg']}, got {first['input']!r}."
    return text + (f" ({len(faults) - 1} further faults)" if len(faults) > 1 else "")


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Settings with single keys replaced, nested ones too; neither argument is changed."""
    out = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if nested else value
    return out


def parse_settings(model: type[Settings], text: str, where: str = "--settings") -> Settings:
    """Validate a section of settings that came as JSON on a command line."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise InputError(explain(error, where)) from None
