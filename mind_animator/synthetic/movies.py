"""Movies of the synthetic data set as real H.264 files."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mind_animator.artefacts.video import write_mp4
from mind_animator.synthetic import scenes

VIDEO_SIZE = 128
MOVIE_SECONDS = 480.0


def movie_shots(name: str, seed: int, duration: float = MOVIE_SECONDS) -> list[scenes.Shot]:
    """The shots of a named movie.

    Parameters
    ----------
    name : str
        ``seg<number>`` (training combinations) or ``test<number>`` (held-out combinations).
    seed : int
        Seed of the synthetic data set, 0 or more; each movie has a separate random stream.
    duration : float
        Seconds.
    """
    kinds = {"seg": "train", "test": "test"}
    kind = name.rstrip("0123456789")
    if kind not in kinds or kind == name:
        raise ValueError(f"Expected a movie named 'seg<number>' or 'test<number>', got {name!r}")
    return scenes.sample_movie((seed, zlib.crc32(name.encode())), duration, kinds[kind])


def movie_frames(
    shots: list[scenes.Shot], size: int = VIDEO_SIZE, fps: int = scenes.VIDEO_FPS
) -> Iterator[np.ndarray]:
    """Yield the (size, size, 3) uint8 frames of a movie one by one; frame k shows time k / fps."""
    frame = 0
    for shot in shots:
        while frame / fps < shot.offset - 1e-6:
            yield scenes.render_frame(shot, frame / fps - shot.onset, size)
            frame += 1


def write_movie(
    path: Path, shots: list[scenes.Shot], size: int = VIDEO_SIZE, fps: int = scenes.VIDEO_FPS, crf: int = 16
) -> int:
    """Write a movie as H.264 in MP4, atomically; the same shots give the same bytes.

    Parameters
    ----------
    path : Path
    shots : list of Shot
    size : int
        Height and width in pixels; even.
    fps : int
        Frames per second.
    crf : int
        Quality of H.264, 0 (best) to 51.

    Returns
    -------
    int
        Number of frames written.
    """
    if size < 16 or size % 2:
        raise ValueError(f"Expected an even size of at least 16 pixels, got {size}")
    if not shots:
        raise ValueError("Expected at least one shot, got none")
    return write_mp4(path, movie_frames(shots, size, fps), fps, crf=crf)
