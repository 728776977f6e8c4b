"""Draw ground truth above reconstruction for evenly spaced test clips."""

import numpy as np
import pandas as pd
from PIL import Image

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.files import atomic
from mind_animator.artefacts.tables import read_table
from mind_animator.errors import InputError, run_command
from mind_animator.report.page import enlarge
from workflow_scripts.stages import Inputs, Output, command

COLUMNS, ROWS, GAP = 3, 6, 6
HEIGHT = 96


def draw_contact_sheet(
    *,
    ground_truth: Inputs,
    tables: Inputs,
    reconstructions: Inputs,
    figure: Output,
) -> None:
    """
    Parameters
    ----------
    ground_truth
        Frames of the test segments (HDF5).
    tables
        Tables of clips of the test segments (TSV).
    reconstructions
        Shards of reconstructed frames (HDF5).
    figure
        The figure (PNG).
    """
    table = pd.concat([read_table(path, ("clip", "scene_cut")) for path in tables], ignore_index=True)
    whole = table.loc[~table["scene_cut"].astype(bool), "clip"].tolist()
    if not whole:
        raise InputError(f"Expected a test clip without a scene cut in {tables[0]}, found none.")
    rows = np.linspace(0, len(whole) - 1, min(COLUMNS * ROWS, len(whole))).round().astype(int)
    clips = [whole[row] for row in rows]
    shown = read_arrays(ground_truth, ["frames"], clips)[1]["frames"]
    made = read_arrays(reconstructions, ["frames"], clips)[1]["frames"]
    tiles = [_strip(shown[i], made[i]) for i in range(len(clips))]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
    sheet = np.vstack([np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)])
    with atomic(figure) as temporary:
        Image.fromarray(sheet).save(temporary)


def _strip(ground_truth: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Four frames of the ground truth above the same four of the reconstruction, with a margin."""
    chosen = np.linspace(0, len(ground_truth) - 1, 4).round().astype(int)
    pair = np.vstack([np.hstack(list(enlarge(frames[chosen], HEIGHT))) for frames in (ground_truth, made)])
    return np.pad(pair, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255)


main = command(draw_contact_sheet)

if __name__ == "__main__":
    run_command(main)
