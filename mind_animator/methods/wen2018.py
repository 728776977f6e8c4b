"""Linear decoding of features of a convolutional network, images, and categories (after Wen et al. 2018).

Published: features of AlexNet for all frames at 30 Hz, convolved with a haemodynamic response function and sampled
at every volume; standardised units; principal components; linear maps from voxels to the units of the first layer
(one model per kernel, stochastic gradient descent with an L1 penalty) and to the components of fc7 (ridge
regression); an image per volume from the estimated first-layer maps by a de-convolutional network; the category
from fc7 by the classifier's last layer. The published code is in the public domain (CC0 1.0).

Different or guessed here: features are means over the sampled frames of a clip, and the response of a clip is one
volume at a fixed lag; one space of principal components instead of 96 separate models; ridge regression for both
maps by default (``solver: published`` is the published optimiser); a learnt decoder from components to pixels,
since the published code does not contain the de-convolutional network; penalties are selected by whole training
movies. A linear map from fc7 to text embeddings, fitted on training clips, is added for retrieval.

Known faults of the published code that are left out: the refit with the last instead of the selected penalty, folds
that cut movies, an L1 step that moves weights of exactly zero, a bias that is never used (data are centred here).

The reconstruction is one image per clip, as published; ``images: frame`` gives one per sampled frame.

References
----------
Wen, Shi, Zhang, Lu, Cao & Liu (2018), "Neural encoding and decoding with deep learning for dynamic natural vision",
Cerebral Cortex 28.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from mind_animator.config.base import Strict
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

# The published optimiser: passes, batch, momentum (first, last, passes of increase), step (first, factor per pass,
# least), input dropout, sd of the first weights.
_PASSES, _BATCH, _MOMENTUM, _STEP, _DROPOUT, _SD = 50, 100, (0.5, 0.9, 20), (5e-4, 0.96, 1e-4), 0.3, 0.01


class Options(Strict):
    """Options of this method type.

    Attributes
    ----------
    images : str
        ``clip``: one image per clip; ``frame``: one per sampled frame (requires
        ``features.options.classifier.per_frame``).
    solver : str
        Of the map to the first layer. ``ridge``: ridge regression, one penalty per component; ``published``: stochastic
        gradient descent with an L1 penalty.
    n_components : int
        Maximum number of principal components per layer.
    variance : float
        Fraction of the variance that the components explain, unless there are more than ``n_components``.
    alphas : tuple of float
        Penalties of the ridge regression to try, in units of the mean eigenvalue of the kernel.
    l1 : tuple of float
        L1 penalties of the published optimiser to try.
    channels : tuple of int
        Channels of the decoder: the side of its 8 x 8 input doubles after each but the first.
    epochs, batch_size : int
        Training of the decoder.
    learning_rate : float
        Of Adam, for the decoder.
    """

    images: Literal["clip", "frame"] = "clip"
    solver: Literal["ridge", "published"] = "ridge"
    n_components: int = Field(1024, ge=1)
    variance: float = Field(0.99, gt=0, le=1)
    alphas: tuple[PositiveFloat, ...] = Field(
        (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4), min_length=1
    )
    l1: tuple[NonNegativeFloat, ...] = Field((0.01, 0.05, 0.1), min_length=1)
    channels: tuple[int, ...] = Field((128, 64, 32, 16), min_length=2)
    epochs: int = Field(30, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: PositiveFloat = 1e-3


class Wen2018(Method):
    """Principal components of a classifier's layers, linear maps, and a decoder to pixels."""

    kind = "wen2018"
    Options = Options
    reconstruction: ClassVar = "own"

    @property
    def early(self) -> str:
        """The array of the first layer."""
        return "early_map_frames" if self.options.images == "frame" else "early_map"

    @property
    def parts(self) -> tuple[Part, ...]:
        early = {self.early: "classifier"}
        deep = {"deep_layer": "classifier", "class_scores": "classifier", "clip_embedding_text": "text"}
        return (
            Part("decoder", trained_on="all", needs=Needs(features=early, frames=True)),
            Part("first_layer", after=("decoder",), needs=Needs(features=early)),
            Part("semantic", needs=Needs(features=deep)),
        )

    def training_memory_mb(self, part: str, size: Size) -> int:
        """Maps of at most 46,656 units and their standardised copies; the images of the decoder."""
        images = size.frames if self.options.images == "frame" else 1
        maps = 4 * size.clips * 46_656 * images
        return round(2_000 + (4 * maps + 16 * size.clips**2 + 24 * size.clips * images * 64**2 * 3) / 1e6)

    def weights_bytes(self, part: str, size: Size) -> int:
        images = size.frames if self.options.images == "frame" else 1
        count = min(self.options.n_components, size.clips)
        units = {"decoder": 46_656 + 64 * self.options.channels[0], "first_layer": size.voxels * images}
        return 4 * count * units.get(part, size.voxels + 4096 + 1000)

    @classmethod
    def train(cls, part: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        steps = {"decoder": _train_decoder, "first_layer": _train_first_layer, "semantic": _train_semantic}
        return steps[part](Options.model_validate_json(settings), data, job)

    @classmethod
    def predict(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        """``semantic`` (clip, embedding), ``class_scores`` (clip, class), ``first_layer`` (clip, image, component)."""
        import torch
        from safetensors.torch import load_file

        voxels = torch.from_numpy(responses.values)
        deep, first = load_file(inputs.weights["semantic"]), load_file(inputs.weights["first_layer"])
        layer = (voxels @ deep["weights"] + deep["intercept"]) @ deep["components"]
        read = layer @ deep["readout"] + deep["readout_intercept"]
        classes = int(deep["classes"])
        scores = (voxels @ first["weights"] + first["intercept"]).unflatten(1, (int(first["images"]), -1))
        out = {"semantic": read[:, classes:], "class_scores": read[:, :classes], "first_layer": scores}
        return {name: tensor.contiguous().numpy() for name, tensor in out.items()}

    @classmethod
    def reconstruct(
        cls, settings: str, clips: Sequence[str], inputs: ReconstructionInputs
    ) -> "Iterator[tuple[str, np.ndarray]]":
        import torch
        from safetensors.torch import load_file

        options, weights = (
            Options.model_validate_json(settings),
            load_file(inputs.prediction.weights["decoder"]),
        )
        network = build_decoder(len(weights["components"]), options.channels)
        network.load_state_dict(
            {k.removeprefix("net."): v for k, v in weights.items() if k.startswith("net.")}
        )
        network.eval()
        for clip, scores in zip(clips, inputs.predictions["first_layer"], strict=True):
            with torch.no_grad():
                images = network(torch.from_numpy(scores) / weights["score_scale"])
            yield clip, (255 * images).round().clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).numpy()


ENTRY = Wen2018


def build_decoder(components: int, channels: Sequence[int]) -> "nn.Module":
    """A network from scores (image, component) to images (image, 3, side, side) in [0, 1]; side = 8 x 2^(n - 1) for n
    channels."""
    from torch import nn

    layers: list[nn.Module] = [nn.Linear(components, channels[0] * 64), nn.Unflatten(1, (channels[0], 8, 8))]
    for before, after in pairwise(channels):
        layers += [nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(channels[-1], 3, 3, padding=1), nn.Sigmoid())


def _early(data: TrainingData, device: str) -> "Tensor":
    """Maps of the first layer (clip, image, unit)."""
    import torch

    from mind_animator.decoders.train import check_finite

    check_finite(data.targets, [own.values for own in data.responses], data.targets, data.movies)
    name = next(name for name in data.targets if name.startswith("early_map"))
    maps = torch.from_numpy(data.targets[name])
    maps = maps[:, None] if name == "early_map" else maps
    return maps.flatten(2).to(device)


def _components(target: "Tensor", options: Options) -> "Tensor":
    """Principal components (component, unit) of standardised units (clip, unit)."""
    from mind_animator.decoders.ridge import principal_components

    basis = principal_components(target, options.n_components)
    explained = basis.project(target).square().sum(0) / target.square().sum()
    kept = int((explained.cumsum(0) < options.variance).sum()) + 1
    return basis.components[:kept]


def _train_decoder(options: Options, data: TrainingData, job: TrainingJob) -> Trained:
    """Standardisation and components of the first layer, and the decoder from components to pixels."""
    import numpy as np
    import torch
    from torch.nn import functional

    from mind_animator.video.decode import resize_frame

    maps = _early(data, job.device)
    mean, scale = maps.mean((0, 1)), maps.std((0, 1)).clamp(min=1e-6)
    standard = (maps - mean) / scale
    components = _components(standard.mean(1), options)
    scores = (standard @ components.T).flatten(0, 1)
    score_scale = scores.std(0).max()
    side, per_clip = 8 * 2 ** (len(options.channels) - 1), maps.shape[1]
    images = np.empty((len(data.clips), per_clip, side, side, 3), np.uint8)
    for row, clip in enumerate(data.clips):
        frames = data.frames.read(clip, "frames")
        shown = frames if per_clip > 1 else np.rint(frames.mean(0, keepdims=True)).astype(np.uint8)
        images[row] = [resize_frame(frame, side) for frame in shown]
    targets = torch.from_numpy(images).flatten(0, 1).permute(0, 3, 1, 2)
    generator = torch.Generator().manual_seed(job.seed)
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        network = build_decoder(len(components), options.channels).to(job.device)
    optimiser = torch.optim.Adam(network.parameters(), options.learning_rate)
    steps = options.epochs * -(-len(targets) // options.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.learning_rate, max(2, steps))
    errors = []
    for _ in range(options.epochs):
        total = 0.0
        for rows in torch.randperm(len(targets), generator=generator).split(options.batch_size):
            shown = targets[rows].to(job.device).float() / 255
            loss = functional.mse_loss(network(scores[rows.to(job.device)] / score_scale), shown)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        errors.append(total / len(targets))
    weights = {"mean": mean, "scale": scale, "components": components, "score_scale": score_scale}
    weights |= {f"net.{name}": tensor for name, tensor in network.state_dict().items()}
    record = {
        "components": len(components),
        "mean_squared_error_by_epoch": errors,
        "history": [],
    }
    return Trained({name: tensor.cpu() for name, tensor in weights.items()}, record)


def _train_first_layer(options: Options, data: TrainingData, job: TrainingJob) -> Trained:
    """Linear map from voxels to the components of the first layer."""
    import torch
    from safetensors.torch import load_file

    from mind_animator.decoders.ridge import ridge_out_of_fold

    basis = load_file(data.weights["decoder"], device=job.device)
    scores = ((_early(data, job.device) - basis["mean"]) / basis["scale"]) @ basis["components"].T
    voxels, target = torch.from_numpy(data.responses[0].values).to(job.device), scores.flatten(1)
    if options.solver == "ridge":
        fit = ridge_out_of_fold(voxels, target, data.movies, options.alphas)
        slope, intercept, record = fit.weights, fit.intercept, {}
    else:
        penalty, by_penalty = _choose_l1(voxels, target, data.movies, options, job.seed)
        slope, intercept = published_solver(voxels, target, penalty, job.seed)
        record = {"l1": penalty, "correlation_by_l1": by_penalty}
    weights = {"weights": slope, "intercept": intercept, "images": torch.tensor(scores.shape[1])}
    return Trained({name: tensor.cpu() for name, tensor in weights.items()}, {**record, "history": []})


def _train_semantic(options: Options, data: TrainingData, job: TrainingJob) -> Trained:
    """Linear map from voxels to the components of the deepest layer, and from that layer to classes and text."""
    import torch

    from mind_animator.decoders.ridge import ridge_out_of_fold
    from mind_animator.decoders.train import check_finite

    check_finite(data.targets, [data.responses[0].values], data.targets, data.movies)
    voxels, layer, scores, text = (
        torch.from_numpy(array).to(job.device)
        for array in (
            data.responses[0].values, data.targets["deep_layer"], data.targets["class_scores"],
            data.targets["clip_embedding_text"],
        )
    )  # fmt: skip
    mean, scale = layer.mean(0), layer.std(0).clamp(min=1e-6)
    components = _components((layer - mean) / scale, options)
    fit = ridge_out_of_fold(voxels, (layer - mean) / scale @ components.T, data.movies, options.alphas)
    # the classifier's own last layer is linear; that to the text is regularised
    low = (1e-6, 1e-4, 1e-2, *options.alphas)
    read = ridge_out_of_fold((layer - mean) / scale, torch.cat([scores, text], 1), data.movies, low)
    weights = {
        "weights": fit.weights, "intercept": fit.intercept, "components": components, "readout": read.weights,
        "readout_intercept": read.intercept, "classes": torch.tensor(scores.shape[1]),
    }  # fmt: skip
    return Trained({name: tensor.cpu() for name, tensor in weights.items()}, {"history": []})


def _choose_l1(
    voxels: "Tensor", target: "Tensor", movies: Sequence[str], options: Options, seed: int
) -> tuple[float, dict[str, float]]:
    """The L1 penalty with the best mean correlation over two groups of left-out movies."""
    import numpy as np
    import torch

    if len(options.l1) == 1:
        return options.l1[0], {}
    names = np.unique(movies)
    later = torch.as_tensor(np.isin(movies, names[len(names) // 2 :]), device=voxels.device)
    found = {}
    for penalty in options.l1:
        own = []
        for fit, left in ((later, ~later), (~later, later)):
            slope, intercept = published_solver(voxels[fit], target[fit], penalty, seed)
            predicted, ground_truth = voxels[left] @ slope + intercept, target[left]
            predicted, ground_truth = predicted - predicted.mean(0), ground_truth - ground_truth.mean(0)
            own.append(
                (predicted * ground_truth).sum(0)
                / (predicted.norm(dim=0) * ground_truth.norm(dim=0)).clamp(min=1e-12)
            )
        found[penalty] = float(torch.cat(own).mean())
    return max(found, key=found.get), {f"{penalty:g}": value for penalty, value in found.items()}


def published_solver(
    voxels: "Tensor", target: "Tensor", penalty: float, seed: int
) -> "tuple[Tensor, Tensor]":
    """Weights (voxel, target) and intercept of a linear map by the published optimiser, on standardised targets.

    Gradient descent with momentum m on the mean squared error plus the L1 norm: update = m x last + (1 - m) x step x
    gradient, inputs dropped without rescaling.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    centre, mean, scale = voxels.mean(0), target.mean(0), target.std(0).clamp(min=1e-12)
    inputs, required = voxels - centre, (target - mean) / scale
    weights = (torch.randn(inputs.shape[1], required.shape[1], generator=generator) * _SD).to(inputs)
    update = torch.zeros_like(weights)
    first, last, rising = _MOMENTUM
    batches = -(-len(inputs) // _BATCH)
    for done in range(_PASSES * batches):
        if done % batches == 0:
            order = torch.randperm(len(inputs), generator=generator).split(_BATCH)
        rows = order[done % batches].to(inputs.device)
        momentum = min(last, first + (last - first) * done / (rising * batches))
        step = max(_STEP[2], _STEP[0] * _STEP[1] ** (done // batches))
        kept = torch.rand(len(rows), inputs.shape[1], generator=generator).to(inputs.device) >= _DROPOUT
        shown = inputs[rows] * kept
        gradient = shown.T @ (shown @ weights - required[rows]) / len(rows) + penalty * weights.sign()
        update = momentum * update + (1 - momentum) * step * gradient
        weights = weights - update
    # in training, a fraction of the inputs was missing
    weights = weights * (1 - _DROPOUT) * scale
    return weights, mean - centre @ weights
