"""Score one method's videos of one subject: one row per clip and metric, a readable table, and pair scores."""

import cv2
import pandas as pd

from mind_animator.artefacts.streams import write_pairs
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.models import ModelsConfig
from mind_animator.config.scoring import ScoringConfig
from mind_animator.device import use_device
from mind_animator.errors import run_command
from mind_animator.metrics.registry import open_metrics
from mind_animator.scoring.compare import wide, with_units
from mind_animator.scoring.networks import open_networks
from mind_animator.scoring.score import score
from mind_animator.scoring.sources import ArraySource
from workflow_scripts.stages import Device, Input, Inputs, Output, Param, Threads, Wildcard, command


def score_method(
    *,
    ground_truth: Input,
    tables: Inputs,
    reconstructions: Inputs,
    dataset: Param[str],
    method: Wildcard[str],
    subject: Wildcard[str],
    settings: Param[ScoringConfig],
    frames: Param[int],
    models: Param[ModelsConfig],
    seed: Param[int],
    device: Param[Device] = "cpu",
    threads: Threads = 1,
    scores: Output,
    table: Output,
    pairs: Output,
) -> None:
    """
    Parameters
    ----------
    ground_truth
        Ground-truth file (HDF5).
    tables
        Clip tables of the test segments.
    reconstructions
        Shards of frames (HDF5).
    dataset, method, subject
        Name in the tables.
    settings
        Settings of scoring (config.scoring).
    frames
        Frames per clip.
    models
        Ids or folders of the networks, and the lock file.
    seed
        Seed of the frame shuffles.
    device
        Device of the networks.
    threads
        Processes of the metrics without networks.
    scores
        One row per clip and metric (Parquet).
    table
        One row per clip (TSV).
    pairs
        Pair scores (HDF5).
    """
    cv2.setNumThreads(1)
    needed = ("clip", "segment", "movie", "scene_cut")
    clips = pd.concat([read_table(path, needed) for path in tables], ignore_index=True)
    source = ArraySource(reconstructions, size=settings.size, count=frames)
    metrics = open_metrics(settings.metrics, settings.n_ways)
    found = score(
        clips[list(needed)], ground_truth, {method: source}, open_networks(metrics, models, device=use_device(device)),
        settings, count=frames, dataset=dataset, subject=subject, seed=seed, workers=threads,
    )[method]  # fmt: skip
    write_pairs(pairs, found.pairs)
    write_table(table, wide(found.rows))
    write_table(scores, with_units(found.rows))


main = command(score_method)

if __name__ == "__main__":
    run_command(main)
