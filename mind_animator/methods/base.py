"""The interface of a method, and how one is found by its kind.

The Snakefile opens the methods at every start: nothing here, and nothing at the top of a kind's module, may
import torch. A kind is a module ``mind_animator/methods/<kind>.py`` whose ``ENTRY`` is a subclass of
`Method`.
"""

import importlib
import pkgutil
from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import ValidationError

from mind_animator.config.base import Strict, explain
from mind_animator.config.decoders import TARGETS
from mind_animator.config.features import FeaturesConfig
from mind_animator.config.methods import MethodConfig
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np

DECODERS = ("semantic", "structure", "motion")
# The subject wildcard of weights that all subjects share.
POOLED = "pooled"


@dataclass(frozen=True)
class TrainingData:
    """Everything that a decoder may see: training clips alone.

    Attributes
    ----------
    responses : tuple of ndarray of shape (clip, voxel), float32
        One array a subject, all over the same clips.
    targets : dict of name to ndarray, first axis = clip, float32
    movies : sequence of str of length clip
        The movie of each clip: the unit of cross-validation and early stopping.
    clips : sequence of str
    """

    responses: "tuple[np.ndarray, ...]"
    targets: "Mapping[str, np.ndarray]"
    movies: Sequence[str]
    clips: Sequence[str]


@dataclass(frozen=True)
class TrainingJob:
    """How a training is run.

    Attributes
    ----------
    seed : int
    device : str
    state : Path, optional
        Folder where a killed training of the same ``stamp`` finds itself again.
    stamp : str
    logs : Path, optional
        Folder of TensorBoard event files.
    """

    seed: int
    device: str = "cpu"
    state: Path | None = None
    stamp: str = ""
    logs: Path | None = None


@dataclass(frozen=True)
class Using:
    """What predictions are made with.

    Attributes
    ----------
    weights : mapping of decoder to the path of its weights
    subject_index : mapping of decoder to int
        Place of this subject among those that the decoder was trained on: its input layer.
    seed : int
    device : str
    """

    weights: Mapping[str, Path]
    subject_index: Mapping[str, int]
    seed: int
    device: str = "cpu"


@dataclass(frozen=True)
class Trained:
    """A trained decoder: arrays for safetensors, and a record for JSON.

    Attributes
    ----------
    weights : dict of name to ndarray or Tensor
    record : dict
        ``settings``; ``shapes`` (what is needed to rebuild the network); ``history``: one row an epoch.
    """

    weights: Mapping[str, Any]
    record: dict[str, Any] = field(default_factory=dict)


class Method(ABC):
    """One method of the config, its options checked.

    The attributes and properties say what the DAG needs and are light; the class methods do the work and
    import what they need inside. Scripts call the class methods by kind, with the JSON that the properties
    gave to the rule.

    Attributes
    ----------
    kind : str
        Name of the module.
    Options : type of Strict
        ``options`` of this kind in the config; unknown keys are errors.
    reconstruction : str
        ``generator`` (inversion and sampling from predictions), ``vae`` (the VAE's decoder on the predicted
        latents), or ``frames`` (this class's own `reconstruct`, from frames that are there already).
    frames_from : str
        For ``frames``: ``method`` (the reconstructions of the method named by `source`), ``training`` (the
        stimuli of the training segments) or ``folder`` (files of the user).
    """

    kind: ClassVar[str]
    Options: ClassVar[type[Strict]]
    reconstruction: ClassVar[Literal["generator", "vae", "frames"]]
    frames_from: ClassVar[Literal["none", "method", "training", "folder"]] = "none"

    def __init__(self, name: str, config: MethodConfig) -> None:
        self.name = name
        try:
            self.options: Any = self.Options.model_validate(config.options)
        except ValidationError as error:
            raise InputError(explain(error, f"config.methods.{name}.options")) from None

    @property
    def module(self) -> str:
        """Path of the kind's module for `code_digest`."""
        return f"mind_animator/methods/{self.kind}.py"

    @property
    def decoders(self) -> dict[str, str]:
        """Each decoder that `predict` reads -> the method whose weights those are (this one's name: its
        own)."""
        return {}

    @property
    def trains(self) -> tuple[str, ...]:
        """Decoders that this method trains itself."""
        return tuple(decoder for decoder, owner in self.decoders.items() if owner == self.name)

    @property
    def predicts(self) -> bool:
        """Whether the method has predictions, and thus retrieval scores."""
        return self.reconstruction != "frames"

    @property
    def source(self) -> str | None:
        """The method whose reconstructions this one is made of (baselines), or None."""
        return None

    @property
    def inversion_of(self) -> str:
        """The method whose inversion artefact serves this one: latents that are the same are inverted
        once."""
        return self.name

    @property
    def pooled(self) -> bool:
        """Whether this method's own weights are trained once, on all subjects (path ``sub-pooled``)."""
        return False

    @property
    def uses(self) -> tuple[str, ...]:
        """Other methods that must stand in the config."""
        others = [*self.decoders.values(), *([self.source] if self.source else [])]
        return tuple(dict.fromkeys(other for other in others if other != self.name))

    def training_settings(self, decoder: str) -> str:
        """JSON of exactly what the weights of one decoder depend on."""
        raise NotImplementedError(f"{self.kind} trains no decoder")

    def prediction_settings(self) -> str:
        """JSON of exactly what the predictions depend on beside the weights."""
        raise NotImplementedError(f"{self.kind} predicts nothing")

    def reconstruction_settings(self) -> str:
        """JSON of exactly what `reconstruct` depends on (``frames`` methods only)."""
        return self.options.model_dump_json()

    @classmethod
    def targets(cls, decoder: str, settings: str) -> dict[str, str]:
        """Arrays that training a decoder reads -> the kind of feature file (text, image) that holds them."""
        return TARGETS[decoder]

    @classmethod
    def train(cls, decoder: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        """Train one decoder on training clips."""
        raise NotImplementedError(f"{cls.kind} trains no decoder")

    @classmethod
    def predict(cls, settings: str, using: Using, responses: "np.ndarray") -> "dict[str, np.ndarray]":
        """Predictions for responses (clip, voxel): ``semantic, condition, structure, latents``, and ``flow`` if any."""
        raise NotImplementedError(f"{cls.kind} predicts nothing")

    @classmethod
    def readout(cls, settings: str, using: Using, responses: "np.ndarray") -> "dict[str, np.ndarray]":
        """What each decoder makes of responses alone, (clip, ...): what its map is drawn from.

        For the motion decoder that is motion: whatever a given first frame contributes is held fixed.
        """
        raise NotImplementedError(f"{cls.kind} reads nothing out")

    @classmethod
    def reconstruct(
        cls,
        settings: str,
        clips: Sequence[str],
        files: Sequence[Path],
        test_clips: Sequence[str],
        *,
        seed: int,
    ) -> "Iterator[tuple[str, np.ndarray]]":
        """Yield (clip, frames (frame, height, width, 3) uint8) for ``clips`` (``frames`` methods only).

        ``files`` are what `frames_from` says: HDF5 files with ``frames`` and ``clip`` (all shards of the
        source's reconstructions, or the training segments' stimuli), or the user's files. ``test_clips`` is
        the whole list in its order, so that a permutation does not depend on the sharding.
        """
        raise NotImplementedError(f"{cls.kind} reconstructs from predictions")


# Augmented targets -> how many of them the features must hold.
_AUGMENTED = {
    "clip_embedding_text_copies": "caption_copies",
    "prompt_embedding_copies": "caption_copies",
    "clip_embedding_image_crops": "crops",
}


def check_features(methods: Mapping[str, Method], features: FeaturesConfig) -> None:
    """`InputError` where a method trains on augmented targets that the features will not hold."""
    for name, method in methods.items():
        for decoder in method.trains:
            for target in method.targets(decoder, method.training_settings(decoder)):
                key = _AUGMENTED.get(target)
                if key and not getattr(features, key):
                    raise InputError(
                        f"Expected 'features.{key}' of at least 1, since methods.{name} trains its {decoder} "
                        f"decoder on {target}, got 0."
                    )


def available() -> list[str]:
    """Kinds of methods that there are."""
    package = importlib.import_module("mind_animator.methods")
    names = (m.name for m in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in names if name != "base" and not name.startswith("_"))


def open_kind(kind: str, where: str = "kind") -> type[Method]:
    """The class of a kind."""
    if kind not in available():
        raise InputError(f"Expected {where} to be one of {available()}, got '{kind}'.")
    return importlib.import_module(f"mind_animator.methods.{kind}").ENTRY


def open_methods(configs: Mapping[str, MethodConfig]) -> dict[str, Method]:
    """Every method of the config, options checked, and what they use of each other checked too."""
    if not configs:
        raise InputError("Expected at least one method in 'methods', got none.")
    methods = {n: open_kind(c.kind, f"methods.{n}.kind")(n, c) for n, c in configs.items()}
    for name, method in methods.items():
        for other in method.uses:
            if other not in methods:
                raise InputError(
                    f"Expected methods.{name} to use a method of {sorted(methods)}, got '{other}'."
                )
        for decoder, owner in method.decoders.items():
            if owner != name and decoder not in methods[owner].trains:
                raise InputError(
                    f"Expected methods.{owner} to train the {decoder} decoder that methods.{name} uses, "
                    f"got {list(methods[owner].trains)}."
                )
        if method.source and methods[method.source].source:
            raise InputError(
                f"Expected methods.{name} to be made of a method that reconstructs by itself, "
                f"got '{method.source}'."
            )
    return methods
