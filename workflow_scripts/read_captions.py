"""Write the captions of one shard of clips, taken from ready files or from the data set itself."""

import sys

import pandas as pd

from mind_animator.artefacts.tables import write_table
from mind_animator.captions.tables import captions_of, read_ready_captions
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.errors import InputError, run_command
from workflow_scripts.stages import Inputs, Output, Param, Wildcard, command


def read_captions(
    *,
    dataset: Param[DatasetConfig],
    ready: Inputs = (),
    shard: Wildcard[int],
    n_clips: Param[int],
    captions: Output,
) -> None:
    """
    Parameters
    ----------
    dataset
        Settings of the data set (config.dataset).
    ready
        TSV or HDF5 files of captions; without any, the captions of the data set itself.
    shard
        Index of the shard's first clip in the data set.
    n_clips
        Clips of the shard.
    captions
        Captions of the shard's clips (TSV).
    """
    data = open_dataset(dataset)
    clips = [clip for segment in data.segments for clip in segment.clips]
    selected = clips[shard : shard + n_clips]
    if len(selected) != n_clips:
        raise InputError(f"Expected {shard + n_clips} clips in the data set, got {len(clips)}.")
    if ready:
        texts = read_ready_captions(ready, data.caption_order())
        where = ", ".join(map(str, ready))
        if extra := sorted(texts.keys() - set(clips)):
            named = ", ".join(f"'{clip}'" for clip in extra[:3])
            print(f"{where}: not used, no such clip in the data set: {len(extra)} ({named})", file=sys.stderr)
    else:
        table = data.captions()
        texts = dict(zip(table["clip"], table["caption"], strict=True))
        where = f"the data set {data.name}"
    selected_texts = captions_of(texts, selected, where)
    empty = [clip for clip, text in zip(selected, selected_texts, strict=True) if not text.strip()]
    if empty:
        raise InputError(
            f"Expected a caption of every clip in {where}, got an empty one for '{empty[0]}' ({len(empty)} of "
            f"{len(selected_texts)} are empty): write them, or remove these clips from the table."
        )
    write_table(captions, pd.DataFrame({"clip": selected, "caption": selected_texts}))


main = command(read_captions)

if __name__ == "__main__":
    run_command(main)
