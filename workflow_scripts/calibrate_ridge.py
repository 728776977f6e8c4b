"""Train and test ridge on block-permuted pairings of responses and targets, to measure the rate of false positives."""

import pandas as pd

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.responses import read_responses
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.errors import InputError, run_command
from mind_animator.scoring.null_pairings import null_pairings
from workflow_scripts.stages import Input, Inputs, Output, Param, command


def calibrate_ridge(
    *,
    responses: Input,
    features: Inputs,
    clips: Inputs,
    draws: int = 200,
    block: Param[int],
    permutations: int = 999,
    seed: Param[int],
    p_values: Output,
) -> None:
    """
    Parameters
    ----------
    responses
        Responses of all clips (HDF5).
    features
        Shards of text features (HDF5).
    clips
        Tables of all clips (TSV).
    draws
        Number of shuffled pairings.
    block
        Length of a block in clips.
    permutations
        Permutations of each test.
    seed
        Random seed.
    p_values
        One p value per pairing (TSV: test, p).
    """
    table = pd.concat([read_table(path, ("clip", "segment", "split")) for path in clips])
    parts = []
    for split in ("train", "test"):
        own = table[table["split"] == split]
        if own.empty:
            raise InputError(
                f"Expected clips of the split '{split}' in {clips[0]} and {len(clips) - 1} more tables, found none."
            )
        _, values, present = read_responses(responses, own["clip"].tolist())
        own = own[present]
        aims = read_arrays(features, ["clip_embedding_text"], own["clip"].tolist())[1]["clip_embedding_text"]
        parts.append((values[present], aims, own["segment"].tolist()))
    (train, aims, movies), (test, ground_truths, test_movies) = parts
    p = null_pairings(
        train, test, aims, ground_truths, movies, test_movies,
        draws=draws, block=block, permutations=permutations, seed=seed,
    )  # fmt: skip
    write_table(p_values, pd.DataFrame({"test": "ridge_on_shuffled_pairs", "p": p}))


main = command(calibrate_ridge)

if __name__ == "__main__":
    run_command(main)
