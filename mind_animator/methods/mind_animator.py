"""Mind-Animator: three decoders and the inflated generator. Ablations are options of further methods.

``without`` omits a decoder: ``semantic`` (an empty prompt instead of the decoded prompt embedding),
``structure`` (the mean first frame of the training clips), ``motion`` (a network that decodes each frame
separately instead of the Consistency Motion Generator, trained by the ablation itself). ``swap`` passes the
responses of another block of clips to decoders (permuted responses: a negative control).
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from mind_animator.config.base import Fault, Strict
from mind_animator.config.decoders import (
    CONFIGS,
    Decoder,
    Preset,
    decoder_settings,
    needed_targets,
)
from mind_animator.config.methods import MethodConfig
from mind_animator.errors import InputError
from mind_animator.methods._clips import choose_clips, swapped_rows
from mind_animator.methods.base import (
    Method,
    Needs,
    Part,
    PredictionInputs,
    Responses,
    Trained,
    TrainingData,
    TrainingJob,
)

if TYPE_CHECKING:
    import numpy as np


DECODERS: tuple[str, ...] = get_args(Decoder)
# Number of first frames that a motion decoder without a linear baseline moves for its readout.
PROBES = 4


class Training(Strict):
    """What the weights of one decoder depend on, in addition to data and seed.

    Attributes
    ----------
    decoder : dict
        Settings of the decoder, complete.
    clips : int, optional
        Number of training clips used (whole blocks of ``block`` neighbours, drawn with the seed); None: all.
    block : int
    """

    decoder: dict[str, Any]
    clips: int | None = Field(None, ge=1)
    block: int = Field(10, ge=1)


class Prediction(Strict):
    """What predictions depend on, in addition to the weights.

    Attributes
    ----------
    without : tuple of str
        Decoders that are omitted.
    swap : tuple of str
        Decoders that receive the responses of another block of clips.
    block : int
        Clips per block.
    """

    without: tuple[Decoder, ...] = ()
    swap: tuple[Decoder, ...] = ()
    block: int = Field(10, ge=1)


class Options(Prediction):
    """Options of this method type.

    Attributes
    ----------
    preset : str
        ``paper``, ``released_code`` or ``ridge_residual``.
    semantic, structure, motion : dict
        Single settings of a decoder that differ from the preset's (see `mind_animator.config.decoders`).
    decoders_from : str, optional
        Another method of this type whose weights are used, except for decoders with settings given here and
        for a replaced motion decoder: these are trained by this method.
    training_clips : int, optional
        Number of training clips; None: all.
    subjects : str
        ``single``: decoders per subject; ``pooled``: one for all subjects, with an input layer per subject.
    """

    preset: Preset = "ridge_residual"
    semantic: dict[str, Any] = Field(default_factory=dict)
    structure: dict[str, Any] = Field(default_factory=dict)
    motion: dict[str, Any] = Field(default_factory=dict)
    decoders_from: str | None = None
    training_clips: int | None = Field(None, ge=1)
    subjects: Literal["single", "pooled"] = "single"

    @model_validator(mode="after")
    def _consistent(self) -> "Options":
        if set(self.without) == set(DECODERS):
            raise Fault("without", "must leave at least one decoder", list(self.without))
        both = set(self.without) & set(self.swap)
        if both:
            raise Fault("swap", f"must not contain decoders of without {sorted(both)}", list(self.swap))
        if self.decoders_from is not None and self.training_clips is not None:
            raise Fault(
                "training_clips",
                "must be null with decoders_from, since it requires training every decoder",
                self.training_clips,
            )
        return self


class MindAnimator(Method):
    """Three decoders, then DDIM inversion and sampling by the inflated generator."""

    kind = "mind_animator"
    Options = Options
    reconstruction: ClassVar = "generator"

    def __init__(self, name: str, config: MethodConfig) -> None:
        super().__init__(name, config)
        self._settings = {}
        for decoder, owner in self.weights.items():
            if owner != name:
                continue
            overrides = dict(getattr(self.options, decoder))
            if decoder == "motion" and "motion" in self.options.without:
                own = {"network": "per_frame", "linear": None, "scheduled_sampling_prob": 0.0}
                overrides = own | overrides
            where = f"config.methods.{name}.options"
            self._settings[decoder] = decoder_settings(decoder, self.options.preset, overrides, where)

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(
            Part(
                decoder,
                "all" if self.options.subjects == "pooled" else "subject",
                needs=Needs(
                    features=needed_targets(decoder, settings),
                    optional=("clip_embedding_image", "clip_embedding_image_crops"),
                ),
                optional=decoder != "semantic",
            )
            for decoder, settings in self._settings.items()
        )

    @property
    def weights(self) -> dict[str, str]:
        owner = self.options.decoders_from or self.name
        replaced = {"motion"} & set(self.options.without)
        own = replaced | {decoder for decoder in DECODERS if getattr(self.options, decoder)}
        return {decoder: self.name if decoder in own else owner for decoder in DECODERS}

    @property
    def inversion_of(self) -> str:
        changed = {*self.options.without, *self.options.swap, *self._settings}
        return self.name if changed - {"semantic"} else self.options.decoders_from or self.name

    @property
    def permuted_copy_of(self) -> str | None:
        return self.options.decoders_from if self.options.swap == ("motion",) else None

    def training_settings(self, part: str) -> str:
        return Training(
            decoder=self._settings[part].model_dump(mode="json"),
            clips=self.options.training_clips,
            block=self.options.block,
        ).model_dump_json()

    def prediction_settings(self) -> str:
        given = {name: getattr(self.options, name) for name in Prediction.model_fields}
        return Prediction(**given).model_dump_json()

    @classmethod
    def train(cls, part: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        import numpy as np

        from mind_animator.decoders.train import DECODERS as NETWORKS
        from mind_animator.decoders.train import train_decoder

        chosen = Training.model_validate_json(settings)
        rows = choose_clips(len(data.clips), chosen.clips, chosen.block, job.seed)
        targets = {name: array[rows] for name, array in data.targets.items()}
        if part == "semantic" and "clip_embedding_image" not in targets:  # a data set without stimuli
            print(
                "No image embeddings: the text embeddings of the captions are used instead.", file=sys.stderr
            )
            targets["clip_embedding_image"] = targets["clip_embedding_text"]
            targets["clip_embedding_image_crops"] = targets.get(
                "clip_embedding_text_copies", targets["clip_embedding_text"][:, None]
            )
        trained = train_decoder(
            part, CONFIGS[part].model_validate(chosen.decoder), [own.values[rows] for own in data.responses],
            targets, list(np.asarray(data.movies)[rows]), seed=job.seed, device=job.device,
            checkpoint=job.checkpoint, fingerprint=job.fingerprint, logs=job.logs,
        )  # fmt: skip
        record = {
            "part": part,
            "settings": chosen.decoder,
            "shapes": trained.shapes,
            "clips": trained.clips,
            "parameters": sum(tensor.numel() for tensor in trained.weights.values()),
            "history": trained.history,
        }
        names = NETWORKS[part].mean_targets
        means = {f"mean.{n}": targets[n].mean(0, dtype=np.float64).astype(np.float32) for n in names}
        return Trained({**{f"network.{k}": v for k, v in trained.weights.items()}, **means}, record)

    @classmethod
    def predict(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        import numpy as np

        from mind_animator.decoders.train import decode

        chosen = Prediction.model_validate_json(settings)
        loaded = {decoder: load_decoder(decoder, path) for decoder, path in inputs.weights.items()}
        clips, plain = len(responses.values), responses.values
        permuted = plain[swapped_rows(clips, chosen.block, inputs.seed)] if chosen.swap else plain

        def run(decoder: str, **given: "np.ndarray") -> "dict[str, np.ndarray]":
            own = permuted if decoder in chosen.swap else plain
            subject = inputs.subject_index[decoder]
            return decode(loaded[decoder][0], own, subject=subject, device=inputs.device, **given)

        if "semantic" in chosen.without:
            # no prompt embedding: the empty prompt is used instead; the mean embedding is the same for all clips
            out = {"semantic": np.repeat(loaded["semantic"][1]["clip_embedding_text"][None], clips, axis=0)}
        else:
            out = run("semantic")
        if "structure" not in inputs.weights:  # a data set without stimuli
            return out
        if "structure" in chosen.without:
            out["structure"] = np.repeat(loaded["structure"][1]["latents"][:1], clips, axis=0)
        else:
            out |= run("structure")
        return out | run("motion", first=out["structure"])

    @classmethod
    def readout(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        """Embedding; first frame; velocity decoded by the linear baseline of the motion decoder.

        A motion decoder without a linear baseline moves `PROBES` fixed first frames (decoded ones, drawn with
        the seed) according to the responses of every clip; its readout is the mean flow of these latents on a
        2 x 2 grid. So structure can contribute only through what the motion decoder itself uses.
        """
        import numpy as np
        import torch

        from mind_animator.decoders.flow import moving_flow
        from mind_animator.decoders.train import decode

        device, index, values = inputs.device, inputs.subject_index, responses.values
        networks = {decoder: load_decoder(decoder, path)[0] for decoder, path in inputs.weights.items()}
        out = {
            decoder: decode(networks[decoder], values, subject=index[decoder], device=device)[decoder]
            for decoder in ("semantic", "structure")
            if decoder in networks
        }
        if "motion" not in networks:  # a data set without stimuli
            return out
        network, subject = networks["motion"], index["motion"]
        if network.linear_baseline:
            with torch.no_grad():
                own = network.to(device).inputs(torch.from_numpy(values).float().to(device), subject)
                return {**out, "motion": network.decoded_motion(own)[0].cpu().numpy()}
        rng, clips = np.random.default_rng([inputs.seed, 4]), len(values)
        flow = 0.0
        for probe in out["structure"][rng.choice(clips, PROBES, replace=clips < PROBES)]:
            first = np.broadcast_to(probe, out["structure"].shape)
            latents = decode(network, values, subject=subject, first=first, device=device)["latents"]
            flow = flow + moving_flow(torch.from_numpy(latents), grid=2).numpy() / PROBES
        return {**out, "motion": flow}


ENTRY = MindAnimator


def load_decoder(decoder: str, path: Path) -> "tuple[Any, dict[str, np.ndarray]]":
    """A trained decoder and the mean targets of its training clips, from ``.safetensors`` and ``.json`` files.

    Raises
    ------
    InputError
        If a file is missing, damaged or of another decoder.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from mind_animator.artefacts.files import read_json
    from mind_animator.decoders.train import restore

    path = Path(path)
    if not path.is_file():
        raise InputError(f"Expected the weights of the {decoder} decoder at {path}, found none.")
    record = read_json(path.with_suffix(".json"))
    if record.get("part") != decoder:
        raise InputError(f"Expected the {decoder} decoder in {path}, got the {record.get('part')} decoder.")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise InputError(f"Expected a whole safetensors file at {path}, got: {error}.") from None
    own = {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
    means = {name.removeprefix("mean."): t.numpy() for name, t in tensors.items() if name.startswith("mean.")}
    return restore(decoder, record["settings"], record["shapes"], own), means
