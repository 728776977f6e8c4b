"""Train a decoder: from arrays and settings to weights; and decode: from weights and responses to predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mind_animator.config.decoders import CONFIGS, DecoderConfig, needed_targets
from mind_animator.decoders.checkpoint import Checkpoint
from mind_animator.decoders.fit import fit, split_clips
from mind_animator.decoders.layers import Decoder
from mind_animator.decoders.linear_baseline import fit_linear_baseline
from mind_animator.decoders.motion import MotionDecoder
from mind_animator.decoders.semantic import SemanticDecoder
from mind_animator.decoders.structure import StructureDecoder
from mind_animator.errors import InputError

DECODERS: dict[str, type[Decoder]] = {
    "semantic": SemanticDecoder,
    "structure": StructureDecoder,
    "motion": MotionDecoder,
}


@dataclass(frozen=True)
class TrainedDecoder:
    """Weights, and everything needed to rebuild the network.

    Attributes
    ----------
    weights : dict of name to Tensor
    shapes : dict
        Shapes for `Decoder.build`, as plain values.
    history : list of dict, one per epoch
    clips : dict
        Numbers of clips ``fit`` and ``validation``.
    """

    weights: dict[str, Tensor]
    shapes: dict[str, Any]
    history: list[dict[str, float]]
    clips: dict[str, int]


def train_decoder(
    decoder: str,
    settings: DecoderConfig,
    responses: Sequence[np.ndarray],
    targets: Mapping[str, np.ndarray],
    movies: Sequence[str],
    *,
    seed: int,
    device: str = "cpu",
    checkpoint: Path | None = None,
    fingerprint: str = "",
    logs: Path | None = None,
) -> TrainedDecoder:
    """Train one decoder on training clips.

    Parameters
    ----------
    decoder : str
        A key of `DECODERS`.
    settings : DecoderConfig of that decoder
    responses : sequence of ndarray of shape (clip, voxel), float32
        One per subject, for the same clips.
    targets : mapping of name to ndarray, first axis = clip
        Those of `needed_targets`: ``clip_embedding_text, clip_embedding_image`` (clip, embedding) and
        ``prompt_embedding`` (clip, token, width), with augmentation also their copies (clip, copy, ...); or
        ``latents`` (clip, frame, channel, h, w).
    movies : sequence of str of length clip
    seed, device, logs
        See `mind_animator.decoders.fit.fit`.
    checkpoint, fingerprint
        Folder and fingerprint of a `Checkpoint`; the caller deletes the folder once the weights are stored.

    Raises
    ------
    InputError
        If arrays do not match each other or contain values that are not finite.
    """
    names = needed_targets(decoder, settings)
    check_finite(names, responses, targets, movies)
    voxels = [torch.from_numpy(np.ascontiguousarray(r, np.float32)).to(device) for r in responses]
    tensors = {n: torch.from_numpy(np.ascontiguousarray(targets[n], np.float32)).to(device) for n in names}
    rows, validation = split_clips(movies, settings.validation, seed)
    rng = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]))
    kind = DECODERS[decoder]
    shapes = {"voxels": [v.shape[1] for v in voxels], **kind.measure(tensors)}
    with Checkpoint(checkpoint, fingerprint, settings.optimisation.checkpoint_interval, device) as kept:
        data, baseline_targets = kind.prepare(settings, tensors, kept)
        baseline = None
        if settings.linear is not None:
            baseline, pcs = fit_linear_baseline(voxels, baseline_targets, movies, settings.linear, kept)
            shapes["sizes"] = {name: list(size) for name, size in baseline.sizes.items()}
            data |= {f"pcs/{subject}": own for subject, own in enumerate(pcs)}
        else:
            data |= {f"responses/{subject}": own for subject, own in enumerate(voxels)}
            if settings.sparsification.accumulates:
                for subject, own in enumerate(voxels):
                    data[f"lifetimes/{subject}"] = torch.rand(own.shape, generator=rng).to(device)
        network = kind.build(settings, shapes)
        network.reset(rng)
        if baseline is not None:
            network.linear_baseline.load_state_dict(baseline.state_dict())
        network.to(device)
        data |= network.calibrate(data, baseline_targets, rows, rng, kept)
        history = fit(
            network, lambda network, *batch: network.loss(*batch), data, rows, validation, settings.optimisation,
            seed=seed, device=device, noam_width=network.noam_width, checkpoint=kept, logs=logs,
        )  # fmt: skip
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    return TrainedDecoder(weights, shapes, history, {"fit": len(rows), "validation": len(validation)})


def restore(
    decoder: str, settings: Mapping[str, Any], shapes: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> Decoder:
    """The trained network; the weights must match it exactly.

    Raises
    ------
    InputError
        If a weight is missing, unexpected or of another shape.
    """
    network = DECODERS[decoder].build(CONFIGS[decoder].model_validate(settings), shapes)
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
    batch: int = 64,
    device: str = "cpu",
    **given: np.ndarray,
) -> dict[str, np.ndarray]:
    """Predictions of a trained decoder.

    Parameters
    ----------
    network : Decoder
    responses : ndarray of shape (clip, voxel)
    subject : int
        Index of the subject among those that the decoder was trained on.
    batch : int
        Clips per batch; the last batch is padded to this size, so that the result of a clip depends on the
        other clips by rounding at most.
    **given : ndarray, first axis = clip
        Further inputs of `Decoder.predict`: the motion decoder starts from ``first`` (clip, channel, h, w).

    Returns
    -------
    dict of name to ndarray (clip, ...), float32
        See `Decoder.predict` of the decoder.
    """
    network.to(device)
    arrays = {
        name: np.ascontiguousarray(a, np.float32) for name, a in {"responses": responses, **given}.items()
    }
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(responses), batch):
        size = min(batch, len(responses) - start)
        rows = np.minimum(np.arange(start, start + batch), len(responses) - 1)
        own = {name: torch.from_numpy(array[rows]).to(device) for name, array in arrays.items()}
        inputs = network.inputs(own.pop("responses"), subject)
        for name, values in network.predict(inputs, **own).items():
            parts.setdefault(name, []).append(values[:size].float().cpu().numpy())
    return {name: np.concatenate(part) for name, part in parts.items()}


def check_finite(
    names: Sequence[str],
    responses: Sequence[np.ndarray],
    targets: Mapping[str, np.ndarray],
    movies: Sequence[str],
) -> None:
    """Raise an `InputError` if the responses, or the targets of these names, do not match the clips or are
    not finite."""
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
