"""Score one method's videos of one subject: one row a clip and metric, a readable table, and pair scores."""

import argparse
from pathlib import Path

import cv2
import pandas as pd

from mind_animator.artefacts.streams import write_pairs
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.base import parse_settings
from mind_animator.config.models import ModelsConfig
from mind_animator.config.scoring import ScoringConfig
from mind_animator.device import use_device
from mind_animator.errors import run_command
from mind_animator.scoring.compare import wide, with_units
from mind_animator.scoring.judge import judge
from mind_animator.scoring.networks import open_networks
from mind_animator.scoring.sources import ArraySource


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ground-truth", type=Path, required=True, help="the ground truth's file, HDF5")
    parser.add_argument(
        "--tables", type=Path, nargs="+", required=True, help="clip tables of the test segments"
    )
    parser.add_argument(
        "--reconstructions", type=Path, nargs="+", required=True, help="shards of frames, HDF5"
    )
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--subject", required=True)
    parser.add_argument("--settings", required=True, help="the scoring's settings, JSON")
    parser.add_argument("--frames", type=int, required=True, help="frames a clip")
    parser.add_argument("--models", default="{}", help="the models' settings, JSON")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--scores", type=Path, required=True, help="output, Parquet: one row a clip and metric"
    )
    parser.add_argument("--table", type=Path, required=True, help="output, TSV: one row a clip")
    parser.add_argument("--pairs", type=Path, required=True, help="output, HDF5")
    given = parser.parse_args(arguments)

    cv2.setNumThreads(1)
    settings = parse_settings(ScoringConfig, given.settings)
    needed = ("clip", "segment", "movie", "scene_cut")
    clips = pd.concat([read_table(table, needed) for table in given.tables], ignore_index=True)
    source = ArraySource(given.reconstructions, size=settings.size, count=given.frames)
    rows, pairs = judge(
        clips[list(needed)],
        given.ground_truth,
        source,
        open_networks(
            parse_settings(ModelsConfig, given.models, "--models"),
            device=use_device(given.device),
            efficientnet=settings.efficientnet,
        ),
        settings,
        count=given.frames,
        dataset=given.dataset,
        method=given.method,
        subject=given.subject,
        seed=given.seed,
        workers=given.workers,
    )
    write_pairs(given.pairs, pairs)
    write_table(given.table, wide(rows))
    write_table(given.scores, with_units(rows))


if __name__ == "__main__":
    run_command(main)
