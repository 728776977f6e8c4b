"""An image UNet with motion modules: temporal attention after every block, trained while the image network is frozen.

The modules are those of diffusers (`UNetMotionModel`). Their output layers start at zero, so that the untrained network
equals the image network applied to every frame; a fresh `MotionAdapter` does not.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import gcd
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.diffusion.generator import VideoGenerator, load_generator
from mind_animator.diffusion.schedule import Schedule
from mind_animator.models.load import load_motion_adapter

# Seed of noise and time steps in validation: the same in every epoch.
VALIDATION_SEED = 0


class MotionUNet(nn.Module):
    """Noise prediction for clips by a frozen image UNet with motion modules, the only trained parameters.

    Parameters
    ----------
    unet : UNet2DConditionModel
        Its weights are copied.
    frames : int
        Maximum number of frames per clip.
    heads : int
        Attention heads of the motion modules, where the channels of all blocks are multiples of it.
    adapter : MotionAdapter, optional
        Pre-trained motion modules.

    References
    ----------
    Guo et al. (2024), "AnimateDiff: animate your personalized text-to-image diffusion models without specific tuning",
    ICLR.
    """

    def __init__(self, unet: Any, frames: int, heads: int = 8, adapter: Any = None) -> None:
        from diffusers import MotionAdapter, UNetMotionModel

        super().__init__()
        config, fresh = unet.config, adapter is None
        adapter = adapter or MotionAdapter(
            block_out_channels=tuple(config.block_out_channels),
            motion_layers_per_block=config.layers_per_block,
            motion_num_attention_heads=gcd(heads, *config.block_out_channels),
            motion_norm_num_groups=config.norm_num_groups,
            motion_max_seq_length=max(32, frames),
            use_motion_mid_block=False,
        )
        self.unet = UNetMotionModel.from_unet2d(unet, adapter).requires_grad_(False)
        for name, module in self.unet.named_modules():
            if name.endswith("motion_modules"):
                module.requires_grad_(True)
            if fresh and ".motion_modules." in name and name.endswith("proj_out"):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, latents: Tensor, timestep: int | Tensor, prompt_embeds: Tensor) -> Tensor:
        """Output (clip, frame, channel, h, w) for latents of that shape and prompts (clip, token, width)."""
        prompts = prompt_embeds.to(self.unet.dtype).repeat_interleave(latents.shape[1], 0)
        given = latents.to(self.unet.dtype).transpose(1, 2)
        return self.unet(given, timestep, prompts).sample.transpose(1, 2).float()

    def motion_weights(self) -> dict[str, Tensor]:
        """Weights of the motion modules by name."""
        return {name: p for name, p in self.unet.state_dict().items() if ".motion_modules." in name}

    def load_motion(self, weights: Mapping[str, Tensor]) -> "MotionUNet":
        """Set the weights of the motion modules, which must match exactly."""
        self.unet.load_state_dict({**self.unet.state_dict(), **weights})
        return self


class FirstFrameHeld(nn.Module):
    """A network whose clips start with given first frames.

    For the first frame it returns the noise ``e = (x - sqrt(a) key) / sqrt(1 - a)`` instead of its prediction, so that
    every deterministic sampler moves the first frame to ``key``, and all frames see it at the noise level of each step.
    Sampling should start from the noised ``key`` there.

    Parameters
    ----------
    network : MotionUNet
    key : Tensor of shape (clip, channel, h, w)
        Latents of the first frames.
    schedule : Schedule
    """

    def __init__(self, network: MotionUNet, key: Tensor, schedule: Schedule) -> None:
        super().__init__()
        self.network, self.unet, self.key, self.schedule = network, network.unet, key, schedule

    def forward(self, latents: Tensor, timestep: int, prompt_embeds: Tensor) -> Tensor:
        """As `MotionUNet`; the batch may contain the clips several times, as for guidance."""
        output = self.network(latents, timestep, prompt_embeds)
        alpha, first = self.schedule.alpha(int(timestep)), latents[:, 0].float()
        key = self.key.to(first).repeat(len(first) // len(self.key), 1, 1, 1)
        noise = (first - alpha**0.5 * key) / (1 - alpha) ** 0.5
        if self.schedule.prediction == "v_prediction":
            noise = (noise - (1 - alpha) ** 0.5 * first) / alpha**0.5
        return torch.cat([noise[:, None], output[:, 1:]], dim=1)


def denoising_loss(
    network: MotionUNet,
    schedule: Schedule,
    latents: Tensor,
    prompt_embeds: Tensor,
    rng: torch.Generator | None,
) -> Tensor:
    """Mean squared error of the predicted noise at random time steps, one per clip.

    Parameters
    ----------
    latents : Tensor of shape (clip, frame, channel, h, w)
    prompt_embeds : Tensor of shape (clip, token, width), with BOS
    rng : Generator, optional
        None (validation): the same time steps and noise at every call.
    """
    device = latents.device
    rng = rng or torch.Generator(device).manual_seed(VALIDATION_SEED)
    times = torch.randint(len(schedule.alphas), (len(latents),), generator=rng, device=device)
    noise = torch.randn(latents.shape, generator=rng, device=device)
    alpha = torch.tensor(schedule.alphas, device=device)[times].view(-1, 1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    if schedule.prediction == "v_prediction":
        noise = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    return functional.mse_loss(network(noisy, times, prompt_embeds), noise)


class CoTraining(nn.Module):
    """Motion modules, trained under given prompt embeddings or, with a decoder, under decoded ones.

    A batch contains ``latents`` (clip, frame, channel, h, w), and ``prompt`` (clip, token, width) without BOS or the
    decoder's ``window``.

    Parameters
    ----------
    generator : VideoGenerator
        From `load_motion_generator`.
    decoder : Module, optional
        ``decoder(window)`` returns prompt embeddings first. Those of its parameters that require gradients are trained.
    """

    def __init__(self, generator: VideoGenerator, decoder: nn.Module | None = None) -> None:
        super().__init__()
        self.network, self.decoder, self.schedule = generator.unet, decoder, generator.schedule
        self.register_buffer("bos", generator.encode_text("", 2)[:, :1])

    def loss(self, batch: Mapping[str, Tensor], rng: torch.Generator | None, epoch: int) -> Tensor:
        """See `denoising_loss`."""
        prompt = batch["prompt"] if self.decoder is None else self.decoder(batch["window"])[0]
        prompt = torch.cat([self.bos.expand(len(prompt), -1, -1), prompt], dim=1)
        return denoising_loss(self.network, self.schedule, batch["latents"], prompt, rng)

    def trained_weights(self) -> dict[str, Tensor]:
        """Those of the motion modules, and of the decoder with the prefix ``decoder.``."""
        own = {
            name: p for name, p in self.named_parameters() if p.requires_grad and name.startswith("decoder.")
        }
        return self.network.motion_weights() | own


def load_motion_generator(
    model_id_or_path: str | Path,
    lock: str | Path | None,
    frames: int,
    settings: ReconstructionConfig,
    *,
    device: str,
    weights: Mapping[str, Tensor] | None = None,
    adapter: str | Path | None = None,
) -> VideoGenerator:
    """The generator with motion modules in place of the inflation: for training, or with trained ``weights``.

    ``adapter``: the folder or hub id of a pre-trained MotionAdapter, used instead.
    """
    generator = load_generator(model_id_or_path, lock, 1, settings, device=device, seed=0)
    given = load_motion_adapter(adapter, lock) if adapter else None
    network = MotionUNet(generator.unet.unet, frames, adapter=given)
    if weights is not None:
        network.load_motion(weights)
    return replace(generator, unet=network.to(device).eval())
