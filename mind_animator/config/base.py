"""Strict settings models: an unknown key or a wrong type is an error before any work starts."""

import re
from collections.abc import Sequence
from types import EllipsisType
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mind_animator.config.renamed import RENAMED
from mind_animator.errors import InputError


class Strict(BaseModel):
    """An immutable settings model that rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


Settings = TypeVar("Settings", bound=Strict)


class Fault(ValueError):
    """A fault of one key that a validator of a settings model found; `explain` reports key, value and constraint.

    Parameters
    ----------
    key : str
        The key relative to the model, e.g. ``first_pass.strength``.
    constraint : str
        For example ``must be below 1``.
    value : optional
        The value; omitted for mappings.
    """

    def __init__(self, key: str, constraint: str, value: Any = ...) -> None:
        self.key, self.constraint, self.value = key, constraint, value
        super().__init__(f"{key}{'' if value is ... else f' = {_literal(value)}'}: {constraint}")


# Constraint texts by pydantic error type; for other types they are derived from the message of pydantic.
CONSTRAINTS = {
    "missing": "is required, found none",
    "extra_forbidden": "is not a known key",
    "json_invalid": "must be valid JSON ({error})",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_parsing_size": "must be an integer of fewer digits",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "literal_error": "must be {expected}",
    "too_short": "must have at least {min_length} values, has {actual_length}",
    "too_long": "must have at most {max_length} values, has {actual_length}",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "path_type": "must be a path",
    "none_required": "must be null",
}


def explain(error: ValidationError, where: str = "config") -> str:
    """One-line message for the first fault of a settings model, e.g. ``config.seed = -1: must be at least 0.``"""
    faults = error.errors()
    first = faults[0]
    kind, value, found = first["type"], first["input"], first.get("ctx", {})
    key = ".".join([where, *(str(part) for part in first["loc"] if part != "[key]")])
    if isinstance(fault := found.get("error"), Fault):
        key, value, constraint = f"{key}.{fault.key}", fault.value, fault.constraint
    elif isinstance(fault, Exception):
        constraint = str(fault)
    elif kind in CONSTRAINTS:
        texts = {name: text if isinstance(text, str) else _literal(text) for name, text in found.items()}
        constraint = CONSTRAINTS[kind].format(**texts)
    else:
        constraint = re.sub(r"^[\w ]*?should ", "must ", first["msg"])
    if kind == "extra_forbidden" and first["loc"][-1] in RENAMED:
        constraint += f": it is now called '{RENAMED[first['loc'][-1]]}'"
    if kind not in ("missing", "extra_forbidden") and not isinstance(value, (dict, BaseModel, EllipsisType)):
        key += f" = {_literal(value)}"
    more = f"; {len(faults) - 1} more" if len(faults) > 1 else ""
    return f"{key}: {constraint.rstrip('.')}{more}."


def in_file(error: InputError, files: Sequence[object]) -> str:
    """The message of an error; if it names a key of the config, the file of the config is appended."""
    text = str(error)
    if (
        not re.search(r"\b(config|dataset|features|fmri|methods|reconstruction|scoring)\.[a-z]", text)
        or not files
    ):
        return text
    return f"{text.rstrip('.')} ({', '.join(map(str, files))})."


def _literal(value: Any) -> str:
    """A value in YAML notation, shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value) if isinstance(value, str) else str(value)
    text = text.removesuffix(".0") if isinstance(value, float) else text
    return text if len(text) <= 80 else f"{text[:77]}..."


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Settings in which individual (also nested) keys are replaced; neither argument is modified."""
    out = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if nested else value
    return out


def parse_settings(model: type[Settings], text: str, where: str = "--settings") -> Settings:
    """Validate a section of settings given as JSON on the command line."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise InputError(explain(error, where)) from None
