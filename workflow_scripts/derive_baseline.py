"""Frames made of frames: baselines (of training frames or of another method's videos) and anyone's videos."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mind_animator.artefacts.reconstructions import SHOWN_SIZE
from mind_animator.artefacts.streams import write_problems, write_stream
from mind_animator.artefacts.tables import read_table
from mind_animator.artefacts.video import write_mp4
from mind_animator.errors import InputError, run_command
from mind_animator.methods import open_kind


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

    def black() -> np.ndarray:
        """Black frames of the shape that this method's clips have."""
        everywhere = kind.reconstruct(given.settings, test_clips, given.files, test_clips, seed=given.seed)
        reason = ""
        for _, frames in everywhere:
            if not isinstance(frames, InputError):
                return np.zeros_like(frames)
            reason = reason or str(frames)
        raise InputError(f"Expected frames of at least one clip, got none; the first: {reason}")

    for clips, path, video in zip(shards, given.frames, given.videos, strict=True):
        made = kind.reconstruct(given.settings, clips, given.files, test_clips, seed=given.seed)
        _write(made, clips, path, video, given.rate, given.kind, black)


def _write(
    made: Iterable[tuple[str, np.ndarray | InputError]],
    clips: list[str],
    path: Path,
    video: Path,
    rate: float,
    title: str,
    black: Callable[[], np.ndarray],
) -> None:
    """Stream one shard's frames to its files; clips without frames are named with their reasons."""
    problems: dict[str, str] = {}
    with write_stream(path, clips, {"rate": rate}) as stream:
        row_of = {clip: row for row, clip in enumerate(clips)}
        for clip, frames in tqdm(made, title, len(clips), unit="clip", mininterval=5):
            if isinstance(frames, InputError):
                problems[clip] = str(frames)
                continue
            stream.write(row_of[clip], {"frames": frames})
        if len(problems) == len(clips):  # a shard of reasons, of the other shards' shape
            stream.write(0, {"frames": black()})
        write_problems(stream, problems)
    for clip, reason in problems.items():
        print(f"{clip}: {reason}")
    good = [clip for clip in clips if clip not in problems]
    write_mp4(video, _shown(path, good or clips[:1]), rate)


def _shown(path: Path, clips: list[str]) -> Iterator[np.ndarray]:
    """Frames for people: enlarged by whole pixels, of even size."""
    from mind_animator.artefacts.arrays import iterate_clips

    for _, frames in iterate_clips(path, "frames", clips):
        factor = max(1, -(-SHOWN_SIZE // min(frames.shape[1:3])))
        for frame in frames.repeat(factor, axis=1).repeat(factor, axis=2):
            yield frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]


if __name__ == "__main__":
    run_command(main)
