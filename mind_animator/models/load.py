"""Strict loading of the frozen networks, in evaluation mode and without gradients, on the given device.

Every ``load_*`` takes the same arguments: ``model_id_or_path`` (a local folder or an id on the hub), ``lock`` (the
lock file; see `mind_animator.models.hub`), ``device`` and ``dtype``. Nothing here opens a network
connection. A weight that is missing or has another shape is an `InputError`; a weight that the network does
not use is named on stderr.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, TypeVar, Unpack

import torch
from safetensors import SafetensorError
from torch import nn

from mind_animator.device import NO_CUDA
from mind_animator.errors import InputError
from mind_animator.models.hub import Located, locate
from mind_animator.models.images import ImageRecipe, read_recipe
from mind_animator.models.vificlip import ViFiClipImageEncoder, build_encoder, read_checkpoint

Device = torch.device | str
ModelPath = str | Path
Network = TypeVar("Network", bound=nn.Module)


class Clip(NamedTuple):
    """A CLIPModel, its tokenizer and its image preprocessing."""

    model: Any
    tokenizer: Any
    recipe: ImageRecipe


class Blip2(NamedTuple):
    """A Blip2ForConditionalGeneration, its tokenizer and its image preprocessing."""

    model: Any
    tokenizer: Any
    recipe: ImageRecipe


class TextEncoder(NamedTuple):
    """A CLIPTextModel and its tokenizer."""

    model: Any
    tokenizer: Any


class Generator(NamedTuple):
    """A stock UNet2DConditionModel and its DDIMScheduler."""

    unet: Any
    scheduler: Any


class Classifier(NamedTuple):
    """A classifier of images (ViT) or of clips (VideoMAE) and its image preprocessing."""

    model: Any
    recipe: ImageRecipe


class ViFiClip(NamedTuple):
    """The image encoder of ViFi-CLIP and its image preprocessing."""

    model: ViFiClipImageEncoder
    recipe: ImageRecipe


def torch_device(name: str) -> tuple[torch.device, torch.dtype]:
    """The device requested by a config, and the data type of the weights of large networks on it.

    Raises
    ------
    InputError
        If ``cuda`` is requested and not available.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(NO_CUDA)
    return torch.device(name), torch.bfloat16 if name == "cuda" else torch.float32


def network_dtype(precision: str, device: str) -> torch.dtype:
    """Data type of a frozen network: ``auto`` is float32 on a CPU and float16 on CUDA."""
    if precision == "auto":
        precision = "float32" if device == "cpu" else "float16"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


class Where(TypedDict, total=False):
    """Placement of a network: ``device`` (by default the CPU) and ``dtype`` of its weights (by default float32)."""

    device: Device
    dtype: torch.dtype


def load_clip(model_id_or_path: ModelPath, lock: ModelPath | None = None, **where: Unpack[Where]) -> Clip:
    """Load a CLIP model (both towers) with its tokenizer."""
    found = locate(model_id_or_path, lock)
    return Clip(_transformer("CLIPModel", found, **where), _tokenizer(found), read_recipe(found.folder))


def load_blip2(model_id_or_path: ModelPath, lock: ModelPath | None = None, **where: Unpack[Where]) -> Blip2:
    """Load a BLIP-2 captioner with its tokenizer."""
    found = locate(model_id_or_path, lock)
    model = _transformer("Blip2ForConditionalGeneration", found, **where)
    return Blip2(model, _tokenizer(found), read_recipe(found.folder))


def load_vae(model_id_or_path: ModelPath, lock: ModelPath | None = None, **where: Unpack[Where]) -> Any:
    """Load the AutoencoderKL of a Stable Diffusion folder (``vae/``)."""
    return _diffuser("AutoencoderKL", locate_part(model_id_or_path, lock, "vae"), **where)


def load_text_encoder(
    model_id_or_path: ModelPath, lock: ModelPath | None = None, **where: Unpack[Where]
) -> TextEncoder:
    """Load CLIPTextModel (``text_encoder/``) and tokenizer (``tokenizer/``) of a Stable Diffusion folder."""
    model = _transformer("CLIPTextModel", locate_part(model_id_or_path, lock, "text_encoder"), **where)
    return TextEncoder(model, _tokenizer(locate_part(model_id_or_path, lock, "tokenizer")))


def load_unet_and_scheduler(
    model_id_or_path: ModelPath, lock: ModelPath | None = None, **where: Unpack[Where]
) -> Generator:
    """Load the UNet2DConditionModel (``unet/``) and a DDIMScheduler with the settings of ``scheduler/``."""
    from diffusers import DDIMScheduler

    unet = _diffuser("UNet2DConditionModel", locate_part(model_id_or_path, lock, "unet"), **where)
    scheduler = locate_part(model_id_or_path, lock, "scheduler")
    return Generator(unet, DDIMScheduler.from_pretrained(str(scheduler.folder), local_files_only=True))


def load_motion_adapter(
    model_id_or_path: ModelPath, lock: ModelPath | None = None, **where: Unpack[Where]
) -> Any:
    """Load a MotionAdapter: motion modules for the UNet of a Stable Diffusion folder."""
    return _diffuser("MotionAdapter", locate(model_id_or_path, lock), **where)


def load_vit(
    model_id_or_path: ModelPath, lock: ModelPath | None = None, **where: Unpack[Where]
) -> Classifier:
    """Load a ViTForImageClassification."""
    found = locate(model_id_or_path, lock)
    model = _transformer("ViTForImageClassification", found, **where)
    return Classifier(model, read_recipe(found.folder))


def load_videomae(
    model_id_or_path: ModelPath, lock: ModelPath | None = None, **where: Unpack[Where]
) -> Classifier:
    """Load a VideoMAEForVideoClassification; its input has shape (clip, frame, 3, height, width)."""
    found = locate(model_id_or_path, lock)
    model = _transformer("VideoMAEForVideoClassification", found, **where)
    return Classifier(model, read_recipe(found.folder))


def load_image_encoder(
    model_id_or_path: ModelPath, lock: ModelPath | None = None, **where: Unpack[Where]
) -> Classifier:
    """Load an image encoder of transformers, of the class named in its config (e.g. Dinov2Model)."""
    found = locate(model_id_or_path, lock)
    return Classifier(_transformer("AutoModel", found, **where), read_recipe(found.folder))


def load_vificlip(
    model_id_or_path: ModelPath, lock: ModelPath | None = None, **where: Unpack[Where]
) -> ViFiClip:
    """Load the image encoder of ViFi-CLIP from a folder with one weight file, or from the published ``.pth`` file.

    Images are preprocessed as for CLIP (bicubic, shorter edge resized to the input size, centre crop, mean and standard
    deviation of OpenAI) unless a ``preprocessor_config.json`` is in the folder of the weights.
    """
    found = locate(model_id_or_path, lock)
    if len(found.weights) != 1:
        raise InputError(f"Expected one weight file in {found.folder}, got {list(found.weights)}.")
    path = found.folder / found.weights[0]
    encoder = build_encoder(read_checkpoint(path), path)
    recipe = ImageRecipe(encoder.size, encoder.size, shortest_edge=True, crop=(encoder.size, encoder.size))
    if "preprocessor_config.json" in found.files:
        recipe = read_recipe(found.folder)
    return ViFiClip(
        _frozen(encoder.to(where.get("device", "cpu"), where.get("dtype", torch.float32))), recipe
    )


def locate_part(model_id_or_path: ModelPath, lock: ModelPath | None, part: str) -> Located:
    """Find and verify one network of a diffusers folder; only the files of this part are hashed."""
    return locate(model_id_or_path, lock, part).sub(part)


def _transformer(
    kind: str, found: Located, device: Device = "cpu", dtype: torch.dtype = torch.float32
) -> Any:
    """A class of transformers by its name; it is imported on use, because the import takes seconds."""
    import transformers

    return _load(getattr(transformers, kind), found, device, dtype=dtype)


def _diffuser(kind: str, found: Located, device: Device = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    """A class of diffusers, by its name."""
    import diffusers

    return _load(getattr(diffusers, kind), found, device, torch_dtype=dtype, low_cpu_mem_usage=False)


def _load(kind: Any, found: Located, device: Device, **options: Any) -> Any:
    try:
        model, info = kind.from_pretrained(
            str(found.folder), local_files_only=True, output_loading_info=True, use_safetensors=_safe(found),
            **options,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise InputError(f"Expected a model that loads from {found.folder}, got: {error}") from error
    for fault in ("missing_keys", "mismatched_keys", "error_msgs"):
        if info[fault]:
            raise InputError(
                f"Expected every weight of {type(model).__name__} in {found.folder}, "
                f"got {fault.replace('_', ' ')} {sorted(map(str, info[fault]))[:3]}."
            )
    if info["unexpected_keys"]:
        unused = sorted(info["unexpected_keys"])
        print(f"{found.folder}: {len(unused)} weights are not used, e.g. {unused[:3]}", file=sys.stderr)
    return _frozen(model.to(device))


def _safe(found: Located) -> bool:
    return any(name.endswith(".safetensors") for name in found.weights)


def _tokenizer(found: Located) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(found.folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"Expected a tokenizer in {found.folder}, got: {error}") from None


def _frozen(model: Network) -> Network:
    return model.requires_grad_(False).eval()
