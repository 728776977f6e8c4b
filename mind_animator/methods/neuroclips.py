"""After NeuroClips (Gong et al. 2024, NeurIPS): a keyframe from decoded tokens animates a decoded blurry video.

Written from descriptions; the published code has no licence. Parts:

1. ``tokens``: responses to the tokens of the CLIP vision tower, by BiMixCo and then soft contrast.
2. ``prior``: a diffusion prior from decoded tokens to image tokens, and a head from these to the prompt embedding.
3. ``blurry``: responses to the latents of a blurry video, through one pseudo-volume per frame.
4. ``motion``: motion modules of the frozen generator, trained on the training clips under their captions; omitted
   with ``motion: {source: pretrained}``, which needs ``models.motion_adapter``.

The keyframe is drawn under the decoded prompt, starting from the first blurry frame (as in the paper) or from noise
(as in the published code: ``keyframe: {strength: 1}``). The video is drawn from the noised blurry video with the
keyframe as its first frame.

Published and kept: layers and losses of parts 1 to 3 (``preset: published``: 1.888 billion parameters behind the
input layer with 256 tokens of width 1,664), repeats and frames that alternate by epoch, prior by 20 DDIM steps, 25
steps with guidance 8.5 for the video.

Guesses and replacements: the prompt embedding decoded from tokens conditions the generator, instead of an unCLIP
model and the caption of the keyframe (the option ``caption`` uses BLIP-2); the first frame is held by its noise
instead of a control network; the map from tokens to caption embeddings is fitted on the training clips; contrast of
the blurry video with the same tokens instead of ConvNeXt features; a residual path around the pseudo-volumes;
latents standardised. The prior is diffusers' PriorTransformer.

Left out: initial weights trained on other brain data; selection of epochs on test clips (held-out training movies
instead); attention over the clips of a batch in part 3 (within a clip only); the ``strength`` without effect (the
published code always starts at time step 961, as ``reconstruction: {strength: 0.961}`` does); one seed for all
clips; a token mixer over a single token (24 parameters), which is constant. ``fusion`` starts a clip from the last
frame of the clip before; then reconstructions depend on other test clips, as published.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mind_animator.config.base import Strict
from mind_animator.config.decoders import OptimisationConfig, ValidationConfig
from mind_animator.config.methods import MethodConfig
from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.methods._motion import check_training, draw_clips, fit_part, padded, resolve
from mind_animator.methods.base import (
    Method,
    Needs,
    Part,
    PredictionInputs,
    ReconstructionInputs,
    Responses,
    Size,
    Trained,
    TrainingData,
    TrainingJob,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from mind_animator.errors import InputError

# Clips per forward pass of predictions.
BATCH = 64


class TokensConfig(Strict):
    """Responses to tokens; see `mind_animator.decoders.tokens.TokenDecoder`.

    Attributes
    ----------
    repeats : str
        ``mean`` response of a training clip, or single repeats that ``alternate`` by epoch.
    """

    width: int = Field(512, ge=1)
    blocks: int = Field(2, ge=0)
    dropout: float = Field(0.15, ge=0, lt=1)
    mixup_until: float = Field(0.33, ge=0, le=1)
    beta: float = Field(0.15, gt=0)
    temperatures: tuple[float, float, float] = (0.006, 0.0075, 0.1)
    text_weight: float = Field(0.25, ge=0)
    repeats: Literal["mean", "alternate"] = "alternate"
    optimisation: OptimisationConfig = OptimisationConfig()


class PriorConfig(Strict):
    """The diffusion prior; see `mind_animator.decoders.tokens.TokenPrior`.

    Attributes
    ----------
    steps : int
        DDIM steps of sampling.
    """

    layers: int = Field(3, ge=1)
    heads: int = Field(4, ge=1)
    timesteps: int = Field(100, ge=1)
    drop: float = Field(0.2, ge=0, lt=1)
    weight: float = Field(30.0, ge=0)
    text_weight: float = Field(1.0, ge=0)
    prompt_weight: float = Field(1.0, ge=0)
    steps: int = Field(20, ge=1)
    optimisation: OptimisationConfig = OptimisationConfig()


class BlurryConfig(Strict):
    """Responses to latents; see `mind_animator.decoders.tokens.BlurryVideo`. ``repeats`` as in `TokensConfig`."""

    hidden: int = Field(64, ge=1)
    width: int = Field(256, ge=1)
    blocks: int = Field(1, ge=0)
    channels: tuple[int, ...] = Field((32, 32, 16), min_length=2)
    dropout: float = Field(0.3, ge=0, lt=1)
    feature_weight: float = Field(0.1, ge=0)
    temperature: float = Field(0.05, gt=0)
    repeats: Literal["mean", "alternate"] = "alternate"
    optimisation: OptimisationConfig = OptimisationConfig()


class MotionConfig(Strict):
    """Motion modules, ``trained`` on the training clips or ``pretrained`` (``models.motion_adapter``)."""

    source: Literal["trained", "pretrained"] = "trained"
    optimisation: OptimisationConfig = OptimisationConfig()


class Options(Strict):
    """Options of this method type.

    Attributes
    ----------
    preset : str
        ``published``, or ``small`` for a processor core.
    tokens, prior, blurry, motion, keyframe, reconstruction : dict
        Single settings that differ from the preset's: `TokensConfig`, `PriorConfig`, `BlurryConfig`, `MotionConfig`,
        and `ReconstructionConfig` for the keyframe and for the video.
    caption : bool
        Condition the video on a BLIP-2 caption of the keyframe instead of the decoded prompt embedding.
    fusion : float, optional
        Minimum cosine of the decoded embeddings of two neighbouring clips at which the second one starts from the last
        frame of the first.
    validation : ValidationConfig
        Training movies that are held out for early stopping.
    """

    preset: Literal["published", "small"] = "published"
    tokens: dict[str, Any] = Field(default_factory=dict)
    prior: dict[str, Any] = Field(default_factory=dict)
    blurry: dict[str, Any] = Field(default_factory=dict)
    motion: dict[str, Any] = Field(default_factory=dict)
    keyframe: dict[str, Any] = Field(default_factory=dict)
    reconstruction: dict[str, Any] = Field(default_factory=dict)
    caption: bool = False
    fusion: float | None = Field(None, ge=-1, le=1)
    validation: ValidationConfig = ValidationConfig()


SECTIONS = {
    "tokens": TokensConfig,
    "prior": PriorConfig,
    "blurry": BlurryConfig,
    "motion": MotionConfig,
    "keyframe": ReconstructionConfig,
    "reconstruction": ReconstructionConfig,
}
_ADAMW = {"optimiser": "adamw", "schedule": "cosine", "weight_decay": 0.01}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "small": {
        "tokens": {"optimisation": {**_ADAMW, "learning_rate": 3e-4, "batch": 64, "epochs": 8}},
        "prior": {"optimisation": {**_ADAMW, "learning_rate": 1e-3, "batch": 64, "epochs": 6, "patience": 2}},
        "blurry": {"optimisation": {**_ADAMW, "learning_rate": 1e-3, "batch": 64, "epochs": 8, "patience": 2}},
        "motion": {"optimisation": {**_ADAMW, "learning_rate": 1e-3, "batch": 4, "epochs": 1}},
        "keyframe": {"num_inference_steps": 8, "guidance_scale": 3.0, "strength": 0.8},
        "reconstruction": {"num_inference_steps": 6, "guidance_scale": 3.0, "strength": 0.5},
    },
    "published": {
        "tokens": {
            "width": 4096, "blocks": 4, "mixup_until": 1.0,
            "optimisation": {**_ADAMW, "learning_rate": 1e-4, "batch": 240, "epochs": 30, "warm_up": 36},
        },
        "prior": {
            "layers": 6, "heads": 32,
            "optimisation": {**_ADAMW, "learning_rate": 3e-4, "batch": 64, "epochs": 150},
        },
        "blurry": {
            "hidden": 256, "width": 4096, "blocks": 4, "channels": (64, 128, 64, 32),
            "optimisation": {**_ADAMW, "learning_rate": 3e-4, "batch": 40, "epochs": 80},
        },
        "motion": {"source": "pretrained"},
        "keyframe": {"num_inference_steps": 38, "guidance_scale": 5.0},
        "reconstruction": {"num_inference_steps": 25, "guidance_scale": 8.5, "strength": 0.3},
    },
}  # fmt: skip


class Drawing(Strict):
    """What reconstructions depend on."""

    keyframe: ReconstructionConfig
    reconstruction: ReconstructionConfig
    pretrained: bool
    caption: bool
    fusion: float | None


class NeuroClips(Method):
    """Keyframe and blurry video, animated by a generator with motion modules."""

    kind = "neuroclips"
    Options = Options
    reconstruction: ClassVar = "own"

    def __init__(self, name: str, config: MethodConfig) -> None:
        super().__init__(name, config)
        preset = PRESETS[self.options.preset]
        plain = {"num_inversion_steps": 0}
        single = {"clips_per_batch": 1} if self.options.fusion is not None else {}
        fixed = {"keyframe": plain, "reconstruction": {**plain, **single}}
        self._settings = {
            section: resolve(
                model, [preset[section], getattr(self.options, section), fixed.get(section, {})],
                f"config.methods.{name}.options.{section}",
            )
            for section, model in SECTIONS.items()
        }  # fmt: skip

    @property
    def _pretrained(self) -> bool:
        return self._settings["motion"].source == "pretrained"

    @property
    def parts(self) -> tuple[Part, ...]:
        tokens = {"clip_tokens": "clip_tokens"}
        text = {"clip_embedding_text": "text"}
        prompt = {"prompt_embedding": "text"}
        latents = {"latents": "image"}

        def repeats(part: str) -> bool:
            return self._settings[part].repeats == "alternate"

        parts = (
            Part("tokens", needs=Needs(features=tokens | text, repeats=repeats("tokens"))),
            Part("prior", after=("tokens",), needs=Needs(features=tokens | text | prompt)),
            Part("blurry", needs=Needs(features=latents | tokens, repeats=repeats("blurry"))),
            Part("motion", "all", needs=Needs(features=latents | prompt, models=("stable_diffusion",))),
        )
        return parts[:3] if self._pretrained else parts

    @property
    def needs(self) -> Needs:
        optional = {"motion_adapter": self._pretrained, "blip2": self.options.caption}
        return Needs(models=("stable_diffusion", *(name for name, used in optional.items() if used)))

    def training_settings(self, part: str) -> str:
        return self.options.model_copy(
            update={part: self._settings[part].model_dump(mode="json")}
        ).model_dump_json(include={part, "validation"})

    def prediction_settings(self) -> str:
        return self._settings["prior"].model_dump_json(include={"steps"})

    def reconstruction_settings(self) -> str:
        return Drawing(
            keyframe=self._settings["keyframe"],
            reconstruction=self._settings["reconstruction"],
            pretrained=self._pretrained,
            caption=self.options.caption,
            fusion=self.options.fusion,
        ).model_dump_json()

    def training_memory_mb(self, part: str, size: Size) -> int:
        data = 16 * size.clips * size.latent + 16 * size.clips * size.voxels
        return 3_000 + (data + 5 * self.weights_bytes(part, size)) // 10**6

    def weights_bytes(self, part: str, size: Size) -> int:
        """Of the largest layers, with 256 tokens of width 1,664 (published) or 16 of width 128."""
        tokens, prior, blurry = (self._settings[name] for name in ("tokens", "prior", "blurry"))
        published = self.options.preset == "published"
        width = 1664 if published else 128
        count = {
            "tokens": tokens.width * (size.voxels + (256 if published else 16) * width)
            + 2 * tokens.blocks * tokens.width**2,
            "prior": 12 * prior.layers * width**2,
            "blurry": blurry.hidden * size.voxels * (1 + size.frames)
            + blurry.width * size.voxels
            + 2 * blurry.blocks * blurry.width**2,
            "motion": 1_400_000,
        }[part]
        return 4 * count + 10**6

    @classmethod
    def train(cls, part: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        import numpy as np
        import torch

        check_training(data)
        options = Options.model_validate_json(settings)
        chosen = SECTIONS[part].model_validate(getattr(options, part))
        names = {
            "tokens": "clip_tokens",
            "text": "clip_embedding_text",
            "prompt": "prompt_embedding",
            "latents": "latents",
        }
        given = {
            n: torch.from_numpy(data.targets[array]) for n, array in names.items() if array in data.targets
        }
        shapes = {name: list(values.shape[-2:]) for name, values in given.items()}
        responses = data.responses[0]
        build, start, keep = None, None, None
        if part in ("tokens", "blurry"):
            values = responses.values
            if responses.repeats is not None:  # a clip with fewer repeats: its mean instead
                values = np.where(np.isnan(responses.repeats), values[:, None], responses.repeats)
            given["responses"] = torch.from_numpy(values)
            shapes |= {"voxels": values.shape[-1]}
        if part == "tokens":
            shapes["embedding"] = given["text"].shape[1]

            def start(network: Any, rows: "np.ndarray") -> None:
                network.fit_text(
                    given["tokens"][rows].mean(1).to(job.device), given["text"][rows].to(job.device)
                )

        elif part == "prior":
            decoder, _ = _load(data.weights["tokens"])
            decoder.to(job.device)
            made = padded(lambda x: decoder(x)[:1], [responses.values], BATCH, job.device)[0]
            given["condition"] = torch.from_numpy(made)

            def build() -> "nn.Module":
                return _build("prior", chosen, shapes, decoder)

            def start(network: Any, rows: "np.ndarray") -> None:
                network.standardise(
                    given["tokens"][rows].mean(1).to(job.device), given["prompt"][rows].to(job.device)
                )

            def keep(network: Any) -> dict[str, Any]:
                return {n: p for n, p in network.state_dict().items() if not n.startswith("decoder.")}

        elif part == "blurry":
            shapes["latents"] = list(given["latents"].shape[1:])

            def start(network: Any, rows: "np.ndarray") -> None:
                network.standardise(given["latents"][rows].to(job.device))

        else:
            from mind_animator.diffusion.motion_module import CoTraining, load_motion_generator

            def build() -> "nn.Module":
                return CoTraining(
                    load_motion_generator(
                        data.models["stable_diffusion"], data.lock, given["latents"].shape[1],
                        ReconstructionConfig(precision="float32"), device=job.device,
                    )
                )  # fmt: skip

            def keep(network: Any) -> dict[str, Any]:
                return network.trained_weights()

        trained = fit_part(
            build or (lambda: _build(part, chosen, shapes)), given, data.movies, chosen.optimisation,
            options.validation, job, keep=keep, start=start,
        )  # fmt: skip
        about = {"part": part, "chosen": chosen.model_dump(mode="json"), "shapes": shapes}
        return Trained(trained.weights, {**trained.record, **about})

    @classmethod
    def predict(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        """``semantic``, ``prompt_embedding``, ``latents`` (the blurry video) and ``structure`` (its first frame)."""
        import numpy as np
        import torch

        from mind_animator.diffusion.noise import clip_generator

        steps, device = PriorConfig.model_validate_json(settings).steps, inputs.device
        decoder, _ = _load(inputs.weights["tokens"])
        prior, record = _load(inputs.weights["prior"], decoder)
        blurry, _ = _load(inputs.weights["blurry"])
        prior.to(device)
        blurry.to(device)
        noise = np.stack(
            [
                torch.randn(record["shapes"]["tokens"], generator=clip_generator(inputs.seed, clip)).numpy()
                for clip in responses.clips
            ]
        )

        def decode(values: Any, noise: Any) -> tuple[Any, ...]:
            tokens = prior.sample(decoder(values)[0], noise, steps)
            return decoder.text(tokens), prior.head(tokens), blurry(values)[0]

        semantic, prompt, latents = padded(decode, [responses.values, noise], BATCH, device)
        return {
            "semantic": semantic,
            "prompt_embedding": prompt,
            "structure": np.ascontiguousarray(latents[:, 0]),
            "latents": latents,
        }

    @classmethod
    def reconstruct(
        cls, settings: str, clips: Sequence[str], inputs: ReconstructionInputs
    ) -> "Iterator[tuple[str, np.ndarray | InputError]]":
        from dataclasses import replace

        import numpy as np
        import torch
        from safetensors.torch import load_file

        from mind_animator.captions.blip2 import describe_images
        from mind_animator.config.captions import CaptionsConfig
        from mind_animator.diffusion.generator import load_generator, reconstruct_batch
        from mind_animator.diffusion.motion_module import FirstFrameHeld, load_motion_generator
        from mind_animator.models.latents import decode_latents
        from mind_animator.models.load import load_blip2, load_vae

        chosen, given = Drawing.model_validate_json(settings), inputs.prediction
        device, models = given.device, given.models
        model, lock = models["stable_diffusion"], given.lock
        frames = inputs.predictions["latents"].shape[1]
        weights = None if chosen.pretrained else load_file(given.weights["motion"])
        moving = load_motion_generator(
            model, lock, frames, chosen.reconstruction, device=device, weights=weights,
            adapter=models.get("motion_adapter"),
        )  # fmt: skip
        still = load_generator(model, lock, 1, chosen.keyframe, device=device, seed=inputs.seed)
        vae = load_vae(model, lock, device=device)
        blip2 = load_blip2(models["blip2"], lock, device=device) if chosen.caption else None
        semantic = inputs.predictions["semantic"]
        semantic = semantic / np.linalg.norm(semantic, axis=1, keepdims=True)
        row = {clip: number for number, clip in enumerate(clips)}
        movies = inputs.table["movie"].tolist()
        last: dict[int, Any] = {}

        def continues(clip: str) -> bool:
            """Whether a clip starts from the last frame of the clip before it."""
            own = row[clip]
            before = own - 1
            if chosen.fusion is None or before not in last or movies[own] != movies[before]:
                return False
            return float(semantic[own] @ semantic[before]) >= chosen.fusion

        def with_keyframe(generator: Any, names: Sequence[str], batch: dict[str, Any]) -> Any:
            if chosen.reconstruction.strength == 0:  # the blurry video itself
                return generator
            prompt = batch["prompt_embedding"]
            key = reconstruct_batch(
                still, batch["latents"][:, :1], None, prompt, names, chosen.keyframe, seed=inputs.seed + 1
            )[:, 0]
            key = torch.stack(
                [
                    last[row[name] - 1] if continues(name) else own
                    for name, own in zip(names, key, strict=True)
                ]
            )
            if blip2:
                captions = CaptionsConfig()
                shown = decode_latents(vae, key[:, None], batch=1)[:, 0]
                texts = describe_images(
                    blip2,
                    shown,
                    prompt=captions.prompt,
                    max_new_tokens=captions.max_new_tokens,
                    batch=len(shown),
                )
                encoded = [generator.encode_text(text, prompt.shape[1] + 1)[:, 1:] for text in texts]
                batch["prompt_embedding"] = torch.cat(encoded).cpu()
            batch["latents"] = torch.cat([key[:, None], batch["latents"][:, 1:]], dim=1)
            return replace(generator, unet=FirstFrameHeld(generator.unet, key, generator.schedule))

        def remember(names: Sequence[str], latents: Any) -> None:
            last.update({row[name]: own[-1] for name, own in zip(names, latents, strict=True)})

        predictions = {name: inputs.predictions[name] for name in ("latents", "prompt_embedding")}
        yield from draw_clips(
            moving, vae, clips, predictions, chosen.reconstruction, inputs, with_keyframe,
            remember if chosen.fusion is not None else None,
        )  # fmt: skip


ENTRY = NeuroClips


def _build(part: str, chosen: Any, shapes: dict[str, Any], decoder: Any = None) -> "nn.Module":
    from mind_animator.decoders.tokens import BlurryVideo, TokenDecoder, TokenPrior

    own = chosen.model_dump(exclude={"optimisation", "repeats", "steps"})
    if part == "tokens":
        epochs = chosen.optimisation.epochs
        return TokenDecoder(
            shapes["voxels"], tokens=shapes["tokens"], embedding=shapes["embedding"], epochs=epochs, **own
        )
    if part == "prior":
        return TokenPrior(decoder, shapes["tokens"], shapes["prompt"], **own)
    return BlurryVideo(shapes["voxels"], latents=shapes["latents"], tokens=shapes["tokens"], **own)


def _load(path: Any, decoder: Any = None) -> "tuple[Any, dict[str, Any]]":
    """A trained part and its record."""
    from safetensors.torch import load_file

    from mind_animator.artefacts.files import read_json

    record, weights = read_json(path.with_suffix(".json")), load_file(path)
    part = record["part"]
    network = _build(part, SECTIONS[part].model_validate(record["chosen"]), record["shapes"], decoder)
    if decoder is not None:
        weights |= {f"decoder.{name}": p for name, p in decoder.state_dict().items()}
    network.load_state_dict(weights)
    return network.eval(), record
