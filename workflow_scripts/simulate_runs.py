"""Simulate all runs of one subject and one movie of the synthetic data set, as CIFTI files."""

import argparse
import re
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mind_animator.artefacts.cifti import write_series
from mind_animator.artefacts.cortex import grayordinate_axis
from mind_animator.datasets.cc2017 import CLIP_SECONDS, DELAYED_RUN, N_CLIPS, RECORDING_START, n_volumes
from mind_animator.errors import InputError, run_command
from mind_animator.synthetic.brains import (
    SIGNALS,
    TR,
    drive,
    haemodynamics,
    make_brain,
    responses,
    simulate_run,
    volume_times,
)
from mind_animator.synthetic.movies import movie_shots

DELAY = 10.0  # seconds by which CC2017's delayed run lags behind the others


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subject", required=True, help="number of the subject")
    parser.add_argument("--movie", required=True, help="seg<number> or test<number>")
    parser.add_argument("--seed", type=int, required=True, help="seed of the world")
    parser.add_argument("--clips", type=int, default=N_CLIPS, help="length of the movie, 2-s clips")
    parser.add_argument("--signal", choices=SIGNALS, required=True, help="what the brain holds")
    parser.add_argument(
        "--noise", type=float, required=True, help="deviation of the noise, in the response's"
    )
    parser.add_argument(
        "--runs", type=Path, nargs="+", required=True, help="outputs, <movie>_<run>_*.dtseries.nii"
    )
    given = parser.parse_args(arguments)
    if not given.subject.isdecimal():
        raise InputError(f"Expected --subject to be a number, got '{given.subject}'.")
    numbers = [_run_number(path, given.movie) for path in given.runs]
    try:
        shots = movie_shots(given.movie, given.seed, CLIP_SECONDS * given.clips)
    except ValueError as error:
        raise InputError(f"{error} (--movie)") from None

    subject, volumes = int(given.subject), n_volumes(given.movie, given.clips)
    brain = make_brain(given.seed, subject)
    times, features = drive(shots, given.signal)
    axis = grayordinate_axis()
    for number, path in tqdm(list(zip(numbers, given.runs, strict=True)), unit="run", mininterval=5):
        late = DELAY if (given.subject, given.movie, number) == DELAYED_RUN else 0.0
        moments = volume_times(volumes, RECORDING_START[volumes - given.clips]) - late
        signal = responses(brain, haemodynamics(times, features, moments))
        rng = np.random.default_rng((given.seed, subject, zlib.crc32(given.movie.encode()), number))
        write_series(path, simulate_run(brain, signal, given.noise, rng), axis, TR)


def _run_number(path: Path, movie: str) -> int:
    found = re.match(rf"{movie}_(\d+)_", path.name)
    if found is None:
        raise InputError(f"Expected --runs to be named {movie}_<run>_*, got {path.name}.")
    return int(found[1])


if __name__ == "__main__":
    run_command(main)
