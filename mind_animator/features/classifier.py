"""Layers of a frozen image classifier: a map of an early layer, the deepest hidden layer, and the class scores.

``network: vit`` is the classifier ``models.vit``: the early map is its patch embedding, the deepest layer the input
of its head. ``network: alexnet`` is torchvision's AlexNet, whose weights (``models.alexnet``, a folder with one
``.safetensors`` or ``.pth`` file) the user provides: the early map is log(1 + conv1 after rectification), the
deepest layer fc7. Wen et al. (2018) used the AlexNet of Caffe.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from mind_animator.config.base import Strict
from mind_animator.config.models import ModelsConfig
from mind_animator.errors import InputError
from mind_animator.features.base import Provider

if TYPE_CHECKING:
    from torch import Tensor


class Options(Strict):
    """The classifier and its early map.

    Attributes
    ----------
    network : str
        ``vit`` or ``alexnet``.
    grid : int
        Maximum height and width of the early map; larger maps are averaged.
    per_frame : bool
        Also compute the early map of each frame.
    """

    network: Literal["vit", "alexnet"] = "vit"
    grid: int = Field(27, ge=1)
    per_frame: bool = False


class Classifier(Provider):
    """Means over the frames of a clip: ``early_map`` (channel, row, column), ``deep_layer`` (unit,) and
    ``class_scores`` (class,); with ``per_frame`` also ``early_map_frames`` (frame, channel, row, column)."""

    kind = "classifier"
    source = "frames"
    Options: ClassVar = Options

    @property
    def models(self) -> tuple[str, ...]:
        return (self.options.network,)

    def arrays(self) -> tuple[str, ...]:
        single = ("early_map_frames",) if self.options.per_frame else ()
        return ("early_map", "deep_layer", "class_scores", *single)

    @classmethod
    def compute(
        cls,
        settings: str,
        clips: Iterable[tuple[str, np.ndarray]],
        models: ModelsConfig,
        *,
        seed: int,
        device: str,
        notes: dict[str, str],
    ) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
        import torch
        from torch.nn import functional

        options = Options.model_validate_json(settings)
        network = (_vit if options.network == "vit" else _alexnet)(models, device)
        for clip, frames in clips:
            with torch.no_grad():
                early, deep, scores = network(torch.from_numpy(frames).to(device))
                if early.shape[-1] > options.grid:
                    early = functional.adaptive_avg_pool2d(early, options.grid)
            arrays = {"early_map": early.mean(0), "deep_layer": deep.mean(0), "class_scores": scores.mean(0)}
            if options.per_frame:
                arrays["early_map_frames"] = early
            yield clip, {name: array.float().cpu().numpy() for name, array in arrays.items()}


ENTRY = Classifier


def _vit(models: ModelsConfig, device: str) -> "Callable[[Tensor], tuple[Tensor, ...]]":
    from mind_animator.models.images import prepare_images
    from mind_animator.models.load import load_vit

    found = load_vit(models.vit, models.lock, device=device)
    vit = found.model.vit

    def network(frames: "Tensor") -> "tuple[Tensor, ...]":
        images = prepare_images(frames, found.recipe)
        early = vit.embeddings.patch_embeddings.projection(images)
        deep = vit(pixel_values=images).last_hidden_state[:, 0]
        return early, deep, found.model.classifier(deep)

    return network


def _alexnet(models: ModelsConfig, device: str) -> "Callable[[Tensor], tuple[Tensor, ...]]":
    import torch
    from safetensors.torch import load_file

    from mind_animator.models.hub import locate
    from mind_animator.models.images import ImageRecipe, prepare_images

    found = locate(models.alexnet, models.lock)
    if len(found.weights) != 1:
        raise InputError(f"Expected one weight file in {found.folder}, got {list(found.weights)}.")
    path, model = found.folder / found.weights[0], alexnet()
    try:
        safe = path.suffix == ".safetensors"
        weights = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(weights)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"Expected the weights of torchvision's AlexNet in {path}, got: {reason}") from None
    model = model.eval().requires_grad_(False).to(device)
    recipe = ImageRecipe(256, 256, True, (224, 224), "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

    def network(frames: "Tensor") -> "tuple[Tensor, ...]":
        conv1 = model.features[:2](prepare_images(frames, recipe))
        pooled = model.avgpool(model.features[2:](conv1)).flatten(1)
        fc7 = model.classifier[:6](pooled)
        return conv1.log1p(), fc7, model.classifier[6](fc7)

    return network


def alexnet(classes: int = 1000) -> "torch.nn.Module":  # noqa: F821
    """AlexNet with the layers and parameter names of torchvision (Krizhevsky 2014, "One weird trick for parallelizing
    convolutional neural networks"); 61,100,840 parameters with 1,000 classes."""
    from torch import nn

    model = nn.Module()
    model.features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    model.avgpool = nn.AdaptiveAvgPool2d(6)
    model.classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(256 * 36, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, classes),
    )  # fmt: skip
    return model
