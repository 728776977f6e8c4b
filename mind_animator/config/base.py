"""Strict models: an unknown key or a wrong type stops the run before any work."""

from pydantic import BaseModel, ConfigDict, ValidationError


class Strict(BaseModel):
    """A frozen settings model that forbids unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


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
