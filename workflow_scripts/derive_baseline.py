"""Derive frames from frames: baselines (from training frames or the videos of another method) and folders of
existing videos."""

import numpy as np

from mind_animator.artefacts.reconstructions import stream_reconstructions
from mind_animator.artefacts.tables import read_table
from mind_animator.errors import InputError, run_command
from mind_animator.methods import open_kind
from mind_animator.methods.base import ReconstructionInputs
from workflow_scripts.stages import Inputs, Outputs, Param, command


def derive_baseline(
    *,
    kind: Param[str],
    settings: Param[str],
    tables: Inputs,
    files: Inputs,
    shard_size: Param[int],
    seed: Param[int],
    rate: Param[float],
    frames: Outputs,
    videos: Outputs,
) -> None:
    """
    Parameters
    ----------
    kind
        Type of the method, e.g. flat_mean.
    settings
        Options of the method as JSON.
    tables
        Tables of clips of the test segments (TSV).
    files
        Files from which the frames are derived.
    shard_size
        Clips per shard.
    seed
        Random seed.
    rate
        Frames per second of the videos.
    frames
        Frames, one file per shard (HDF5).
    videos
        Videos of the shards, for viewing only (mp4).
    """
    method = open_kind(kind, "--kind")
    if method.reconstruction != "frames":
        raise InputError(f"Expected a kind that is made of frames, got '{kind}'.")
    test_clips = [clip for table in tables for clip in read_table(table, ("clip",))["clip"]]
    size = shard_size
    shards = [test_clips[start : start + size] for start in range(0, len(test_clips), size)]
    if not len(shards) == len(frames) == len(videos):
        raise InputError(
            f"Expected {len(shards)} shards of {size} clips among {len(test_clips)}, got {len(frames)} files of "
            f"frames and {len(videos)} videos."
        )

    inputs = ReconstructionInputs(test_clips, seed, files=files)

    def black() -> np.ndarray:
        """Black frames with the shape of the clips of this method."""
        reason = ""
        for _, made in method.reconstruct(settings, test_clips, inputs):
            if not isinstance(made, InputError):
                return np.zeros_like(made)
            reason = reason or str(made)
        raise InputError(f"Expected frames of at least one clip, got none; the first: {reason}")

    for clips, path, video in zip(shards, frames, videos, strict=True):
        made = method.reconstruct(settings, clips, inputs)
        stream_reconstructions(made, clips, path, video, rate, kind, black)


main = command(derive_baseline)

if __name__ == "__main__":
    run_command(main)
