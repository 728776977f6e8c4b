"""Train one part of a method on training clips. An interrupted training resumes from its checkpoint."""

import hashlib
import shutil
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np

from mind_animator.artefacts.arrays import read_arrays, read_attrs
from mind_animator.artefacts.files import atomic, read_json, sole_writer, write_json
from mind_animator.artefacts.reconstructions import has_array
from mind_animator.artefacts.streams import ClipReader
from mind_animator.config.methods import TrainingConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.device import use_device
from mind_animator.errors import InputError, run_command
from mind_animator.methods._clips import choose_minutes, units_of_validation
from mind_animator.methods._read import read_clips, read_subject
from mind_animator.methods.base import Needs, TrainingData, TrainingJob, open_kind
from mind_animator.provenance import code_digest, file_sha256, fingerprint
from mind_animator.video.training import TrainingMovies
from workflow_scripts.stages import Device, Inputs, Output, Param, Wildcard, command

ALL_CLIPS = TrainingConfig()
# A decoder of embeddings computed elsewhere may lack a target. It is then trained on another target; features
# that are missing are never scored.
STAND_INS = {
    "clip_embedding_text": ("clip_embedding_image", lambda image: image),
    "prompt_embedding": ("clip_embedding_text", lambda text: text[:, None]),
}


def train_part(
    *,
    kind: Param[str],
    part: Wildcard[str],
    settings: Param[str],
    needs: Param[Needs],
    subjects: Param[list[str]],
    held_out: Param[str] = "",
    training: Param[TrainingConfig] = ALL_CLIPS,
    responses: Inputs,
    clips: Inputs,
    features: Inputs = (),
    earlier: Param[dict[str, Path]] = {},  # noqa: B006 (read only)
    repeats: Inputs = (),
    frames: Inputs = (),
    movies: Inputs = (),
    videos: Inputs = (),
    models: Param[str] = "{}",
    t_r: Param[float] = 0.0,
    crop: Param[float] = 1.0,
    seed: Param[int],
    device: Param[Device] = "cpu",
    checkpoint: Param[Path | None] = None,
    logs: Param[Path | None] = None,
    weights: Output,
    record: Output,
) -> None:
    """
    Parameters
    ----------
    kind
        Method type.
    part
        Name of the part of the method.
    settings
        Training settings of the part (JSON).
    needs
        Inputs that the part needs in addition to responses.
    subjects
        Names of the subjects, in the order of responses.
    held_out
        Held-out subject, for whom the weights will be used.
    training
        Selection of training clips.
    responses
        Responses, one file per subject (HDF5).
    clips
        Clip tables; test clips are ignored (TSV).
    features
        Shards of the features (HDF5).
    earlier
        Weights of the parts that are trained before.
    repeats
        Single repeats, one file per subject (HDF5).
    frames
        Frames of the training movies (HDF5).
    movies
        Files of the training movies.
    videos
        Files of unpaired videos.
    models
        Ids or folders of the models, and the lock file (JSON).
    t_r
        Seconds between volumes, for windows.
    crop
        Fraction of height and width of the movies that is kept.
    seed
        Random seed.
    device
        Device to compute on.
    checkpoint
        Folder of the checkpoint; deleted at the end.
    logs
        Folder of TensorBoard event files.
    weights
        Output: weights (safetensors).
    record
        Output: the inputs of prediction other than the weights, and the training history (JSON).
    """
    opened, target = open_kind(kind, "--kind"), use_device(device)
    data = read_training_data(
        needs, subjects, responses, clips, features, training=training, earlier=earlier, repeats=repeats, frames=frames,
        movies=movies, videos=videos, models=models, t_r=t_r, crop=crop,
    )  # fmt: skip
    stamp = fingerprint(
        code=code_digest("workflow_scripts/train_part.py", f"mind_animator/methods/{kind}.py"),
        part=part,
        settings=settings,
        needs=needs.model_dump(mode="json"),
        seed=seed,
        data=_digest(data),
        frames=[{key: str(value) for key, value in read_attrs(path).items()} for path in frames],
    )
    with sole_writer(checkpoint or weights):
        made = weights.is_file() and record.is_file()
        # otherwise, the previous holder of the lock has just finished this training
        if not made or read_json(record)["fingerprint"] != stamp:
            trained = opened.train(part, settings, data, TrainingJob(seed, target, checkpoint, stamp, logs))
            _write_weights(weights, trained.weights)
            about = {"subjects": subjects, "held_out": held_out or None, "seed": seed, "fingerprint": stamp}
            write_json(record, {**trained.record, **about})
        if checkpoint and checkpoint.is_file():  # a method with its own format
            checkpoint.unlink()
        elif checkpoint:
            shutil.rmtree(checkpoint, ignore_errors=True)


def read_training_data(
    needs: Needs,
    subjects: list[str],
    responses: list[Path],
    tables: list[Path],
    features: list[Path],
    *,
    training: TrainingConfig = ALL_CLIPS,
    earlier: Mapping[str, Path],
    repeats: list[Path],
    frames: list[Path],
    movies: list[Path],
    videos: list[Path],
    models: str,
    t_r: float,
    crop: float,
) -> TrainingData:
    """Inputs of a part for the clips whose split is ``train``; nothing else is read from the files.

    Clips to which a subject has no response are omitted.

    Raises
    ------
    InputError
        If there are no such clips, or an input is missing or does not match them.
    """
    if len(subjects) != len(responses):
        raise InputError(f"Expected one file of responses per subject, got {len(responses)} for {subjects}.")
    table = read_clips(tables, "train")
    table = table.iloc[choose_minutes(table, training.minutes, training.order)].reset_index(drop=True)
    singles = repeats if needs.repeats else [None] * len(responses)
    read = [read_subject(path, table, needs, t_r, own) for path, own in zip(responses, singles, strict=True)]
    present = np.logical_and.reduce([present for _, present in read])
    if not present.all():  # pooled subjects are trained on the clips to which all have a response
        missing = int((~present).sum())
        print(f"{missing} of {len(table)} training clips have no response and are omitted.", file=sys.stderr)
        table = table[present]
        if table.empty:
            raise InputError(f"Expected training clips to which {subjects} have responses, got none.")
    names = table["clip"].tolist()
    targets: dict[str, np.ndarray] = {}
    for provider in sorted(set(needs.features.values())):
        arrays = [array for array, where in needs.features.items() if where == provider]
        paths = [path for path in features if path.name.endswith(f".{provider}.h5")]
        arrays = [array for array in arrays if paths and has_array(paths[0], array)]
        targets |= read_arrays(paths, arrays, names)[1] if arrays else {}
    for array in [array for array in needs.features if array not in targets]:
        source, reshape = STAND_INS.get(array, ("", None))
        if source not in targets:
            raise InputError(
                f"Expected '{array}' in files '*.{needs.features[array]}.h5' among --features, got {sorted(targets)}."
            )
        print(f"No {array}: {source} is the target instead, and nothing is scored by it.", file=sys.stderr)
        targets[array] = reshape(targets[source])
    known = ModelsConfig.model_validate_json(models)
    return TrainingData(
        responses=tuple(own.take(np.flatnonzero(present)) if not present.all() else own for own, _ in read),
        targets=targets,
        movies=table["movie"].tolist() if training.minutes is None else units_of_validation(table),
        clips=names,
        weights=earlier,
        frames=ClipReader(frames, names) if needs.frames else None,
        stimuli=TrainingMovies(table, movies, crop) if needs.movies else None,
        videos=tuple(sorted(videos)),
        models={key: getattr(known, key) for key in needs.models},
        lock=known.lock,
    )


def _digest(data: TrainingData) -> dict[str, object]:
    """Identity of the data: digests of arrays and of files."""
    digests: dict[str, object] = {"clips": list(data.clips), "models": dict(data.models)}
    digests |= {name: _digest_array(array) for name, array in data.targets.items()}
    for number, own in enumerate(data.responses):
        arrays = {one.name: getattr(own, one.name) for one in fields(own)}
        digests |= {f"{n}/{number}": _digest_array(a) for n, a in arrays.items() if isinstance(a, np.ndarray)}
    files = [
        *data.weights.values(),
        *data.videos,
        *(span.file for span in getattr(data.stimuli, "spans", ())),
    ]
    digests |= {str(path): file_sha256(path) for path in dict.fromkeys(files)}
    return digests


def _digest_array(array: np.ndarray) -> str:
    array = np.ascontiguousarray(array if array.dtype.kind != "U" else array.astype("S"))
    return hashlib.sha256(array.view(np.uint8).data).hexdigest()[:16]


def _write_weights(path: Path, weights: Mapping) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {name: torch.as_tensor(value).contiguous() for name, value in weights.items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary)


main = command(train_part)

if __name__ == "__main__":
    run_command(main)
