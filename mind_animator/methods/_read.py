"""Reading of the inputs of methods from the files of the workflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import read_arrays, read_whole
from mind_animator.artefacts.cortex import midthickness_coordinates
from mind_animator.artefacts.files import read_json
from mind_animator.artefacts.responses import read_responses
from mind_animator.artefacts.tables import read_table
from mind_animator.errors import InputError
from mind_animator.methods.base import Needs, PredictionInputs, Responses

# Onsets in tables are rounded, seconds.
_TOLERANCE = 1e-3


def read_clips(tables: Sequence[Path], split: str) -> pd.DataFrame:
    """The rows of clip tables that belong to a split, in order; raises an `InputError` if there are none."""
    frames = [read_table(path, ("clip", "movie", "split")) for path in tables]
    table = pd.concat(frames, ignore_index=True)
    table = table[table["split"] == split].reset_index(drop=True)
    if table.empty:
        kind = {"train": "training"}.get(split, split)
        raise InputError(
            f"Expected {kind} clips in {tables[0]} (and {len(tables) - 1} more tables), found none."
        )
    return table


def read_subject(
    path: Path, table: pd.DataFrame, needs: Needs, t_r: float = 0.0, repeats: Path | None = None
) -> tuple[Responses, np.ndarray]:
    """Responses of one subject to the clips of a table, with the needed neighbouring volumes, repeats, areas
    and coordinates.

    Parameters
    ----------
    path : Path
        HDF5: ``responses``, ``clip``; for voxels also ``roi`` and ``voxel_index``.
    table : DataFrame
        Clips of one split; for windows with ``segment, file, onset``.
    needs : Needs
    t_r : float
        Seconds between volumes, for windows.
    repeats : Path, optional
        HDF5 file of `extract_repeats`.

    Returns
    -------
    responses : Responses
        NaN where the subject has no response.
    present : ndarray of shape (clip,), bool
    """
    clips = table["clip"].tolist()
    _, values, present = read_responses(path, clips)
    window = in_run = rois = coordinates = single = None
    if any(needs.window):
        window, in_run = windows_of(values, present, table, needs.window, t_r, path)
    if "rois" in needs.voxels:
        rois = read_whole(path, ["roi"])["roi"]
    if "coordinates" in needs.voxels:
        coordinates = midthickness_coordinates()[read_whole(path, ["voxel_index"])["voxel_index"]]
    if needs.repeats:
        single = read_arrays(repeats, ["repeats"], clips)[1]["repeats"]
    return Responses(values, clips, window, in_run, single, rois, coordinates), present


def windows_of(
    values: np.ndarray,
    present: np.ndarray,
    table: pd.DataFrame,
    window: tuple[int, int],
    t_r: float,
    where: object = "the table of clips",
) -> tuple[np.ndarray, np.ndarray]:
    """Volumes before and after the volume of each clip, from the responses to its neighbours in the same run.

    The volume k repetition times after that of a clip is the one that belongs to the clip whose onset is k
    repetition times later, since all clips of a run have the same haemodynamic lag.

    Parameters
    ----------
    values : ndarray of shape (clip, voxel)
    present : ndarray of shape (clip,), bool
    table : DataFrame
        ``segment, file, onset`` of each clip; a run is a file within a segment.
    window : tuple of int
        Volumes before and after.
    t_r : float
        Seconds between volumes.

    Returns
    -------
    window : ndarray of shape (clip, volume, voxel), float32
        Beyond the ends of the run (or where a response is missing), the nearest volume of the run is repeated.
    in_run : ndarray of shape (clip, volume), bool

    Raises
    ------
    InputError
        If no clip has a neighbour at a distance of one volume.
    """
    before, after = window
    offsets = np.arange(-before, after + 1)
    chosen = np.tile(np.arange(len(table))[:, None], (1, len(offsets)))
    in_run = np.zeros(chosen.shape, bool)
    in_run[:, before] = True
    for _, own in table.reset_index(drop=True).groupby(["segment", "file"], sort=False):
        rows = own.index.to_numpy()[np.argsort(own["onset"].to_numpy(), kind="stable")]
        rows = rows[present[rows]]
        onsets = table["onset"].to_numpy()[rows]
        for column, offset in enumerate(offsets):
            positions = np.searchsorted(onsets, onsets + offset * t_r - _TOLERANCE)
            found = positions < len(rows)
            found[found] &= np.abs(onsets[positions[found]] - onsets[found] - offset * t_r) < 2 * _TOLERANCE
            in_run[rows[found], column] = True
            chosen[rows[found], column] = rows[positions[found]]
    if not in_run[:, np.abs(offsets) == 1].any():
        raise InputError(f"Expected clips at a distance of one volume ({t_r:g} s) in {where}, found none.")
    for outward in (range(before - 1, -1, -1), range(before + 1, len(offsets))):
        for column in outward:
            inner = column + 1 if column < before else column - 1
            outside = ~in_run[:, column]
            chosen[outside, column] = chosen[outside, inner]
    return values[chosen], in_run


def prediction_inputs(
    weights: Mapping[str, Path],
    subject: str,
    seed: int,
    device: str,
    models: Mapping[str, str] | None = None,
    lock: str = "",
) -> PredictionInputs:
    """Weights by part, with the index of the subject in each.

    Raises
    ------
    InputError
        If weights were trained on other subjects only, unless this subject was held out on purpose.
    """
    index: dict[str, int | None] = {}
    for part, path in weights.items():
        record = read_json(Path(path).with_suffix(".json"))
        trained = record["subjects"]
        if subject in trained:
            index[part] = trained.index(subject)
        elif record.get("held_out") == subject:
            index[part] = None
        else:
            raise InputError(f"Expected {path} to be trained on subject {subject}, got subjects {trained}.")
    return PredictionInputs(dict(weights), index, seed, device, models or {}, lock)
