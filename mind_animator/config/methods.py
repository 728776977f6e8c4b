"""The methods to compare: a name of the user's choice, a kind, and that kind's options."""

from typing import Any

from pydantic import Field

from mind_animator.config.base import Strict


class MethodConfig(Strict):
    """One method. ``options`` are checked by the kind's own module in ``mind_animator/methods``."""

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)
