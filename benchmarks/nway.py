"""Closed-form n-way accuracy compared with the published sampling on the same scores.

    python -m benchmarks.nway [--frames 9600] [--trials 100] [--sampled-frames 200]

Scores are random logits of 1,000 classes (the time does not depend on them). The sampled way is the published
loop: for every frame and trial, sample distractors, sort, and look for a target. It is timed on ``--sampled-frames`` of
the frames and extrapolated, because all frames would take minutes. A vectorised sampling is also timed. All values are
processor time of one process and one thread.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from mind_animator.errors import InputError, run_command
from mind_animator.metrics.nway import _hit_probability, nway_accuracy, top_classes

N_CLASSES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=9600)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--sampled-frames", type=int, default=200)
    options = parser.parse_args()
    if not 1 <= options.sampled_frames <= options.frames or options.trials < 1:
        raise InputError(f"Expected 1 <= sampled frames <= frames and trials >= 1, got {vars(options)}.")
    generator = np.random.default_rng(0)
    ground_truth = generator.standard_normal((options.frames, N_CLASSES), np.float32)
    prediction = 0.5 * ground_truth + generator.standard_normal((options.frames, N_CLASSES), np.float32)
    part = slice(0, options.sampled_frames)
    sampled, targets = prediction[part], top_classes(ground_truth[part])
    fraction = options.frames / options.sampled_frames
    print(f"{options.frames} frames, {N_CLASSES} classes, {options.trials} trials, one thread")
    print(
        "| | closed form, s | published loop, s | ratio | vectorised draws, s | ratio | error of the draws |"
    )
    print("|---|---|---|---|---|---|---|")
    for n_way in (2, 50):
        _hit_probability.cache_clear()
        exact, closed = timed(partial(closed_form, n_way=n_way), ground_truth, prediction)
        loop, looped = timed(published_loop, sampled, targets, n_way, options.trials)
        draws, drawn = timed(vectorised, sampled, targets, n_way, options.trials)
        error = np.sqrt(np.mean((np.array(loop) - exact[part]) ** 2))
        assert np.abs(np.mean(draws) - exact[part].mean()) < 0.05
        print(
            f"| {n_way}-way | {closed:.3f} | {looped * fraction:.1f} | {looped * fraction / closed:.0f} | "
            f"{drawn * fraction:.1f} | {drawn * fraction / closed:.0f} | {error:.3f} a frame |",
            flush=True,
        )


def closed_form(ground_truth: np.ndarray, prediction: np.ndarray, n_way: int) -> np.ndarray:
    return nway_accuracy(prediction, top_classes(ground_truth), n_way=n_way)


def timed(call: Callable, *arguments: object) -> tuple:
    """The result of a call and its processor seconds."""
    start = time.process_time()
    result = call(*arguments)
    return result, time.process_time() - start


def published_loop(scores: np.ndarray, targets: np.ndarray, n_way: int, trials: int) -> list[float]:
    """One trial after another: the targets and the drawn distractors, sorted."""
    generator = np.random.default_rng(0)
    accuracies = []
    for row, target in zip(scores, targets, strict=True):
        others = [c for c in range(len(row)) if c not in target]
        hits = 0
        for _ in range(trials):
            drawn = generator.choice(others, n_way - 1, replace=False)
            hits += any(np.argsort(np.append(row[drawn], row[t]))[-1] == n_way - 1 for t in target)
        accuracies.append(hits / trials)
    return accuracies


def vectorised(scores: np.ndarray, targets: np.ndarray, n_way: int, trials: int) -> list[float]:
    """All trials of a frame at once."""
    generator = np.random.default_rng(0)
    accuracies = []
    for row, target in zip(scores, targets, strict=True):
        keys = generator.random((trials, len(row)), dtype=np.float32)
        keys[:, target] = 2
        drawn = np.argpartition(keys, n_way - 1, axis=1)[:, : n_way - 1]
        accuracies.append((row[drawn] < row[target].max()).all(axis=1).mean())
    return accuracies


if __name__ == "__main__":
    run_command(main)
