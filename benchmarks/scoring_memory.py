"""Peak memory of scoring must not grow with the number of clips: 120 and 1,200 clips side by side.

    python -m benchmarks.scoring_memory [--few 120] [--many 1200] [--size 512] [--streamed N [--offsets N]]

Noise clips of 8 frames, read from disk (12 different ones in turn), are scored as the workflow scores them against
a truth's file of black clips of the full size, without the neural models, each number of clips in a process of
its own whose peak resident memory is read from the kernel. A clip of 512 px takes about a second: ``--streamed``
scores only the first N of them one by one (each is forgotten before the next is read) and pairs all of them,
which is where memory could grow (``--offsets``: at the first N of a block's ten places, each forgotten before
the next), as `mind_animator.scoring.judge.judge` does.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.errors import run_command
from mind_animator.scoring.score import NETWORKS

STORED = 12


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
    parser.add_argument("--streamed", type=int, default=0, help="clips that are scored; 0 for all")
    parser.add_argument("--offsets", type=int, help="places in the block that are paired; all by default")
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)  # the child's own number of clips
    given = parser.parse_args(arguments)
    if given.count:
        peak = _peak(given.count, given.size, given.streamed, given.offsets, given.folder)
        print(json.dumps({"clips": given.count, "peak_mb": peak}))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = []
        for count in (given.few, given.many):
            command = [sys.executable, "-m", "benchmarks.scoring_memory", "--count", str(count)]
            command += ["--size", str(given.size), "--streamed", str(given.streamed), "--folder", folder]
            command += ["--offsets", str(given.offsets)] if given.offsets else []
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(json.loads(text.splitlines()[-1]))
            print(f"{count} clips: {found[-1]['peak_mb']:.0f} MB", flush=True)
    few, many = (row["peak_mb"] for row in found)
    print(f"ratio {many / few:.3f}")


def _peak(count: int, size: int, streamed: int, offsets: int | None, folder: Path) -> float:
    """Score ``count`` clips in this process; its peak resident memory, MB."""
    import cv2

    from mind_animator.artefacts.streams import ClipReader
    from mind_animator.config.scoring import ScoringConfig
    from mind_animator.scoring.judge import judge
    from mind_animator.scoring.pairs import pixel_pairs
    from mind_animator.scoring.score import Networks, score_clips
    from mind_animator.scoring.sources import ArraySource
    from mind_animator.statistics.blocks import aligned_blocks

    cv2.setNumThreads(1)
    clips = [f"t-{index:05d}" for index in range(count)]
    prediction, path = _Noise(1, size, folder), folder / f"truth-{count}.h5"
    _dark_truth(path, clips, size)
    table = pd.DataFrame({"clip": clips, "segment": "t", "movie": "t", "scene_cut": False})
    settings = ScoringConfig(size=size, frames=8, shuffles=0)
    if not streamed:
        judge(
            table, path, prediction, Networks(), settings,
            count=8, dataset="noise", method="noise", subject="1", seed=0,
        )  # fmt: skip
    else:
        truths, rows = ArraySource([path], size=size, count=8), aligned_blocks(table["segment"].tolist())
        assert all(
            s.status == "ok"
            for s in score_clips(clips[:streamed], truths, prediction, kept=ClipReader([path]))
        )
        pairs = pixel_pairs(rows, clips, truths, prediction, size=settings.pair_size)
        for _, found in islice(pairs, offsets):
            assert np.isfinite(found["ssim"]).all()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _Noise:
    """Clips from disk, 12 different ones in turn; no memory map, whose pages would count as memory used."""

    def __init__(self, seed: int, size: int, folder: Path) -> None:
        self.paths = [folder / f"noise-{seed}-{size}-{index}.npy" for index in range(STORED)]
        for index, path in enumerate(self.paths):
            if not path.exists():
                generator = np.random.default_rng([seed, index])
                np.save(path, generator.integers(0, 256, (8, size, size, 3), dtype=np.uint8))

    def read(self, clip: str) -> np.ndarray:
        return np.load(self.paths[int(clip[2:]) % STORED])


def _dark_truth(path: Path, clips: list[str], size: int) -> None:
    """A truth's file of black clips: its arrays have their full shape, are read like any, and take no room on disk."""
    import h5py

    shape = (8, size, size)
    with h5py.File(path, "w") as file:
        file.attrs["rate"] = 4.0
        for name in NETWORKS:
            file.attrs[f"absent:{name}"] = "no model given"
        file.create_dataset("clip", data=clips, dtype=h5py.string_dtype())
        file.create_dataset("frames", (len(clips), *shape, 3), np.uint8)
        for name in ("flow", "flow_published"):
            file.create_dataset(name, (len(clips), 7, size, size, 2), np.float32)
        file.create_dataset("mean_flow", (len(clips), 2), np.float64)


if __name__ == "__main__":
    run_command(main)
