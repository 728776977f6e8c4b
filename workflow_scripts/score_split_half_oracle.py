"""Score the split-half oracle of one subject: ground-truth videos of the clips whose half-averaged repeats
are most similar."""

import cv2
import pandas as pd

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.streams import PairScores, write_pairs
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import run_command
from mind_animator.scoring.compare import wide, with_units
from mind_animator.scoring.decoded import read_features
from mind_animator.scoring.split_half_oracle import score_oracle
from workflow_scripts.stages import Input, Inputs, Output, Param, Threads, Wildcard, command


def score_split_half_oracle(
    *,
    ground_truth: Input,
    tables: Inputs,
    responses: Input,
    text: Inputs,
    image: Inputs,
    extra_text: Inputs = (),
    extra_image: Inputs = (),
    dataset: Param[str],
    subject: Wildcard[str],
    settings: Param[ScoringConfig],
    frames: Param[int],
    seed: Param[int],
    threads: Threads = 1,
    scores: Output,
    table: Output,
    pairs: Output,
    decoded: Output,
    decoded_pairs: Output,
) -> None:
    """
    Parameters
    ----------
    ground_truth
        Ground-truth file (HDF5).
    tables
        Clip tables of the test segments.
    responses
        Responses with `half_1` and `half_2` of the test clips (HDF5).
    text, image
        Shards of features of the test clips (HDF5).
    extra_text, extra_image
        Further candidates of retrieval (HDF5).
    dataset, subject
        Name in the tables.
    settings
        Settings of scoring (config.scoring).
    frames
        Frames per clip.
    seed
        Seed of the frame shuffles.
    threads
        Processes of the metrics without networks.
    scores
        Scores of videos, one row per clip and metric (Parquet).
    table
        The same, one row per clip (TSV).
    pairs
        Pair scores (HDF5).
    decoded
        Scores of features: retrieval and targets of the decoders (Parquet).
    decoded_pairs
        Their pair scores: none (HDF5).
    """
    cv2.setNumThreads(1)
    needed = ["clip", "segment", "movie", "scene_cut"]
    clips = pd.concat([read_table(path, tuple(needed)) for path in tables], ignore_index=True)[needed]
    names = clips["clip"].tolist()
    _, halves = read_arrays(responses, ["half_1", "half_2"], names)
    features, extra = read_features(
        names, text=text, image=image, extra_text=extra_text, extra_image=extra_image
    )
    rows, own_pairs, of_features = score_oracle(
        clips, ground_truth, halves["half_1"], halves["half_2"], features, extra, settings,
        count=frames, dataset=dataset, subject=subject, seed=seed, workers=threads,
    )  # fmt: skip
    write_pairs(pairs, own_pairs)
    write_pairs(decoded_pairs, PairScores(own_pairs.clips, own_pairs.rows, {}, {}))
    write_table(decoded, with_units(of_features))
    write_table(table, wide(rows))
    write_table(scores, with_units(rows))


main = command(score_split_half_oracle)

if __name__ == "__main__":
    run_command(main)
