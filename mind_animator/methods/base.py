"""The interface of a method, and how methods are found by their type (`kind`).

The Snakefile opens the methods at every start: neither this module nor the top level of a method's module may
import torch. A method type is a module ``mind_animator/methods/<kind>.py`` whose ``ENTRY`` is a subclass of
`Method`; nothing else in the project has to know it.
"""

import importlib
import pkgutil
from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic import ValidationError

from mind_animator.config.base import Strict, explain
from mind_animator.config.features import FeaturesConfig
from mind_animator.config.methods import MethodConfig
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np

Reconstruction = Literal["generator", "vae", "frames"]
TrainedOn = Literal["subject", "all", "all_but_one"]
# Subject wildcard of weights trained on all subjects, and its prefix where one subject is held out.
POOLED, WITHOUT = "pooled", "without"


@dataclass(frozen=True)
class Needs:
    """Inputs of a part besides the responses of its training clips. Each becomes an input of the DAG.

    Attributes
    ----------
    features : mapping of array to feature provider
        Arrays of the training clips, e.g. ``{"latents": "image"}``.
    optional : tuple of str
        Those features that are omitted, instead of an error, if the data set does not provide them.
    """

    features: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """Something that a method trains: one file of weights.

    Attributes
    ----------
    name : str
        Letters, digits and underscores.
    trained_on : str
        ``subject``: weights per subject; ``all``: one set of weights from all subjects; ``all_but_one``:
        weights per subject, trained on all other subjects.
    after : tuple of str
        Earlier parts of this method whose weights the training reads.
    needs : Needs
    optional : bool
        Omit this part, instead of an error, if the data set has no stimuli. Predictions must then be possible
        without it.
    """

    name: str
    trained_on: TrainedOn = "subject"
    after: tuple[str, ...] = ()
    needs: Needs = Needs()
    optional: bool = False

    def group(self, subject: str) -> str:
        """Subject wildcard of the weights that serve a subject."""
        return {"subject": subject, "all": POOLED, "all_but_one": WITHOUT + subject}[self.trained_on]

    def subjects(self, group: str, every: Sequence[str]) -> list[str]:
        """Subjects of ``every`` whose responses train the weights of a subject wildcard."""
        if self.trained_on == "subject":
            return [group]
        return [subject for subject in every if self.trained_on == "all" or WITHOUT + subject != group]


@dataclass(frozen=True)
class Responses:
    """Responses of one subject to some clips.

    Attributes
    ----------
    values : ndarray of shape (clip, voxel), float32
        z-scored with the mean and standard deviation of the training clips.
    clips : sequence of str
    """

    values: "np.ndarray"
    clips: Sequence[str]

    def take(self, rows: "Sequence[int] | np.ndarray") -> "Responses":
        """The responses to some of the clips, in the order of ``rows``."""
        return replace(self, values=self.values[rows], clips=[self.clips[row] for row in rows])


@dataclass(frozen=True)
class TrainingData:
    """Everything that the training of a part receives: training clips only.

    Attributes
    ----------
    responses : tuple of Responses
        One per subject, all of the same clips.
    targets : mapping of array to ndarray, first axis = clip, float32
        The features that the part needs.
    movies : sequence of str of length clip
        The movie of each clip: the unit of cross-validation and early stopping.
    clips : sequence of str
    weights : mapping of part to path
        Weights of the parts that the part comes after.
    """

    responses: tuple[Responses, ...]
    targets: "Mapping[str, np.ndarray]"
    movies: Sequence[str]
    clips: Sequence[str]
    weights: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingJob:
    """How a training is run.

    Attributes
    ----------
    seed : int
    device : str
    checkpoint : Path, optional
        Folder of the checkpoint from which an interrupted training with the same ``fingerprint`` resumes.
    fingerprint : str
    logs : Path, optional
        Folder of TensorBoard event files.
    """

    seed: int
    device: str = "cpu"
    checkpoint: Path | None = None
    fingerprint: str = ""
    logs: Path | None = None


@dataclass(frozen=True)
class PredictionInputs:
    """Inputs to prediction: trained weights, seed and device.

    Attributes
    ----------
    weights : mapping of part to the path of its weights
    subject_index : mapping of part to int or None
        Index of the subject among those that the part was trained on; None if it was held out.
    seed : int
    device : str
    """

    weights: Mapping[str, Path]
    subject_index: Mapping[str, int | None]
    seed: int
    device: str = "cpu"


@dataclass(frozen=True)
class Trained:
    """A trained part: arrays for safetensors, and a record for JSON.

    Attributes
    ----------
    weights : dict of name to ndarray or Tensor
    record : dict
        Anything that prediction needs besides the weights; ``history``: one row per epoch (for the report).
    """

    weights: Mapping[str, Any]
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Size:
    """Size of a training, from which its memory follows.

    Attributes
    ----------
    clips : int
        Training clips.
    latent : int
        Values of the latents of a clip, all frames.
    voxels, subjects : int
    frames : int
        Frames per clip.
    """

    clips: int
    latent: int
    voxels: int
    subjects: int
    frames: int = 8


def named_paths(pairs: Sequence[str]) -> dict[str, Path]:
    """Paths by name from command-line arguments ``name=path``."""
    return {name: Path(path) for name, _, path in (pair.partition("=") for pair in pairs)}


class Method(ABC):
    """One method of the config, with validated options.

    The attributes and properties describe the method to the workflow and are cheap; the class methods do the
    work and import what they need inside. Scripts call the class methods by `kind`, with the JSON settings that
    the instance passed to the rule.

    Attributes
    ----------
    kind : str
        Name of the module.
    Options : type of Strict
        ``options`` in the config; unknown keys are errors.
    reconstruction : str
        ``generator``: inversion and sampling from predictions; ``vae``: the VAE decoder applied to the
        predicted latents; ``frames``: the `reconstruct` of this class, from existing frames.
    frames_from : str
        For ``frames``: ``method`` (reconstructions of the method named by `source`), ``training`` (frames of the
        training movies) or ``folder`` (files of the user).
    parts : tuple of Part
        What this method trains itself, in order.
    """

    kind: ClassVar[str]
    Options: ClassVar[type[Strict]]
    reconstruction: ClassVar[Reconstruction]
    frames_from: ClassVar[Literal["none", "method", "training", "folder"]] = "none"
    parts: tuple[Part, ...] = ()

    def __init__(self, name: str, config: MethodConfig) -> None:
        self.name = name
        try:
            self.options: Any = self.Options.model_validate(config.options)
        except ValidationError as error:
            raise InputError(explain(error, f"config.methods.{name}.options")) from None

    @property
    def module(self) -> str:
        """Path of the module of this kind for `code_digest`."""
        return f"mind_animator/methods/{self.kind}.py"

    @property
    def weights(self) -> dict[str, str]:
        """Parts that `predict` reads, and the method whose weights they are (default: its own)."""
        return {part.name: self.name for part in self.parts}

    @property
    def predicts(self) -> bool:
        """Whether the method makes predictions from responses, which have scores of their own."""
        return type(self).predict.__func__ is not Method.predict.__func__

    @property
    def explains(self) -> bool:
        """Whether the method has outputs for which activation patterns are computed."""
        return type(self).readout.__func__ is not Method.readout.__func__

    @property
    def is_baseline(self) -> bool:
        """Whether it is an uninformative baseline."""
        return self.frames_from in ("training", "method")

    @property
    def source(self) -> str | None:
        """The method whose reconstructions this baseline is derived from, or None."""
        return None

    @property
    def inversion_of(self) -> str:
        """The method whose inverted latents serve this one: identical latents are inverted once."""
        return self.name

    @property
    def permuted_copy_of(self) -> str | None:
        """The method of which this one is a negative control: its motion from permuted responses."""
        return None

    @property
    def uses(self) -> tuple[str, ...]:
        """Other methods that the config must contain."""
        others = [*self.weights.values(), *([self.source] if self.source else [])]
        return tuple(dict.fromkeys(other for other in others if other != self.name))

    def part(self, name: str) -> Part:
        """One of its own parts by name; `InputError` where there is none."""
        for part in self.parts:
            if part.name == name:
                return part
        own = [part.name for part in self.parts]
        raise InputError(f"Expected a part that methods.{self.name} trains, one of {own}, got '{name}'.")

    def training_settings(self, part: str) -> str:
        """JSON of exactly what the weights of a part depend on."""
        return self.options.model_dump_json()

    def prediction_settings(self) -> str:
        """JSON of exactly what the predictions depend on besides the weights."""
        return self.options.model_dump_json()

    def reconstruction_settings(self) -> str:
        """JSON of exactly what `reconstruct` depends on."""
        return self.options.model_dump_json()

    def training_memory_mb(self, part: str, size: Size) -> int:
        """Memory request of the training of a part, and of predictions, in MB."""
        return 2_000 + 16 * size.clips * size.latent // 10**6

    def weights_bytes(self, part: str, size: Size) -> int:
        """Bytes of the weights of a part, for the plan: of a network of 30 million parameters."""
        return 120_000_000

    @classmethod
    def train(cls, part: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        """Train one part on training clips."""
        raise NotImplementedError(f"{cls.kind} trains no part")

    @classmethod
    def predict(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        """Predictions (clip, ...). The prediction of a clip must not depend on the other clips.

        A generator requires ``latents`` (clip, frame, channel, h, w) and uses ``prompt_embedding`` (clip, token, width)
        and ``flow`` (clip, 2, h, w); the VAE decoder requires ``latents``. ``semantic`` (clip, embedding) and
        ``structure`` (clip, channel, h, w) have retrieval scores.
        """
        raise NotImplementedError(f"{cls.kind} predicts nothing")

    @classmethod
    def readout(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        """Outputs by name (clip, ...) as functions of the responses only; used for activation patterns.

        The motion readout must hold fixed whatever a given first frame contributes.
        """
        raise NotImplementedError(f"{cls.kind} has no readout")

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

        ``files`` are those of `frames_from`: HDF5 files with ``frames`` and ``clip`` (all shards of the source's
        reconstructions, or the frames of the training movies), or the user's files. ``test_clips`` is the
        complete list in its order, so that a permutation does not depend on the shards.
        """
        raise NotImplementedError(f"{cls.kind} reconstructs from predictions")


# Augmented targets, and the key of `FeaturesConfig` that must request them.
_AUGMENTED = {
    "clip_embedding_text_copies": "caption_copies",
    "prompt_embedding_copies": "caption_copies",
    "clip_embedding_image_crops": "crops",
}


def check_features(methods: Mapping[str, Method], features: FeaturesConfig) -> None:
    """`InputError` where a part is trained on augmented targets that the features will not contain."""
    for name, method in methods.items():
        for part in method.parts:
            for target in part.needs.features:
                key = _AUGMENTED.get(target)
                if key and not getattr(features, key):
                    raise InputError(
                        f"config.features.{key} = 0: must be at least 1, since methods.{name} trains its part "
                        f"'{part.name}' on {target}."
                    )


def available() -> list[str]:
    """Names of the method types."""
    package = importlib.import_module("mind_animator.methods")
    names = (m.name for m in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in names if name != "base" and not name.startswith("_"))


def open_kind(kind: str, where: str = "kind") -> type[Method]:
    """The class of a method type."""
    if kind not in available():
        raise InputError(f"Expected {where} to be one of {available()}, got '{kind}'.")
    return importlib.import_module(f"mind_animator.methods.{kind}").ENTRY


def open_methods(configs: Mapping[str, MethodConfig]) -> dict[str, Method]:
    """Every method of the config, with its options, parts, and references to other methods validated."""
    if not configs:
        raise InputError("Expected at least one method in 'methods', got none.")
    methods = {n: open_kind(c.kind, f"methods.{n}.kind")(n, c) for n, c in configs.items()}
    for method in methods.values():
        _check_parts(method)
        _check_references(method, methods)
    return methods


def _check_parts(method: Method) -> None:
    """`InputError` where a method's declaration contradicts itself."""
    where = f"methods.{method.name} (kind {method.kind})"
    known = get_args(Reconstruction)
    if method.reconstruction not in known:
        raise InputError(
            f"{where}: reconstruction = '{method.reconstruction}': must be one of {list(known)}."
        )
    if method.reconstruction in ("generator", "vae") and not method.predicts:
        raise InputError(f"{where}: reconstruction = '{method.reconstruction}' requires a method `predict`.")
    if method.parts and type(method).train.__func__ is Method.train.__func__:
        raise InputError(f"{where}: declares parts {[p.name for p in method.parts]} but no method `train`.")
    earlier: dict[str, Part] = {}
    for part in method.parts:
        if not part.name.replace("_", "").isalnum() or part.name in earlier:
            raise InputError(
                f"{where}: part '{part.name}': names must be unique and consist of letters, digits and '_'."
            )
        for name in part.after:
            if name not in earlier:
                raise InputError(
                    f"{where}: part '{part.name}' comes after '{name}', which is not one of the parts before it "
                    f"({list(earlier)})."
                )
            if part.trained_on not in ("subject", earlier[name].trained_on):
                raise InputError(
                    f"{where}: part '{part.name}' (trained on {part.trained_on}) cannot come after '{name}' "
                    f"(trained on {earlier[name].trained_on})."
                )
        earlier[part.name] = part
    read = {name for name, owner in method.weights.items() if owner == method.name}
    for part in reversed(method.parts):
        if part.name not in read or method.reconstruction == "frames":
            raise InputError(
                f"{where}: declares part '{part.name}', but nothing would train it: nothing reads it."
            )
        read.update(part.after)


def _check_references(method: Method, methods: Mapping[str, Method]) -> None:
    """`InputError` where a method refers to another one that is absent or does not provide what is used."""
    for other in method.uses:
        if other not in methods:
            raise InputError(
                f"Expected methods.{method.name} to use one of the methods {sorted(methods)}, got '{other}'."
            )
    for name, owner in method.weights.items():
        trained = [part.name for part in methods[owner].parts]
        if name not in trained:
            raise InputError(
                f"Expected methods.{owner} to train the part '{name}' that methods.{method.name} uses, "
                f"got {trained}."
            )
    if method.source and methods[method.source].source:
        raise InputError(
            f"Expected methods.{method.name} to be derived from a method that reconstructs by itself, "
            f"got '{method.source}'."
        )
