"""Reconstruct one shard of test clips with a method that produces frames itself."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mind_animator.artefacts.arrays import open_arrays, read_arrays
from mind_animator.artefacts.reconstructions import stream_reconstructions
from mind_animator.artefacts.responses import NO_RESPONSE
from mind_animator.config.models import ModelsConfig
from mind_animator.device import use_device
from mind_animator.errors import InputError, run_command
from mind_animator.methods._read import prediction_inputs, read_clips, read_subject
from mind_animator.methods.base import Needs, ReconstructionInputs, open_kind
from mind_animator.video.conform import conform
from workflow_scripts.stages import Device, Input, Inputs, Output, Param, Wildcard, command


def reconstruct_own(
    *,
    kind: Param[str],
    settings: Param[str],
    needs: Param[Needs],
    weights: Param[dict[str, Path]] = {},  # noqa: B006 (read only)
    subject: Wildcard[str],
    responses: Input,
    predictions: Inputs = (),
    clips: Inputs,
    models: Param[str] = "{}",
    t_r: Param[float] = 0.0,
    shard: Wildcard[int],
    shard_size: Param[int],
    n_frames: Param[int],
    size: Param[int],
    rate: Param[float],
    seed: Param[int],
    device: Param[Device] = "cpu",
    frames: Output,
    video: Output,
) -> None:
    """
    Parameters
    ----------
    kind
        Method type.
    settings
        Reconstruction settings of the method (JSON).
    needs
        Inputs that the method needs in addition to weights and responses.
    weights
        Weights of the method's parts.
    subject
        Name of the subject.
    responses
        Responses of the subject (HDF5).
    predictions
        Predictions of the method (HDF5), if it makes any.
    clips
        Clip tables of the test movies (TSV).
    models
        Ids or folders of the models, and the lock file (JSON).
    t_r
        Seconds between volumes, for windows.
    shard
        Index of the first test clip of the shard.
    shard_size
        Number of clips per shard.
    n_frames
        Number of frames that each clip is conformed to.
    size
        Height and width of black frames, for a shard without any frames.
    rate
        Frames per second of the video.
    seed
        Random seed.
    device
        Device to compute on.
    frames
        Output: frames (HDF5).
    video
        Output: video for viewing (mp4).
    """
    opened, target = open_kind(kind, "--kind"), use_device(device)
    known = ModelsConfig.model_validate_json(models)
    table = read_clips(clips, "test")
    everyone, present = read_subject(responses, table, needs, t_r)
    rows = np.arange(shard, min(shard + shard_size, len(table)))
    if not len(rows):
        raise InputError(f"Expected --shard below the number of test clips ({len(table)}), got {shard}.")
    names = [everyone.clips[row] for row in rows]
    kept = rows[present[rows]]
    own = everyone.take(kept)
    inputs = ReconstructionInputs(
        test_clips=everyone.clips,
        seed=seed,
        prediction=prediction_inputs(
            weights, subject, seed, target, {key: getattr(known, key) for key in needs.models}, known.lock
        ),
        responses=own,
        predictions=_read_predictions(predictions, own.clips),
        table=table.iloc[kept].reset_index(drop=True),
    )

    def made() -> Iterator[tuple[str, np.ndarray | InputError]]:
        for clip in names:
            if clip not in own.clips:
                yield clip, InputError(NO_RESPONSE)
        side = None
        for clip, given in opened.reconstruct(settings, own.clips, inputs) if len(kept) else ():
            if not isinstance(given, InputError):
                given = check_frames(given, clip, kind)
                side = side or min(given.shape[1:3])
                given = conform(given, size=side, count=n_frames)
            yield clip, given

    def black() -> np.ndarray:
        return np.zeros((n_frames, size, size, 3), np.uint8)

    stream_reconstructions(made(), names, frames, video, rate, kind, black)


def check_frames(frames: np.ndarray, clip: str, kind: str) -> np.ndarray:
    """The frames of a clip; `InputError` unless they are (frame, height, width, 3) uint8 and not empty."""
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(
            f"Expected frames (frame, height, width, 3) uint8 of clip '{clip}' from method type '{kind}', "
            f"got {frames.dtype} {frames.shape}."
        )
    return frames


def _read_predictions(paths: list[Path], clips: list[str]) -> dict[str, np.ndarray]:
    if not paths or not clips:
        return {}
    with open_arrays(paths[0]) as file:
        names = [name for name in file if name != "clip"]
    return read_arrays(paths, names, clips)[1]


main = command(reconstruct_own)

if __name__ == "__main__":
    run_command(main)
