"""Small nets of random weights for the generator's tests."""

from collections.abc import Callable

import pytest
import torch
from diffusers import UNet2DConditionModel

from mind_animator.synthetic.models import build_unet


@pytest.fixture
def fresh_unet() -> Callable[[], UNet2DConditionModel]:
    """A function that builds the same stock UNet (64 and 128 channels) at every call."""

    def build() -> UNet2DConditionModel:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return build_unet().eval().requires_grad_(False)

    return build


@pytest.fixture
def normal() -> Callable[..., torch.Tensor]:
    """Standard normal tensors from one seeded generator."""
    generator = torch.Generator().manual_seed(11)
    return lambda *shape: torch.randn(shape, generator=generator)
