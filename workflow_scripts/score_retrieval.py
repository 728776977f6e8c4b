"""Score decoded features of one method and subject: retrieval, and each decoder's own target."""

import argparse
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


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", type=Path, required=True, help="HDF5 of the test clips")
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="shards of text features, if any")
    parser.add_argument(
        "--image", type=Path, nargs="*", default=[], help="shards of image features, where there are frames"
    )
    parser.add_argument(
        "--extra-text", type=Path, nargs="*", default=[], help="further candidates, text features"
    )
    parser.add_argument(
        "--extra-image", type=Path, nargs="*", default=[], help="further candidates, image features"
    )
    parser.add_argument(
        "--tables", type=Path, nargs="+", required=True, help="clip tables of the test segments"
    )
    parser.add_argument(
        "--training-means",
        type=Path,
        help="means of the features over the training clips, HDF5; none without training",
    )
    parser.add_argument("--block", type=int, required=True, help="neighbouring clips of a block")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--subject", required=True)
    parser.add_argument(
        "--scores", type=Path, required=True, help="output, Parquet: one row per clip and metric"
    )
    parser.add_argument("--pairs", type=Path, required=True, help="output, HDF5")
    given = parser.parse_args(arguments)

    needed = ["clip", "segment", "movie", "scene_cut"]
    clips = pd.concat([read_table(table, tuple(needed)) for table in given.tables], ignore_index=True)[needed]
    problems = problems_of(given.predictions, clips["clip"].tolist())
    absent = clips[clips["clip"].isin(problems)]
    clips = clips[~clips["clip"].isin(problems)].reset_index(drop=True)
    names = clips["clip"].tolist()
    held = [
        n for n in ("semantic", "prompt_embedding", "structure", "latents") if has_array(given.predictions, n)
    ]
    if "semantic" not in held:
        raise InputError(f"Expected an array 'semantic' in {given.predictions}, got {held}.")
    _, predictions = read_arrays(given.predictions, held, names)
    features, extra = read_features(
        names, text=given.text, image=given.image, extra_text=given.extra_text, extra_image=given.extra_image
    )
    for name, array in predictions.items():
        if not np.isfinite(array).all():
            raise InputError(f"Expected finite '{name}' in {given.predictions}, got NaN or infinity.")
    rows, pairs, candidates = score_decoded(
        clips, predictions, features, extra, _means(given.training_means),
        block=given.block, dataset=given.dataset, method=given.method, subject=given.subject,
    )  # fmt: skip
    write_pairs(given.pairs, pairs)
    for metric in rows["metric"].unique() if len(absent) else ():
        about = {"dataset": given.dataset, "method": given.method, "subject": given.subject, "metric": metric}
        without = absent.assign(**about, value=np.nan, weight=1.0, status=absent["clip"].map(problems))
        rows = pd.concat([rows, without[list(rows.columns)]], ignore_index=True)
    rows = rows.assign(candidates=rows["metric"].map(lambda name: _pool(name, candidates)))
    write_table(given.scores, with_units(rows))


def _means(path: Path | None) -> dict[str, np.ndarray]:
    if path is None:
        return {}
    with open_arrays(path) as file:
        return {name: file[name][:] for name in file}


def _pool(metric: str, candidates: dict[str, int]) -> int:
    """Number of candidates behind a retrieval metric, 0 for others."""
    return candidates.get(metric.removeprefix("retrieval_").rpartition("_")[0], 0)


if __name__ == "__main__":
    run_command(main)
