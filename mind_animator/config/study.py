"""A study: one method under all combinations of several factors, compared by valid statistics."""

import itertools
import re
from typing import Any, NamedTuple

from pydantic import Field, ValidationError, model_validator

from mind_animator.config.base import Fault, Strict, explain, merged
from mind_animator.config.methods import MethodConfig


class Arm(NamedTuple):
    """One combination of levels.

    Attributes
    ----------
    name : str
        Name of the method in ``config.methods``.
    levels : dict of factor to str
        Label of each factor's level.
    method : MethodConfig
    """

    name: str
    levels: dict[str, str]
    method: MethodConfig


class StudyConfig(Strict):
    """A study.

    Attributes
    ----------
    name : str
        Letters, digits and underscores; names the files in ``studies/``.
    question : str
        One sentence, shown with the results.
    method : mapping
        Settings that all arms share (``kind``, ``options``, ``training``).
    factors : mapping of factor to levels
        A list of values of a key of the method, ``training.minutes: [5, 10, null]`` (null: all), or any name with a
        mapping of labels to settings: ``strategy: {none: {}, best: {options: {preset: paper}}}``. All combinations are
        arms.
    x : str
        The numeric factor on the horizontal axis, along which a trend is fitted.
    log_x : bool
        Whether the trend is linear in the logarithm of x.
    replicates : str, optional
        Factor whose levels repeat the same experiment (seeds, orders): tests use the mean over them.
    metrics : tuple of str
        Metrics of decoded features.
    baseline, ceiling : mapping of factor to label
        Levels that lead from an arm to the one it is compared with, and to its upper reference.
    equivalence : float, optional
        Largest trend, in the metric's unit over the whole range of x, that counts as no effect; stated before the run.
    """

    name: str = Field(pattern=r"^\w+$")
    question: str
    method: dict[str, Any]
    factors: dict[str, list[Any] | dict[str, dict[str, Any]]] = Field(min_length=1)
    x: str
    log_x: bool = False
    replicates: str | None = None
    metrics: tuple[str, ...] = (
        "retrieval_text_centred_top10",
        "target_semantic_corr",
        "target_structure_corr",
    )
    baseline: dict[str, str] = Field(default_factory=dict)
    ceiling: dict[str, str] = Field(default_factory=dict)
    equivalence: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _known_factors(self) -> "StudyConfig":
        named = {"x": self.x, "replicates": self.replicates}
        named |= {
            f"{key}.{factor}": factor for key in ("baseline", "ceiling") for factor in getattr(self, key)
        }
        for key, factor in named.items():
            if factor is not None and factor not in self.factors:
                raise Fault(key, f"must be one of the factors {list(self.factors)}", factor)
        for key in ("baseline", "ceiling"):
            for factor, label in getattr(self, key).items():
                if label not in self.labels(factor):
                    raise Fault(f"{key}.{factor}", f"must be one of {self.labels(factor)}", label)
        for factor in self.factors:
            if len(set(self.labels(factor))) < len(self.labels(factor)) or not self.labels(factor):
                raise Fault(
                    f"factors.{factor}", "must have different levels, at least one", self.labels(factor)
                )
        for label in self.labels(self.x):
            if label != ALL and not re.fullmatch(r"-?\d+(\.\d+)?", label):
                raise Fault(f"factors.{self.x}", "must be numbers, because it is the horizontal axis", label)
        self.arms()
        return self

    def labels(self, factor: str) -> list[str]:
        """Labels of the levels of a factor, in order."""
        return [ALL if level is None else str(level) for level in self.factors[factor]]

    def arms(self) -> list[Arm]:
        """Every combination of levels."""
        found = []
        for labels in itertools.product(*(self.labels(factor) for factor in self.factors)):
            settings = self.method
            for (factor, levels), label in zip(self.factors.items(), labels, strict=True):
                settings = merged(settings, _level(factor, levels, self.labels(factor).index(label)))
            name = re.sub(r"\W+", "_", "_".join([self.name, *labels]))
            try:
                method = MethodConfig.model_validate(settings)
            except ValidationError as error:
                raise ValueError(f"arm {name}: {explain(error, 'method')}") from None
            found.append(Arm(name, dict(zip(self.factors, labels, strict=True)), method))
        return found


# Label of the level null: everything that there is.
ALL = "all"


def _level(factor: str, levels: list[Any] | dict[str, dict[str, Any]], index: int) -> dict[str, Any]:
    """Settings of one level of a factor."""
    if isinstance(levels, dict):
        return list(levels.values())[index]
    settings: Any = levels[index]
    for key in reversed(factor.split(".")):
        settings = {key: settings}
    return settings
