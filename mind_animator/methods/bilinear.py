"""Bilinear baseline: the change within a clip as products of decoded content and decoded velocity, in closed form.

Two ridge regressions. The first maps voxels to the principal components of the mean latent of a clip (content), to
the velocity of what moves in it (`moving_flow`) and to the text embedding; each target has its own penalty. The second
maps products of the first regression's out-of-fold predictions, content x velocity, to the deviation of every
frame from the mean latent. A linear map cannot express such a deviation: the same movement of another object has
another effect on the latents. The videos are the mean latent plus the deviation, passed through the VAE decoder.

The method is a baseline of this project; nothing in it is published. Both regressions select penalties by
leave-one-movie-out cross-validation on training movies.
"""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveFloat

from mind_animator.config.base import Strict
from mind_animator.methods.base import (
    Method,
    Needs,
    Part,
    PredictionInputs,
    Responses,
    Size,
    Trained,
    TrainingData,
    TrainingJob,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Options(Strict):
    """Options of this method type.

    Attributes
    ----------
    n_components : int
        Principal components of the mean latent of a clip that are decoded.
    n_products : int
        The first of these components, whose products with the velocity predict the change.
    alphas : tuple of float
        Penalties to try for every target, in units of the mean eigenvalue of the kernel.
    targets_per_batch : int
        Values of the change that are solved at once: limits the memory, does not change the result.
    """

    n_components: int = Field(512, ge=1)
    n_products: int = Field(64, ge=1)
    alphas: tuple[PositiveFloat, ...] = Field(
        (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5), min_length=1
    )
    targets_per_batch: int = Field(4096, ge=1)


class Bilinear(Method):
    """Ridge regression on products of decoded content and decoded velocity."""

    kind = "bilinear"
    Options = Options
    reconstruction: ClassVar = "vae"
    parts = (
        Part("semantic", needs=Needs(features={"clip_embedding_text": "text"})),
        Part("video", needs=Needs(features={"latents": "image"}), optional=True),
    )

    def prediction_settings(self) -> str:
        return "{}"

    def training_memory_mb(self, part: str, size: Size) -> int:
        """Latents and their change, four matrices (clip, clip), ten batches of targets."""
        latents = 4 * size.clips * size.latent
        batch = 4 * size.clips * min(self.options.targets_per_batch, size.latent)
        return round(1.15 * (450 + (4 * latents + 16 * size.clips**2 + 10 * batch) / 1e6))

    def weights_bytes(self, part: str, size: Size) -> int:
        if part == "semantic":
            return 4 * size.voxels * 512
        products = 2 * self.options.n_products + 2
        return 4 * (
            self.options.n_components * (size.voxels + size.latent // size.frames) + products * size.latent
        )

    @classmethod
    def train(cls, part: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        import torch

        from mind_animator.decoders.flow import moving_flow
        from mind_animator.decoders.ridge import principal_components, ridge_out_of_fold
        from mind_animator.decoders.train import check_finite

        options, responses = Options.model_validate_json(settings), data.responses[0].values
        check_finite(data.targets, [responses], data.targets, data.movies)
        voxels = torch.from_numpy(responses).to(job.device)
        if part == "semantic":
            target = torch.from_numpy(data.targets["clip_embedding_text"]).to(voxels)
            fit = ridge_out_of_fold(voxels, target, data.movies, options.alphas)
            return Trained({"weights": fit.weights.cpu(), "intercept": fit.intercept.cpu()}, {"history": []})
        latents = torch.from_numpy(data.targets["latents"]).to(voxels)
        mean = latents.mean(1)
        basis = principal_components(mean.flatten(1), options.n_components)
        scores, velocity = basis.project(mean.flatten(1)), moving_flow(latents, 1).flatten(1)
        fit = ridge_out_of_fold(voxels, torch.cat([scores, velocity], 1), data.movies, options.alphas)
        content, decoded = fit.out_of_fold[:, :-2], fit.out_of_fold[:, -2:]
        used = content[:, : options.n_products]
        scale = torch.stack([used.std(0).max(), decoded.std(0).max()]).clamp(min=torch.finfo(used.dtype).tiny)
        change = (latents - mean[:, None]).flatten(1)
        second, intercept, explained = _solve(products(used, decoded, scale), change, data.movies, options)
        weights = {
            "first.weights": fit.weights, "first.intercept": fit.intercept, "scale": scale,
            "basis.mean": basis.mean, "basis.components": basis.components,
            "second.weights": second, "second.intercept": intercept,
        }  # fmt: skip
        record = {
            "shape": list(latents.shape[1:]),
            "n_products": used.shape[1],
            "out_of_fold_r2_of_change": explained,
            "history": [],
        }
        return Trained({name: tensor.cpu() for name, tensor in weights.items()}, record)

    @classmethod
    def predict(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        import torch
        from safetensors.torch import load_file

        from mind_animator.artefacts.files import read_json

        voxels = torch.from_numpy(responses.values)
        semantic = load_file(inputs.weights["semantic"])
        out = {"semantic": voxels @ semantic["weights"] + semantic["intercept"]}
        if "video" in inputs.weights:
            record, w = (
                read_json(inputs.weights["video"].with_suffix(".json")),
                load_file(inputs.weights["video"]),
            )
            first = voxels @ w["first.weights"] + w["first.intercept"]
            content, velocity = first[:, :-2], first[:, -2:]
            features = products(content[:, : record["n_products"]], velocity, w["scale"])
            change = (features @ w["second.weights"] + w["second.intercept"]).unflatten(1, record["shape"])
            mean = (w["basis.mean"] + content @ w["basis.components"]).unflatten(1, record["shape"][1:])
            latents = mean[:, None] + change
            flow = velocity[:, :, None, None].expand(-1, -1, *record["shape"][2:])
            out |= {"structure": latents[:, 0], "latents": latents, "flow": flow}
        return {name: tensor.contiguous().numpy() for name, tensor in out.items()}


ENTRY = Bilinear


def products(content: "Tensor", velocity: "Tensor", scale: "Tensor") -> "Tensor":
    """Velocity and its products with the content (clip, 2 n + 2), for content (clip, n) and velocity (clip, 2), each
    divided by its scale."""
    import torch

    content, velocity = content / scale[0], velocity / scale[1]
    return torch.cat([velocity, (content[:, :, None] * velocity[:, None]).flatten(1)], 1)


def _solve(
    features: "Tensor", targets: "Tensor", movies: list[str], options: Options
) -> "tuple[Tensor, Tensor, float]":
    """Weights, intercept and the out-of-fold R2 of a ridge regression on few features, in batches of targets."""
    import torch

    from mind_animator.decoders.ridge import decompose_features, search_penalties, solve

    kernel, fits, error = decompose_features(features), [], 0.0
    for batch in targets.split(options.targets_per_batch, dim=1):
        *_, found = search_penalties(kernel, batch, movies, options.alphas)
        fit = solve(kernel, features, batch, found)
        fits.append((fit.weights, fit.intercept))
        error += float(found.error.sum())
    power = float(targets.square().sum())
    weights, intercept = (torch.cat(arrays, dim=-1) for arrays in zip(*fits, strict=True))
    return weights, intercept, 1 - error / power if power else 0.0
