"""Predictions for the generator, and reconstructed frames for scoring and for viewing."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mind_animator.artefacts.arrays import (
    iterate_clips,
    open_arrays,
    read_arrays,
    read_attrs,
    read_clip_names,
    write_arrays,
)
from mind_animator.artefacts.streams import write_problems, write_stream
from mind_animator.artefacts.video import write_mp4
from mind_animator.errors import InputError

# Smaller videos are enlarged by a whole factor for viewing only.
SHOWN_SIZE = 256


def read_shard(
    path: Path | str, first: int, size: int, names: Sequence[str]
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Clips ``first .. first + size - 1`` of a file (fewer at its end), and their arrays.

    Returns
    -------
    clips : list of str
    arrays : dict of name to ndarray (clip, ...) float32
        Finite values; 0 for clips that could not be predicted (`problems_of`).

    Raises
    ------
    InputError
        If there is no such clip, an array is missing or a value is not finite; the message names file and clip.
    """
    clips = read_clip_names(path)[first : first + size]
    if not clips:
        raise InputError(f"Expected more than {first} clips in {path}, got {len(read_clip_names(path))}.")
    return clips, read_finite(path, names, clips)


def problems_of(path: Path | str, clips: Sequence[str]) -> dict[str, str]:
    """The given clips for which a file contains no prediction, with the reasons."""
    problems = json.loads(read_attrs(path).get("problems", "{}"))
    return {clip: problems[clip] for clip in clips if clip in problems}


def read_finite(path: Path | str, names: Sequence[str], clips: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of the named clips, float32; raises an `InputError` that names the first clip that is not finite.

    Clips without a prediction (`problems_of`) are set to 0, so that shards and batches keep their shape.
    """
    _, arrays = read_arrays(path, names, clips)
    missing = problems_of(path, clips)
    for name, array in arrays.items():
        array[[row for row, clip in enumerate(clips) if clip in missing]] = 0
        bad = ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        if bad.any():
            raise InputError(
                f"Expected finite '{name}' in {path}, got NaN or infinity for clip "
                f"'{clips[int(bad.argmax())]}' ({int(bad.sum())} clips)."
            )
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def check_shapes(
    path: Path | str, arrays: Mapping[str, np.ndarray], tokens: int, drawn: int | None = None
) -> None:
    """Check latents (clip, frame, channel, h, w), noise alike (of ``drawn`` frames), prompt_embedding of
    ``tokens - 1``."""
    latents = arrays["latents"].shape
    if len(latents) != 5:
        raise InputError(f"Expected latents (clip, frame, channel, h, w) in {path}, got {latents}.")
    expected = (latents[0], latents[1] if drawn is None else drawn, *latents[2:])
    if "noise" in arrays and arrays["noise"].shape != expected:
        raise InputError(f"Expected noise {expected} for the latents of {path}, got {arrays['noise'].shape}.")
    if "prompt_embedding" in arrays and arrays["prompt_embedding"].shape[1:-1] != (tokens - 1,):
        raise InputError(
            f"Expected a prompt_embedding (clip, {tokens - 1}, width) in {path} (features.tokens less BOS), "
            f"got {arrays['prompt_embedding'].shape}."
        )


def has_array(path: Path | str, name: str) -> bool:
    """Whether a file contains an array."""
    with open_arrays(path) as file:
        return name in file


def write_reconstructions(
    path: Path | str,
    video: Path | str,
    clips: Sequence[str],
    frames: np.ndarray,
    rate: float,
    problems: Mapping[str, str] | None = None,
) -> None:
    """Write lossless frames for scoring, and one mp4 file of all clips in sequence for viewing.

    Parameters
    ----------
    path, video : path
        HDF5 file (arrays ``frames``, ``clip``) and mp4 file.
    clips : sequence of str
    frames : array of shape (clip, frame, height, width, 3), uint8
    rate : float
        Frames per second of the video.
    problems : mapping of clip to str, optional
        Clips without a prediction, with the reason. Their frames are black, and score tables contain the reason.
    """
    missing = [row for row, clip in enumerate(clips) if clip in (problems or {})]
    if missing:
        frames = frames.copy()
        frames[missing] = 0
    write_mp4(video, _enlarged(frames), rate)
    write_arrays(
        path, {"frames": frames}, clips, {"rate": rate, "problems": json.dumps(dict(problems or {}))}
    )


def stream_reconstructions(
    made: Iterable[tuple[str, np.ndarray | InputError]],
    clips: Sequence[str],
    path: Path,
    video: Path,
    rate: float,
    title: str,
    black: Callable[[], np.ndarray],
) -> None:
    """Write the frames of one shard as they are produced; clips without frames are listed with the reasons.

    Parameters
    ----------
    made : iterable of (clip, frames (frame, height, width, 3) uint8, or the reason why there are none)
    clips : sequence of str
        Clips of the shard.
    path, video : Path
        HDF5 file (arrays ``frames``, ``clip``; attribute ``problems``) and mp4 file.
    rate : float
        Frames per second of the video.
    title : str
        Title of the progress bar.
    black : callable
        Returns black frames of the shape of a clip, for a shard in which no clip has frames.
    """
    problems: dict[str, str] = {}
    with write_stream(path, clips, {"rate": rate}) as stream:
        row_of = {clip: row for row, clip in enumerate(clips)}
        for clip, frames in tqdm(made, title, len(clips), unit="clip", mininterval=5):
            if isinstance(frames, InputError):
                problems[clip] = str(frames)
                continue
            stream.write(row_of[clip], {"frames": frames})
        if len(problems) == len(clips):
            stream.write(0, {"frames": black()})
        write_problems(stream, problems)
    for clip, reason in problems.items():
        print(f"{clip}: {reason}")
    good = [clip for clip in clips if clip not in problems]
    write_mp4(
        video, _enlarged(frames for _, frames in iterate_clips(path, "frames", good or clips[:1])), rate
    )


def _enlarged(clips: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Frames of clips for viewing, enlarged by a whole factor to an even size."""
    for frames in clips:
        factor = max(1, -(-SHOWN_SIZE // min(frames.shape[1:3])))
        for frame in frames:
            large = frame.repeat(factor, axis=0).repeat(factor, axis=1)
            yield large[: large.shape[0] // 2 * 2, : large.shape[1] // 2 * 2]
