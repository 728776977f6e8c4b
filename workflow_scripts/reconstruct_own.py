"""Reconstruct one shard of test clips with a method that produces frames itself."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mind_animator.artefacts.arrays import open_arrays, read_arrays
from mind_animator.artefacts.reconstructions import stream_reconstructions
from mind_animator.artefacts.responses import NO_RESPONSE
from mind_animator.errors import InputError, run_command
from mind_animator.methods._read import read_clips, read_subject
from mind_animator.methods.base import ReconstructionInputs, open_kind
from mind_animator.video.conform import conform
from workflow_scripts.predict import inputs_of
from workflow_scripts.stages import Inputs, Output, Param, TrainedMethod, Wildcard, command


def reconstruct_own(
    given: TrainedMethod,
    *,
    predictions: Inputs = (),
    clips: Inputs,
    shard: Wildcard[int],
    shard_size: Param[int],
    n_frames: Param[int],
    size: Param[int],
    rate: Param[float],
    frames: Output,
    video: Output,
) -> None:
    """
    Parameters
    ----------
    predictions
        Predictions of the method (HDF5), if it makes any.
    clips
        Clip tables of the test movies (TSV).
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
    frames
        Output: frames (HDF5).
    video
        Output: video for viewing (mp4).
    """
    opened, prediction = open_kind(given.kind, "--kind"), inputs_of(given)
    table = read_clips(clips, "test")
    everyone, present = read_subject(given.responses, table, given.needs, given.t_r)
    rows = np.arange(shard, min(shard + shard_size, len(table)))
    if not len(rows):
        raise InputError(f"Expected --shard below the number of test clips ({len(table)}), got {shard}.")
    names = [everyone.clips[row] for row in rows]
    kept = rows[present[rows]]
    own = everyone.take(kept)
    inputs = ReconstructionInputs(
        test_clips=everyone.clips,
        seed=given.seed,
        prediction=prediction,
        responses=own,
        predictions=_read_predictions(predictions, own.clips),
        table=table.iloc[kept].reset_index(drop=True),
    )

    def made() -> Iterator[tuple[str, np.ndarray | InputError]]:
        for clip in names:
            if clip not in own.clips:
                yield clip, InputError(NO_RESPONSE)
        side = None
        for clip, drawn in opened.reconstruct(given.settings, own.clips, inputs) if len(kept) else ():
            if not isinstance(drawn, InputError):
                drawn = check_frames(drawn, clip, given.kind)
                side = side or min(drawn.shape[1:3])
                drawn = conform(drawn, size=side, count=n_frames)
            yield clip, drawn

    def black() -> np.ndarray:
        return np.zeros((n_frames, size, size, 3), np.uint8)

    stream_reconstructions(made(), names, frames, video, rate, given.kind, black)


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
