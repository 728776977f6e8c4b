"""Compute the quantities that depend only on the ground truth (frames, flows, logits, embeddings), once for
all methods."""

import cv2

from mind_animator.artefacts.tables import read_table
from mind_animator.config.models import ModelsConfig
from mind_animator.config.scoring import ScoringConfig
from mind_animator.device import use_device
from mind_animator.errors import run_command
from mind_animator.metrics.registry import open_metrics
from mind_animator.scoring import ground_truth as scoring
from mind_animator.scoring.networks import open_networks
from mind_animator.scoring.sources import ArraySource
from workflow_scripts.stages import Device, Inputs, Output, Param, Threads, command


def encode_ground_truth(
    *,
    stimuli: Inputs,
    tables: Inputs,
    settings: Param[ScoringConfig],
    frames: Param[int],
    rate: Param[float],
    models: Param[ModelsConfig],
    device: Param[Device] = "cpu",
    threads: Threads = 1,
    ground_truth: Output,
) -> None:
    """
    Parameters
    ----------
    stimuli
        Frames of the test segments (HDF5).
    tables
        Clip tables of the test segments.
    settings
        Settings of scoring (config.scoring).
    frames
        Frames per clip.
    rate
        Frames per second of the compared clips.
    models
        Ids or folders of the networks, and the lock file.
    device
        Device of the networks.
    threads
        Threads of OpenCV.
    ground_truth
        Ground-truth file (HDF5).
    """
    cv2.setNumThreads(threads)
    clips = [clip for table in tables for clip in read_table(table, ("clip",))["clip"]]
    source = ArraySource(stimuli, size=settings.size, count=frames)
    metrics = open_metrics(settings.metrics, settings.n_ways)
    networks = open_networks(metrics, models, frames=frames, device=use_device(device))
    scoring.encode_ground_truth(clips, source, networks, ground_truth, settings, rate=rate)


main = command(encode_ground_truth)

if __name__ == "__main__":
    run_command(main)
