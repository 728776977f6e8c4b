"""Make sure that no test movie was trained on: by its name, its file's content and what the clips show."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from mind_animator.artefacts.arrays import iterate_clips, open_arrays, read_attrs
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.datasets.check import check_leak, check_same_clips, same_clips, thumbnails
from mind_animator.errors import InputError, run_command

COLUMNS = ("clip", "segment", "movie", "file", "onset", "duration", "split")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="clips of every segment, TSV")
    parser.add_argument("--frames", type=Path, nargs="+", required=True, help="frames of every segment, HDF5")
    parser.add_argument(
        "--output", type=Path, required=True, help="output, TSV: movies, their splits and twins"
    )
    given = parser.parse_args(arguments)

    table = pd.concat([read_table(path, COLUMNS) for path in given.tables], ignore_index=True)
    if table.empty:
        raise InputError(f"Expected clips in {given.tables[0]}, got none.")
    sums: dict[str, str] = {}
    for path in given.frames:
        sums |= json.loads(read_attrs(path).get("movies", "{}"))
    by_file = {file: sums[Path(file).name] for file in table["file"].unique() if Path(file).name in sums}
    check_leak(table, by_file)

    train, test = (table[table["split"] == split] for split in ("train", "test"))
    pairs = []
    if _has_frames(given.frames[0]):  # not where captions are all that there is
        small = {}
        for side in (side for side in (train, test) if not side.empty):
            clips = iterate_clips(given.frames, "frames", list(side["clip"]))
            told = tqdm(clips, total=len(side), unit="clip", mininterval=5)
            small[side["split"].iloc[0]] = np.stack([thumbnails(frames) for _, frames in told])
        if len(small) == 2:  # a published test set has nothing to train on
            pairs = same_clips(small["train"], small["test"])
    check_same_clips(pairs, train, test)
    twin_of = {test["clip"].iloc[row]: train["clip"].iloc[other] for row, other in pairs}
    if twin_of:
        first = next(iter(twin_of.items()))
        print(
            f"{len(twin_of)} test clips look like a training clip, e.g. {first}: see the table",
            file=sys.stderr,
        )
    movies = (
        table.groupby(["movie", "segment", "split"], sort=False).agg(clips=("clip", "size")).reset_index()
    )
    twins = table.assign(twins=table["clip"].isin(twin_of)).groupby("movie")["twins"].sum()
    write_table(given.output, movies.assign(twins=movies["movie"].map(twins)))


def _has_frames(path: Path) -> bool:
    with open_arrays(path) as file:
        return "frames" in file


if __name__ == "__main__":
    run_command(main)
