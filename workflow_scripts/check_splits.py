"""Check that no test movie is also a training movie: by name, by file content and by image content."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from mind_animator.artefacts.arrays import iterate_clips, open_arrays, read_attrs
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.datasets.leaks import check_leak, check_same_clips, same_clips, thumbnails
from mind_animator.errors import InputError, run_command
from workflow_scripts.stages import Inputs, Output, command

COLUMNS = ("clip", "segment", "movie", "file", "onset", "duration", "split")


def check_splits(
    *,
    tables: Inputs,
    frames: Inputs,
    table: Output,
) -> None:
    """
    Parameters
    ----------
    tables
        Tables of clips of every segment (TSV).
    frames
        Frames of every segment (HDF5).
    table
        Movies, their splits, and the number of test clips that look like a training clip (TSV).
    """
    clips = pd.concat([read_table(path, COLUMNS) for path in tables], ignore_index=True)
    if clips.empty:
        raise InputError(f"Expected clips in {tables[0]}, got none.")
    sums: dict[str, str] = {}
    for path in frames:
        sums |= json.loads(read_attrs(path).get("movies", "{}"))
    by_file = {file: sums[Path(file).name] for file in clips["file"].unique() if Path(file).name in sums}
    check_leak(clips, by_file)

    train, test = (clips[clips["split"] == split] for split in ("train", "test"))
    found = []
    if _has_frames(frames[0]):  # not for data sets with captions only
        small = {}
        for side in (side for side in (train, test) if not side.empty):
            shown = iterate_clips(frames, "frames", list(side["clip"]))
            shown = tqdm(shown, total=len(side), unit="clip", mininterval=5)
            small[side["split"].iloc[0]] = np.stack([thumbnails(images) for _, images in shown])
        if len(small) == 2:  # a published test set contains no training clips
            found = same_clips(small["train"], small["test"])
    check_same_clips(found, train, test)
    twin_of = {test["clip"].iloc[twin.test]: train["clip"].iloc[twin.train] for twin in found}
    if twin_of:
        first = next(iter(twin_of.items()))
        print(
            f"{len(twin_of)} test clips look like a training clip, e.g. {first}: see the table",
            file=sys.stderr,
        )
    movies = (
        clips.groupby(["movie", "segment", "split"], sort=False).agg(clips=("clip", "size")).reset_index()
    )
    twins = clips.assign(twins=clips["clip"].isin(twin_of)).groupby("movie")["twins"].sum()
    write_table(table, movies.assign(twins=movies["movie"].map(twins)))


def _has_frames(path: Path) -> bool:
    with open_arrays(path) as file:
        return "frames" in file


main = command(check_splits)

if __name__ == "__main__":
    run_command(main)
