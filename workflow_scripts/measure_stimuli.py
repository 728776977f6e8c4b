"""Measure luminance, contrast and motion energy of every clip, to see the haemodynamic lag with."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from mind_animator.artefacts.arrays import iterate_clips, read_clip_names
from mind_animator.artefacts.tables import write_table
from mind_animator.errors import run_command
from mind_animator.fmri.quality import clip_features

PIXELS = 64  # sides are thinned to about this many: means over an image need no more


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=Path, nargs="+", required=True, help="files of segment_movie")
    parser.add_argument("--features", type=Path, required=True, help="output, TSV")
    given = parser.parse_args(arguments)
    rows = []
    total = sum(len(read_clip_names(path)) for path in given.frames)
    with tqdm(total=total, unit="clip", mininterval=5) as progress:
        for path in given.frames:
            for clip, frames in iterate_clips(path, "frames"):
                step = max(1, min(frames.shape[1:3]) // PIXELS)
                rows.append({"clip": clip, **clip_features(np.ascontiguousarray(frames[:, ::step, ::step]))})
                progress.update()
    write_table(given.features, pd.DataFrame(rows))


if __name__ == "__main__":
    run_command(main)
