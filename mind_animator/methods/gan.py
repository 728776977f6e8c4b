"""Conditional adversarial generation of frames: a re-design after Wang et al. (2022), not their network.

Published (abstract only): one conditional generator of videos, a spatial and a temporal discriminator, eight frames
per volume. The architecture, loss weights, optimiser and training time of the original cannot be recovered from
anything that was found, and there is no published code. Everything else here is therefore our own choice: the
generator of convolutions over space and then over time, projection of the responses in both discriminators, the hinge
loss with an absolute error and feature matching, spectral normalisation, and an exponential moving average (EMA) of
the generator. Scores of this method are no evidence about the original.

One optimiser updates generator and discriminators in the same step; the loss of either does not reach the other.
Early stopping uses the absolute error on held-out training movies. Noise is drawn in training and is zero in
prediction, so that the frames of a clip depend on its responses only.

The default sizes are those of the proposal for a GPU (64 x 64 pixels); the preset ``small`` trains on one processor
core in minutes.

References
----------
Wang et al. (2022), f-CVGAN, Cerebral Cortex 32(20), 4502, bhab498 (abstract).
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mind_animator.config.base import Strict
from mind_animator.config.decoders import OptimisationConfig, ValidationConfig
from mind_animator.errors import InputError
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
    from torch import Tensor, nn

SMALL: dict[str, Any] = {
    "size": 32,
    "widths": (64, 32, 16, 8),
    "discriminator_width": 8,
    "ema": 0.98,
    "optimisation": {
        "learning_rate": 1e-3, "betas": (0.0, 0.9), "schedule": "cosine", "warm_up": 20, "batch": 32, "epochs": 6,
        "patience": 2,
    },
}  # fmt: skip


class Options(Strict):
    """Options of this method type. A given preset replaces the defaults, and single options replace the preset's.

    Attributes
    ----------
    preset : str
        ``full``: the defaults below; ``small``: for a processor core.
    size : int
        Height and width of the frames, pixels: 4 x 2 to the power of the number of blocks.
    widths : tuple of int
        Channels of the generator before each block and after the last. Each block doubles the resolution; the last
        three double the number of frames.
    discriminator_width : int
        Channels of the first layer of both discriminators; each of two further layers has twice as many.
    noise : int
        Length of the noise vector.
    adversarial, absolute_error, feature_matching : float
        Weights of the terms of the generator's loss. Frames are in [-1, 1].
    ema : float
        Fraction of the moving average that is kept per step.
    """

    preset: Literal["full", "small"] = "full"
    size: int = 64
    widths: tuple[int, ...] = Field((256, 128, 64, 32, 16), min_length=2)
    discriminator_width: int = Field(64, ge=1)
    noise: int = Field(32, ge=1)
    adversarial: float = Field(1.0, ge=0)
    absolute_error: float = Field(10.0, ge=0)
    feature_matching: float = Field(0.1, ge=0)
    ema: float = Field(0.999, ge=0, lt=1)
    validation: ValidationConfig = ValidationConfig()
    optimisation: OptimisationConfig = OptimisationConfig(
        learning_rate=2e-4, betas=(0.0, 0.9), batch=32, epochs=100, schedule="constant"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_preset(cls, values: Any) -> Any:
        return SMALL | values if isinstance(values, dict) and values.get("preset") == "small" else values

    @model_validator(mode="after")
    def _consistent(self) -> "Options":
        if self.size != (size := 4 * 2 ** (len(self.widths) - 1)):
            raise ValueError(f"size = {self.size}: must be {size} with {len(self.widths)} widths")
        return self


class Gan(Method):
    """Generator with a spatial and a temporal discriminator: a re-design after Wang et al. (2022)."""

    kind = "gan"
    Options = Options
    reconstruction: ClassVar = "own"
    parts = (Part("networks", needs=Needs(frames=True)),)
    needs = Needs(models=("clip",))

    def training_memory_mb(self, part: str, size: Size) -> int:
        frames = size.clips * size.frames * self.options.size**2 * 3
        return 2_500 + (2 * frames + 4 * self.weights_bytes(part, size)) // 10**6

    def weights_bytes(self, part: str, size: Size) -> int:
        """Of the layers next to the voxels: the generator's and its average, and two projections."""
        options = self.options
        return 30_000_000 + 4 * size.voxels * (2 * 16 * options.widths[0] + 8 * options.discriminator_width)

    @classmethod
    def train(cls, part: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        import numpy as np
        import torch

        from mind_animator.decoders.checkpoint import Checkpoint
        from mind_animator.decoders.fit import fit, split_clips
        from mind_animator.decoders.train import check_finite
        from mind_animator.methods._frames import read_frames

        options = Options.model_validate_json(settings)
        responses = data.responses[0].values
        check_finite([], [responses], {}, data.movies)
        rows, held_out = split_clips(data.movies, options.validation, job.seed)
        batches = {"responses": torch.from_numpy(responses), "frames": read_frames(data, options.size)}
        shapes = {"voxels": responses.shape[1], "frames": batches["frames"].shape[1]}
        interval = options.optimisation.checkpoint_interval
        with (
            torch.random.fork_rng(devices=()),
            Checkpoint(job.checkpoint, job.fingerprint, interval, job.device) as kept,
        ):
            torch.manual_seed(int(np.random.SeedSequence([job.seed, 1]).generate_state(1)[0]))
            networks = build_networks(options, **shapes)
            history = fit(
                networks, adversarial_loss(options), batches, rows, held_out, options.optimisation,
                seed=job.seed, device=job.device, checkpoint=kept, logs=job.logs,
            )  # fmt: skip
        weights = {name: tensor.detach().cpu() for name, tensor in networks["average"].state_dict().items()}
        record = {
            "part": part, "settings": options.model_dump(mode="json"), "shapes": shapes,
            "clips": {"fit": len(rows), "validation": len(held_out)},
            "parameters": sum(parameter.numel() for parameter in networks["generator"].parameters()),
            "history": history,
        }  # fmt: skip
        return Trained(weights, record)

    @classmethod
    def predict(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        """``semantic`` (clip, embedding): mean over frames of the CLIP embeddings of the reconstruction."""
        from mind_animator.methods._frames import embed_frames

        return {"semantic": embed_frames(decoded_frames(inputs, responses), inputs)}

    @classmethod
    def reconstruct(
        cls, settings: str, clips: Sequence[str], inputs: ReconstructionInputs
    ) -> "Iterator[tuple[str, np.ndarray | InputError]]":
        frames = decoded_frames(inputs.prediction, inputs.responses)
        yield from zip(inputs.responses.clips, frames, strict=True)


ENTRY = Gan


def build_networks(options: Options, voxels: int, frames: int) -> "nn.ModuleDict":
    """``generator``, its moving ``average``, and the discriminators ``spatial`` and ``temporal``."""
    from torch import nn

    generator = build_generator(options, voxels, frames)
    average = build_generator(options, voxels, frames)
    average.load_state_dict(generator.state_dict())
    width = options.discriminator_width

    def discriminator(layer: "type[nn.Module]", kernel: Any, stride: Any, padding: Any) -> "nn.ModuleDict":
        sizes = ((3, width), (width, 2 * width), (2 * width, 4 * width))
        return nn.ModuleDict({
            "layers": nn.ModuleList(layer(a, b, kernel, stride, padding) for a, b in sizes),
            "score": nn.Linear(4 * width, 1), "project": nn.Linear(voxels, 4 * width, bias=False),
        })  # fmt: skip

    return nn.ModuleDict({
        "generator": generator, "average": average,
        "spatial": discriminator(nn.Conv2d, 4, 2, 1),
        "temporal": discriminator(nn.Conv3d, (3, 4, 4), (1, 2, 2), 1),
    })  # fmt: skip


def build_generator(options: Options, voxels: int, frames: int) -> "nn.ModuleDict":
    """Responses and noise to maps of 4 x 4; blocks of upsampling and convolution over space and over time."""
    from torch import nn

    first, *later = options.widths
    blocks, width = [], first
    for number, after in enumerate(later):
        doubled = len(later) - number <= 3  # the number of frames: 1 until here, then 2, 4, 8
        blocks.append(nn.Sequential(
            nn.Upsample(scale_factor=(2 if doubled else 1, 2, 2)),
            nn.Conv3d(width, after, (1, 3, 3), padding=(0, 1, 1)),
            nn.Conv3d(after, after, (3, 1, 1), padding=(1, 0, 0)),
            nn.GroupNorm(max(1, after // 4), after), nn.ReLU(),
        ))  # fmt: skip
        width = after
    return nn.ModuleDict({
        "first": nn.Linear(voxels + options.noise, 16 * first),
        "blocks": nn.Sequential(*blocks),
        # to the number of frames of a clip, if it is not 8
        "last": nn.Sequential(nn.Upsample((frames, options.size, options.size)), nn.Conv3d(width, 3, 3, padding=1)),
    })  # fmt: skip


def generate(network: "nn.ModuleDict", responses: "Tensor", noise: "Tensor | None" = None) -> "Tensor":
    """Frames (clip, frame, 3, height, width) in [-1, 1]; zero noise by default."""
    import torch

    first = network["first"]
    if noise is None:
        noise = responses.new_zeros(len(responses), first.in_features - responses.shape[1])
    maps = first(torch.cat([responses, noise], dim=1)).unflatten(1, (-1, 1, 4, 4))
    return network["last"](network["blocks"](maps)).tanh().transpose(1, 2)


def discriminate(
    network: "nn.ModuleDict", images: "Tensor", responses: "Tensor"
) -> "tuple[Tensor, list[Tensor]]":
    """Scores (clip,) of images (clip, 3, ...) for responses, and the features of all layers."""
    from torch.nn.functional import conv2d, conv3d, leaky_relu, linear

    features, values = [], images
    for layer in network["layers"]:
        apply = conv3d if values.ndim == 5 else conv2d
        values = apply(values, _normalised(layer), layer.bias, layer.stride, layer.padding)
        features.append(values := leaky_relu(values, 0.2))
    pooled = values.flatten(2).mean(dim=2)
    condition = linear(responses, _normalised(network["project"]))
    score = linear(pooled, _normalised(network["score"]), network["score"].bias)[:, 0]
    return score + (pooled * condition).sum(dim=1), features


def _normalised(layer: "nn.Module") -> "Tensor":
    """Weights divided by their spectral norm, computed exactly, so that the weights are the only state."""
    import torch

    return layer.weight / torch.linalg.matrix_norm(layer.weight.flatten(1), 2)


def adversarial_loss(options: Options) -> Any:
    """Loss of both sides for a batch; without a generator of random numbers, the absolute error of the average."""
    import torch
    from torch.nn.functional import avg_pool3d, relu

    from mind_animator.methods._frames import as_images

    def loss(networks: Any, batch: "dict[str, Tensor]", rng: Any, epoch: int) -> "Tensor":
        true, responses = 2 * as_images(batch["frames"]) - 1, batch["responses"]
        if rng is None:
            return (generate(networks["average"], responses) - true).abs().mean()
        with torch.no_grad():
            pairs = zip(networks["average"].parameters(), networks["generator"].parameters(), strict=True)
            for average, parameter in pairs:
                average.lerp_(parameter, 1 - options.ema)
        clips = torch.arange(len(true), device=true.device)
        frame = torch.randint(true.shape[1], (len(true),), generator=rng, device=true.device)
        views = {
            "spatial": lambda frames: frames[clips, frame],
            "temporal": lambda frames: avg_pool3d(frames.transpose(1, 2), (1, 2, 2)),
        }
        noise = torch.randn(len(true), options.noise, generator=rng, device=true.device)
        made = generate(networks["generator"], responses, noise)
        total = options.absolute_error * (made - true).abs().mean()
        for name, view in views.items():
            discriminator = networks[name]
            real, features = discriminate(discriminator, view(true), responses)
            fake, _ = discriminate(discriminator, view(made.detach()), responses)
            total = total + relu(1 - real).mean() + relu(1 + fake).mean()
            discriminator.requires_grad_(False)  # the generator's loss does not reach the discriminator
            score, own = discriminate(discriminator, view(made), responses)
            discriminator.requires_grad_(True)
            matched = [(a - b.detach()).abs().mean() for a, b in zip(own, features, strict=True)]
            total = total - options.adversarial * score.mean()
            total = total + options.feature_matching * torch.stack(matched).mean()
        return total

    return loss


def decoded_frames(inputs: PredictionInputs, responses: Responses) -> "np.ndarray":
    """Frames (clip, frame, height, width, 3) uint8."""
    import torch
    from safetensors.torch import load_file

    from mind_animator.artefacts.files import read_json
    from mind_animator.methods._frames import BATCH, as_frames
    from mind_animator.models.embed import in_batches

    path = inputs.weights["networks"]
    record = read_json(path.with_suffix(".json"))
    network = build_generator(Options.model_validate(record["settings"]), **record["shapes"])
    network.load_state_dict(load_file(path))
    network.eval().to(inputs.device)
    with torch.inference_mode():
        made = in_batches(lambda part: generate(network, part.to(inputs.device)), responses.values, BATCH)
    return as_frames((made + 1) / 2)
