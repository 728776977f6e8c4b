"""Draw one movie of the synthetic data set, and write its ground truth to a file."""

from mind_animator.errors import InputError, run_command
from mind_animator.synthetic.ground_truth import write_ground_truth
from mind_animator.synthetic.movies import MOVIE_SECONDS, VIDEO_SIZE, movie_shots, write_movie
from workflow_scripts.stages import Output, Param, Wildcard, command


def make_movie(
    *,
    segment: Wildcard[str],
    seed: Param[int],
    seconds: Param[float] = MOVIE_SECONDS,
    size: int = VIDEO_SIZE,
    movie: Output,
    ground_truth: Output,
) -> None:
    """
    Parameters
    ----------
    segment
        Name of the movie: seg<number> for training, test<number> for test.
    seed
        Seed of the synthetic data set.
    seconds
        Duration in seconds, a whole number of 2-s clips.
    size
        Height and width of the frames in pixels.
    movie
        The movie (mp4).
    ground_truth
        Content of every shot (JSON).
    """
    try:
        shots = movie_shots(segment, seed, seconds)
        frames = write_movie(movie, shots, size)
    except ValueError as error:
        raise InputError(str(error)) from error
    write_ground_truth(ground_truth, shots)
    print(f"{movie.name}: {frames} frames, {len(shots)} shots")


main = command(make_movie)

if __name__ == "__main__":
    run_command(main)
