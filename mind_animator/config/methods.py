"""The methods to compare, each with a name chosen by the user, a type, and the options of this type."""

from typing import Any

from pydantic import Field

from mind_animator.config.base import Strict


class MethodConfig(Strict):
    """One method. ``options`` are validated by the module of the method type in ``mind_animator/methods``."""

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)
