"""What depends on the ground truth alone, once for all methods: frames, flows, logits, embeddings."""

import argparse
from pathlib import Path

import cv2

from mind_animator.artefacts.tables import read_table
from mind_animator.config.base import parse_settings
from mind_animator.config.models import ModelsConfig
from mind_animator.device import use_device
from mind_animator.errors import run_command
from mind_animator.scoring.ground_truth import encode_ground_truth
from mind_animator.scoring.networks import open_networks
from mind_animator.scoring.sources import ArraySource


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--stimuli", type=Path, nargs="+", required=True, help="frames of the test segments, HDF5"
    )
    parser.add_argument(
        "--tables", type=Path, nargs="+", required=True, help="clip tables of the test segments"
    )
    parser.add_argument("--size", type=int, required=True, help="height and width, pixels")
    parser.add_argument("--frames", type=int, required=True, help="frames a clip")
    parser.add_argument("--rate", type=float, required=True, help="frames a second of the compared clips")
    parser.add_argument("--batch", type=int, required=True, help="clips a forward of the models")
    parser.add_argument("--pair-size", type=int, required=True, help="height and width of the pairs, pixels")
    parser.add_argument("--models", default="{}", help="the models' settings, JSON")
    parser.add_argument("--efficientnet", action="store_true", help="also EfficientNet-Lite0's logits")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ground-truth", type=Path, required=True, help="output, HDF5")
    given = parser.parse_args(arguments)

    cv2.setNumThreads(given.threads)
    clips = [clip for table in given.tables for clip in read_table(table, ("clip",))["clip"]]
    source = ArraySource(given.stimuli, size=given.size, count=given.frames)
    models = parse_settings(ModelsConfig, given.models, "--models")
    networks = open_networks(models, device=use_device(given.device), efficientnet=given.efficientnet)
    encode_ground_truth(
        clips,
        source,
        networks,
        given.ground_truth,
        batch=given.batch,
        rate=given.rate,
        pair_size=given.pair_size,
    )


if __name__ == "__main__":
    run_command(main)
