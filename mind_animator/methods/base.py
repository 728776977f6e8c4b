"""The interface of a method, and how methods are found by their type (`kind`).

The Snakefile opens the methods at every start: neither this module nor the top level of a method's module may
import torch. A method type is a module ``mind_animator/methods/<kind>.py`` whose ``ENTRY`` is a subclass of
`Method`; nothing else in the project refers to it.
"""

import importlib
import pkgutil
from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic import Field, ValidationError

from mind_animator.config.base import Strict, explain
from mind_animator.config.methods import MethodConfig
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mind_animator.artefacts.streams import ClipReader
    from mind_animator.datasets.base import Dataset
    from mind_animator.features.base import Provider
    from mind_animator.video.training import TrainingMovies

Reconstruction = Literal["generator", "vae", "own", "frames"]
TrainedOn = Literal["subject", "all", "all_but_one"]
# Subject wildcard of weights trained on all subjects, and its prefix where one subject is held out.
POOLED, WITHOUT = "pooled", "without"


class Needs(Strict):
    """Inputs in addition to the responses to the clips. Each becomes an input of the DAG, and nothing else does.

    Attributes
    ----------
    features : mapping of array to feature provider
        Arrays of the training clips, e.g. ``{"latents": "image"}`` (`mind_animator.features`).
    optional : tuple of str
        Those features that are omitted, instead of an error, if the data set does not provide them.
    frames : bool
        The sampled frames of the training clips.
    movies : bool
        The training movies, to be read at any rate and onset (`TrainingMovies`).
    videos : tuple of str
        Folders of unpaired videos.
    repeats : bool
        The single repeats of the training clips.
    voxels : tuple of str
        ``rois`` (area names) and ``coordinates`` (millimetres) of the voxels.
    window : tuple of int
        Volumes before and after the volume of each clip, within its run.
    models : tuple of str
        Keys of ``models`` in the config.
    """

    features: dict[str, str] = Field(default_factory=dict)
    optional: tuple[str, ...] = ()
    frames: bool = False
    movies: bool = False
    videos: tuple[str, ...] = ()
    repeats: bool = False
    voxels: tuple[Literal["rois", "coordinates"], ...] = ()
    window: tuple[int, int] = (0, 0)
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """A component that a method trains: one file of weights.

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
    needs: Needs = field(default_factory=Needs)
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
    """Responses of one subject to some clips. Fields that the needs do not request are None.

    Attributes
    ----------
    values : ndarray of shape (clip, voxel), float32
        z-scored with the mean and standard deviation of the training clips.
    clips : sequence of str
    window : ndarray of shape (clip, volume, voxel), float32
        The volumes around the volume of each clip, in order of time. Beyond the ends of the run, the nearest
        volume of the run is repeated.
    in_run : ndarray of shape (clip, volume), bool
        False where a volume of ``window`` is such a repetition.
    repeats : ndarray of shape (clip, repeat, voxel), float32
        Single repeats, scaled like ``values``; NaN where a clip has fewer repeats. Training clips only.
    rois : ndarray of shape (voxel,), str
        Area of each voxel, with the hemisphere (``L_V1``).
    coordinates : ndarray of shape (voxel, 3), float32
        Position of each voxel, millimetres.
    """

    values: "np.ndarray"
    clips: Sequence[str]
    window: "np.ndarray | None" = None
    in_run: "np.ndarray | None" = None
    repeats: "np.ndarray | None" = None
    rois: "np.ndarray | None" = None
    coordinates: "np.ndarray | None" = None

    def take(self, rows: "Sequence[int] | np.ndarray") -> "Responses":
        """The responses to some of the clips, in the order of ``rows``."""
        by_clip = ("values", "window", "in_run", "repeats")
        arrays = {name: getattr(self, name) for name in by_clip}
        chosen = {name: array[rows] for name, array in arrays.items() if array is not None}
        return replace(self, **chosen, clips=[self.clips[row] for row in rows])


@dataclass(frozen=True)
class TrainingData:
    """Everything that the training of a part receives: training clips only. Fields that the needs do not
    request are empty or None.

    Attributes
    ----------
    responses : tuple of Responses
        One per subject, all of the same clips.
    targets : mapping of array to ndarray, first axis = clip, float32
        The requested features.
    movies : sequence of str of length clip
        The movie of each clip: the unit of cross-validation and early stopping.
    clips : sequence of str
    weights : mapping of part to path
        Weights of the parts that the part comes after.
    frames : ClipReader, optional
        Reads the frames (frame, height, width, 3) uint8 of a training clip: ``frames.read(clip, "frames")``.
    stimuli : TrainingMovies, optional
        The training movies.
    videos : tuple of Path
        Files of the unpaired videos, in order of their names.
    models : mapping of key to str
        Model ids or folders; `mind_animator.models.hub.locate` finds and verifies them.
    lock : str
        Lock file of the models.
    """

    responses: tuple[Responses, ...]
    targets: "Mapping[str, np.ndarray]"
    movies: Sequence[str]
    clips: Sequence[str]
    weights: Mapping[str, Path] = field(default_factory=dict)
    frames: "ClipReader | None" = None
    stimuli: "TrainingMovies | None" = None
    videos: tuple[Path, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    lock: str = ""


@dataclass(frozen=True)
class TrainingJob:
    """Settings of a training run.

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
    models : mapping of key to str
        Model ids or folders that the method's needs name.
    lock : str
        Lock file of the models.
    """

    weights: Mapping[str, Path]
    subject_index: Mapping[str, int | None]
    seed: int
    device: str = "cpu"
    models: Mapping[str, str] = field(default_factory=dict)
    lock: str = ""


@dataclass(frozen=True)
class ReconstructionInputs:
    """Inputs to `Method.reconstruct`. Fields that a type of reconstruction does not use are empty or None.

    Attributes
    ----------
    test_clips : sequence of str
        All test clips in their order, so that a permutation does not depend on the shards.
    seed : int
    files : sequence of Path
        ``frames``: those of `Method.frames_from`.
    prediction : PredictionInputs, optional
        ``own``: weights, models and device.
    responses : Responses, optional
        ``own``: responses to the clips of the shard.
    predictions : mapping of array to ndarray, first axis = clip
        ``own``: the predictions for the clips of the shard, if the method predicts.
    table : DataFrame, optional
        ``own``: one row per clip of the shard with ``clip, movie, onset, duration``.
    """

    test_clips: Sequence[str]
    seed: int
    files: Sequence[Path] = ()
    prediction: PredictionInputs | None = None
    responses: Responses | None = None
    predictions: "Mapping[str, np.ndarray]" = field(default_factory=dict)
    table: "pd.DataFrame | None" = None


@dataclass(frozen=True)
class Trained:
    """A trained part: arrays for safetensors, and a record for JSON.

    Attributes
    ----------
    weights : dict of name to ndarray or Tensor
    record : dict
        Everything that prediction needs in addition to the weights; ``history``: one row per epoch (for the report).
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
        predicted latents; ``own``: the `reconstruct` of this class, from weights, responses and predictions;
        ``frames``: the `reconstruct` of this class, from existing frames.
    frames_from : str
        For ``frames``: ``method`` (reconstructions of the method named by `source`), ``training`` (frames of the
        training movies) or ``folder`` (files of the user).
    parts : tuple of Part
        What this method trains itself, in order.
    needs : Needs
        Inputs of `predict` and `reconstruct` in addition to weights and responses: ``voxels``, ``window``, ``models``.
    shows : str
        For a baseline: what its frames show, as the object of a sentence in the report.
    """

    kind: ClassVar[str]
    Options: ClassVar[type[Strict]]
    reconstruction: ClassVar[Reconstruction]
    frames_from: ClassVar[Literal["none", "method", "training", "folder"]] = "none"
    parts: tuple[Part, ...] = ()
    needs: Needs = Needs()
    shows: ClassVar[str] = ""

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
        """One of the method's own parts, by name; raises an `InputError` if there is none."""
        for part in self.parts:
            if part.name == name:
                return part
        own = [part.name for part in self.parts]
        raise InputError(f"config.methods.{self.name}: must train part '{name}', trains {own}.")

    def training_settings(self, part: str) -> str:
        """JSON of exactly what the weights of a part depend on."""
        return self.options.model_dump_json()

    def prediction_settings(self) -> str:
        """JSON of exactly what the predictions depend on, apart from the weights."""
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

        In the readout of motion, the contribution of a given first frame must be constant.
        """
        raise NotImplementedError(f"{cls.kind} has no readout")

    @classmethod
    def reconstruct(
        cls, settings: str, clips: Sequence[str], inputs: ReconstructionInputs
    ) -> "Iterator[tuple[str, np.ndarray | InputError]]":
        """Yield (clip, frames (frame, height, width, 3) uint8), or (clip, reason why there are none), for ``clips``.

        Methods with ``own`` reconstruction may give any number of frames (which span the clip at equal
        distances) of any size; the workflow conforms them. The frames of a clip must not depend on the other
        clips of the shard.
        """
        raise NotImplementedError(f"{cls.kind} has no reconstruction of its own")


# Augmented features, and the key of `FeaturesConfig` that must request them.
_AUGMENTED = {
    "clip_embedding_text_copies": "caption_copies",
    "prompt_embedding_copies": "caption_copies",
    "clip_embedding_image_crops": "crops",
}


def check_features(methods: Mapping[str, Method], providers: "Mapping[str, Provider]") -> None:
    """Raise an `InputError` if a part needs an array that its feature provider does not compute."""
    for name, method in methods.items():
        for part in method.parts:
            for array, kind in part.needs.features.items():
                offered = providers[kind].arrays()
                if array in offered:
                    continue
                if key := _AUGMENTED.get(array):
                    raise InputError(
                        f"config.features.{key} = 0: must be at least 1, since config.methods.{name} trains its part "
                        f"'{part.name}' on {array}."
                    )
                raise InputError(
                    f"config.methods.{name}: part '{part.name}' needs the array '{array}' of the feature provider "
                    f"'{kind}', which computes {list(offered)}."
                )


def features_of_methods(methods: Mapping[str, Method]) -> list[str]:
    """Feature providers that methods need."""
    kinds = (kind for m in methods.values() for part in m.parts for kind in part.needs.features.values())
    return list(dict.fromkeys(kinds))


def headline_of(methods: Mapping[str, Method], name: str | None) -> str:
    """The headline method; raises an `InputError` if it is not named and there are several candidates."""
    candidates = [own for own, method in methods.items() if not method.is_baseline] or list(methods)
    if name is None and len(candidates) > 1:
        raise InputError(f"config.report.headline: is required with several methods, one of {candidates}.")
    return name or candidates[0]


def check_needs(methods: Mapping[str, Method], dataset: "Dataset", models: Mapping[str, str]) -> None:
    """Raise an `InputError` if a method needs what the data set or the config does not provide.

    Parameters
    ----------
    models : mapping of key to model id or folder
        ``models`` in the config.
    """
    training = [segment.id for segment in dataset.segments if segment.split == "train"]
    movies = dataset.has_stimuli and all(dataset.stimulus_files(segment) for segment in training)
    lacking = {
        "frames": None if dataset.has_stimuli else "frames of the training clips",
        "movies": None if movies else "whole training movies",
        "repeats": None
        if any(
            dataset.response_files(subject, segment) for subject in dataset.subjects for segment in training
        )
        else "single repeats of training runs",
        "rois": None if dataset.has_rois else "area names of the voxels",
        "coordinates": None if dataset.rois_of == "fs_LR_32k" else "coordinates of the voxels",
        "window": _without_window(dataset, training),
    }
    for name, method in methods.items():
        for part in (*method.parts, None):
            needs = part.needs if part else method.needs
            where = f"config.methods.{name}" + (f": part '{part.name}'" if part else "")
            if part and part.trained_on == "all_but_one" and len(dataset.subjects) < 2:
                raise InputError(f"{where} is trained on all subjects but one, and there is only one.")
            if part and part.optional and not dataset.has_stimuli:
                continue
            required = [n for n in ("frames", "movies", "repeats") if getattr(needs, n)]
            required += [*needs.voxels, *(["window"] if any(needs.window) else [])]
            for one in required:
                if lacking[one]:
                    raise InputError(
                        f"{where} needs {lacking[one]}, which data set {dataset.name} does not provide."
                    )
            for key in needs.models:
                if key not in models:
                    raise InputError(
                        f"{where} needs config.models.{key}, found none: give a model id or folder."
                    )
            for folder in needs.videos:
                if not Path(folder).is_dir():
                    raise InputError(f"{where} needs unpaired videos in a folder {folder}, found none.")


def models_of_methods(methods: Mapping[str, Method]) -> set[str]:
    """Keys of ``models`` in the config that methods need."""
    needs = [
        need for method in methods.values() for need in (method.needs, *(part.needs for part in method.parts))
    ]
    return {key for need in needs for key in need.models}


def _without_window(dataset: "Dataset", training: Sequence[str]) -> str | None:
    """What is missing for windows: clips at a distance of one volume; None if that is unknown or if nothing
    is missing."""
    try:
        table = dataset.clip_table(training[0])
    except (InputError, IndexError):  # not yet known
        return None
    steps = table["onset"].diff()[table["file"] == table["file"].shift()]
    close = ((steps - getattr(dataset, "tr", 0)).abs() < 1e-3).any()
    return None if close else "a window of volumes (a clip at every volume)"


def available() -> list[str]:
    """Names of the method types."""
    package = importlib.import_module("mind_animator.methods")
    names = (m.name for m in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in names if name != "base" and not name.startswith("_"))


def open_kind(kind: str, where: str = "kind") -> type[Method]:
    """The class of a method type."""
    if kind not in available():
        raise InputError(f"{where} = '{kind}': must be one of {available()}.")
    return importlib.import_module(f"mind_animator.methods.{kind}").ENTRY


def open_methods(configs: Mapping[str, MethodConfig]) -> dict[str, Method]:
    """Every method of the config, with its options, parts, and references to other methods validated."""
    if not configs:
        raise InputError("config.methods: must contain at least one method, found none.")
    methods = {n: open_kind(c.kind, f"config.methods.{n}.kind")(n, c) for n, c in configs.items()}
    for method in methods.values():
        _check_parts(method)
        _check_references(method, methods)
    for name, config in configs.items():
        if config.training.minutes is not None and not methods[name].parts:
            raise InputError(
                f"config.methods.{name}.training.minutes: must be omitted, because '{name}' trains nothing itself."
            )
    return methods


def _check_parts(method: Method) -> None:
    """`InputError` where a method's declaration contradicts itself."""
    where = f"config.methods.{method.name} (kind {method.kind})"
    known = get_args(Reconstruction)
    offered = {"voxels", "window", "models"}
    if excess := sorted(
        n for n in type(method.needs).model_fields if n not in offered and getattr(method.needs, n)
    ):
        raise InputError(f"{where}: needs {excess}, which only the training of a part can receive.")
    if method.reconstruction not in known:
        raise InputError(
            f"{where}: reconstruction = '{method.reconstruction}': must be one of {list(known)}."
        )
    if method.reconstruction in ("generator", "vae") and not method.predicts:
        raise InputError(f"{where}: reconstruction = '{method.reconstruction}' requires a method `predict`.")
    own = type(method).reconstruct.__func__ is not Method.reconstruct.__func__
    if own != (method.reconstruction in ("own", "frames")):
        raise InputError(
            f"{where}: reconstruction = '{method.reconstruction}' {'excludes' if own else 'requires'} a method "
            "`reconstruct`."
        )
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
    if method.reconstruction == "frames" and (method.parts or method.predicts):
        raise InputError(f"{where}: reconstruction = 'frames' excludes parts and predictions; use 'own'.")
    read = {name for name, owner in method.weights.items() if owner == method.name}
    for part in reversed(method.parts):
        if part.name not in read:
            raise InputError(
                f"{where}: declares part '{part.name}', but nothing would train it: nothing reads it."
            )
        read.update(part.after)


def _check_references(method: Method, methods: Mapping[str, Method]) -> None:
    """Raise an `InputError` if a method refers to another one that is absent or does not provide what is used."""
    for other in method.uses:
        if other not in methods:
            raise InputError(
                f"config.methods.{method.name} uses the method '{other}': must be one of {sorted(methods)}."
            )
    for name, owner in method.weights.items():
        trained = [part.name for part in methods[owner].parts]
        if name not in trained:
            raise InputError(
                f"config.methods.{owner}: must train the part '{name}', which config.methods.{method.name} uses; "
                "trains "
                f"{trained}."
            )
    if method.source and methods[method.source].source:
        raise InputError(
            f"config.methods.{method.name} is derived from '{method.source}': must be derived from a method that "
            "reconstructs by itself."
        )
