"""Train and run one decoder: from arrays and settings to weights, and from weights and responses to
predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mind_animator.config.decoders import (
    CONFIGS,
    DecoderConfig,
    MotionConfig,
    SemanticConfig,
    needed_targets,
)
from mind_animator.decoders.fit import fit, split_clips
from mind_animator.decoders.flow import choose_gains, moving_flow, moving_part
from mind_animator.decoders.layers import Decoder, fit_linear_path
from mind_animator.decoders.motion import MotionDecoder, causal_mask
from mind_animator.decoders.semantic import SemanticDecoder
from mind_animator.decoders.state import State
from mind_animator.decoders.structure import StructureDecoder
from mind_animator.errors import InputError

# Quantiles over pixels and clips between which the decoded part that moves rises from 0 to 1.
PART_RANGE = (0.5, 0.85)


@dataclass(frozen=True)
class TrainedDecoder:
    """Weights and all that is needed to rebuild the network.

    Attributes
    ----------
    weights : dict of name to Tensor
    shapes : dict
        Arguments of `build`, as plain values.
    history : list of dict, one an epoch
    clips : dict
        Numbers of clips ``fit`` and ``validation``.
    """

    weights: dict[str, Tensor]
    shapes: dict[str, Any]
    history: list[dict[str, float]]
    clips: dict[str, int]


def build(decoder: str, settings: DecoderConfig, shapes: Mapping[str, Any]) -> Decoder:
    """The network of one decoder, weights not yet set.

    Parameters
    ----------
    decoder : {'semantic', 'structure', 'motion'}
    settings : DecoderConfig of that decoder
    shapes : mapping
        ``voxels`` (one count a subject), ``prompt_embedding`` (tokens, width) and ``embedding``, or ``latent``
        (frame, channel, h, w), and ``sizes`` of the linear path or None.
    """
    sizes = shapes.get("sizes")
    if decoder == "semantic":
        flat = int(np.prod(shapes["prompt_embedding"]))
        return SemanticDecoder(settings, shapes["voxels"], shapes["embedding"], flat, sizes)
    if decoder == "structure":
        return StructureDecoder(settings, shapes["voxels"], int(np.prod(shapes["latent"][1:])), sizes)
    return MotionDecoder(settings, shapes["voxels"], tuple(shapes["latent"]), sizes)


def train_decoder(
    decoder: str,
    settings: DecoderConfig,
    responses: Sequence[np.ndarray],
    targets: Mapping[str, np.ndarray],
    movies: Sequence[str],
    *,
    seed: int,
    device: str = "cpu",
    state: Path | None = None,
    stamp: str = "",
    logs: Path | None = None,
) -> TrainedDecoder:
    """Train one decoder on training clips.

    Parameters
    ----------
    decoder : {'semantic', 'structure', 'motion'}
    settings : DecoderConfig of that decoder
    responses : sequence of ndarray of shape (clip, voxel), float32
        One a subject, over the same clips.
    targets : mapping of name to ndarray, first axis = clip
        Those of `needed_targets`: ``clip_embedding_text, clip_embedding_image`` (clip, embedding) and ``prompt_embedding`` (clip, token,
        width), with augmentation their copies (clip, copy, ...); or ``latents`` (clip, frame, channel, h, w).
    movies : sequence of str of length clip
    seed, device, logs
        See `mind_animator.decoders.fit.fit`.
    state, stamp
        See `mind_animator.decoders.state.State`; the caller deletes the folder once the weights are stored.

    Raises
    ------
    InputError
        If arrays do not fit each other or hold values that are not finite.
    """
    check_finite(needed_targets(decoder, settings), responses, targets, movies)
    with State(state, stamp, settings.optimisation.save_seconds, device) as kept:
        return _train(decoder, settings, responses, targets, movies, seed, device, kept, logs)


def _train(
    decoder: str,
    settings: DecoderConfig,
    responses: Sequence[np.ndarray],
    targets: Mapping[str, np.ndarray],
    movies: Sequence[str],
    seed: int,
    device: str,
    state: State,
    logs: Path | None,
) -> TrainedDecoder:
    voxels = [torch.from_numpy(np.ascontiguousarray(r, np.float32)).to(device) for r in responses]
    wanted = {
        name: torch.from_numpy(np.ascontiguousarray(targets[name], np.float32)).to(device)
        for name in needed_targets(decoder, settings)
    }
    rows, validation = split_clips(movies, settings.validation, seed)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]))
    shapes: dict[str, Any] = {"voxels": [v.shape[1] for v in voxels]}
    data: dict[str, Tensor] = {}
    if decoder == "semantic":
        shapes |= {
            "embedding": wanted["clip_embedding_text"].shape[1],
            "prompt_embedding": list(wanted["prompt_embedding"].shape[1:]),
        }
        data |= {n: w.flatten(2 if n.endswith(("_copies", "_crops")) else 1) for n, w in wanted.items()}
        linear = {
            "text": "clip_embedding_text",
            "image": "clip_embedding_image",
            "prompt_embedding": "prompt_embedding",
        }
        linear = {name: data[array] for name, array in linear.items()}
    else:
        latents = wanted["latents"]
        shapes |= {"latent": list(latents.shape[1:])}
        first = latents[:, 0].flatten(1)
        if decoder == "structure":
            data["first"], linear = first, {"first": first}
        else:
            data["latents"] = latents
            linear = {"first": first}
            if settings.linear is not None:
                linear |= {
                    "change": (latents[:, 1:] - latents[:, :1]).flatten(1),
                    "flow": _flow_targets(latents, settings.cells, state).flatten(1),
                    "part": moving_part(latents).flatten(1),
                }
    if settings.linear is not None:
        path, scores = fit_linear_path(voxels, linear, movies, settings.linear, state)
        shapes["sizes"] = {name: list(size) for name, size in path.sizes.items()}
        data |= {f"scores/{subject}": own for subject, own in enumerate(scores)}
    else:
        data |= {f"responses/{subject}": own for subject, own in enumerate(voxels)}
        if settings.sparsification.accumulates:
            for subject, own in enumerate(voxels):
                data[f"lifetimes/{subject}"] = torch.rand(own.shape, generator=generator).to(device)
    network = build(decoder, settings, shapes)
    network.reset(generator)
    if settings.linear is not None:
        network.path.load_state_dict(path.state_dict())
    network.to(device)
    if isinstance(settings, MotionConfig):
        data |= _motion_data(network, data, linear.get("flow"), rows, generator, state)
    loss = _loss(settings, data, rows)
    history = fit(
        network, loss, data, rows, validation, settings.optimisation,
        seed=seed, device=device, noam_width=_noam_width(decoder, shapes, settings), state=state, logs=logs,
    )  # fmt: skip
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    clips = {"fit": len(rows), "validation": len(validation)}
    return TrainedDecoder(weights, shapes, history, clips)


def restore(
    decoder: str, settings: Mapping[str, Any], shapes: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> Decoder:
    """The trained network; the weights must match it exactly.

    Raises
    ------
    InputError
        If a weight is missing, left over or of another shape.
    """
    network = build(decoder, CONFIGS[decoder].model_validate(settings), shapes)
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise InputError(f"Expected the weights of a {decoder} decoder, got: {error}.") from None
    return network.eval()


@torch.no_grad()
def decode(
    network: Decoder,
    responses: np.ndarray,
    *,
    subject: int = 0,
    first: np.ndarray | None = None,
    batch: int = 64,
    device: str = "cpu",
) -> tuple[np.ndarray, ...]:
    """Run a trained decoder on responses.

    Parameters
    ----------
    network : Decoder
    responses : ndarray of shape (clip, voxel)
    subject : int
        Which of the subjects that the decoder was trained on.
    first : ndarray of shape (clip, channel, h, w)
        The first frame that the motion decoder starts from.
    batch : int
        Clips at once; the last batch is padded to it, so that a clip's result depends little on its company.

    Returns
    -------
    tuple of ndarray, float32
        Semantic: f (clip, embedding) and the flat condition; structure: the flat first frame; motion: latents
        (clip, frame, channel, h, w), the first frame included, and with a linear path the flow (clip, 2, h, w).
    """
    network.to(device)
    responses = np.ascontiguousarray(responses, np.float32)
    out: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(responses), batch):
        size = min(batch, len(responses) - start)
        rows = np.minimum(np.arange(start, start + batch), len(responses) - 1)
        inputs = network.inputs(torch.from_numpy(responses[rows]).to(device), subject)
        if isinstance(network, MotionDecoder):
            frames = torch.from_numpy(np.ascontiguousarray(first[rows], np.float32)).to(device)
            parts = (network.generate(inputs, frames),)
            parts += (network.decoded_flow(inputs),) if network.path else ()
        else:
            parts = network(inputs)
            parts = parts if isinstance(parts, tuple) else (parts,)
        out.append(tuple(part[:size].float().cpu().numpy() for part in parts))
    return tuple(np.concatenate(part) for part in zip(*out, strict=True))


def check_finite(names, responses, targets, movies) -> None:
    """Stop where the responses, or the targets of these names, do not fit the clips or hold values not finite."""
    for subject, own in enumerate(responses):
        if own.ndim != 2 or len(own) != len(movies):
            raise InputError(
                f"Expected responses ({len(movies)} clips, voxel), got {own.shape} (subject {subject + 1})."
            )
        if not np.isfinite(own).all():
            row, column = np.argwhere(~np.isfinite(own))[0]
            raise InputError(
                f"Expected finite responses, got {own[row, column]} at training clip {row}, voxel {column} "
                f"(subject {subject + 1})."
            )
    for name in names:
        if len(targets[name]) != len(movies):
            raise InputError(
                f"Expected {len(movies)} clips in the target '{name}', got {len(targets[name])}."
            )
        if not np.isfinite(targets[name]).all():
            raise InputError(f"Expected finite values in the target '{name}', got some that are not.")


def _flow_targets(latents: Tensor, cells: int, state: State, batch: int = 256) -> Tensor:
    """`moving_flow` in pieces."""
    pieces = [
        state.piece(f"flow-{start:06d}", lambda part=part: {"flow": moving_flow(part, cells)})["flow"]
        for start, part in zip(range(0, len(latents), batch), latents.split(batch), strict=True)
    ]
    return torch.cat(pieces)


def _motion_data(network, data, flow, rows, generator, state: State) -> dict[str, Tensor]:
    """What the motion decoder learns from beside the latents: decoded first frames, or a mask drawn once.

    ``flow``: the linear path's own target, or None without a path.
    """
    extra: dict[str, Tensor] = {}
    settings, latents = network.settings, data["latents"]
    if network.path:
        scores = [data[name] for name in sorted(data) if name.startswith("scores/")]
        first = [network.path.target(own, "first").unflatten(1, network.latent[1:]) for own in scores]
        extra |= {f"decoded/{subject}": own for subject, own in enumerate(first)}

        def choose() -> dict[str, Tensor]:
            motion = [network.decoded_motion(own[rows]) for own in scores]
            decoded, change = (torch.cat(parts) for parts in zip(*motion, strict=True))
            wanted = latents[rows].repeat(len(scores), 1, 1, 1, 1)
            gains = choose_gains(torch.cat([own[rows] for own in first]), decoded, change, wanted)
            speed = torch.ones(())
            if settings.full_speed:
                speed = (flow[rows].square().mean() / decoded.square().mean()).sqrt()
            part = torch.cat([network.path.target(own[rows], "part") for own in scores]).flatten()
            return {"gains": gains, "speed": speed, "part_range": _quantiles(part, PART_RANGE)}

        for name, chosen in state.piece("gains", choose).items():
            getattr(network, name).copy_(chosen)
    if settings.mask_drawn == "once":
        mask = causal_mask(1, network.latent[0] - 1, settings.mask_kept, generator, "cpu")
        extra["mask"] = mask.expand(len(latents), -1, -1)
    return extra


def _quantiles(values: Tensor, shares: Sequence[float]) -> Tensor:
    """Order statistics; torch.quantile refuses more than 16 million values."""
    ordered = values.sort().values
    return ordered[[round(share * (len(ordered) - 1)) for share in shares]]


def _loss(settings: DecoderConfig, data: Mapping[str, Tensor], rows: np.ndarray):
    if not isinstance(settings, SemanticConfig):
        return lambda network, batch, draw, epoch: network.loss(batch, draw, epoch)
    variances = {
        name: float(data[name][rows].var(0).mean()) if settings.standardise else 1.0
        for name in ("clip_embedding_text", "prompt_embedding")
    }
    return lambda network, batch, draw, epoch: network.loss(batch, draw, epoch, variances)


def _noam_width(decoder: str, shapes: Mapping[str, Any], settings: DecoderConfig) -> int:
    """Width of the transformer's tokens where there is one."""
    if decoder != "motion":
        return settings.width
    return int(np.prod(shapes["latent"][1:])) if settings.network == "frame_tokens" else settings.token_width
