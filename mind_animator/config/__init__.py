"""The experiment as strict typed models. Scripts import their own section, never this root."""

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from mind_animator.config.base import Fault, Strict, explain
from mind_animator.config.captions import CaptionsConfig
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.features import FeaturesConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.config.methods import MethodConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.config.scoring import ScoringConfig
from mind_animator.config.stimuli import StimuliConfig
from mind_animator.config.study import StudyConfig
from mind_animator.errors import InputError


def _default_methods() -> dict[str, MethodConfig]:
    """The published method with its own settings, ridge regression, and the baselines."""
    return {
        "mind_animator": MethodConfig(kind="mind_animator", options={"preset": "paper"}),
        "ridge": MethodConfig(kind="ridge"),
        "flat_mean": MethodConfig(kind="flat_mean"),
        **{
            name: MethodConfig(kind=name, options={"of": "mind_animator"})
            for name in ("frozen", "mismatched", "shuffled_frames")
        },
    }


class ShardsConfig(Strict):
    """Clips per job. Each job loads its models once and should take between minutes and an hour."""

    captions: int = Field(512, ge=1)
    features: int = Field(512, ge=1)
    reconstruction: int = Field(120, ge=1)


class ReportConfig(Strict):
    """Roles of methods in the report and in the positive and negative controls.

    Attributes
    ----------
    headline : str, optional
        The method that the report presents first (contact sheets and activation patterns) and for which the controls
        are computed. Required if the config contains several methods in addition to the uninformative baselines.
    reference : str, optional
        The method with which the headline method is compared in the controls.
    """

    headline: str | None = None
    reference: str | None = None


class Config(Strict):
    """One experiment.

    Attributes
    ----------
    results : str
        Folder of all results.
    seed : int
        The only seed; the seeds of all stages are derived from it.
    device : str
        Device of all jobs, ``cpu`` or ``cuda``.
    demo_models_seconds : float, optional
        Training time of each small model of the synthetic data set in ``demo_models``; by default that of the shipped
        models.
    """

    results: str
    seed: int = Field(20261122, ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
    demo_models_seconds: float | None = Field(None, gt=0)
    dataset: DatasetConfig
    stimuli: StimuliConfig = StimuliConfig()
    captions: CaptionsConfig = CaptionsConfig()
    models: ModelsConfig = ModelsConfig()
    fmri: FmriConfig = FmriConfig()
    features: FeaturesConfig = FeaturesConfig()
    methods: dict[str, MethodConfig] = Field(default_factory=_default_methods)
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    scoring: ScoringConfig = ScoringConfig()
    report: ReportConfig = ReportConfig()
    study: StudyConfig | None = None
    shards: ShardsConfig = ShardsConfig()

    @model_validator(mode="before")
    @classmethod
    def _default_roles(cls, values: Any) -> Any:
        if isinstance(values, dict) and "methods" not in values:
            return {"report": {"headline": "mind_animator", "reference": "ridge"}} | values
        return values

    @model_validator(mode="after")
    def _add_arms(self) -> "Config":
        """The arms of the study become methods."""
        if self.study is not None:
            self.methods.update({arm.name: arm.method for arm in self.study.arms()})
        return self

    @model_validator(mode="after")
    def _roles(self) -> "Config":
        for role, name in self.report:
            if name is not None and name not in self.methods:
                raise Fault(f"report.{role}", f"must be one of the methods {sorted(self.methods)}", name)
        return self

    @field_validator("methods")
    @classmethod
    def _file_safe(cls, methods: dict[str, MethodConfig]) -> dict[str, MethodConfig]:
        for name in methods:
            if not name.replace("_", "").isalnum():
                raise Fault(name, "names must consist of letters, digits and '_'")
        return methods


def load_config(values: dict[str, Any]) -> Config:
    """Validate a config; raises an `InputError` with one line that names the invalid key and the constraint."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(explain(error)) from None
