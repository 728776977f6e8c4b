"""Ground truth above reconstruction for evenly spaced test clips: noun, scene and direction at a glance."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.files import atomic
from mind_animator.artefacts.tables import read_table
from mind_animator.errors import InputError, run_command
from mind_animator.report.page import enlarge

COLUMNS, ROWS, GAP = 3, 6, 6
HEIGHT = 96


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--ground-truth", type=Path, nargs="+", required=True, help="frames of the test segments"
    )
    parser.add_argument(
        "--tables", type=Path, nargs="+", required=True, help="clip tables of the test segments"
    )
    parser.add_argument("--reconstructions", type=Path, nargs="+", required=True, help="shards of frames")
    parser.add_argument("--figure", type=Path, required=True, help="output, PNG")
    given = parser.parse_args(arguments)
    table = pd.concat([read_table(path, ("clip", "scene_cut")) for path in given.tables], ignore_index=True)
    whole = table.loc[~table["scene_cut"].astype(bool), "clip"].tolist()
    if not whole:
        raise InputError(f"Expected a test clip without a scene cut in {given.tables[0]}, found none.")
    rows = np.linspace(0, len(whole) - 1, min(COLUMNS * ROWS, len(whole))).round().astype(int)
    clips = [whole[row] for row in rows]
    ground_truth = read_arrays(given.ground_truth, ["frames"], clips)[1]["frames"]
    made = read_arrays(given.reconstructions, ["frames"], clips)[1]["frames"]
    tiles = [_strip(ground_truth[i], made[i]) for i in range(len(clips))]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
    sheet = np.vstack([np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)])
    with atomic(given.figure) as temporary:
        Image.fromarray(sheet).save(temporary)


def _strip(ground_truth: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Four frames of the ground truth above the same four of the reconstruction, with a margin."""
    chosen = np.linspace(0, len(ground_truth) - 1, 4).round().astype(int)
    pair = np.vstack([np.hstack(list(enlarge(frames[chosen], HEIGHT))) for frames in (ground_truth, made)])
    return np.pad(pair, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255)


if __name__ == "__main__":
    run_command(main)
