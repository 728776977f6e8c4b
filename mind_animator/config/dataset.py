"""Which data set, where its files are, which subjects."""

from typing import Any

from pydantic import Field, field_validator

from mind_animator.config.base import Strict


class DatasetConfig(Strict):
    """The data set. ``options`` are checked by its adapter, the only place that knows them.

    Attributes
    ----------
    name : str
        An adapter in ``mind_animator/datasets``.
    data_root : str
        Folder of the data; downloads land here, a folder that is there already is only read.
    subjects : tuple of str
        Subjects to run; empty for all that the data set has.
    options : dict
        Settings of this data set alone.
    """

    name: str
    data_root: str
    subjects: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("subjects", mode="before")
    @classmethod
    def _subjects_are_text(cls, value: object) -> object:
        return tuple(str(v) for v in value) if isinstance(value, (list, tuple)) else value
