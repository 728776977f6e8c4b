"""Write the captions of one shard of clips, taken from ready files or from the data set itself."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from mind_animator.artefacts.tables import write_table
from mind_animator.captions.tables import captions_of, read_ready_captions
from mind_animator.config.base import parse_settings
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.errors import InputError, run_command


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="the data set's settings, JSON")
    parser.add_argument(
        "--ready",
        type=Path,
        nargs="*",
        default=[],
        help="TSV or HDF5 files of captions; without any, the captions of the data set itself",
    )
    parser.add_argument(
        "--first", type=int, required=True, help="index of the shard's first clip in the data set"
    )
    parser.add_argument("--count", type=int, required=True, help="clips of the shard")
    parser.add_argument("--captions", type=Path, required=True, help="output, TSV")
    given = parser.parse_args(arguments)

    dataset = open_dataset(parse_settings(DatasetConfig, given.dataset, "--dataset"))
    clips = [clip for segment in dataset.segments for clip in segment.clips]
    wanted = clips[given.first : given.first + given.count]
    if len(wanted) != given.count:
        raise InputError(f"Expected {given.first + given.count} clips in the data set, got {len(clips)}.")
    if given.ready:
        captions = read_ready_captions(given.ready, dataset.caption_order())
        where = ", ".join(map(str, given.ready))
        if extra := sorted(captions.keys() - set(clips)):
            named = ", ".join(f"'{clip}'" for clip in extra[:3])
            print(f"{where}: not used, no such clip in the data set: {len(extra)} ({named})", file=sys.stderr)
    else:
        table = dataset.captions()
        captions = dict(zip(table["clip"], table["caption"], strict=True))
        where = f"the data set {dataset.name}"
    texts = captions_of(captions, wanted, where)
    empty = [clip for clip, text in zip(wanted, texts, strict=True) if not text.strip()]
    if empty:
        raise InputError(
            f"Expected a caption of every clip in {where}, got an empty one for '{empty[0]}' ({len(empty)} of "
            f"{len(texts)} are empty): write them, or remove these clips from the table."
        )
    write_table(given.captions, pd.DataFrame({"clip": wanted, "caption": texts}))


if __name__ == "__main__":
    run_command(main)
