"""Train one decoder on training clips. A killed training goes on from its state."""

import argparse
import hashlib
import shutil
import sys
from pathlib import Path

import numpy as np

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.files import atomic, read_json, sole_writer, write_json
from mind_animator.artefacts.responses import read_responses
from mind_animator.artefacts.tables import read_table
from mind_animator.device import use_device
from mind_animator.errors import InputError, run_command
from mind_animator.methods.base import DECODERS, TrainingData, TrainingJob, open_kind
from mind_animator.provenance import code_digest, fingerprint


def main(arguments: list[str] | None = None) -> None:
    """Read what lies in training segments, train, write weights and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", required=True, help="kind of the method")
    parser.add_argument("--decoder", required=True, choices=DECODERS)
    parser.add_argument("--settings", required=True, help="the method's training settings, JSON")
    parser.add_argument("--subjects", nargs="+", required=True, help="names, in the order of --responses")
    parser.add_argument("--responses", type=Path, nargs="+", required=True, help="HDF5 files, one a subject")
    parser.add_argument(
        "--clips", type=Path, nargs="+", required=True, help="tables of clips; test rows are skipped"
    )
    parser.add_argument("--features", type=Path, nargs="+", required=True, help="HDF5 shards of the targets")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--state", type=Path, help="folder of the resumable state; deleted at the end")
    parser.add_argument("--logs", type=Path, help="folder of TensorBoard event files")
    parser.add_argument("--weights", type=Path, required=True, help="output, safetensors")
    parser.add_argument("--record", type=Path, required=True, help="output, JSON")
    given = parser.parse_args(arguments)
    kind = open_kind(given.kind, "--kind")
    device = use_device(given.device)
    targets = kind.targets(given.decoder, given.settings)
    data = read_training_data(targets, given.subjects, given.responses, given.clips, given.features)
    digests = {name: _digest(array) for name, array in data.targets.items()}
    digests |= {name: _digest(own) for name, own in zip(given.subjects, data.responses, strict=True)}
    stamp = fingerprint(
        code=code_digest("workflow_scripts/train_decoder.py", f"mind_animator/methods/{given.kind}.py"),
        decoder=given.decoder,
        settings=given.settings,
        seed=given.seed,
        clips=list(data.clips),
        data=digests,
    )
    with sole_writer(given.state or given.weights):
        made = given.weights.is_file() and given.record.is_file()
        # else whoever held the state has finished just this work
        if not made or read_json(given.record)["stamp"] != stamp:
            job = TrainingJob(given.seed, device, given.state, stamp, given.logs)
            trained = kind.train(given.decoder, given.settings, data, job)
            _write_weights(given.weights, trained.weights)
            about = {"subjects": given.subjects, "seed": given.seed, "stamp": stamp}
            write_json(given.record, {**trained.record, **about})
        if given.state and given.state.is_file():  # a kind's own
            given.state.unlink()
        elif given.state:
            shutil.rmtree(given.state, ignore_errors=True)


def read_training_data(
    wanted: dict[str, str],
    subjects: list[str],
    responses: list[Path],
    tables: list[Path],
    features: list[Path],
) -> TrainingData:
    """Responses and targets of the clips whose split is ``train``; nothing else is read from the files.

    Clips that a subject has no response to are left out.

    ``wanted`` names the arrays of targets and the kind of feature file of each.

    Raises
    ------
    InputError
        If there are no such clips, or responses or targets of one are missing.
    """
    if len(subjects) != len(responses):
        raise InputError(f"Expected one file of responses a subject, got {len(responses)} for {subjects}.")
    clips: list[str] = []
    movies: list[str] = []
    for path in tables:
        table = read_table(path, ("clip", "movie", "split"))
        table = table[table["split"] == "train"]
        clips += table["clip"].tolist()
        movies += table["movie"].tolist()
    if not clips:
        raise InputError(f"Expected training clips in {tables[0]} and its fellows, found none.")
    read = [read_responses(path, clips) for path in responses]
    # clips that a subject has no response to train nothing; pooled subjects are trained on the clips of all
    present = np.logical_and.reduce([present for _, _, present in read])
    if not present.all():
        print(
            f"{int((~present).sum())} of {len(clips)} training clips have no response and are left out",
            file=sys.stderr,
        )
        clips = [clip for clip, kept in zip(clips, present, strict=True) if kept]
        movies = [movie for movie, kept in zip(movies, present, strict=True) if kept]
        if not clips:
            raise InputError(f"Expected training clips that {subjects} have responses to, got none.")
    own = [values[present] for _, values, _ in read]
    targets: dict[str, np.ndarray] = {}
    for suffix in sorted(set(wanted.values()), reverse=True):  # text, then image
        paths = [path for path in features if path.name.endswith(f".{suffix}.h5")]
        if not paths and suffix == "image" and "clip_embedding_text" in targets:
            print("no frames: the captions' embeddings stand for the images'", file=sys.stderr)
            text = targets["clip_embedding_text"]
            others = {
                "clip_embedding_image": text,
                "clip_embedding_image_crops": targets.get("clip_embedding_text_copies", text[:, None]),
            }
            targets |= {name: others[name] for name, where in wanted.items() if where == suffix}
            continue
        if not paths:
            raise InputError(
                f"Expected files '*.{suffix}.h5' among --features, which hold {sorted(wanted)}, got none."
            )
        names = [name for name, where in wanted.items() if where == suffix]
        targets |= read_arrays(paths, names, clips)[1]
    return TrainingData(tuple(own), targets, movies, clips)


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data).hexdigest()[:16]


def _write_weights(path: Path, weights: dict) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {name: torch.as_tensor(value).contiguous().clone() for name, value in weights.items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary)


if __name__ == "__main__":
    run_command(main)
