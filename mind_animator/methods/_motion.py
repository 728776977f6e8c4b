"""Training of motion modules on the clips of the training movies, and reconstruction with them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mind_animator.config.base import Settings, explain, merged
from mind_animator.config.decoders import OptimisationConfig, ValidationConfig
from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.errors import InputError
from mind_animator.methods.base import ReconstructionInputs, Trained, TrainingData, TrainingJob

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from mind_animator.diffusion.generator import VideoGenerator

# Clips per batch of the generator where the settings leave it open.
BATCH = 8


def fit_part(
    build: "Callable[[], nn.Module]",
    data: "Mapping[str, Tensor]",
    movies: Sequence[str],
    optimisation: OptimisationConfig,
    validation: ValidationConfig,
    job: TrainingJob,
    keep: "Callable[[nn.Module], Mapping[str, Tensor]] | None" = None,
    start: "Callable[[nn.Module, np.ndarray], None] | None" = None,
) -> Trained:
    """Train a network with early stopping on held-out training movies.

    Parameters
    ----------
    build : callable
        Returns the network, whose initial weights are drawn with the seed of the job.
    data : mapping of name to Tensor, first axis = clip
    movies : sequence of str
        The movie of each clip.
    keep : callable, optional
        Weights to store; default: all.
    start : callable, optional
        Sets what is estimated from the clips that are fitted.
    """
    import numpy as np
    import torch

    from mind_animator.decoders.checkpoint import Checkpoint
    from mind_animator.decoders.fit import fit, split_clips

    rows, held_out = split_clips(movies, validation, job.seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(int(np.random.SeedSequence([job.seed, 1]).generate_state(1)[0]))
        network = build().to(job.device)
    if start:
        start(network, rows)
    interval = optimisation.checkpoint_interval
    with Checkpoint(job.checkpoint, job.fingerprint, interval, job.device) as checkpoint:
        history = fit(
            network, lambda network, *batch: network.loss(*batch), data, rows, held_out, optimisation,
            seed=job.seed, device=job.device, checkpoint=checkpoint, logs=job.logs,
        )  # fmt: skip
    weights = keep(network) if keep else network.state_dict()
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    record = {
        "settings": optimisation.model_dump(mode="json"),
        "clips": {"fit": len(rows), "validation": len(held_out)},
        "parameters": sum(tensor.numel() for tensor in weights.values()),
        "history": history,
    }
    return Trained(weights, record)


def resolve(model: type[Settings], layers: Sequence[Mapping[str, Any]], where: str) -> Settings:
    """Settings from layers of values, of which the later ones replace single (also nested) keys of the earlier ones."""
    values: dict[str, Any] = {}
    for layer in layers:
        values = merged(values, dict(layer))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(explain(error, where)) from None


def check_training(data: TrainingData) -> None:
    """`InputError` where responses or targets are not finite or do not match the clips."""
    from mind_animator.decoders.train import check_finite

    check_finite(list(data.targets), [own.values for own in data.responses], data.targets, data.movies)


def padded(
    network: "Callable[..., tuple[Tensor, ...]]", arrays: "Sequence[np.ndarray]", batch: int, device: str
):
    """Apply a network to clips in batches of one shape; the last is padded, so that clips do not depend on others.

    Returns
    -------
    list of ndarray, first axis = clip, float32
    """
    import numpy as np
    import torch

    count, parts = len(arrays[0]), []
    with torch.no_grad():
        for first in range(0, count, batch):
            rows = np.minimum(np.arange(first, first + batch), count - 1)
            made = network(
                *(torch.from_numpy(np.ascontiguousarray(array[rows])).to(device) for array in arrays)
            )
            parts.append([values[: count - first].float().cpu().numpy() for values in made])
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def draw_clips(
    generator: "VideoGenerator",
    vae: Any,
    clips: Sequence[str],
    predictions: "Mapping[str, np.ndarray]",
    settings: ReconstructionConfig,
    inputs: ReconstructionInputs,
    change: "Callable[[VideoGenerator, Sequence[str], dict[str, Tensor]], VideoGenerator] | None" = None,
    after: "Callable[[Sequence[str], Tensor], None] | None" = None,
) -> "Iterator[tuple[str, np.ndarray]]":
    """Frames of clips from their predictions, in padded batches; noise is seeded by the name of each clip.

    Parameters
    ----------
    predictions : mapping
        ``latents`` (clip, frame, channel, h, w), ``prompt_embedding`` (clip, token, width), and optionally
        ``negative_prompt_embedding``.
    settings : ReconstructionConfig
        Without inversion: ``strength`` 0 returns the given latents, 1 ignores them.
    change : callable, optional
        Returns the generator of a batch, and may change the predictions of the batch in place.
    after : callable, optional
        Receives the names and the sampled latents of each batch.
    """
    import sys
    import time

    import numpy as np
    import torch

    from mind_animator.diffusion.generator import reconstruct_batch
    from mind_animator.models.latents import decode_latents

    size = BATCH if settings.clips_per_batch == "auto" else settings.clips_per_batch
    started, reported = time.monotonic(), -1e9
    for first in range(0, len(clips), size):
        rows = np.minimum(np.arange(first, first + size), len(clips) - 1)
        names = [clips[row] for row in rows]
        given = {name: torch.from_numpy(array[rows]).float() for name, array in predictions.items()}
        used = change(generator, names, given) if change else generator
        latents = reconstruct_batch(
            used, given["latents"], None, given["prompt_embedding"], names, settings, seed=inputs.seed,
            negative_prompt_embeds=given.get("negative_prompt_embedding"),
        )  # fmt: skip
        if after:
            after(names, latents)
        shown = decode_latents(vae, latents, batch=latents.shape[1]).numpy()
        yield from zip(names[: len(clips) - first], shown, strict=False)
        if (now := time.monotonic()) - reported >= 10:
            done, reported = min(first + size, len(clips)), now
            rate = done / (now - started)
            print(
                f"{done}/{len(clips)} clips, {rate:.2g} per second, {(len(clips) - done) / rate:.0f} s left",
                file=sys.stderr,
            )
