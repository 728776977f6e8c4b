"""Mind-Animator: three decoders and the inflated generator. Ablations are options of one more method.

``without`` leaves a part out: ``semantic`` (an empty prompt instead of the decoded condition), ``structure``
(the mean first frame of the training clips), ``motion`` (a network a frame at a time in place of the
Consistency Motion Generator, trained by the ablation itself). ``swap`` gives decoders the responses of
another block of clips.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mind_animator.config.base import Strict
from mind_animator.config.decoders import CONFIGS, Decoder, Preset, decoder_settings, needed_targets
from mind_animator.config.methods import MethodConfig
from mind_animator.errors import InputError
from mind_animator.methods.base import DECODERS, Method, Trained, TrainingData, TrainingJob, Using

if TYPE_CHECKING:
    import numpy as np


# Mean targets of the training clips, kept beside the weights: what is left where a decoder is left out.
_MEANS = {"semantic": ("clip_embedding_text", "prompt_embedding"), "structure": ("latents",), "motion": ()}
# First frames that a motion decoder without a linear path is made to move for its map.
PROBES = 4


class Training(Strict):
    """What the weights of one decoder depend on, beside data and seed.

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
    """What predictions depend on beside the weights.

    Attributes
    ----------
    without : tuple of str
        Parts left out.
    swap : tuple of str
        Decoders that get the responses of another block of clips.
    block : int
        Clips a block.
    """

    without: tuple[Decoder, ...] = ()
    swap: tuple[Decoder, ...] = ()
    block: int = Field(10, ge=1)


class Options(Prediction):
    """Options of a method of this kind.

    Attributes
    ----------
    preset : str
        ``paper``, ``released_code`` or ``best``.
    semantic, structure, motion : dict
        Single settings of a decoder that differ from the preset's (see `mind_animator.config.decoders`).
    decoders_from : str, optional
        Another method of this kind whose weights are used, all but those of decoders that are given settings
        here and of a replaced motion decoder: these this method trains itself.
    training_clips : int, optional
        Number of training clips; None: all.
    subjects : str
        ``single``: a decoder a subject; ``pooled``: one for all, with a layer of its own for each subject's
        voxels.
    """

    preset: Preset = "best"
    semantic: dict[str, Any] = Field(default_factory=dict)
    structure: dict[str, Any] = Field(default_factory=dict)
    motion: dict[str, Any] = Field(default_factory=dict)
    decoders_from: str | None = None
    training_clips: int | None = Field(None, ge=1)
    subjects: Literal["single", "pooled"] = "single"

    @model_validator(mode="after")
    def _consistent(self) -> "Options":
        if set(self.without) == set(DECODERS):
            raise ValueError("expected without to leave at least one decoder")
        both = set(self.without) & set(self.swap)
        if both:
            raise ValueError(f"expected a decoder in without or in swap, not in both: {sorted(both)}")
        if self.decoders_from is not None and self.training_clips is not None:
            raise ValueError("expected training_clips only without decoders_from: they train every decoder")
        return self


class MindAnimator(Method):
    """Three decoders, then DDIM inversion and sampling by the inflated generator."""

    kind = "mind_animator"
    Options = Options
    reconstruction: ClassVar = "generator"

    def __init__(self, name: str, config: MethodConfig) -> None:
        super().__init__(name, config)
        self._settings = {}
        for decoder in self.trains:
            overrides = dict(getattr(self.options, decoder))
            if decoder == "motion" and "motion" in self.options.without:
                overrides = {"network": "per_frame", "linear": None, "decoded_share": 0.0} | overrides
            try:
                self._settings[decoder] = decoder_settings(decoder, self.options.preset, overrides)
            except InputError as error:
                raise InputError(f"{error} (methods.{name}.options)") from None

    @property
    def decoders(self) -> dict[str, str]:
        owner = self.options.decoders_from or self.name
        replaced = {"motion"} & set(self.options.without)
        own = replaced | {decoder for decoder in DECODERS if getattr(self.options, decoder)}
        return {decoder: self.name if decoder in own else owner for decoder in DECODERS}

    @property
    def inversion_of(self) -> str:
        changed = {*self.options.without, *self.options.swap, *self.trains}
        return self.name if changed - {"semantic"} else self.options.decoders_from or self.name

    @property
    def pooled(self) -> bool:
        return self.options.subjects == "pooled"

    def training_settings(self, decoder: str) -> str:
        return Training(
            decoder=self._settings[decoder].model_dump(mode="json"),
            clips=self.options.training_clips,
            block=self.options.block,
        ).model_dump_json()

    def prediction_settings(self) -> str:
        given = {name: getattr(self.options, name) for name in Prediction.model_fields}
        return Prediction(**given).model_dump_json()

    @classmethod
    def targets(cls, decoder: str, settings: str) -> dict[str, str]:
        chosen = Training.model_validate_json(settings)
        return needed_targets(decoder, CONFIGS[decoder].model_validate(chosen.decoder))

    @classmethod
    def train(cls, decoder: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        import numpy as np

        from mind_animator.decoders.train import train_decoder

        chosen = Training.model_validate_json(settings)
        rows = choose_clips(len(data.clips), chosen.clips, chosen.block, job.seed)
        trained = train_decoder(
            decoder, CONFIGS[decoder].model_validate(chosen.decoder), [own[rows] for own in data.responses],
            {name: array[rows] for name, array in data.targets.items()}, list(np.asarray(data.movies)[rows]),
            seed=job.seed, device=job.device, state=job.state, stamp=job.stamp, logs=job.logs,
        )  # fmt: skip
        record = {
            "decoder": decoder,
            "settings": chosen.decoder,
            "shapes": trained.shapes,
            "clips": trained.clips,
            "parameters": sum(tensor.numel() for tensor in trained.weights.values()),
            "history": trained.history,
        }
        means = {name: data.targets[name][rows].mean(0, dtype=np.float64) for name in _MEANS[decoder]}
        means = {f"mean.{name}": mean.astype(np.float32) for name, mean in means.items()}
        return Trained({**{f"network.{k}": v for k, v in trained.weights.items()}, **means}, record)

    @classmethod
    def predict(cls, settings: str, using: Using, responses: "np.ndarray") -> "dict[str, np.ndarray]":
        import numpy as np

        from mind_animator.decoders.train import decode

        chosen = Prediction.model_validate_json(settings)
        networks, means = {}, {}
        for decoder, path in using.weights.items():
            networks[decoder], means[decoder] = load_decoder(decoder, path)
        other = (
            responses[swapped_rows(len(responses), chosen.block, using.seed)] if chosen.swap else responses
        )

        def run(decoder: str, **more: Any) -> "tuple[np.ndarray, ...]":
            given = other if decoder in chosen.swap else responses
            subject = using.subject_index[decoder]
            return decode(networks[decoder], given, subject=subject, device=using.device, **more)

        clips = len(responses)
        out = {}
        if "semantic" in chosen.without:
            # no condition: an empty prompt stands for it; the mean embedding tells nothing of a clip
            out["semantic"] = np.repeat(means["semantic"]["clip_embedding_text"][None], clips, axis=0)
        else:
            out["semantic"], prompt_embedding = run("semantic")
            out["prompt_embedding"] = prompt_embedding.reshape(
                clips, *means["semantic"]["prompt_embedding"].shape
            )
        if "structure" not in using.weights:  # captions alone
            return out
        latent = means["structure"]["latents"].shape[1:]
        if "structure" in chosen.without:
            out["structure"] = np.repeat(means["structure"]["latents"][:1], clips, axis=0)
        else:
            out["structure"] = run("structure")[0].reshape(clips, *latent)
        # the flow only where the network decodes one
        out |= dict(zip(("latents", "flow"), run("motion", first=out["structure"]), strict=False))
        return out

    @classmethod
    def readout(cls, settings: str, using: Using, responses: "np.ndarray") -> "dict[str, np.ndarray]":
        """Embedding; first frame; velocity that the motion decoder's linear path decodes.

        A motion decoder without a linear path moves `PROBES` fixed first frames (decoded ones, drawn with the
        seed) by every clip's responses; its readout is the flow of these latents on 2 x 2 cells, averaged. So
        structure can enter only through what the motion decoder itself reads.
        """
        import numpy as np
        import torch

        from mind_animator.decoders.flow import moving_flow
        from mind_animator.decoders.train import decode

        device, index = using.device, using.subject_index
        networks = {decoder: load_decoder(decoder, path) for decoder, path in using.weights.items()}
        plain = {
            decoder: decode(networks[decoder][0], responses, subject=index[decoder], device=device)[0]
            for decoder in ("semantic", "structure")
        }
        network, subject = networks["motion"][0], index["motion"]
        if network.path:
            with torch.no_grad():
                inputs = network.to(device).inputs(torch.from_numpy(responses).float().to(device), subject)
                return {**plain, "motion": network.decoded_motion(inputs)[0].cpu().numpy()}
        latent = networks["structure"][1]["latents"].shape[1:]
        probes = np.random.default_rng([using.seed, 4]).choice(
            len(responses), PROBES, replace=len(responses) < PROBES
        )
        flow = 0.0
        for probe in plain["structure"].reshape(-1, *latent)[probes]:
            first = np.broadcast_to(probe, (len(responses), *latent))
            (latents,) = decode(network, responses, subject=subject, first=first, device=device)
            flow = flow + moving_flow(torch.from_numpy(latents), cells=2).numpy() / PROBES
        return {**plain, "motion": flow}


ENTRY = MindAnimator


def load_decoder(decoder: str, path: Path) -> "tuple[Any, dict[str, np.ndarray]]":
    """A trained decoder and the mean targets of its training clips, from ``.safetensors`` and the ``.json``
    beside.

    Raises
    ------
    InputError
        If a file is missing, broken or of another decoder.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from mind_animator.artefacts.files import read_json
    from mind_animator.decoders.train import restore

    path = Path(path)
    if not path.is_file():
        raise InputError(f"Expected the weights of the {decoder} decoder at {path}, found none.")
    record = read_json(path.with_suffix(".json"))
    if record.get("decoder") != decoder:
        raise InputError(
            f"Expected the {decoder} decoder in {path}, got the {record.get('decoder')} decoder."
        )
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise InputError(f"Expected a whole safetensors file at {path}, got: {error}.") from None
    own = {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
    means = {name.removeprefix("mean."): t.numpy() for name, t in tensors.items() if name.startswith("mean.")}
    return restore(decoder, record["settings"], record["shapes"], own), means


def choose_clips(count: int, wanted: int | None, block: int, seed: int) -> "np.ndarray":
    """Rows of a seeded subset of whole blocks of neighbours (the last one cut to the number wanted),
    ascending.

    A smaller subset is part of every larger one of the same seed.
    """
    import numpy as np

    if wanted is None:
        return np.arange(count)
    if wanted > count:
        raise InputError(f"Expected training_clips to be at most the {count} training clips, got {wanted}.")
    blocks = np.random.default_rng([seed, 2]).permutation(-(-count // block))
    rows = np.concatenate([np.arange(b * block, min((b + 1) * block, count)) for b in blocks])
    return np.sort(rows[:wanted])


def swapped_rows(count: int, block: int, seed: int) -> "np.ndarray":
    """For each clip the clip of another block at the same place, blocks permuted without a fixed one
    (seeded).

    Where the other block is shorter (the last one), its clips repeat.

    Raises
    ------
    InputError
        If there are fewer than two blocks.
    """
    import numpy as np

    starts = np.arange(0, count, block)
    if len(starts) < 2:
        raise InputError(f"Expected more than {block} clips to swap blocks among, got {count}.")
    generator = np.random.default_rng([seed, 3])
    order = generator.permutation(len(starts))  # one cycle through all blocks leaves none in its place
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)
    rows = np.arange(count)
    other = starts[partner[rows // block]]
    lengths = np.minimum(block, count - other)
    return other + (rows % block) % lengths
