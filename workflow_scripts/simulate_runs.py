"""Simulate all runs of one subject and one movie of the synthetic data set, as CIFTI files."""

import re
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from mind_animator.artefacts.cifti import write_series
from mind_animator.artefacts.cortex import grayordinate_axis
from mind_animator.datasets.cc2017 import CLIP_SECONDS, DELAYED_RUN, N_CLIPS, n_volumes, recording_start
from mind_animator.errors import InputError, run_command
from mind_animator.synthetic.movies import movie_shots
from mind_animator.synthetic.subjects import (
    TR,
    drive,
    haemodynamics,
    responses,
    simulate_run,
    simulate_subject,
    volume_times,
)
from workflow_scripts.stages import Outputs, Param, Wildcard, command

DELAY = 10.0  # delay of CC2017's delayed run relative to the others, in seconds


def simulate_runs(
    *,
    number: Wildcard[str],
    segment: Wildcard[str],
    seed: Param[int],
    clips: Param[int] = N_CLIPS,
    signal: Wildcard[Literal["full", "no_motion", "none"]],
    noise: Param[float],
    runs: Outputs,
) -> None:
    """
    Parameters
    ----------
    number
        Number of the simulated subject.
    segment
        Name of the movie: seg<number> or test<number>.
    seed
        Seed of the synthetic data set.
    clips
        Length of the movie in 2-s clips.
    signal
        What the subject's responses encode.
    noise
        Standard deviation of the noise in units of the response's.
    runs
        Runs to simulate, named <segment>_<run>_*.dtseries.nii.
    """
    if not number.isdecimal():
        raise InputError(f"--number = '{number}': must be a number.")
    repeats = [_run_number(path, segment) for path in runs]
    try:
        shots = movie_shots(segment, seed, CLIP_SECONDS * clips)
    except ValueError as error:
        raise InputError(f"{error} (--segment)") from None

    subject, volumes = int(number), n_volumes(segment, clips)
    simulated = simulate_subject(seed, subject)
    times, features = drive(shots, signal)
    axis = grayordinate_axis()
    for repeat, path in tqdm(list(zip(repeats, runs, strict=True)), unit="run", mininterval=5):
        late = DELAY if (number, segment, repeat) == DELAYED_RUN else 0.0
        moments = volume_times(volumes, recording_start(segment)) - late
        clean = responses(simulated, haemodynamics(times, features, moments))
        rng = np.random.default_rng((seed, subject, zlib.crc32(segment.encode()), repeat))
        write_series(path, simulate_run(simulated, clean, noise, rng), axis, TR)


def _run_number(path: Path, segment: str) -> int:
    found = re.match(rf"{segment}_(\d+)_", path.name)
    if found is None:
        raise InputError(f"Expected --runs to be named {segment}_<run>_*, got {path.name}.")
    return int(found[1])


main = command(simulate_runs)

if __name__ == "__main__":
    run_command(main)
