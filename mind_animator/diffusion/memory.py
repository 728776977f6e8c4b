"""Memory of the inflated UNet on a GPU, derived from shapes, and the number of clips per batch that fit into it."""

import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mind_animator.diffusion.inflate import VideoUNet
from mind_animator.errors import InputError

# Fraction of the free memory that a batch may use: workspaces of convolutions and fragmentation need the rest.
USABLE = 0.8
# On a CPU, where memory does not limit the batch.
CPU_CLIPS = 8
# A larger batch is no faster: 64 clips of 8 frames with guidance are 1,024 frames per forward pass.
MOST_CLIPS = 64


class PeakMemory(TorchDispatchMode):
    """Sum of the storages that are alive at the same time, while operations run in this mode.

    Attributes
    ----------
    peak : int
        Largest sum so far, bytes. Storages that existed before are not included.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        before = {id(leaf.untyped_storage()) for leaf in tree_leaves(args) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and id(storage := leaf.untyped_storage()) not in before:
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return

        def freed(_: Any) -> None:
            del self._known[key]
            self.live -= size

        self._known[key] = weakref.ref(storage, freed)
        self.live += size
        self.peak = max(self.peak, self.live)


def forward_bytes(
    unet_config: Mapping[str, Any],
    dtype: torch.dtype,
    *,
    clips: int,
    frames: int,
    height: int,
    width: int,
    tokens: int,
    guided: bool,
) -> tuple[int, int]:
    """Bytes of the UNet's weights, and peak bytes of one forward pass in addition to them. Nothing is
    computed or allocated.

    Parameters
    ----------
    unet_config : mapping
        Config of a `UNet2DConditionModel`.
    dtype : torch.dtype
        Of the UNet.
    clips, frames : int
        Clips per batch and frames per clip. The two branches of guidance double the frames of the pass.
    height, width : int
        Of the latents.
    tokens : int
        Tokens of the text condition, BOS included.
    guided : bool
        Whether the pass contains the conditional and the unconditional branch.

    Notes
    -----
    Attention is counted as fused (no matrix of tokens by tokens), as on any GPU with flash attention in half
    precision. Workspaces of the kernels are not included: see `USABLE`.
    """
    from diffusers import UNet2DConditionModel

    rows = clips * (2 if guided else 1)
    default = torch.get_default_dtype()
    with FakeTensorMode():
        try:
            torch.set_default_dtype(dtype)
            unet = UNet2DConditionModel.from_config(dict(unet_config)).eval().requires_grad_(False)
        finally:
            torch.set_default_dtype(default)
        video = VideoUNet(unet, frames)
        latents = torch.empty(rows, frames, unet.config.in_channels, height, width)
        prompt = torch.empty(rows, tokens, unet.config.cross_attention_dim)
        with PeakMemory() as memory, torch.no_grad():
            video(latents, torch.tensor(500), prompt)
        weights = sum(p.numel() * p.element_size() for p in unet.parameters())
        inputs = latents.nbytes + prompt.nbytes
    # the chain keeps its own latents and one result beside the pass
    return weights, memory.peak + 2 * inputs


def clips_that_fit(free: int, one: int, two: int) -> int:
    """The largest power of two of clips whose forward pass fits, at most `MOST_CLIPS`.

    Parameters
    ----------
    free : int
        Free bytes of the GPU after the networks were loaded.
    one, two : int
        Peak bytes of a pass of one clip and of two; the peak is linear in the clips.

    Raises
    ------
    InputError
        If one clip does not fit.
    """
    usable, slope = free * USABLE, two - one
    if one > usable:
        raise InputError(
            f"config.reconstruction.clips_per_batch = auto: one clip needs {one / 1e9:.1f} GB in addition to the "
            "weights, "
            f"and {usable / 1e9:.1f} GB of the GPU can be used: lower stimuli.size or stimuli.frames, or use a "
            "larger GPU."
        )
    clips = 1
    while 2 * clips <= MOST_CLIPS and one + (2 * clips - 1) * slope <= usable:
        clips *= 2
    return clips


def resolve_clips_per_batch(
    setting: int | str, video: VideoUNet, *, height: int, width: int, tokens: int, guided: bool
) -> int:
    """Clips per batch of a setting: the given number, or for ``auto`` what the UNet's device holds.

    Parameters
    ----------
    setting : int or "auto"
    video : VideoUNet
        Loaded on its device.
    height, width, tokens, guided
        See `forward_bytes`.
    """
    if setting != "auto":
        return int(setting)
    device = next(video.parameters()).device
    if device.type == "cpu":
        return CPU_CLIPS
    one, two = (
        forward_bytes(
            video.unet.config,
            video.unet.dtype,
            clips=clips,
            frames=video.frames,
            height=height,
            width=width,
            tokens=tokens,
            guided=guided,
        )[1]
        for clips in (1, 2)
    )
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info(device)[0]
    clips = clips_that_fit(free, one, two)
    print(
        f"clips_per_batch = auto: {clips} clips need {(one + (clips - 1) * (two - one)) / 1e9:.1f} of "
        f"{free / 1e9:.1f} GB",
        file=sys.stderr,
    )
    return clips
