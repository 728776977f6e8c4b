"""Cutting a movie into clips: the sequential pass of the workflow compared with other implementations on the same file.

    python -m benchmarks.segmentation --movie FILE [--clips 20] [--size 512] [--repeats 1]

All implementations read the same frames (8 per clip of 2 s, 4 Hz, by presentation time) and resize them in
the same way, and the frames are compared. The table contains the processor time of the process and of its
decoding process (with one decoder thread), and the elapsed time; each is the minimum of the repeats. The time
of the workflow includes starting the decoding process, validating the times of the movie and confirming the
last frame.
"""

import argparse
import os
import time
from collections.abc import Callable

import cv2
import decord
import numpy as np

from mind_animator.artefacts.video import Movie, end_processes
from mind_animator.errors import InputError, run_command
from mind_animator.video.conform import resize_frame
from mind_animator.video.decode import read_clips
from mind_animator.video.sampling import sample_indices


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--movie", required=True)
    parser.add_argument("--clips", type=int, default=20, help="2-s clips from the movie's start")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    movie = Movie(options.movie, square=False)
    fitting = int((movie.end - movie.starts[0]) // 2)
    if not 1 <= options.clips <= fitting or options.repeats < 1:
        raise InputError(f"Expected 1 to {fitting} clips and 1 or more repeats, got {vars(options)}.")
    onsets = 2.0 * np.arange(options.clips)
    indices = sample_indices(
        movie.starts, movie.end, onsets, np.full(options.clips, 2.0),
        frames=8, rate=4.0, sampling="true_rate", where=options.movie,
    )  # fmt: skip

    ways: dict[str, Callable[[], np.ndarray]] = {
        "sequential": lambda: sequential(options.movie, indices, options.size),
        "sequential, PyAV": lambda: sequential(options.movie, indices, options.size, "PyAV"),
        "a seek per sample, decord": lambda: seeking_decord(options.movie, indices, options.size),
        "a seek per sample, OpenCV": lambda: seeking_opencv(options.movie, indices, options.size),
    }
    spent, elapsed = dict.fromkeys(ways, np.inf), dict.fromkeys(ways, np.inf)
    results = {}
    for _ in range(options.repeats):
        for name, way in ways.items():
            end_processes()
            start, begun = sum(os.times()[:4]), time.monotonic()
            results[name] = way()
            elapsed[name] = min(elapsed[name], time.monotonic() - begun)
            end_processes()  # the processor time of a child is counted only after its end
            spent[name] = min(spent[name], sum(os.times()[:4]) - start)
    seconds = 2 * options.clips
    print(
        f"{options.movie}: {seconds} s, {indices.size} samples at {options.size} px, one decoder thread; "
        f"{movie.describe()}"
    )
    print("| way | processor s per movie of 480 s | ratio | elapsed s | largest difference |")
    print("|---|---|---|---|---|")
    for name in ways:
        scaled = spent[name] * 480 / seconds
        apart = np.abs(results[name].astype(int) - results["sequential"]).max()
        ratio = spent[name] / spent["sequential"]
        print(f"| {name} | {scaled:.1f} | {ratio:.2f} | {elapsed[name] * 480 / seconds:.1f} | {apart} |")


def sequential(path: str, indices: np.ndarray, size: int, reader: str = "decord") -> np.ndarray:
    """The implementation of the workflow."""
    clips = dict(read_clips(Movie(path, reader=reader, square=False), indices, size=size))
    return np.stack([clips[row] for row in range(len(indices))])


def seeking_decord(path: str, indices: np.ndarray, size: int) -> np.ndarray:
    """An accurate seek to every sample."""
    reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    frames = []
    for index in indices.ravel():
        reader.seek_accurate(int(index))
        frames.append(resize_frame(reader.next().asnumpy(), size))
    return np.stack(frames).reshape(*indices.shape, size, size, 3)


def seeking_opencv(path: str, indices: np.ndarray, size: int) -> np.ndarray:
    """Set the position, read, for every sample."""
    reader = cv2.VideoCapture(path)
    reader.set(cv2.CAP_PROP_N_THREADS, 1)
    frames = []
    for index in indices.ravel():
        reader.set(cv2.CAP_PROP_POS_FRAMES, int(index))
        whole, frame = reader.read()
        if not whole:
            raise InputError(f"Expected frame {index} in {path}, got none.")
        frames.append(resize_frame(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), size))
    return np.stack(frames).reshape(*indices.shape, size, size, 3)


if __name__ == "__main__":
    run_command(main)
