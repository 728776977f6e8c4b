"""Null distribution of the `motion_pairing` test over many synthetic data sets: is direction independent of content?

    python -m benchmarks.motion_null [--data-sets 100] [--signal no_motion]

In each synthetic data set, ridge regression predicts the exact mean velocity of clips from the noise-free drive of all
areas, convolved with the haemodynamic response. It is fitted to the training clips and tested on the test movie by
`motion_pairing`. Without motion, p must be uniformly distributed over data sets; the full drive shows that the test has
power.
"""

import argparse

import numpy as np
from scipy.stats import binomtest
from tqdm import tqdm

from mind_animator.datasets.cc2017 import n_volumes, recording_start
from mind_animator.errors import InputError, run_command
from mind_animator.scoring.compare import moving_clips
from mind_animator.statistics.blocks import aligned_blocks
from mind_animator.statistics.permutation import motion_pairing
from mind_animator.synthetic import ground_truth, subjects
from mind_animator.synthetic.movies import movie_shots

TRAIN, TEST = [f"seg{number}" for number in range(1, 9)], "test2"
CLIPS, FRAMES, LAG = 240, 8, 4.0
PENALTY = 1e4  # little moves the direction of the prediction: 1e3 and 1e5 give scores that agree with r > .7


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-sets", type=int, default=100, help="how many, seeds from 0; 2 or more")
    parser.add_argument("--signal", choices=("no_motion", "full"), default="no_motion")
    given = parser.parse_args()
    if given.data_sets < 2:
        raise InputError(f"Expected 2 or more data sets, got {given.data_sets} (--data-sets).")
    scores, ps = [], []
    for seed in tqdm(range(given.data_sets), unit="data set", mininterval=5):
        score, p = evaluate(seed, given.signal)
        scores.append(score)
        ps.append(p)
    scores, ps = np.array(scores), np.array(ps)
    error = scores.std(ddof=1) / np.sqrt(len(scores))
    print(f"motion_pairing {scores.mean():.3f} +- {error:.3f}, deviation {scores.std(ddof=1):.3f}")
    for level in (0.05, 0.01):
        count = int((ps <= level).sum())
        low, high = binomtest(count, len(ps)).proportion_ci()
        print(f"p <= {level}: {count} of {len(ps)} data sets ({low:.3f} to {high:.3f})")
    print(
        "data sets 0 and 1:",
        ", ".join(f"{s:.3f} (p = {p:.3f})" for s, p in zip(scores[:2], ps[:2], strict=True)),
    )


def evaluate(seed: int, signal: str) -> tuple[float, float]:
    """`motion_pairing` of the oracle in one data set, and its p value."""
    seen, velocity = (
        np.concatenate(part) for part in zip(*(clips(m, seed, signal) for m in TRAIN), strict=True)
    )
    test, ground_truths = clips(TEST, seed, signal)
    mean, deviation = seen.mean(0), seen.std(0)
    deviation = np.maximum(deviation, 0.05 * deviation.max())
    seen, test = (seen - mean) / deviation, (test - mean) / deviation
    weights = np.linalg.solve(seen @ seen.T + PENALTY * np.eye(len(seen)), velocity - velocity.mean(0))
    result, score = motion_pairing(
        ground_truths, test @ seen.T @ weights + velocity.mean(0), aligned_blocks([TEST] * CLIPS, 10),
        moving=moving_clips(ground_truths, 0.5), n_permutations=1999, generator=np.random.default_rng(seed),
    )  # fmt: skip
    return score, result.p


def clips(movie: str, seed: int, signal: str) -> tuple[np.ndarray, np.ndarray]:
    """What the oracle sees of each clip (clip, feature), and the clip's exact mean velocity (clip, 2)."""
    shots = movie_shots(movie, seed, 2.0 * CLIPS)
    times, features = subjects.drive(shots, signal)
    start = recording_start(movie)
    volumes = subjects.volume_times(n_volumes(movie, CLIPS), start)
    convolved = subjects.haemodynamics(times, features, volumes)
    clip_volumes = slice(first := round((LAG - start) / subjects.TR), first + CLIPS)
    seen = [convolved["structure"], 3 * convolved["semantics"], 3 * convolved["motion"]]
    shown = ground_truth.layout(shots, (np.arange(CLIPS * FRAMES) + 0.5) * 2.0 / FRAMES)
    velocity = np.stack([shown["velocity_x"], shown["velocity_y"]], axis=1).reshape(CLIPS, FRAMES, 2)
    return np.concatenate(seen, axis=1)[clip_volumes], velocity.mean(axis=1)


if __name__ == "__main__":
    run_command(main)
