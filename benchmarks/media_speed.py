"""Processor time of segmentation and of scoring of plain mp4 files, side by side with another version of this project.

    git worktree add BEFORE COMMIT
    python -m benchmarks.media_speed --before BEFORE --movie FILE [--repeats 3] [--renamed JSON]

FILE is an H.264 mp4 whose first frame is a key frame. Its packets are repeated, without encoding, to movies of 240 s
and of 12 s; clips of 8 and 60 frames are written by `write_mp4`. The same code runs in alternation in both versions,
each time in a new process, with one thread. The processor time (user and system) includes the decoding process. Rows
of one file or command give the time of the whole process, with all imports; rows "per" file the time without imports.
The minimum of the repeats is printed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

from mind_animator.artefacts.video import write_mp4
from mind_animator.errors import InputError, run_command
from mind_animator.provenance import ROOT

# (label, task, input, number of files read in one process)
ROWS = (
    ("segment a movie of 240 s, 120 clips at 256 px", "segment", "long.mp4", 1),
    ("segment a movie of 12 s, 6 clips at 256 px", "segment", "short.mp4", 1),
    ("segment movies of 12 s, per movie", "segment", "short.mp4", 20),
    ("read clips of 8 frames of 256 px, per clip", "read", "small.mp4", 300),
    ("read clips of 60 frames of 512 px, per clip", "read", "large.mp4", 50),
    ("mind-animator score, 24 clips of 8 frames of 256 px", "score", ".", 1),
)

# Runs in either version: only names that both have, or alternatives.
TASK = """
import json, os, sys, time
task, path, count, out = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
import cv2, numpy as np, pandas as pd
from mind_animator.artefacts.clipfolder import LayoutConfig, read_clip
from mind_animator.config.stimuli import StimuliConfig
from mind_animator.video.segment import plan_segment, segment_clips
cv2.setNumThreads(1)
start = sum(os.times()[:4])
if task == "segment":
    seconds = 240 if path.endswith("long.mp4") else 12
    table = pd.DataFrame({"file": path, "onset": 2.0 * np.arange(seconds // 2), "duration": 2.0})
    settings, total = StimuliConfig(size=256), 0
    for _ in range(count):
        plan = plan_segment(table, {os.path.basename(path): path}, settings)
        total += sum(int(frames.sum(dtype=np.int64)) for _, frames in segment_clips(plan, settings))
elif task == "read":
    total = sum(int(read_clip(path, LayoutConfig()).frames.sum(dtype=np.int64)) for _ in range(count))
else:
    from mind_animator.cli import _main
    options = ["--ground-truth", path + "/ground_truth", "--pred", "x=" + path + "/pred", "--no-models",
               "--no-baselines", "--videos", "0", "--permutations", "99", "--out", out]
    _main(["score", *(json.loads(sys.argv[5]).get(option, option) for option in options)])
    total = 0
if "mind_animator.artefacts.decoding" in sys.modules:
    from mind_animator.artefacts.video import end_processes
    end_processes()  # the processor time of a child is counted after its end
print(json.dumps([sum(os.times()[:4]) - start, total]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, required=True, help="folder of the other version")
    parser.add_argument("--movie", type=Path, required=True, help="H.264 mp4 of real footage")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--renamed", default="{}", help="JSON: names that options of mind-animator score have at --before"
    )
    parser.add_argument(
        "--rows", type=int, nargs="+", default=list(range(len(ROWS))), help="rows of the table"
    )
    options = parser.parse_args()
    if options.repeats < 1 or not (options.before / "mind_animator").is_dir():
        raise InputError(f"Expected 1 or more repeats and a checkout at --before, got {vars(options)}.")
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.movie)
        print("| task | before, s | now, s | now / before |\n|---|---|---|---|")
        for label, task, file, count in (ROWS[row] for row in options.rows):
            spent: dict[Path, list[float]] = {options.before: [], ROOT: []}
            sums = {}
            for _ in range(options.repeats):
                for version, seconds in spent.items():
                    taken, sums[version] = run(
                        version,
                        task,
                        Path(folder) / file,
                        count,
                        options.renamed if version != ROOT else "{}",
                    )
                    seconds.append(taken / count)
            before, now = (min(seconds) for seconds in spent.values())
            same = "" if len(set(sums.values())) == 1 else f" (sums of the frames: {list(sums.values())})"
            print(f"| {label}{same} | {before:.4g} | {now:.4g} | {now / before:.2f} |", flush=True)


def make(folder: Path, movie: Path) -> None:
    """Write the inputs."""
    repeat_packets(movie, folder / "long.mp4", 240.5)
    repeat_packets(movie, folder / "short.mp4", 12.2)
    with av.open(str(movie)) as container:
        frames = [
            frame.to_ndarray(format="rgb24")
            for frame, _ in zip(container.decode(video=0), range(120), strict=False)
        ]
    import cv2

    small, large = ([cv2.resize(frame, (size, size)) for frame in frames] for size in (256, 512))
    write_mp4(folder / "small.mp4", np.stack(small[:8]), 4)
    write_mp4(folder / "large.mp4", np.stack((large * 60)[:60]), 24)
    for side, crf in (("ground_truth", 18), ("pred", 35)):
        (folder / side).mkdir()
        for clip in range(24):
            write_mp4(folder / side / f"{clip:02}.mp4", np.stack(small[4 * clip : 4 * clip + 8]), 4, crf=crf)


def repeat_packets(movie: Path, path: Path, seconds: float) -> None:
    """Repeat the packets of a movie until it has this length."""
    with av.open(str(movie)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        if not packets[0].is_keyframe or stream.codec_context.name != "h264":
            raise InputError(f"Expected H.264 that starts with a key frame in {movie}.")
        data = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in packets]
        shift, length = 0, sum(d[3] for d in data)
        base = stream.time_base
        while shift * base < seconds:
            for content, pts, dts, duration, key in data:
                if (shift + pts - data[0][1]) * base >= seconds and key:
                    break
                packet = av.Packet(content)
                packet.pts, packet.dts, packet.duration = pts + shift, dts + shift, duration
                packet.time_base, packet.stream, packet.is_keyframe = base, copy, key
                target.mux(packet)
            shift += length


def run(version: Path, task: str, path: Path, count: int, renamed: str) -> tuple[float, int]:
    """Processor seconds of a task in a new process of a version, and the sum of all values that it read."""
    with tempfile.TemporaryDirectory() as out:
        before = sum(os.times()[2:4])
        done = subprocess.run(
            [sys.executable, "-c", TASK, task, str(path), str(count), out, renamed],
            cwd=out,
            env=os.environ | {"PYTHONPATH": str(version.resolve()), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise InputError(f"Expected task '{task}' to run in {version}, got: {done.stderr[-2000:]}.")
    seconds, total = json.loads(done.stdout.strip().splitlines()[-1])
    return (sum(os.times()[2:4]) - before if count == 1 else seconds), total


if __name__ == "__main__":
    run_command(main)
