"""Pixel and motion metrics against the plain scikit-image / OpenCV loop, side by side on the same files.

    python -m benchmarks.metrics --data FOLDER [--clips 5] [--repeats 3]

``FOLDER`` holds gifs of truth and prediction side by side (the preset ``mind_animator``). Ours and the plain
way take turns, clip by clip, in one process and one thread; the least processor time of each counts, so that
other work on the machine disturbs little.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from mind_animator.artefacts.clipfolder import find_clips, read_clip
from mind_animator.config.clipfolder import PRESETS
from mind_animator.errors import InputError, run_command
from mind_animator.metrics import motion, pixel


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
    frames = sum(len(truth) for truth, _ in clips)
    print(
        f"{len(clips)} clips, {frames} frames of {clips[0][0].shape[1]} x {clips[0][0].shape[2]}, one thread"
    )
    print("| metric | plain, ms a frame | ours, ms a frame | ratio | largest difference |")
    print("|---|---|---|---|---|")
    kept = {id(truth): motion.flows(truth) for truth, _ in clips}  # of the truth: once for all methods
    rows: dict[str, tuple[Callable, Callable]] = {
        "SSIM": (plain_ssim, lambda t, p: pixel.ssim(t, p).mean()),
        "PSNR": (plain_psnr, lambda t, p: pixel.psnr(t, p).mean()),
        "hue (published)": (plain_hue, pixel.hue_cos_published),
        "EPE, two flows": (plain_epe, motion.epe),
        "EPE, truth's flow kept": (plain_epe, lambda t, p: motion.epe_of_flows(kept[id(t)], motion.flows(p))),
    }
    for name, (plain, ours) in rows.items():
        seconds, difference = {plain: 0.0, ours: 0.0}, 0.0
        for truth, prediction in clips:
            value = {}
            for way in (plain, ours):
                seconds[way] += min(timed(way, truth, prediction, value) for _ in range(options.repeats))
            difference = max(difference, abs(float(value[plain]) - float(value[ours])))
        before, after = (1000 * seconds[way] / frames for way in (plain, ours))
        print(
            f"| {name} | {before:.1f} | {after:.1f} | {before / after:.1f} | {difference:.1e} |", flush=True
        )
    computed, read, size = truth_moments([truth for truth, _ in clips], options.repeats)
    print(
        f"Were SSIM's window sums of the truth kept, one of four sums "
        f"were saved: {computed:.1f} ms a frame; they take {size:.0f} MB a clip, read back in {read:.1f} ms a frame"
    )


def truth_moments(truths: list[np.ndarray], repeats: int) -> tuple[float, float, float]:
    """What keeping SSIM's moments of the truth would save and cost.

    Returns
    -------
    Milliseconds a frame of one window sum, as `pixel.ssim` computes it; of reading the two kept sums back
    from a file; MB a clip.
    """
    frames = sum(len(truth) for truth in truths)

    def one_sum(truth: np.ndarray, _: object) -> None:
        rows = max(8, pixel._STRIP // truth.shape[2])
        for frame in truth:
            for top in range(0, len(frame) - pixel.WINDOW + 1, rows):
                pixel._window_sum(frame[top : top + rows + pixel.WINDOW - 1])

    seconds = {"sum": 0.0, "read": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        for index, truth in enumerate(truths):
            seconds["sum"] += min(timed(one_sum, truth, None, {}) for _ in range(repeats))
            path = Path(folder) / f"{index}.npy"
            np.save(path, [[pixel._window_sum(frame)] * 2 for frame in truth])
            seconds["read"] += min(timed(np.load, path, None, {}) for _ in range(repeats))
        size = path.stat().st_size / 1e6
    return 1000 * seconds["sum"] / frames, 1000 * seconds["read"] / frames, size


def timed(way: Callable, truth: object, prediction: object, value: dict) -> float:
    """Processor seconds of one call, whose result goes to ``value``."""
    start = time.process_time()
    value[way] = way(truth, prediction)
    return time.process_time() - start


def plain_ssim(truth: np.ndarray, prediction: np.ndarray) -> float:
    return np.mean(
        [
            structural_similarity(t, p, channel_axis=-1, data_range=255)
            for t, p in zip(truth, prediction, strict=True)
        ]
    )


def plain_psnr(truth: np.ndarray, prediction: np.ndarray) -> float:
    values = []
    for t, p in zip(truth, prediction, strict=True):
        error = np.mean((t.astype(float) - p.astype(float)) ** 2)
        values.append(min(100.0, 20 * np.log10(255 / np.sqrt(error))) if error else 100.0)
    return np.mean(values)


def plain_hue(truth: np.ndarray, prediction: np.ndarray) -> float:
    values = []
    for t, p in zip(truth[:6], prediction[:6], strict=True):
        hues = [cv2.cvtColor(f, cv2.COLOR_BGR2HSV)[..., 0].astype(float).ravel() for f in (t, p)]
        values.append(hues[0] @ hues[1] / np.linalg.norm(hues[0]) / np.linalg.norm(hues[1]))
    return np.mean(values)


def plain_epe(truth: np.ndarray, prediction: np.ndarray) -> float:
    errors = []
    for k in range(len(truth) - 1):
        flows = []
        for clip in (truth, prediction):
            greys = [cv2.cvtColor(clip[i], cv2.COLOR_RGB2GRAY) for i in (k, k + 1)]
            flows.append(cv2.calcOpticalFlowFarneback(*greys, None, 0.5, 3, 15, 3, 5, 1.2, 0))
        errors.append(np.mean(np.linalg.norm(flows[0] - flows[1], axis=-1)))
    return np.mean(errors)


if __name__ == "__main__":
    run_command(main)
