"""Compute the mean of every feature over the training clips, the reference of centred retrieval and R2."""

import pandas as pd

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.tables import read_table
from mind_animator.errors import run_command
from mind_animator.scoring.decoded import FEATURES, training_means
from workflow_scripts.stages import Inputs, Output, command


def average_features(*, features: Inputs, tables: Inputs, means: Output) -> None:
    """
    Parameters
    ----------
    features
        Feature files with the training clips (HDF5).
    tables
        Tables of the clips of the training segments (TSV).
    means
        Mean of each feature (HDF5).
    """
    every = pd.concat([read_table(path, ("clip", "split")) for path in tables], ignore_index=True)
    clips = every.loc[every["split"] == "train", "clip"].tolist()
    write_arrays(means, {}, None, {"clips": len(clips)}, training_means(clips, features, FEATURES))


main = command(average_features)

if __name__ == "__main__":
    run_command(main)
