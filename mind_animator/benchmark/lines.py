"""What is measured: one function per stage of the workflow that uses the GPU, and per numerical comparison.

A line that measures speed returns `Work`: a function to repeat, and what one call of it does. A line that compares
returns its result.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mind_animator.benchmark.shapes import Shapes, build, build_transformer, build_unet, build_vae
from mind_animator.config.decoders import CONFIGS, decoder_settings, needed_targets
from mind_animator.device import matrix_precision
from mind_animator.diffusion.inflate import VideoUNet
from mind_animator.diffusion.memory import resolve_clips_per_batch
from mind_animator.models.latents import decode_latents, encode_latents
from mind_animator.models.load import load_unet_and_scheduler, load_vae

PRECISIONS = {
    "float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
}  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """Where and at which sizes everything is measured.

    Attributes
    ----------
    device : str
    shapes : Shapes
    stable_diffusion : str, optional
        Id or folder of real weights for UNet and VAE; random weights by default, which have the same speed.
    lock : str, optional
        Lock file of models.
    """

    device: str
    shapes: Shapes
    stable_diffusion: str | None = None
    lock: str | None = None

    @property
    def half(self) -> str:
        """Precision of frozen networks: half precision on a GPU."""
        return "float16" if self.device == "cuda" else "float32"

    @cached_property
    def networks(self) -> dict[str, Any]:
        """``unet`` and ``vae`` on the CPU in float32, of which all others are copies."""
        if self.stable_diffusion:
            unet = load_unet_and_scheduler(self.stable_diffusion, self.lock).unet
            return {"unet": unet, "vae": load_vae(self.stable_diffusion, self.lock)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = build_unet(self.shapes, "cpu", torch.float32), build_vae(self.shapes, "cpu", torch.float32)
        return dict(zip(("unet", "vae"), made, strict=True))

    def network(self, name: str, precision: str, device: str | None = None) -> Any:
        """A copy of ``unet`` or ``vae``."""
        network = copy.deepcopy(self.networks[name])
        return torch.nn.Module.to(network, device or self.device, PRECISIONS[precision])

    @cached_property
    def one_step(self) -> Tensor:
        """One step of one clip of 2 frames by the UNet in float32 on the CPU."""
        return self.step("float32", "cpu")

    def compile(self, network: Any) -> None:
        """Compile for one shape. On a CPU the graph is captured, but run eagerly: its code takes a minute to
        generate."""
        network.compile(dynamic=False, backend="inductor" if self.device == "cuda" else "aot_eager")

    def step(self, precision: str, device: str, *, compiled: bool = False) -> Tensor:
        """One step of one clip of 2 frames by the UNet, on fixed input."""
        video, side = VideoUNet(self.network("unet", precision, device), 2), self.shapes.size // 8
        if compiled:
            self.compile(video.unet)
        config, generator = video.unet.config, torch.Generator().manual_seed(1)
        latents = torch.randn(1, 2, config.in_channels, side, side, generator=generator)
        prompt = torch.randn(1, self.shapes.tokens, config.cross_attention_dim, generator=generator)
        with matrix_precision(precision), torch.no_grad():
            return video(latents.to(device), 500, prompt.to(device)).cpu()


@dataclass(frozen=True)
class Work:
    """A function to repeat.

    Attributes
    ----------
    call : callable
    units : float
        Units (of ``unit``) that one call does.
    unit : str
    precision : str
        Of the arithmetic, which decides the limit.
    facts : mapping
        Sizes to report.
    prepare : callable, optional
        Called after the operations of one call have been counted; compilation, which counting would prevent.
    """

    call: Callable[[], Any]
    units: float
    unit: str
    precision: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None


def product(machine: Machine, precision: str) -> Work:
    """Product of two large square matrices: the limit of arithmetic in this precision."""
    size = machine.shapes.product
    left, right = torch.randn(2, size, size, device=machine.device).to(PRECISIONS[precision])
    return Work(lambda: left @ right, 1, "product", precision, {"size": size})


def copy_block(machine: Machine) -> Work:
    """Copy of a large block within the device's memory: the limit of traffic."""
    block = torch.ones(machine.shapes.product**2 * 4, device=machine.device)
    return Work(block.clone, 2 * block.nbytes / 1e9, "GB", "float32")


def unet_step(machine: Machine, *, guided: bool, compiled: bool = False) -> Work:
    """One step of the inversion, or of guided sampling, of a padded batch; units are whole chains of clips."""
    shapes, side = machine.shapes, machine.shapes.size // 8
    unet = machine.network("unet", machine.half)
    if machine.device == "cuda":
        unet.to(memory_format=torch.channels_last)
    video = VideoUNet(unet, shapes.frames)
    clips = resolve_clips_per_batch(
        "auto", video, height=side, width=side, tokens=shapes.tokens, guided=guided
    )
    rows = clips * (2 if guided else 1)
    latents = torch.randn(rows, shapes.frames, unet.config.in_channels, side, side, device=machine.device)
    prompt = torch.randn(rows, shapes.tokens, unet.config.cross_attention_dim, device=machine.device)
    facts = {"clips_per_batch": clips, "steps": shapes.steps, "frames": shapes.frames, "size": shapes.size}
    prepare = partial(machine.compile, unet) if compiled else None
    call = partial(video, latents, 500, prompt)
    return Work(call, clips / shapes.steps, "clip", machine.half, facts, prepare)


def vae_work(machine: Machine, *, encode: bool) -> Work:
    """Encoding or decoding of the frames of one clip by the VAE, in half precision on a GPU."""
    shapes = machine.shapes
    vae = machine.network("vae", machine.half)
    frames = torch.randint(256, (1, shapes.frames, shapes.size, shapes.size, 3), dtype=torch.uint8)
    latents = torch.randn(1, shapes.frames, 4, shapes.size // 8, shapes.size // 8)
    call = partial(encode_latents, vae, frames) if encode else partial(decode_latents, vae, latents)
    return Work(
        lambda: call(batch=shapes.frames), 1, "clip", machine.half, {"frames_per_batch": shapes.frames}
    )


def caption(machine: Machine) -> Work:
    """BLIP-2 on a batch of images, 20 new tokens each."""
    dtype = PRECISIONS["bfloat16" if machine.device == "cuda" else "float32"]
    model = build_transformer("Blip2ForConditionalGeneration", machine.shapes.blip2, machine.device, dtype)
    side, images = model.config.vision_config.image_size, 16
    pixels = torch.randn(images, 3, side, side, device=machine.device, dtype=dtype)
    queries = torch.full((images, model.config.num_query_tokens), model.config.image_token_index)
    words = torch.ones(images, 10, dtype=torch.long)
    question = torch.cat([queries, words], dim=1).to(machine.device)
    call = partial(
        model.generate, pixels, question, torch.ones_like(question),
        do_sample=False, num_beams=1, max_new_tokens=20, min_new_tokens=20, decoder_start_token_id=0,
    )  # fmt: skip
    return Work(call, images, "image", "bfloat16", {"images_per_batch": images})


def scoring_networks(machine: Machine) -> Work:
    """The networks of the published metrics on one clip, float32: ViT, CLIP, ViFi-CLIP per frame, VideoMAE per clip."""
    from mind_animator.models.vificlip import ViFiClipImageEncoder

    shapes, device = machine.shapes, machine.device
    vit = build_transformer("ViTForImageClassification", shapes.vit, device, torch.float32)
    videomae = build_transformer("VideoMAEForVideoClassification", shapes.videomae, device, torch.float32)
    clip = build_transformer("CLIPModel", shapes.clip, device, torch.float32)
    vificlip = build(lambda: ViFiClipImageEncoder(**shapes.vificlip), device, torch.float32)

    def images(side: int) -> Tensor:
        return torch.randn(shapes.frames, 3, side, side, device=device)

    frames = {
        network: images(side)
        for network, side in (
            (vit, vit.config.image_size),
            (vificlip, vificlip.size),
            (clip.get_image_features, clip.config.vision_config.image_size),
        )
    }
    side = videomae.config.image_size
    video = torch.randn(1, videomae.config.num_frames, 3, side, side, device=device)

    def call() -> None:
        for network, pixels in frames.items():
            network(pixels)
        videomae(video)

    return Work(call, 1, "clip", "float32")


def train(machine: Machine, decoder: str) -> dict[str, Any]:
    """Epochs of a decoder of the released code's size on one subject's training clips, all of them on the device."""
    from mind_animator.decoders.train import train_decoder

    shapes = machine.shapes
    small = shapes.name == "small"
    width = 16 if small else 512
    precision = "bfloat16" if machine.device == "cuda" else "float32"
    plan = {"epochs": 3, "patience": None, "precision": precision, "checkpoint_interval": 1e9}
    overrides = {"optimisation": plan} | (SMALL_DECODERS[decoder] if small else {})
    settings = decoder_settings(decoder, "released_code", overrides)
    side = shapes.size // 8
    text = {
        "clip_embedding_text": (width,),
        "prompt_embedding": (shapes.tokens - 1, 2 * width if small else 768),
    }
    sizes = text | {"clip_embedding_image": (width,), "latents": (shapes.frames, 4, side, side)}
    sizes |= {f"{name}_copies": (4, *size) for name, size in text.items()}
    sizes["clip_embedding_image_crops"] = (4, width)
    rng = np.random.default_rng(0)
    targets = {
        name: rng.standard_normal((shapes.clips, *sizes[name]), dtype=np.float32)
        for name in needed_targets(decoder, settings)
    }
    responses = rng.standard_normal((shapes.clips, shapes.voxels), dtype=np.float32)
    movies = [f"movie{clip * 4 // shapes.clips}" for clip in range(shapes.clips)]
    trained = train_decoder(decoder, settings, [responses], targets, movies, seed=0, device=machine.device)
    timed = trained.history[2:]  # epoch 0 does not train; the first one measures the machine
    seconds = float(np.median([row["seconds"] for row in timed]))
    return {
        "unit": "epoch", "units_per_second": 1 / seconds, "seconds": seconds, "precision": precision,
        "fraction": float(np.median([row["roofline_fraction"] for row in timed])), "clips": shapes.clips,
        "parameters": sum(tensor.numel() for tensor in trained.weights.values()),
    }  # fmt: skip


SMALL_DECODERS: dict[str, dict[str, Any]] = {
    "semantic": {"width": 32},
    "structure": {"width": 32},
    "motion": {"width": 32, "token_width": 32, "heads": 2, "head_width": 16, "hidden": 32},
}


def unet_agreement(machine: Machine, precision: str, *, compiled: bool = False) -> dict[str, Any]:
    """Relative error (root mean square) of one step on the device against float32 on the CPU; one clip of 2 frames."""
    error = _relative(machine.one_step, machine.step(precision, machine.device, compiled=compiled))
    return {"unit": "relative error", "precision": precision, "error": error}


def vae_agreement(machine: Machine, precision: str) -> dict[str, Any]:
    """Error of encoding (relative) and decoding (grey levels, mean and largest) against float32 on the CPU."""
    shapes = machine.shapes
    generator = torch.Generator().manual_seed(1)
    side = shapes.size // 8
    coarse = torch.rand(1, 1, 3, side, side, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse[0], shapes.size, mode="bicubic").clamp(0, 1)
    frames = (255 * smooth).permute(0, 2, 3, 1)[None].to(torch.uint8)
    latents, images = [], []
    for name, device in (("float32", "cpu"), (precision, machine.device)):
        vae = machine.network("vae", name, device)
        latents.append(encode_latents(vae, frames, 1))
        images.append(decode_latents(vae, latents[0], 1).int())
    difference = (images[0] - images[1]).abs()
    return {
        "unit": "relative error", "precision": precision, "error": _relative(*latents),
        "grey_levels_mean": difference.float().mean().item(), "grey_levels_max": difference.max().item(),
    }  # fmt: skip


def _relative(reference: Tensor, other: Tensor) -> float:
    return ((other - reference).square().mean() / reference.square().mean()).sqrt().item()


def lines(device: str) -> dict[str, Callable[[Machine], Work | dict[str, Any]]]:
    """Every measurement by its name, in order: limits first."""
    limits = ["float32", "tf32", "float16", "bfloat16"] if device == "cuda" else ["float32", "bfloat16"]
    halves = ["tf32", "float16", "bfloat16"] if device == "cuda" else ["bfloat16"]
    return {
        **{f"product_{precision}": partial(product, precision=precision) for precision in limits},
        "copy": copy_block,
        "inversion": partial(unet_step, guided=False),
        "sampling": partial(unet_step, guided=True),
        "sampling_compiled": partial(unet_step, guided=True, compiled=True),
        "vae_encode": partial(vae_work, encode=True),
        "vae_decode": partial(vae_work, encode=False),
        **{f"train_{decoder}": partial(train, decoder=decoder) for decoder in CONFIGS},
        "scoring_networks": scoring_networks,
        **{f"unet_{name}_agreement": partial(unet_agreement, precision=name) for name in halves},
        "unet_compiled_agreement": partial(unet_agreement, precision="float32", compiled=True),
        **{f"vae_{name}_agreement": partial(vae_agreement, precision=name) for name in halves},
        "caption": caption,  # last: 12 billion parameters at full size
    }
