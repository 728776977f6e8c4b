"""Frames made of frames: baselines (of training frames or of another method's videos) and anyone's videos."""

import argparse
from pathlib import Path

import numpy as np

from mind_animator.artefacts.reconstructions import stream_reconstructions
from mind_animator.artefacts.tables import read_table
from mind_animator.errors import InputError, run_command
from mind_animator.methods import open_kind
from mind_animator.methods.base import ReconstructionInputs


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", required=True, help="kind of method, e.g. flat_mean")
    parser.add_argument("--settings", required=True, help="its options, JSON")
    parser.add_argument(
        "--tables", type=Path, nargs="+", required=True, help="clip tables of the test segments"
    )
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="what the frames are made of")
    parser.add_argument("--shard-size", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="frames a second, for the video")
    parser.add_argument(
        "--frames", type=Path, nargs="+", required=True, help="outputs, one HDF5 file a shard"
    )
    parser.add_argument("--videos", type=Path, nargs="+", required=True, help="outputs, mp4, for people")
    given = parser.parse_args(arguments)

    kind = open_kind(given.kind, "--kind")
    if kind.reconstruction != "frames":
        raise InputError(f"Expected a kind that is made of frames, got '{given.kind}'.")
    test_clips = [clip for table in given.tables for clip in read_table(table, ("clip",))["clip"]]
    size = given.shard_size
    shards = [test_clips[start : start + size] for start in range(0, len(test_clips), size)]
    if not len(shards) == len(given.frames) == len(given.videos):
        raise InputError(
            f"Expected {len(shards)} shards of {size} clips among {len(test_clips)}, got {len(given.frames)} files of "
            f"frames and {len(given.videos)} videos."
        )

    inputs = ReconstructionInputs(test_clips, given.seed, files=given.files)

    def black() -> np.ndarray:
        """Black frames of the shape that the clips of this method have."""
        reason = ""
        for _, frames in kind.reconstruct(given.settings, test_clips, inputs):
            if not isinstance(frames, InputError):
                return np.zeros_like(frames)
            reason = reason or str(frames)
        raise InputError(f"Expected frames of at least one clip, got none; the first: {reason}")

    for clips, path, video in zip(shards, given.frames, given.videos, strict=True):
        made = kind.reconstruct(given.settings, clips, inputs)
        stream_reconstructions(made, clips, path, video, given.rate, given.kind, black)


if __name__ == "__main__":
    run_command(main)
