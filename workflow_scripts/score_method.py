"""Score one method's videos of one subject: one row per clip and metric, a readable table, and pair scores."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import pandas as pd

from mind_animator.artefacts.streams import PairScores, write_pairs
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.models import ModelsConfig
from mind_animator.device import use_device
from mind_animator.errors import run_command
from mind_animator.metrics.registry import open_metrics
from mind_animator.scoring.compare import wide, with_units
from mind_animator.scoring.networks import open_networks
from mind_animator.scoring.score import score
from mind_animator.scoring.sources import ArraySource
from workflow_scripts.stages import Device, Inputs, Param, Scored, Wildcard, command


def score_method(
    given: Scored,
    *,
    reconstructions: Inputs,
    method: Wildcard[str],
    models: Param[ModelsConfig],
    device: Param[Device] = "cpu",
) -> None:
    """
    Parameters
    ----------
    reconstructions
        Shards of frames (HDF5).
    method
        Name in the tables.
    models
        Ids or folders of the networks, and the lock file.
    device
        Device of the networks.
    """
    cv2.setNumThreads(1)
    settings = given.settings
    source = ArraySource(reconstructions, size=settings.size, count=given.frames)
    metrics = open_metrics(settings.metrics, settings.n_ways)
    networks = open_networks(metrics, models, frames=given.frames, device=use_device(device))
    found = score(
        read_labels(given.tables), given.ground_truth, {method: source}, networks, settings, count=given.frames,
        dataset=given.dataset, subject=given.subject, seed=given.seed, workers=given.threads,
    )[method]  # fmt: skip
    write_scores(given, found.rows, found.pairs)


def read_labels(tables: Sequence[Path]) -> pd.DataFrame:
    """One row per test clip: ``clip, segment, movie, scene_cut``."""
    names = ["clip", "segment", "movie", "scene_cut"]
    return pd.concat([read_table(path, tuple(names)) for path in tables], ignore_index=True)[names]


def write_scores(given: Scored, rows: pd.DataFrame, pairs: PairScores) -> None:
    """Write the three tables of scores; the one on which later stages depend last."""
    write_pairs(given.pairs, pairs)
    write_table(given.table, wide(rows))
    write_table(given.scores, with_units(rows))


main = command(score_method)

if __name__ == "__main__":
    run_command(main)
