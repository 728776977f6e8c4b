"""The deterministic (DDIM) chain between latents and noise: its time steps, and one step of it.

At noise level a = alpha-bar_t a latent is ``sqrt(a) z + sqrt(1 - a) e``. One step from a to b keeps z and e::

    z = (x - sqrt(1 - a) e) / sqrt(a);    x' = sqrt(b) z + sqrt(1 - b) e

Downwards (b > a) this samples, upwards it inverts: the same formula. Nothing is clipped.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mind_animator.errors import InputError


@dataclass(frozen=True)
class Schedule:
    """Noise schedule with which the frozen network was trained.

    Attributes
    ----------
    alphas : tuple of float of length time
        alpha-bar of every training time step, decreasing in (0, 1). Plain numbers, so that no step of the chain reads a
        tensor on the host.
    final_alpha : float
        alpha-bar of a finished latent: 1, or ``alphas[0]`` if the network was not trained on clean latents (SD 1.x).
    offset : int
        Added to every time step of the chain (SD 1.x: 1).
    prediction : str
        ``epsilon`` or ``v_prediction``: the output of the network.
    """

    alphas: tuple[float, ...]
    final_alpha: float
    offset: int = 0
    prediction: str = "epsilon"

    def __post_init__(self) -> None:
        if self.prediction not in ("epsilon", "v_prediction"):
            raise ValueError(f"Expected prediction 'epsilon' or 'v_prediction', got '{self.prediction}'.")

    def timesteps(self, steps: int, max_timestep: int | None = None) -> list[int]:
        """Time steps of a chain of ``steps``, all below ``max_timestep``, increasing.

        By default all training time steps are used; these are then the 'leading' steps of the published samplers,
        1, 21, .., 981 for 50.

        Raises
        ------
        ValueError
            If there are more steps than time steps.
        """
        max_timestep = len(self.alphas) if max_timestep is None else max_timestep
        if not 1 <= steps <= max_timestep <= len(self.alphas):
            raise ValueError(
                f"Expected 1 <= steps <= max_timestep <= {len(self.alphas)}, got {steps} and {max_timestep}."
            )
        stride = max_timestep // steps
        return [min(index * stride + self.offset, len(self.alphas) - 1) for index in range(steps)]

    def max_timestep(self, fraction: float) -> int:
        """Number of time steps that a fraction of the schedule covers."""
        return round(fraction * len(self.alphas))

    def alpha(self, timestep: int | None) -> float:
        """alpha-bar of a time step; of a finished latent for None."""
        return self.final_alpha if timestep is None else self.alphas[timestep]

    def noise(self, output: Tensor, latents: Tensor, timestep: int) -> Tensor:
        """Noise e implied by the network's output, in the type of the latents."""
        if self.prediction == "epsilon":
            return output
        alpha = self.alpha(timestep)
        return alpha**0.5 * output + (1 - alpha) ** 0.5 * latents


def move(latents: Tensor, noise: Tensor, source: float, target: float) -> Tensor:
    """One DDIM step from noise level alpha-bar ``source`` to ``target``; coefficients in float64.

    Parameters
    ----------
    latents, noise : Tensor, same shape
    source, target : float
        alpha-bar in (0, 1].
    """
    scale = (target / source) ** 0.5
    return scale * latents + ((1 - target) ** 0.5 - scale * (1 - source) ** 0.5) * noise


def schedule_of(config: dict) -> Schedule:
    """Schedule of a diffusers scheduler's config (betas, offset, prediction type)."""
    from diffusers import DDIMScheduler

    ddim = DDIMScheduler.from_config(config, clip_sample=False)
    return Schedule(
        alphas=tuple(ddim.alphas_cumprod.double().tolist()),
        final_alpha=float(ddim.final_alpha_cumprod),
        offset=int(ddim.config.steps_offset),
        prediction=str(ddim.config.prediction_type),
    )


def check_finite(latents: Tensor, what: str) -> None:
    """Raise an `InputError` if a value is not finite, because of the precision or the weights of the network."""
    if not torch.isfinite(latents).all():
        raise InputError(f"Expected finite {what}, got NaN or infinity (key 'precision': try float32).")
