"""The methods to compare, each with a name chosen by the user, a type, and the options of this type."""

from typing import Any

from pydantic import Field

from mind_animator.config.base import Strict


class TrainingConfig(Strict):
    """Training clips of a method: whole movies in a seeded order, so that fewer minutes are part of more.

    Attributes
    ----------
    minutes : float, optional
        Minutes of movie. Movies are taken whole; the last one is cut to its beginning if it is longer than what is
        missing. By default, all training clips.
    order : int
        Seed of the order of the movies.
    """

    minutes: float | None = Field(None, gt=0)
    order: int = Field(0, ge=0)


class MethodConfig(Strict):
    """One method. ``options`` are validated by the module of the method type in ``mind_animator/methods``."""

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)
    training: TrainingConfig = TrainingConfig()
