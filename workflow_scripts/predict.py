"""Predict what the generator needs from responses: of the test clips, or of any new response vector."""

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
from mind_animator.methods.base import DECODERS, POOLED, Using, open_kind


def main(arguments: list[str] | None = None) -> None:
    """Read responses and weights, predict, write one array a target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", required=True, help="kind of the method")
    parser.add_argument("--settings", required=True, help="the method's prediction settings, JSON")
    for decoder in DECODERS:
        parser.add_argument(
            f"--{decoder}",
            type=Path,
            required=decoder == "semantic",
            help=f"weights of the {decoder} decoder",
        )
    parser.add_argument("--subject", required=True, help="whose responses these are")
    parser.add_argument(
        "--responses", type=Path, required=True,
        help="HDF5 (responses, clip), or .npy (voxel,) or (clip, voxel), scaled as the training clips' were",
    )  # fmt: skip
    parser.add_argument(
        "--clips", type=Path, nargs="*", default=[], help="tables; their test clips are predicted"
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--predictions", type=Path, required=True, help="output, HDF5")
    given = parser.parse_args(arguments)
    kind = open_kind(given.kind, "--kind")
    device = use_device(given.device)
    weights = {decoder: path for decoder in DECODERS if (path := getattr(given, decoder)) is not None}
    if len(weights) not in (1, len(DECODERS)):
        raise InputError(f"Expected weights of {DECODERS} or of semantic alone, got {tuple(weights)}.")
    index = {decoder: subject_index(path, given.subject) for decoder, path in weights.items()}
    clips, responses, present = read_new(given.responses, given.clips)
    out = kind.predict(given.settings, Using(weights, index, given.seed, device), responses[present])
    missing = [clip for clip, kept in zip(clips, present, strict=True) if not kept]
    arrays = {}
    for name, array in out.items():
        arrays[name] = np.full((len(clips), *array.shape[1:]), np.nan, np.float32)
        arrays[name][present] = array
    attrs = {"kind": given.kind, "problems": json.dumps(dict.fromkeys(missing, NO_RESPONSE))}
    write_arrays(given.predictions, arrays, clips, attrs)


def subject_index(path: Path, subject: str) -> int:
    """Place of a subject among those that a decoder was trained on; `InputError` if it is not one of them."""
    trained = read_json(path.with_suffix(".json"))["subjects"]
    if subject not in trained:
        raise InputError(
            f"Expected {path} to be trained on subject {subject}, got {trained} ({POOLED} or not)."
        )
    return trained.index(subject)


def read_new(path: Path, tables: list[Path]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Clips, responses (clip, voxel) and which are present: the tables' test clips, or all without a table.

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
