"""Train one part of a method on training clips. An interrupted training resumes from its checkpoint."""

import argparse
import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.files import atomic, read_json, sole_writer, write_json
from mind_animator.artefacts.reconstructions import has_array
from mind_animator.artefacts.responses import read_responses
from mind_animator.artefacts.tables import read_table
from mind_animator.device import use_device
from mind_animator.errors import InputError, run_command
from mind_animator.methods.base import Responses, TrainingData, TrainingJob, named_paths, open_kind
from mind_animator.provenance import code_digest, file_sha256, fingerprint

# A decoder of embeddings computed elsewhere may lack a target. It is then trained on another one instead; features
# that are missing are never scored.
STAND_INS = {
    "clip_embedding_text": ("clip_embedding_image", lambda image: image),
    "prompt_embedding": ("clip_embedding_text", lambda text: text[:, None]),
}


def main(arguments: list[str] | None = None) -> None:
    """Read the training clips, train, write weights and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", required=True, help="method type")
    parser.add_argument("--part", required=True, help="name of the part of the method")
    parser.add_argument("--settings", required=True, help="training settings of the part, JSON")
    parser.add_argument("--subjects", nargs="+", required=True, help="names, in the order of --responses")
    parser.add_argument("--held-out", help="subject that these weights are to be used for, held out here")
    parser.add_argument(
        "--responses", type=Path, nargs="+", required=True, help="HDF5 files, one per subject"
    )
    parser.add_argument(
        "--clips", type=Path, nargs="+", required=True, help="tables of clips; test clips are ignored"
    )
    parser.add_argument("--targets", default="{}", help="arrays and their feature providers, JSON")
    parser.add_argument("--features", type=Path, nargs="*", default=[], help="HDF5 shards of the features")
    parser.add_argument(
        "--weights-of", nargs="*", default=[], metavar="PART=FILE", help="weights of earlier parts"
    )
    parser.add_argument("--seed", type=int, required=True, help="random seed")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: %(default)s")
    parser.add_argument("--checkpoint", type=Path, help="folder of the checkpoint; deleted at the end")
    parser.add_argument("--logs", type=Path, help="folder of TensorBoard event files")
    parser.add_argument("--weights", type=Path, required=True, help="output, safetensors")
    parser.add_argument("--record", type=Path, required=True, help="output, JSON")
    given = parser.parse_args(arguments)
    kind = open_kind(given.kind, "--kind")
    device = use_device(given.device)
    targets, earlier = json.loads(given.targets), named_paths(given.weights_of)
    data = read_training_data(targets, given.subjects, given.responses, given.clips, given.features)
    data = replace(data, weights=earlier)
    digests = {name: _digest(array) for name, array in data.targets.items()}
    digests |= {name: _digest(own.values) for name, own in zip(given.subjects, data.responses, strict=True)}
    digests |= {name: file_sha256(path) for name, path in earlier.items()}
    stamp = fingerprint(
        code=code_digest("workflow_scripts/train_decoder.py", f"mind_animator/methods/{given.kind}.py"),
        part=given.part,
        settings=given.settings,
        seed=given.seed,
        clips=list(data.clips),
        data=digests,
    )
    with sole_writer(given.checkpoint or given.weights):
        made = given.weights.is_file() and given.record.is_file()
        # otherwise, the previous holder of the lock has just finished this training
        if not made or read_json(given.record)["fingerprint"] != stamp:
            job = TrainingJob(given.seed, device, given.checkpoint, stamp, given.logs)
            trained = kind.train(given.part, given.settings, data, job)
            _write_weights(given.weights, trained.weights)
            about = {
                "subjects": given.subjects,
                "held_out": given.held_out,
                "seed": given.seed,
                "fingerprint": stamp,
            }
            write_json(given.record, {**trained.record, **about})
        if given.checkpoint and given.checkpoint.is_file():  # of a method with a format of its own
            given.checkpoint.unlink()
        elif given.checkpoint:
            shutil.rmtree(given.checkpoint, ignore_errors=True)


def read_training_data(
    arrays: dict[str, str],
    subjects: list[str],
    responses: list[Path],
    tables: list[Path],
    features: list[Path],
) -> TrainingData:
    """Responses and targets of the clips whose split is ``train``; nothing else is read from the files.

    ``arrays`` are the targets, each with the feature provider whose files contain it. Clips to which a subject has
    no response are omitted.

    Raises
    ------
    InputError
        If there are no such clips, or responses or targets of one are missing.
    """
    if len(subjects) != len(responses):
        raise InputError(f"Expected one file of responses per subject, got {len(responses)} for {subjects}.")
    clips: list[str] = []
    movies: list[str] = []
    for path in tables:
        table = read_table(path, ("clip", "movie", "split"))
        table = table[table["split"] == "train"]
        clips += table["clip"].tolist()
        movies += table["movie"].tolist()
    if not clips:
        raise InputError(
            f"Expected training clips in {tables[0]} (and {len(tables) - 1} more tables), found none."
        )
    read = [read_responses(path, clips) for path in responses]
    present = np.logical_and.reduce([present for _, _, present in read])
    if not present.all():  # pooled subjects are trained on the clips to which all have a response
        print(
            f"{int((~present).sum())} of {len(clips)} training clips have no response and are omitted.",
            file=sys.stderr,
        )
        clips = [clip for clip, kept in zip(clips, present, strict=True) if kept]
        movies = [movie for movie, kept in zip(movies, present, strict=True) if kept]
        if not clips:
            raise InputError(f"Expected training clips to which {subjects} have responses, got none.")
    own = [Responses(values[present], clips) for _, values, _ in read]
    targets: dict[str, np.ndarray] = {}
    for provider in sorted(set(arrays.values())):
        names = [name for name, where in arrays.items() if where == provider]
        paths = [path for path in features if path.name.endswith(f".{provider}.h5")]
        names = [name for name in names if paths and has_array(paths[0], name)]
        targets |= read_arrays(paths, names, clips)[1] if names else {}
    for name in [name for name in arrays if name not in targets]:
        source, reshape = STAND_INS.get(name, ("", None))
        if source not in targets:
            raise InputError(
                f"Expected '{name}' in files '*.{arrays[name]}.h5' among --features, got {sorted(targets)}."
            )
        print(f"no {name}: {source} is the target in its place, and nothing is scored by it", file=sys.stderr)
        targets[name] = reshape(targets[source])
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
