"""Speed of the pixel and motion metrics compared with a plain scikit-image / OpenCV loop on the same files,
and the time saved by storing quantities that depend only on the ground truth.

    python -m benchmarks.metrics --data FOLDER [--clips 5] [--repeats 3]

``FOLDER`` contains gifs of ground truth and prediction side by side (the preset ``mind_animator``). Both
implementations alternate, clip by clip, in one process and one thread; the minimum processor time of each is
reported, to reduce the effect of other work on the machine.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from mind_animator.artefacts.clipfolder import find_clips, read_clip
from mind_animator.artefacts.streams import ClipReader, write_stream
from mind_animator.config.clipfolder import PRESETS
from mind_animator.errors import InputError, run_command
from mind_animator.metrics.base import Metric
from mind_animator.metrics.registry import find_metric
from mind_animator.video.conform import conform

PAIR_SIZE = 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of gifs")
    parser.add_argument("--clips", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.clips < 1 or options.repeats < 1:
        raise InputError(f"Expected at least 1 clip and repeat, got {options.clips} and {options.repeats}.")
    cv2.setNumThreads(1)
    layouts = PRESETS["mind_animator"]
    files = list(find_clips(options.data, layouts[0]).values())[: options.clips]
    clips = [tuple(read_clip(file, layout).frames for layout in layouts) for file in files]
    frames = sum(len(ground_truth) for ground_truth, _ in clips)
    size = clips[0][0].shape[1:3]
    print(f"{len(clips)} clips, {frames} frames of {size[0]} x {size[1]}, one thread")
    print("| metric | plain, ms per frame | ours, ms per frame | ratio | largest difference |")
    print("|---|---|---|---|---|")
    plain = {
        "ssim": plain_ssim, "psnr": plain_psnr, "hue_cos_published": plain_hue,
        "hue_circular_corr": plain_circular_hue, "epe": plain_epe,
    }  # fmt: skip
    rows: dict[str, tuple[Callable, Callable]] = {}
    for name, way in plain.items():
        metric = find_metric(name)
        # of the ground truth: once for all methods
        kept = {id(ground_truth): described(metric, ground_truth) for ground_truth, _ in clips}
        rows[name] = way, metric
        rows[f"{name}, ground truth described"] = way, partial(against, metric, kept)
    for name, (way, ours) in rows.items():
        seconds, difference = {way: 0.0, ours: 0.0}, 0.0
        for ground_truth, prediction in clips:
            value = {}
            for one in (way, ours):
                seconds[one] += min(
                    timed(one, ground_truth, prediction, value=value) for _ in range(options.repeats)
                )
            difference = max(difference, abs(float(value[way]) - float(value[ours])))
        before, after = (1000 * seconds[one] / frames for one in (way, ours))
        print(
            f"| {name} | {before:.1f} | {after:.1f} | {before / after:.1f} | {difference:.1e} |", flush=True
        )
    print()
    print(
        "| of a clip at 64 px (pairs) | described, ms | read from the file, ms | MB per clip | compared, ms |"
    )
    print("|---|---|---|---|---|")
    small = [conform(ground_truth, size=PAIR_SIZE, count=len(ground_truth)) for ground_truth, _ in clips]
    for name in ("ssim", "hue_circular_corr", "epe"):
        metric = find_metric(name)
        made, read, megabytes = keeping(small, partial(described, metric), options.repeats)
        own = [described(metric, clip) for clip in small]
        compared = min(timed(metric.compare_many, own[0], own * 20, value={}) for _ in range(options.repeats))
        pair = 1000 * compared / (20 * len(own))
        print(f"| {name} | {made:.1f} | {read:.1f} | {megabytes:.1f} | {pair:.2f} |")


def described(metric: Metric, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Description of a clip."""
    return metric.describe(*(source.compute(frames) for source in metric.inputs))


def against(metric: Metric, kept: dict, ground_truth: np.ndarray, prediction: np.ndarray) -> float:
    """Score of a prediction, the ground truth being described already."""
    return float(np.mean(metric.compare(kept[id(ground_truth)], described(metric, prediction))))


def keeping(clips: list[np.ndarray], make: Callable, repeats: int) -> tuple[float, float, float]:
    """Milliseconds per clip of describing it, and of reading that from a file such as the ground truth's; MB
    per clip."""
    seconds = {"made": 0.0, "read": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        path, names = Path(folder) / "ground_truth.h5", [str(index) for index in range(len(clips))]
        with write_stream(path, names) as stream:
            for row, clip in enumerate(clips):
                value: dict = {}
                seconds["made"] += min(timed(make, clip, value=value) for _ in range(repeats))
                made = value[make]
                stream.write(row, made)
        reader = ClipReader([path])

        def read(clip: str) -> dict[str, np.ndarray]:
            return {name: reader.read(clip, name) for name in made}

        for name in names:
            seconds["read"] += min(timed(read, name, value={}) for _ in range(repeats))
        reader.close()
    size = sum(np.asarray(array).nbytes for array in made.values()) / 1e6
    return 1000 * seconds["made"] / len(clips), 1000 * seconds["read"] / len(clips), size


def timed(way: Callable, *given: object, value: dict) -> float:
    """Processor seconds of one call, whose result goes to ``value``."""
    start = time.process_time()
    value[way] = way(*given)
    return time.process_time() - start


def plain_ssim(ground_truth: np.ndarray, prediction: np.ndarray) -> float:
    return np.mean(
        [
            structural_similarity(t, p, channel_axis=-1, data_range=255)
            for t, p in zip(ground_truth, prediction, strict=True)
        ]
    )


def plain_psnr(ground_truth: np.ndarray, prediction: np.ndarray) -> float:
    values = []
    for t, p in zip(ground_truth, prediction, strict=True):
        error = np.mean((t.astype(float) - p.astype(float)) ** 2)
        values.append(min(100.0, 20 * np.log10(255 / np.sqrt(error))) if error else 100.0)
    return np.mean(values)


def plain_hue(ground_truth: np.ndarray, prediction: np.ndarray) -> float:
    values = []
    for t, p in zip(ground_truth[:6], prediction[:6], strict=True):
        hues = [cv2.cvtColor(f, cv2.COLOR_BGR2HSV)[..., 0].astype(float).ravel() for f in (t, p)]
        values.append(hues[0] @ hues[1] / np.linalg.norm(hues[0]) / np.linalg.norm(hues[1]))
    return np.mean(values)


def plain_circular_hue(ground_truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    values = []
    for t, p in zip(ground_truth, prediction, strict=True):
        z = []
        for frame in (t, p):
            hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV).reshape(-1, 3).astype(float)
            z.append(hsv[:, 1] / 255 * np.exp(1j * np.deg2rad(2 * hsv[:, 0])))
        values.append(np.corrcoef(z[1], z[0])[0, 1].real)
    return np.mean(values)


def plain_epe(ground_truth: np.ndarray, prediction: np.ndarray) -> float:
    errors = []
    for k in range(len(ground_truth) - 1):
        flows = []
        for clip in (ground_truth, prediction):
            greys = [cv2.cvtColor(clip[i], cv2.COLOR_RGB2GRAY) for i in (k, k + 1)]
            flows.append(cv2.calcOpticalFlowFarneback(*greys, None, 0.5, 3, 15, 3, 5, 1.2, 0))
        errors.append(np.mean(np.linalg.norm(flows[0] - flows[1], axis=-1)))
    return np.mean(errors)


if __name__ == "__main__":
    run_command(main)
