"""After MinD-Video (Chen, Qing & Zhou 2023, NeurIPS): masked pre-training, contrast and co-training.

Written from descriptions; the training code was never released. Three parts:

1. ``encoder``: a transformer over patches of 16 voxels, pre-trained on the training volumes of all subjects by
   predicting the 75 % of the patches that are masked.
2. ``condition``: the encoder with attention over a window of two volumes (t, t + 1) in every block, and a head from
   its tokens to the prompt embedding, trained by contrast with CLIP embeddings of the caption and of the image.
3. ``generator``: motion modules of the frozen generator and the head, trained together on the training clips to
   denoise their latents under the decoded prompt embedding.

Published and kept: sizes of encoder and head (``preset: published``: 252.3 million parameters, counting fixed
positions; 403.4 million with ``encoder: {mlp_ratio: 4}``), mask ratio, window with spatial, then temporal
attention, the contrast, sampling from noise by 200 DDIM steps with guidance 12.5. Pre-training follows the settings
of the code that the publication refers to.

Guesses: the optimisers of parts 2 and 3, what is co-trained (``generator: {cotrain}``), the map from tokens to the
contrastive embedding, the zero start of the temporal attention, and the squared error of the prompt embedding
(``condition: {prompt_weight}``, 0 in the published size), which replaces long co-training at small size. Temporal
layers of the generator are motion modules of diffusers instead of the unpublished ones, and its spatial attention
is not changed.

Left out: pre-training on HCP volumes (no unlabelled data other than the training volumes); one noise generator for
all clips (here each clip has its own, so that results do not depend on order); the extra patch of the published
padding; choices made on test clips. The published negative condition, decoded from the mean *test* response, is the
option ``negative: published_test_mean``; by default the mean training response is used.
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

    from mind_animator.decoders.patches import WindowDecoder
    from mind_animator.errors import InputError

# Clips per forward pass of predictions.
BATCH = 64


class EncoderConfig(Strict):
    """The encoder and its pre-training.

    Attributes
    ----------
    patch : int
        Voxels per patch.
    width, depth, heads, mlp_ratio
        Of the encoder.
    mask : float
        Fraction of the patches that are masked.
    decoder_width, decoder_depth, decoder_heads : int
        Of the decoder of the masked patches.
    optimisation : OptimisationConfig
    """

    patch: int = Field(16, ge=1)
    width: int = Field(64, ge=2, multiple_of=2)
    depth: int = Field(3, ge=1)
    heads: int = Field(4, ge=1)
    mlp_ratio: float = Field(1.0, gt=0)
    mask: float = Field(0.75, gt=0, lt=1)
    decoder_width: int = Field(64, ge=2, multiple_of=2)
    decoder_depth: int = Field(1, ge=1)
    decoder_heads: int = Field(4, ge=1)
    optimisation: OptimisationConfig = OptimisationConfig()


class ConditionConfig(Strict):
    """The map from the window to the prompt embedding.

    Attributes
    ----------
    dropout : float
        Of the encoder's tokens.
    temperature : float
        Initial temperature of the contrast.
    prompt_weight : float
        Weight of the squared error of the standardised prompt embedding; 0: contrast only.
    optimisation : OptimisationConfig
    """

    dropout: float = Field(0.0, ge=0, lt=1)
    temperature: float = Field(0.07, gt=0)
    prompt_weight: float = Field(0.0, ge=0)
    optimisation: OptimisationConfig = OptimisationConfig()


class GeneratorConfig(Strict):
    """Co-training of the generator's motion modules.

    Attributes
    ----------
    cotrain : str
        What is trained together with the motion modules: ``none``, the ``head``, or the whole ``encoder``.
    optimisation : OptimisationConfig
    """

    cotrain: Literal["none", "head", "encoder"] = "head"
    optimisation: OptimisationConfig = OptimisationConfig()


class Options(Strict):
    """Options of this method type.

    Attributes
    ----------
    preset : str
        ``published``, or ``small`` for a processor core.
    encoder, condition, generator, reconstruction : dict
        Single settings that differ from the preset's: `EncoderConfig`, `ConditionConfig`, `GeneratorConfig`,
        `ReconstructionConfig`.
    window : tuple of int
        Volumes before and after the volume of the clip.
    order : str
        Order of voxels in patches: ``position`` (by ROI and position), ``roi`` or ``data``.
    negative : str
        Response whose decoded prompt embedding is the negative condition: ``training_mean``, or
        ``published_test_mean``, with which the reconstruction of a clip depends on all test clips.
    validation : ValidationConfig
        Training movies that are held out for early stopping.
    """

    preset: Literal["published", "small"] = "published"
    encoder: dict[str, Any] = Field(default_factory=dict)
    condition: dict[str, Any] = Field(default_factory=dict)
    generator: dict[str, Any] = Field(default_factory=dict)
    reconstruction: dict[str, Any] = Field(default_factory=dict)
    window: tuple[int, int] = (0, 1)
    order: Literal["position", "roi", "data"] = "position"
    negative: Literal["training_mean", "published_test_mean"] = "training_mean"
    validation: ValidationConfig = ValidationConfig()


SECTIONS = {
    "encoder": EncoderConfig,
    "condition": ConditionConfig,
    "generator": GeneratorConfig,
    "reconstruction": ReconstructionConfig,
}
_ADAMW = {"optimiser": "adamw", "schedule": "cosine", "weight_decay": 0.05, "clip_gradient": 1.0}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "small": {
        "encoder": {
            "optimisation": {**_ADAMW, "learning_rate": 2e-3, "betas": (0.9, 0.95), "batch": 64, "epochs": 4}
        },
        "condition": {
            "dropout": 0.2,
            "prompt_weight": 1.0,
            "optimisation": {**_ADAMW, "learning_rate": 2e-3, "batch": 64, "epochs": 6, "patience": 2},
        },
        "generator": {"optimisation": {**_ADAMW, "learning_rate": 1e-3, "batch": 4, "epochs": 1}},
        "reconstruction": {"num_inference_steps": 10, "guidance_scale": 3.0},
    },
    "published": {
        "encoder": {
            "width": 1024,
            "depth": 24,
            "heads": 16,
            "decoder_width": 512,
            "decoder_depth": 8,
            "decoder_heads": 16,
            "optimisation": {
                **_ADAMW, "learning_rate": 2.5e-4, "betas": (0.9, 0.95), "batch": 100, "epochs": 500, "warm_up": 1760,
                "clip_gradient": 0.8,
            },
        },
        "condition": {"optimisation": {**_ADAMW, "learning_rate": 1e-4, "epochs": 100, "patience": 10}},
        "generator": {
            "cotrain": "encoder",
            "optimisation": {**_ADAMW, "learning_rate": 3e-5, "batch": 8, "epochs": 50, "patience": 5},
        },
        "reconstruction": {"num_inference_steps": 200, "guidance_scale": 12.5},
    },
}  # fmt: skip


class Training(Strict):
    """What the weights of a part depend on."""

    encoder: EncoderConfig
    condition: ConditionConfig | None = None
    generator: GeneratorConfig | None = None
    order: Literal["position", "roi", "data"]
    validation: ValidationConfig


class MindVideo(Method):
    """Decoded prompt embeddings for a generator with motion modules."""

    kind = "mind_video"
    Options = Options
    reconstruction: ClassVar = "own"

    def __init__(self, name: str, config: MethodConfig) -> None:
        super().__init__(name, config)
        options = self.options
        fixed = {"reconstruction": {"num_inversion_steps": 0}}
        self._settings = {
            section: resolve(
                model, [PRESETS[options.preset][section], getattr(options, section), fixed.get(section, {})],
                f"config.methods.{name}.options.{section}",
            )
            for section, model in SECTIONS.items()
        }  # fmt: skip

    @property
    def _voxels(self) -> tuple[str, ...]:
        return {"position": ("rois", "coordinates"), "roi": ("rois",), "data": ()}[self.options.order]

    @property
    def parts(self) -> tuple[Part, ...]:
        window = {"voxels": self._voxels, "window": self.options.window}
        text = {"clip_embedding_text": "text", "clip_embedding_image": "image", "prompt_embedding": "text"}
        return (
            Part("encoder", "all", needs=Needs(voxels=self._voxels)),
            Part("condition", after=("encoder",), needs=Needs(features=text, **window)),
            Part(
                "generator", after=("condition",),
                needs=Needs(features={"latents": "image"}, models=("stable_diffusion",), **window),
            ),
        )  # fmt: skip

    @property
    def needs(self) -> Needs:
        return Needs(voxels=self._voxels, window=self.options.window, models=("stable_diffusion",))

    def training_settings(self, part: str) -> str:
        used = {"encoder": ("encoder",), "condition": ("encoder", "condition")}.get(
            part, ("encoder", "condition", "generator")
        )
        own = {name: self._settings[name] for name in used}
        return Training(**own, order=self.options.order, validation=self.options.validation).model_dump_json()

    def prediction_settings(self) -> str:
        return self.options.model_dump_json(include={"negative", "order"})

    def reconstruction_settings(self) -> str:
        return self._settings["reconstruction"].model_dump_json()

    def training_memory_mb(self, part: str, size: Size) -> int:
        data = 16 * size.clips * size.latent + 8 * size.clips * size.voxels * sum(self.options.window, 1)
        return 3_000 + (data + 5 * self.weights_bytes(part, size)) // 10**6

    def weights_bytes(self, part: str, size: Size) -> int:
        """Of the encoder's matrices and, for the generator, of motion modules of the preset's generator."""
        encoder = self._settings["encoder"]
        attentions = 4 if part == "encoder" else 8
        count = encoder.depth * (attentions + 2 * encoder.mlp_ratio) * encoder.width**2
        if part == "generator":
            count += 417e6 if self.options.preset == "published" else 1.4e6
        return round(4 * count) + 10**6

    @classmethod
    def train(cls, part: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        import torch
        from safetensors.torch import load_file

        from mind_animator.decoders.patches import MaskedAutoencoder, PatchEncoder, to_patches

        check_training(data)
        chosen = Training.model_validate_json(settings)
        encoder, own = chosen.encoder, getattr(chosen, part)
        orders = [_order(responses, chosen.order) for responses in data.responses]
        shape = (encoder.patch, encoder.width, encoder.depth, encoder.heads, encoder.mlp_ratio)
        if part == "encoder":
            tensors = {
                f"patches/{subject}": torch.from_numpy(
                    to_patches(responses.values[:, None], order, encoder.patch)
                )
                for subject, (responses, order) in enumerate(zip(data.responses, orders, strict=True))
            }
            decoder = (encoder.decoder_width, encoder.decoder_depth, encoder.decoder_heads, encoder.mask)
            return fit_part(
                lambda: MaskedAutoencoder(PatchEncoder(*shape), encoder.patch, *decoder, len(orders)),
                tensors, data.movies, own.optimisation, chosen.validation, job,
                keep=lambda network: network.encoder.state_dict(),
            )  # fmt: skip
        window = torch.from_numpy(to_patches(data.responses[0].window, orders[0], encoder.patch))
        if part == "condition":
            names = {
                "text": "clip_embedding_text",
                "image": "clip_embedding_image",
                "prompt": "prompt_embedding",
            }
            tensors = {name: torch.from_numpy(data.targets[array]) for name, array in names.items()}
            shapes = {
                "tokens": window.shape[1] * window.shape[2],
                "prompt": list(tensors["prompt"].shape[1:]),
                "embedding": tensors["text"].shape[1],
            }
            pretrained = load_file(data.weights["encoder"])

            def build():
                network = _build(encoder, chosen.condition, shapes)
                network.encoder.load_state_dict({**network.encoder.state_dict(), **pretrained})
                return network

            trained = fit_part(
                build, {"window": window, **tensors}, data.movies, own.optimisation, chosen.validation, job,
                start=lambda network, rows: network.standardise(tensors["prompt"][rows].to(job.device)),
            )  # fmt: skip
            mean = {"mean_window": window.mean(0, keepdim=True)}
            about = {
                "encoder": encoder.model_dump(mode="json"),
                "condition": own.model_dump(mode="json"),
                "shapes": shapes,
            }
            return Trained({**trained.weights, **mean}, {**trained.record, **about})
        from mind_animator.diffusion.motion_module import CoTraining, load_motion_generator

        latents = torch.from_numpy(data.targets["latents"])

        def build():
            generator = load_motion_generator(
                data.models["stable_diffusion"], data.lock, latents.shape[1],
                ReconstructionConfig(precision="float32"), device=job.device,
            )  # fmt: skip
            decoder, _ = _load(data.weights["condition"])
            decoder.requires_grad_(False)
            trained = {"none": (), "head": (decoder.head,), "encoder": (decoder.head, decoder.encoder)}
            for module in trained[own.cotrain]:
                module.requires_grad_(True)
            return CoTraining(generator, decoder)

        trained = fit_part(
            build, {"window": window, "latents": latents}, data.movies, own.optimisation, chosen.validation, job,
            keep=lambda network: network.trained_weights(),
        )  # fmt: skip
        return Trained(trained.weights, {**trained.record, "latents": list(latents.shape[1:])})

    @classmethod
    def predict(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        """``semantic``, and the prompt embeddings of the responses and of the negative condition."""
        import numpy as np
        from safetensors.torch import load_file

        from mind_animator.decoders.patches import to_patches

        chosen = Options.model_validate_json(settings)
        decoder, mean = _load(inputs.weights["condition"])
        patch = mean.shape[-1]
        window = to_patches(responses.window, _order(responses, chosen.order), patch)
        (semantic,) = padded(
            lambda given: decoder.to(inputs.device)(given)[1:], [window], BATCH, inputs.device
        )
        cotrained = load_file(inputs.weights["generator"])
        cotrained = {k.removeprefix("decoder."): v for k, v in cotrained.items() if k.startswith("decoder.")}
        decoder.load_state_dict({**decoder.state_dict(), **cotrained})
        if chosen.negative == "published_test_mean":
            mean = window.mean(0, keepdims=True)
        prompt, negative = (
            padded(lambda given: decoder(given)[:1], [array], BATCH, inputs.device)[0]
            for array in (window, np.asarray(mean))
        )
        return {
            "semantic": semantic,
            "prompt_embedding": prompt,
            "negative_prompt_embedding": np.repeat(negative, len(prompt), axis=0),
        }

    @classmethod
    def reconstruct(
        cls, settings: str, clips: Sequence[str], inputs: ReconstructionInputs
    ) -> "Iterator[tuple[str, np.ndarray | InputError]]":
        import numpy as np
        from safetensors.torch import load_file

        from mind_animator.artefacts.files import read_json
        from mind_animator.diffusion.motion_module import load_motion_generator
        from mind_animator.models.load import load_vae

        chosen, given = ReconstructionConfig.model_validate_json(settings), inputs.prediction
        path = given.weights["generator"]
        shape = read_json(path.with_suffix(".json"))["latents"]
        weights = {k: v for k, v in load_file(path).items() if not k.startswith("decoder.")}
        model = given.models["stable_diffusion"], given.lock
        generator = load_motion_generator(*model, shape[0], chosen, device=given.device, weights=weights)
        # the shape of the noise from which sampling starts
        predictions = {**inputs.predictions, "latents": np.zeros((len(clips), *shape), np.float32)}
        predictions.pop("semantic")
        yield from draw_clips(
            generator, load_vae(*model, device=given.device), clips, predictions, chosen, inputs
        )


ENTRY = MindVideo


def _order(responses: Responses, order: str) -> "np.ndarray":
    from mind_animator.decoders.patches import voxel_order

    rois = responses.rois if order != "data" else None
    coordinates = responses.coordinates if order == "position" else None
    return voxel_order(rois, coordinates, responses.values.shape[1])


def _build(encoder: EncoderConfig, condition: ConditionConfig, shapes: dict[str, Any]) -> "WindowDecoder":
    from mind_animator.decoders.patches import PatchEncoder, WindowDecoder

    layers = (encoder.patch, encoder.width, encoder.depth, encoder.heads, encoder.mlp_ratio)
    return WindowDecoder(
        PatchEncoder(*layers, temporal=True), **shapes, dropout=condition.dropout,
        temperature=condition.temperature, prompt_weight=condition.prompt_weight,
    )  # fmt: skip


def _load(path: Any) -> "tuple[WindowDecoder, np.ndarray]":
    """The trained part ``condition``, and the mean window of the training clips as patches."""
    from safetensors.torch import load_file

    from mind_animator.artefacts.files import read_json

    record, weights = read_json(path.with_suffix(".json")), load_file(path)
    mean = weights.pop("mean_window").numpy()
    network = _build(
        EncoderConfig(**record["encoder"]), ConditionConfig(**record["condition"]), record["shapes"]
    )
    network.load_state_dict(weights)
    return network.eval(), mean
