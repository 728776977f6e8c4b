"""Settings of the data set, its folder and its subjects."""

from typing import Any

from pydantic import Field, field_validator

from mind_animator.config.base import Strict


class DatasetConfig(Strict):
    """The data set. ``options`` are validated by its adapter.

    Attributes
    ----------
    name : str
        Name of an adapter in ``mind_animator/datasets``.
    data_root : str
        Folder of the data, to which missing files are downloaded; existing files are only read.
    subjects : tuple of str
        Subjects to run; empty for all subjects of the data set.
    options : dict
        Settings specific to this data set.
    """

    name: str
    data_root: str
    subjects: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("subjects", mode="before")
    @classmethod
    def _subjects_are_text(cls, value: object) -> object:
        return tuple(str(v) for v in value) if isinstance(value, (list, tuple)) else value
