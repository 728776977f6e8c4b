"""Apply the trained parts of a method to the responses to the test clips, or to new response vectors."""

import json
from pathlib import Path

import numpy as np

from mind_animator.artefacts.arrays import read_clip_names, write_arrays
from mind_animator.artefacts.responses import NO_RESPONSE, read_responses
from mind_animator.config.models import ModelsConfig
from mind_animator.device import use_device
from mind_animator.errors import InputError, run_command
from mind_animator.methods._read import prediction_inputs, read_clips, read_subject
from mind_animator.methods.base import Needs, PredictionInputs, Responses, open_kind
from workflow_scripts.stages import Inputs, Output, TrainedMethod, command


def predict(given: TrainedMethod, *, clips: Inputs = (), predictions: Output) -> None:
    """
    Parameters
    ----------
    clips
        Clip tables, whose test clips are predicted; without tables, all clips of the responses are.
    predictions
        Output: one array per prediction (HDF5).
    """
    opened, inputs = open_kind(given.kind, "--kind"), inputs_of(given)
    new, present = read_new(given.responses, clips, given.needs, given.t_r)
    out = opened.predict(given.settings, inputs, new.take(np.flatnonzero(present)))
    arrays = {}
    for name, array in out.items():
        arrays[name] = np.full((len(present), *array.shape[1:]), np.nan, np.float32)
        arrays[name][present] = array
    problems = {clip: NO_RESPONSE for clip, kept in zip(new.clips, present, strict=True) if not kept}
    write_arrays(predictions, arrays, new.clips, {"kind": given.kind, "problems": json.dumps(problems)})


def inputs_of(given: TrainedMethod) -> PredictionInputs:
    """Weights, models, seed and device of a trained method."""
    known = ModelsConfig.model_validate_json(given.models)
    models = {key: getattr(known, key) for key in given.needs.models}
    device = use_device(given.device)
    return prediction_inputs(given.weights, given.subject, given.seed, device, models, known.lock)


def read_new(path: Path, tables: list[Path], needs: Needs, t_r: float = 0.0) -> tuple[Responses, np.ndarray]:
    """Responses to the test clips of the tables, or to all clips without tables, and which are present.

    Raises
    ------
    InputError
        If there is no clip, none of them is present, a value is not finite, or a window is needed of responses
        without tables.
    """
    if tables:
        given, present = read_subject(path, read_clips(tables, "test"), needs, t_r)
    elif any(needs.window):
        raise InputError(
            f"Expected clip tables with {path}, since the method needs a window of volumes, got none."
        )
    elif path.suffix == ".npy":
        if not path.is_file():
            raise InputError(f"Expected an array at {path}, found none.")
        values = np.atleast_2d(np.load(path, allow_pickle=False)).astype(np.float32)
        given = Responses(values, [f"new-{row:05d}" for row in range(len(values))])
        present = np.ones(len(values), bool)
    else:
        _, values, present = read_responses(path, names := read_clip_names(path))
        given = Responses(values, names)
    bad = np.flatnonzero(present & ~np.isfinite(given.values).all(axis=1))
    if len(bad):
        raise InputError(f"Expected finite responses in {path}, got others at clip {given.clips[bad[0]]}.")
    if not present.any():
        raise InputError(f"Expected responses to test clips in {path}, got none.")
    return given, present


main = command(predict)

if __name__ == "__main__":
    run_command(main)
