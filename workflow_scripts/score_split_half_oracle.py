"""Score the split-half oracle of one subject: ground-truth videos of the clips whose half-averaged repeats
are most similar."""

import cv2

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.streams import PairScores, write_pairs
from mind_animator.artefacts.tables import write_table
from mind_animator.errors import run_command
from mind_animator.scoring.compare import with_units
from mind_animator.scoring.decoded import read_features
from mind_animator.scoring.split_half_oracle import score_oracle
from workflow_scripts.score_method import read_labels, write_scores
from workflow_scripts.stages import Input, Inputs, Output, Scored, command


def score_split_half_oracle(
    given: Scored,
    *,
    responses: Input,
    text: Inputs,
    image: Inputs,
    extra_text: Inputs = (),
    extra_image: Inputs = (),
    decoded: Output,
    decoded_pairs: Output,
) -> None:
    """
    Parameters
    ----------
    responses
        Responses with `half_1` and `half_2` of the test clips (HDF5).
    text, image
        Shards of features of the test clips (HDF5).
    extra_text, extra_image
        Further candidates of retrieval (HDF5).
    decoded
        Scores of features: retrieval and targets of the decoders (Parquet).
    decoded_pairs
        Their pair scores: none (HDF5).
    """
    cv2.setNumThreads(1)
    clips = read_labels(given.tables)
    names = clips["clip"].tolist()
    _, halves = read_arrays(responses, ["half_1", "half_2"], names)
    features, extra = read_features(
        names, text=text, image=image, extra_text=extra_text, extra_image=extra_image
    )
    rows, pairs, of_features = score_oracle(
        clips, given.ground_truth, halves["half_1"], halves["half_2"], features, extra, given.settings,
        count=given.frames, dataset=given.dataset, subject=given.subject, seed=given.seed, workers=given.threads,
    )  # fmt: skip
    write_pairs(decoded_pairs, PairScores(pairs.clips, pairs.rows, {}, {}))
    write_table(decoded, with_units(of_features))
    write_scores(given, rows, pairs)


main = command(score_split_half_oracle)

if __name__ == "__main__":
    run_command(main)
