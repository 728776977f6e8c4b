"""Draw one movie of the synthetic data set, and write its ground truth beside it."""

import argparse
from pathlib import Path

from mind_animator.errors import InputError, run_command
from mind_animator.synthetic.ground_truth import write_ground_truth
from mind_animator.synthetic.movies import MOVIE_SECONDS, VIDEO_SIZE, movie_shots, write_movie


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="seg<number> (training) or test<number>")
    parser.add_argument("--seed", type=int, required=True, help="seed of the world")
    parser.add_argument(
        "--duration", type=float, default=MOVIE_SECONDS, help="seconds, a whole number of 2-s clips"
    )
    parser.add_argument("--size", type=int, default=VIDEO_SIZE, help="height and width in pixels")
    parser.add_argument("--movie", type=Path, required=True, help="output, mp4")
    parser.add_argument("--ground-truth", type=Path, required=True, help="output, json")
    given = parser.parse_args(arguments)
    try:
        shots = movie_shots(given.name, given.seed, given.duration)
        frames = write_movie(given.movie, shots, given.size)
    except ValueError as error:
        raise InputError(str(error)) from error
    write_ground_truth(given.ground_truth, shots)
    print(f"{given.movie.name}: {frames} frames, {len(shots)} shots")


if __name__ == "__main__":
    run_command(main)
