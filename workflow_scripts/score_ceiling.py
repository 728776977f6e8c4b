"""Score one subject's noise ceiling: true videos of the clips that the responses' halves take for each other."""

import argparse
from pathlib import Path

import cv2
import pandas as pd

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.streams import PairScores, write_pairs
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.base import parse_settings
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import run_command
from mind_animator.scoring.ceiling import score_ceiling
from mind_animator.scoring.compare import wide, with_units
from mind_animator.scoring.decoded import read_features


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ground-truth", type=Path, required=True, help="the ground truth's file, HDF5")
    parser.add_argument(
        "--tables", type=Path, nargs="+", required=True, help="clip tables of the test segments"
    )
    parser.add_argument(
        "--responses", type=Path, required=True, help="HDF5 with half_1 and half_2 of the test clips"
    )
    parser.add_argument("--text", type=Path, nargs="+", required=True, help="shards of text features")
    parser.add_argument("--image", type=Path, nargs="+", required=True, help="shards of image features")
    parser.add_argument(
        "--extra-text", type=Path, nargs="*", default=[], help="further candidates, text features"
    )
    parser.add_argument(
        "--extra-image", type=Path, nargs="*", default=[], help="further candidates, image features"
    )
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--subject", required=True)
    parser.add_argument("--settings", required=True, help="the scoring's settings, JSON")
    parser.add_argument("--frames", type=int, required=True, help="frames a clip")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--scores", type=Path, required=True, help="output, Parquet: videos, a row a metric")
    parser.add_argument("--table", type=Path, required=True, help="output, TSV: one row a clip")
    parser.add_argument("--pairs", type=Path, required=True, help="output, HDF5")
    parser.add_argument(
        "--decoded", type=Path, required=True, help="output, Parquet: retrieval, decoders' targets"
    )
    parser.add_argument("--decoded-pairs", type=Path, required=True, help="output, HDF5: no pairs")
    given = parser.parse_args(arguments)

    cv2.setNumThreads(1)
    settings = parse_settings(ScoringConfig, given.settings)
    needed = ["clip", "segment", "movie", "scene_cut"]
    clips = pd.concat([read_table(table, tuple(needed)) for table in given.tables], ignore_index=True)[needed]
    names = clips["clip"].tolist()
    _, halves = read_arrays(given.responses, ["half_1", "half_2"], names)
    features, extra = read_features(
        names, text=given.text, image=given.image, extra_text=given.extra_text, extra_image=given.extra_image
    )
    rows, pairs, decoded = score_ceiling(
        clips, given.ground_truth, halves["half_1"], halves["half_2"], features, extra, settings,
        count=given.frames, dataset=given.dataset, subject=given.subject, seed=given.seed,
        workers=given.workers,
    )  # fmt: skip
    write_pairs(given.pairs, pairs)
    write_pairs(given.decoded_pairs, PairScores(pairs.clips, pairs.rows, {}, {}))
    write_table(given.decoded, with_units(decoded))
    write_table(given.table, wide(rows))
    write_table(given.scores, with_units(rows))


if __name__ == "__main__":
    run_command(main)
