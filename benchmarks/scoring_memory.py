"""Peak memory of scoring for 120 and 1,200 clips, which must not grow with the number of clips.

    python -m benchmarks.scoring_memory [--few 120] [--many 1200] [--size 512]

Noise clips of 8 frames, read from disk (12 different ones in turn), are scored as the workflow scores them
(`mind_animator.scoring.score.score`: every clip by every metric, and every pair of aligned clips) against a
ground-truth file of black clips of full size, without the neural models. Each number of clips is scored in a separate
process, whose peak resident memory and processor time are read from the kernel.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import run_command

STORED = 12
FRAMES = 8


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--few", type=int, default=120)
    parser.add_argument("--many", type=int, default=1200)
    parser.add_argument("--size", type=int, default=512, help="height and width, pixels")
    parser.add_argument(
        "--folder", type=Path, help="where the clips are written; a temporary folder by default"
    )
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)  # the child's own number of clips
    given = parser.parse_args(arguments)
    if given.count:
        print(json.dumps(_score(given.count, given.size, given.folder)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = []
        for count in (given.few, given.many):
            command = [sys.executable, "-m", "benchmarks.scoring_memory", "--count", str(count)]
            command += ["--size", str(given.size), "--folder", folder]
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(json.loads(text.splitlines()[-1]))
            print(
                f"{count} clips, {found[-1]['scored']} scored, {found[-1]['pairs']} pairs: "
                f"{found[-1]['peak_mb']:.0f} MB, {found[-1]['seconds']:.0f} processor seconds",
                flush=True,
            )
    few, many = (row["peak_mb"] for row in found)
    print(f"ratio {many / few:.3f}")


def _score(count: int, size: int, folder: Path) -> dict[str, float]:
    """Score ``count`` clips in this process; returns the number of scored clips, peak resident memory and
    processor time."""
    import cv2

    from mind_animator.scoring.score import Networks, score

    cv2.setNumThreads(1)
    clips = [f"t-{index:05d}" for index in range(count)]
    settings = ScoringConfig(size=size, frames=FRAMES, shuffles=0)
    prediction, path = _Noise(1, size, folder), folder / f"ground_truth-{count}.h5"
    _dark_ground_truth(path, clips, settings)
    rows, pairs, *_ = score(
        pd.DataFrame({"clip": clips, "segment": "t", "movie": "t", "scene_cut": False}),
        path, {"noise": prediction}, Networks(), settings,
        count=FRAMES, dataset="noise", subject="1", seed=0,
    )["noise"]  # fmt: skip
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "scored": int((rows[rows["metric"] == "ssim"]["status"] == "ok").sum()),
        "pairs": int(np.isfinite(pairs.pairs["ssim"]).sum()),
        "peak_mb": used.ru_maxrss / 1024,
        "seconds": used.ru_utime + used.ru_stime,
    }


class _Noise:
    """Clips from disk, 12 different ones in turn; no memory map, whose pages would count as memory used."""

    def __init__(self, seed: int, size: int, folder: Path) -> None:
        self.paths = [folder / f"noise-{seed}-{size}-{index}.npy" for index in range(STORED)]
        for index, path in enumerate(self.paths):
            if not path.exists():
                generator = np.random.default_rng([seed, index])
                np.save(path, generator.integers(0, 256, (FRAMES, size, size, 3), dtype=np.uint8))

    def read(self, clip: str) -> np.ndarray:
        return np.load(self.paths[int(clip[2:]) % STORED])


class _Black:
    def __init__(self, size: int) -> None:
        self.frames = np.zeros((FRAMES, size, size, 3), np.uint8)

    def read(self, clip: str) -> np.ndarray:
        return self.frames


def _dark_ground_truth(path: Path, clips: list[str], settings: ScoringConfig) -> None:
    """A ground-truth file of black clips: its arrays have their full shape, are read like any, and need no
    disk space."""
    import h5py

    from mind_animator.scoring.ground_truth import encode_ground_truth
    from mind_animator.scoring.score import Networks

    one = path.with_suffix(".one.h5")
    encode_ground_truth(["black"], _Black(settings.size), Networks(), one, settings, rate=4.0)
    with h5py.File(one) as made, h5py.File(path, "w") as file:
        file.attrs.update(made.attrs)
        file.create_dataset("clip", data=clips, dtype=h5py.string_dtype())
        for name, array in made.items():
            if name != "clip":
                # a black clip's arrays are 0 but for the published flow, which OpenCV invents at the edges
                file.create_dataset(name, (len(clips), *array.shape[1:]), array.dtype)


if __name__ == "__main__":
    run_command(main)
