"""Apply the trained parts of a method to responses: of the test clips, or of new response vectors."""

import argparse
import json
from pathlib import Path

import numpy as np

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.files import read_json
from mind_animator.artefacts.responses import NO_RESPONSE, read_responses
from mind_animator.artefacts.tables import read_table
from mind_animator.device import use_device
from mind_animator.errors import InputError, run_command
from mind_animator.methods.base import PredictionInputs, Responses, named_paths, open_kind


def main(arguments: list[str] | None = None) -> None:
    """Read responses and weights, predict, write one array per prediction."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", required=True, help="method type")
    parser.add_argument("--settings", required=True, help="prediction settings of the method, JSON")
    parser.add_argument(
        "--weights", nargs="*", default=[], metavar="PART=FILE", help="weights of the method's parts"
    )
    parser.add_argument("--subject", required=True, help="subject of the responses")
    parser.add_argument(
        "--responses", type=Path, required=True,
        help="HDF5 (responses, clip), or .npy (voxel,) or (clip, voxel), scaled like the training clips",
    )  # fmt: skip
    parser.add_argument(
        "--clips",
        type=Path,
        nargs="*",
        default=[],
        help="tables of clips: predict their test clips (default: all clips)",
    )
    parser.add_argument("--seed", type=int, required=True, help="random seed")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: %(default)s")
    parser.add_argument("--predictions", type=Path, required=True, help="output, HDF5")
    given = parser.parse_args(arguments)
    kind = open_kind(given.kind, "--kind")
    device = use_device(given.device)
    inputs = prediction_inputs(given.weights, given.subject, given.seed, device)
    clips, responses, present = read_new(given.responses, given.clips)
    known = [clip for clip, kept in zip(clips, present, strict=True) if kept]
    out = kind.predict(given.settings, inputs, Responses(responses[present], known))
    arrays = {}
    for name, array in out.items():
        arrays[name] = np.full((len(clips), *array.shape[1:]), np.nan, np.float32)
        arrays[name][present] = array
    problems = {clip: NO_RESPONSE for clip, kept in zip(clips, present, strict=True) if not kept}
    write_arrays(given.predictions, arrays, clips, {"kind": given.kind, "problems": json.dumps(problems)})


def prediction_inputs(weights: list[str], subject: str, seed: int, device: str) -> PredictionInputs:
    """Weights given as ``part=file``, with the index of the subject in each.

    Raises
    ------
    InputError
        If weights were trained on other subjects only, not by holding out this subject on purpose.
    """
    paths, index = named_paths(weights), {}
    for part, path in paths.items():
        record = read_json(path.with_suffix(".json"))
        trained = record["subjects"]
        if subject in trained:
            index[part] = trained.index(subject)
        elif record.get("held_out") == subject:
            index[part] = None
        else:
            raise InputError(f"Expected {path} to be trained on subject {subject}, got subjects {trained}.")
    return PredictionInputs(paths, index, seed, device)


def read_new(path: Path, tables: list[Path]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Clips, responses (clip, voxel) and which are present: the test clips in the tables, or all without tables.

    Raises
    ------
    InputError
        If there is no clip, none of them is present, or a value is not finite.
    """
    if path.suffix == ".npy":
        if not path.is_file():
            raise InputError(f"Expected an array at {path}, found none.")
        responses = np.atleast_2d(np.load(path, allow_pickle=False)).astype(np.float32)
        clips = [f"new-{row:05d}" for row in range(len(responses))]
        bad = np.flatnonzero(~np.isfinite(responses).all(axis=1))
        if len(bad):
            raise InputError(f"Expected finite responses in {path}, got others at clip {clips[bad[0]]}.")
        return clips, responses, np.ones(len(clips), bool)
    wanted: list[str] | None = None
    if tables:
        split = [read_table(table, ("clip", "split")) for table in tables]
        wanted = [clip for table in split for clip in table.loc[table["split"] == "test", "clip"]]
        if not wanted:
            raise InputError(
                f"Expected test clips in {tables[0]} and {len(tables) - 1} more tables, found none."
            )
    clips, responses, present = read_responses(path, wanted)
    bad = np.flatnonzero(present & ~np.isfinite(responses).all(axis=1))
    if len(bad):
        raise InputError(f"Expected finite responses in {path}, got others at clip {clips[bad[0]]}.")
    if not present.any():
        raise InputError(f"Expected responses to test clips in {path}, got none.")
    return clips, responses, present


if __name__ == "__main__":
    run_command(main)
