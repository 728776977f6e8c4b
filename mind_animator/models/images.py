"""Image preprocessing: uint8 frames are resized and normalised to the input of a network, on any device.

The image processors of transformers use Pillow for one image at a time. Here a batch is resized by the
antialiased interpolation of torch, which has the same kernels as Pillow (bicubic with a = -0.5), first along
the rows and then along the columns, with rounding to bytes after each pass as in Pillow. The results differ
by at most two grey levels, and by .1 of a level on average.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mind_animator.errors import InputError

# mean and standard deviation of the images that OpenAI's CLIP models were trained on
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
_FILTERS = {2: "bilinear", 3: "bicubic"}  # constants of Pillow


@dataclass(frozen=True)
class ImageRecipe:
    """Image preprocessing of a model.

    Attributes
    ----------
    height, width : int
        Size of the resized image; with ``shortest_edge`` both are the length of the shorter edge.
    shortest_edge : bool
        Whether the aspect ratio is kept and the shorter edge is resized to ``height``.
    crop : tuple of int, optional
        Height and width of the centre crop after resizing.
    filter : str
        ``bilinear`` or ``bicubic``, antialiased.
    mean, std : tuple of float
        Mean and standard deviation per channel, for values in [0, 1].
    """

    height: int
    width: int
    shortest_edge: bool = False
    crop: tuple[int, int] | None = None
    filter: str = "bicubic"
    mean: tuple[float, ...] = OPENAI_MEAN
    std: tuple[float, ...] = OPENAI_STD


def read_recipe(folder: Path | str) -> ImageRecipe:
    """Read the ``preprocessor_config.json`` of a model (or the image part of ``processor_config.json``)."""
    folder = Path(folder)
    values: dict[str, Any] | None = None
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            path = folder / name
            try:
                values = json.loads(path.read_text())
            except json.JSONDecodeError as error:
                raise InputError(f"Expected JSON in {path}, got {error}.") from None
            values = values.get("image_processor") or values.get("video_processor") or values
            break
    if values is None:
        raise InputError(f"Expected preprocessor_config.json in the model folder {folder}, found none.")
    try:
        return _recipe(values)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"Expected size, resample, image_mean and image_std in {path}, got a fault at {error}."
        ) from None


def _recipe(values: dict[str, Any]) -> ImageRecipe:
    size, crop = values["size"], None
    # a single number is the shortest edge if a crop follows, otherwise the edge of a square
    crops = values.get("do_center_crop", False)
    if isinstance(size, int):
        size = {"shortest_edge": size} if crops else {"height": size, "width": size}
    shortest = "shortest_edge" in size
    height, width = (size["shortest_edge"],) * 2 if shortest else (size["height"], size["width"])
    if crops:
        crop = values.get("crop_size", {"height": height, "width": width})
        crop = (crop, crop) if isinstance(crop, int) else (crop["height"], crop["width"])
    mean, std = tuple(values["image_mean"]), tuple(values["image_std"])
    if len(mean) != 3 or len(std) != 3 or values.get("rescale_factor", 1 / 255) != 1 / 255:
        raise ValueError("image_mean, image_std or rescale_factor")
    return ImageRecipe(height, width, shortest, crop, _FILTERS[values.get("resample", 3)], mean, std)


def prepare_images(frames: Tensor, recipe: ImageRecipe) -> Tensor:
    """Resize, crop and normalise images according to the recipe of a model.

    Parameters
    ----------
    frames : Tensor of shape (image, height, width, 3), uint8
        RGB, on the device of the model.
    recipe : ImageRecipe

    Returns
    -------
    Tensor of shape (image, 3, recipe height, recipe width), float32
        ``(value / 255 - mean) / std``.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
        raise ValueError(
            f"Expected frames (image, height, width, 3) uint8, got {tuple(frames.shape)} {frames.dtype}."
        )
    images = frames.permute(0, 3, 1, 2).float()
    height, width = _target_size(frames.shape[1], frames.shape[2], recipe)
    # two passes with rounding to bytes, as in Pillow
    for size in ((images.shape[2], width), (height, width)):
        if size != tuple(images.shape[2:]):
            images = functional.interpolate(
                images, size, mode=recipe.filter, align_corners=False, antialias=True
            )
            images = images.round_().clamp_(0, 255)
    if recipe.crop is not None:
        images = _centre_crop(images, *recipe.crop)
    mean = torch.tensor(recipe.mean, device=frames.device).view(1, 3, 1, 1)
    std = torch.tensor(recipe.std, device=frames.device).view(1, 3, 1, 1)
    return (images / 255 - mean) / std


def _target_size(height: int, width: int, recipe: ImageRecipe) -> tuple[int, int]:
    if not recipe.shortest_edge:
        return recipe.height, recipe.width
    if height <= width:
        return recipe.height, int(recipe.height * width / height)
    return int(recipe.height * height / width), recipe.height


def _centre_crop(images: Tensor, height: int, width: int) -> Tensor:
    """Centre crop; smaller images are padded with black."""
    above = max(height - images.shape[2], 0)
    beside = max(width - images.shape[3], 0)
    if above or beside:
        borders = (beside // 2, beside - beside // 2, above // 2, above - above // 2)
        images = functional.pad(images, borders)
    top = (images.shape[2] - height) // 2
    left = (images.shape[3] - width) // 2
    return images[:, :, top : top + height, left : left + width]
