"""Score the decoded features of one method and subject: retrieval, and the fit of each decoder to its target."""

from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import open_arrays, read_arrays
from mind_animator.artefacts.reconstructions import has_array, problems_of
from mind_animator.artefacts.streams import write_pairs
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.errors import InputError, run_command
from mind_animator.scoring.compare import with_units
from mind_animator.scoring.decoded import read_features, score_decoded
from workflow_scripts.stages import Input, Inputs, Output, Param, Wildcard, command


def score_retrieval(
    *,
    predictions: Input,
    text: Inputs = (),
    image: Inputs = (),
    extra_text: Inputs = (),
    extra_image: Inputs = (),
    tables: Inputs,
    training_means: Input | None = None,
    block: Param[int],
    dataset: Param[str],
    method: Wildcard[str],
    subject: Wildcard[str],
    scores: Output,
    pairs: Output,
) -> None:
    """
    Parameters
    ----------
    predictions
        Predictions of the test clips (HDF5).
    text
        Shards of text features (HDF5).
    image
        Shards of image features, if the data set has frames (HDF5).
    extra_text
        Text features of further candidates (HDF5).
    extra_image
        Image features of further candidates (HDF5).
    tables
        Tables of clips of the test segments (TSV).
    training_means
        Means of the features over the training clips (HDF5); omitted without training.
    block
        Length of a block in clips.
    dataset
        Name of the data set.
    method
        Name of the method.
    subject
        Name of the subject.
    scores
        One row per clip and metric (Parquet).
    pairs
        Pair scores (HDF5).
    """
    needed = ["clip", "segment", "movie", "scene_cut"]
    clips = pd.concat([read_table(table, tuple(needed)) for table in tables], ignore_index=True)[needed]
    problems = problems_of(predictions, clips["clip"].tolist())
    absent = clips[clips["clip"].isin(problems)]
    clips = clips[~clips["clip"].isin(problems)].reset_index(drop=True)
    names = clips["clip"].tolist()
    held = [n for n in ("semantic", "prompt_embedding", "structure", "latents") if has_array(predictions, n)]
    if "semantic" not in held:
        raise InputError(f"Expected an array 'semantic' in {predictions}, got {held}.")
    _, decoded = read_arrays(predictions, held, names)
    features, extra = read_features(
        names, text=text, image=image, extra_text=extra_text, extra_image=extra_image
    )
    for name, array in decoded.items():
        if not np.isfinite(array).all():
            raise InputError(f"Expected finite '{name}' in {predictions}, got NaN or infinity.")
    rows, compared, candidates = score_decoded(
        clips, decoded, features, extra, _means(training_means),
        block=block, dataset=dataset, method=method, subject=subject,
    )  # fmt: skip
    write_pairs(pairs, compared)
    for metric in rows["metric"].unique() if len(absent) else ():
        about = {"dataset": dataset, "method": method, "subject": subject, "metric": metric}
        without = absent.assign(**about, value=np.nan, weight=1.0, status=absent["clip"].map(problems))
        rows = pd.concat([rows, without[list(rows.columns)]], ignore_index=True)
    rows = rows.assign(candidates=rows["metric"].map(lambda name: _pool(name, candidates)))
    write_table(scores, with_units(rows))


def _means(path: Path | None) -> dict[str, np.ndarray]:
    if path is None:
        return {}
    with open_arrays(path) as file:
        return {name: file[name][:] for name in file}


def _pool(metric: str, candidates: dict[str, int]) -> int:
    """Number of candidates behind a retrieval metric, 0 for others."""
    return candidates.get(metric.removeprefix("retrieval_").rpartition("_")[0], 0)


main = command(score_retrieval)

if __name__ == "__main__":
    run_command(main)
