"""Ground truth of the movies of the synthetic data set, which only scoring and tests may read."""

from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from mind_animator.artefacts.files import read_json, write_json
from mind_animator.errors import InputError
from mind_animator.synthetic import scenes


def write_ground_truth(path: Path, shots: list[scenes.Shot]) -> None:
    """Write the shots of a movie, and the positions of its object at 4 Hz, as JSON; the file is written atomically.

    All other quantities (images, masks, flow at any time and size) can be computed from the shots.
    """
    times = np.arange(0, shots[-1].offset, 0.25)
    table = {key: values.tolist() for key, values in layout(shots, times).items()}
    write_json(path, {"shots": [asdict(shot) for shot in shots], "time": times.tolist(), "layout": table})


def read_ground_truth(path: Path) -> list[scenes.Shot]:
    """Read the shots of a movie; raises an `InputError` with the file name if it is not a ground-truth file."""
    stored = read_json(path)
    names = {field.name for field in fields(scenes.Shot)}
    if not isinstance(stored, dict) or not all(set(shot) == names for shot in stored.get("shots", [{}])):
        raise InputError(
            f"Expected the shots of a movie, each with {sorted(names)}, in {path}, got something else."
        )
    return [
        scenes.Shot(**shot | {"sky": tuple(shot["sky"]), "ground": tuple(shot["ground"])})
        for shot in stored["shots"]
    ]


def layout(shots: list[scenes.Shot], times: np.ndarray) -> dict[str, np.ndarray]:
    """Content of the movie at given times.

    Parameters
    ----------
    shots : list of Shot
    times : ndarray (time,)
        Seconds since the start of the movie.

    Returns
    -------
    dict of ndarray (time,)
        ``noun`` and ``scene`` (indices), ``x`` and ``y`` (centre, frame widths), ``velocity_x`` and
        ``velocity_y`` (frame widths per second).
    """
    rows = []
    for time in times:
        shot = scenes.shot_at(shots, float(time))
        noun, scene = scenes.NOUNS.index(shot.noun), scenes.SCENES.index(shot.scene)
        rows.append((noun, scene, *scenes.position(shot, time - shot.onset), *scenes.velocity(shot)))
    columns = ("noun", "scene", "x", "y", "velocity_x", "velocity_y")
    types = (np.int64, np.int64, float, float, float, float)
    return {
        name: np.asarray(values, kind)
        for name, values, kind in zip(columns, zip(*rows, strict=True), types, strict=True)
    }
