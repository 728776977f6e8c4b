"""Write features computed elsewhere as feature files, joined with the features computed here; report omitted
features."""

import sys
from pathlib import Path

from mind_animator.artefacts.arrays import read_arrays, write_arrays
from mind_animator.artefacts.reconstructions import has_array
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.features import FeaturesConfig
from mind_animator.datasets import open_dataset
from mind_animator.errors import run_command
from mind_animator.features.ready import ARRAYS, read_ready
from workflow_scripts.stages import Inputs, Outputs, Param, command

KINDS = {"text": ("text", "prompt_embedding"), "image": ("image", "latents")}
COPIES = {
    "text": ("clip_embedding_text_copies", "prompt_embedding_copies"),
    "image": ("clip_embedding_image_crops",),
}


def read_ready_features(
    *,
    dataset: Param[DatasetConfig],
    settings: Param[FeaturesConfig],
    frames: Param[int],
    shard_size: Param[int],
    computed_text: Inputs = (),
    computed_image: Inputs = (),
    text: Outputs = (),
    image: Outputs = (),
) -> None:
    """
    Parameters
    ----------
    dataset
        Settings of the data set.
    settings
        Settings of the features, including the ready files.
    frames
        Frames per clip.
    shard_size
        Clips per file.
    computed_text, computed_image
        Features computed here (HDF5).
    text, image
        Feature files (HDF5).
    """
    opened = open_dataset(dataset)
    clips = [clip for segment in opened.segments for clip in segment.clips]
    splits = {clip: segment.split for segment in opened.segments for clip in segment.clips}
    ready = settings.ready
    found = read_ready(ready, clips, opened.clips_of_table(), splits, tokens=settings.tokens, frames=frames)
    for kind, computed, outputs in (("text", computed_text, text), ("image", computed_image, image)):
        embedding, other = KINDS[kind]
        keys = [key for key in (embedding, other) if ARRAYS[key][0] not in found]
        if ready.embeddings and embedding in keys:
            keys.remove(embedding)
            if outputs or computed:
                print(
                    f"no {embedding} embeddings: features.ready has none, and those of models.clip belong to another "
                    "space; they are omitted",
                    file=sys.stderr,
                )
        computed_names = [ARRAYS[key][0] for key in keys]
        if computed and not ready.embeddings:
            computed_names += [name for name in COPIES[kind] if has_array(computed[0], name)]
        names = [ARRAYS[key][0] for key in (embedding, other)] + list(COPIES[kind])
        more = read_arrays(computed, computed_names, clips)[1] if computed and computed_names else {}
        for key in keys:
            if ARRAYS[key][0] not in more:
                print(f"features.ready.{key} is not given and was not computed: omitted", file=sys.stderr)
        here = {name: {**found, **more}[name] for name in names if name in found or name in more}
        attrs = {"features": settings.model_dump_json()}
        starts = range(0, len(clips), shard_size) if outputs else ()
        for path, start in zip(map(Path, outputs), starts, strict=True):
            rows = slice(start, start + shard_size)
            write_arrays(path, {name: array[rows] for name, array in here.items()}, clips[rows], attrs)


main = command(read_ready_features)

if __name__ == "__main__":
    run_command(main)
