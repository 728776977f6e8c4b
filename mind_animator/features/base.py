"""The interface of a feature provider, and how providers are found.

A provider is a module ``mind_animator/features/<kind>.py`` whose ``ENTRY`` is a subclass of `Provider`; a method
that needs ``{"array": "<kind>"}`` makes the workflow compute it, once for all subjects. The Snakefile opens the
providers: neither this module nor the top level of a provider's module may import torch.
"""

import hashlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import ValidationError

from mind_animator.config.base import Strict, explain
from mind_animator.config.features import FeaturesConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.errors import InputError


class Provider(ABC):
    """One kind of features: arrays by clip from captions or from frames.

    Attributes
    ----------
    kind : str
        Name of the module, and ending of the files: ``clips-00000.<kind>.h5``.
    source : str
        ``captions`` or ``frames``: what is given to `compute`.
    models : tuple of str
        Keys of ``models`` in the config.
    Options : type of Strict
        ``features.options.<kind>`` in the config; unknown keys are errors.
    """

    kind: ClassVar[str]
    source: ClassVar[Literal["captions", "frames"]]
    models: ClassVar[tuple[str, ...]] = ()
    Options: ClassVar[type[Strict]] = Strict

    def __init__(self, config: FeaturesConfig) -> None:
        self.config = config
        try:
            self.options: Any = self.Options.model_validate(config.options.get(self.kind, {}))
        except ValidationError as error:
            raise InputError(explain(error, f"config.features.options.{self.kind}")) from None

    @abstractmethod
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays that the files contain."""

    def settings(self) -> str:
        """JSON of exactly what the arrays depend on."""
        return self.options.model_dump_json()

    @property
    def seeded(self) -> bool:
        """Whether the arrays depend on the seed."""
        return False

    def files(self) -> list[str]:
        """Further files that the arrays depend on: inputs of the DAG."""
        return []

    @classmethod
    @abstractmethod
    def compute(
        cls,
        settings: str,
        clips: Iterable[tuple[str, Any]],
        models: ModelsConfig,
        *,
        seed: int,
        device: str,
        notes: dict[str, str],
    ) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
        """Yield (clip, arrays) for every clip, in order.

        Parameters
        ----------
        settings : str
            From `settings`.
        clips : iterable of (name, caption) or of (name, frames (frame, height, width, 3) uint8)
            The clips of one shard; what is computed of a clip must not depend on the others.
        models : ModelsConfig
        seed : int
        device : str
            Of torch.
        notes : dict
            Texts put here are stored as attributes of the file.
        """


def open_provider(kind: str, config: FeaturesConfig, where: str = "features") -> Provider:
    """The provider of a kind, with validated options; raises an `InputError` if there is none."""
    known = sorted(
        path.stem
        for path in Path(__file__).parent.glob("*.py")
        if "\nENTRY = " in path.read_text(encoding="utf-8")
    )
    if kind not in known:
        raise InputError(f"Expected a feature provider of {known} ({where}), got '{kind}'.")
    return importlib.import_module(f"mind_animator.features.{kind}").ENTRY(config)


def clip_rng(seed: int, clip: str, purpose: str) -> np.random.Generator:
    """A generator that depends on the seed, the name of the clip and the purpose only."""
    digest = hashlib.sha256(f"{seed}/{clip}/{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
