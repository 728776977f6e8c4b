"""Train and test ridge on block-permuted pairings of responses and targets: how often is something found?"""

import argparse
from pathlib import Path

import pandas as pd

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.responses import read_responses
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.errors import InputError, run_command
from mind_animator.scoring.null_pairings import null_pairings


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--responses", type=Path, required=True, help="HDF5: responses of all clips")
    parser.add_argument("--features", type=Path, nargs="+", required=True, help="shards of text features")
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="tables of all clips")
    parser.add_argument("--draws", type=int, default=200, help="pairings")
    parser.add_argument("--block", type=int, required=True, help="neighbouring clips of a block")
    parser.add_argument("--permutations", type=int, default=999, help="re-pairings of each test")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--p-values", type=Path, required=True, help="output, TSV: test, p")
    given = parser.parse_args(arguments)
    clips = pd.concat([read_table(path, ("clip", "segment", "split")) for path in given.clips])
    parts = []
    for split in ("train", "test"):
        own = clips[clips["split"] == split]
        if own.empty:
            raise InputError(
                f"Expected clips of the split '{split}' in {given.clips[0]} and its fellows, got none."
            )
        _, responses, present = read_responses(given.responses, own["clip"].tolist())
        own = own[present]
        aims = read_arrays(given.features, ["clip_embedding_text"], own["clip"].tolist())[1][
            "clip_embedding_text"
        ]
        parts.append((responses[present], aims, own["segment"].tolist()))
    (train, aims, movies), (test, ground_truths, test_movies) = parts
    p = null_pairings(
        train, test, aims, ground_truths, movies, test_movies,
        draws=given.draws, block=given.block, permutations=given.permutations, seed=given.seed,
    )  # fmt: skip
    write_table(given.p_values, pd.DataFrame({"test": "ridge_on_dealt_pairs", "p": p}))


if __name__ == "__main__":
    run_command(main)
