"""Activation patterns of a method's outputs per voxel, with permuted and resampled ones."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import read_arrays, read_whole, write_arrays
from mind_animator.artefacts.responses import read_responses
from mind_animator.artefacts.tables import read_table
from mind_animator.device import use_device
from mind_animator.errors import InputError, run_command
from mind_animator.explain.patterns import (
    activation_pattern,
    leading_components,
    permuted_patterns,
    resampled_patterns,
)
from mind_animator.methods.base import Responses, open_kind
from mind_animator.statistics.blocks import aligned_blocks
from workflow_scripts.predict import prediction_inputs


def main(arguments: list[str] | None = None) -> None:
    """Read responses and weights, compute the outputs, and their covariance with the voxels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", required=True, help="method type")
    parser.add_argument("--settings", required=True, help="prediction settings of the method, JSON")
    parser.add_argument(
        "--weights", nargs="+", required=True, metavar="PART=FILE", help="weights of the method's parts"
    )
    parser.add_argument("--subject", required=True, help="subject of the responses")
    parser.add_argument("--responses", type=Path, required=True, help="HDF5: responses, voxel_index, area")
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="tables of the clips to use")
    parser.add_argument(
        "--block", type=int, required=True, help="neighbouring clips that are permuted together"
    )
    parser.add_argument(
        "--most-clips",
        type=int,
        default=960,
        help="maximum number of clips; more are reduced to evenly spaced blocks (default: %(default)s)",
    )
    parser.add_argument(
        "--draws", type=int, default=200, help="permutations, and resamples (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, required=True, help="random seed")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: %(default)s")
    parser.add_argument("--maps", type=Path, required=True, help="output, HDF5")
    given = parser.parse_args(arguments)
    kind = open_kind(given.kind, "--kind")
    device = use_device(given.device)
    inputs = prediction_inputs(given.weights, given.subject, given.seed, device)
    table = pd.concat([read_table(path, ("clip", "segment")) for path in given.clips], ignore_index=True)
    table = table[read_responses(given.responses, table["clip"].tolist())[2]]
    clips, segments = table["clip"].tolist(), table["segment"].tolist()
    blocks = aligned_blocks(segments, given.block)
    if len(blocks) < 2:
        raise InputError(
            f"Expected at least 2 whole blocks of {given.block} clips in {given.clips[0]} (and "
            f"{len(given.clips) - 1} more tables), "
            f"got {len(blocks)} (subject {given.subject})."
        )
    most = max(2, given.most_clips // given.block)
    blocks = blocks[np.unique(np.linspace(0, len(blocks) - 1, min(most, len(blocks))).round().astype(int))]
    names = [clips[row] for row in blocks.ravel()]
    responses = read_arrays(given.responses, ["responses"], names)[1]["responses"]
    places = read_whole(given.responses, ["voxel_index", "roi"])
    blocks = np.arange(len(names)).reshape(len(blocks), given.block)
    outputs = kind.readout(given.settings, inputs, Responses(responses, names))
    maps: dict[str, np.ndarray] = {}
    for number, (output, values) in enumerate(outputs.items()):
        leading = leading_components(values)
        generator = np.random.default_rng([given.seed, number])
        maps[output] = activation_pattern(responses, leading)
        maps[f"{output}_permuted"] = permuted_patterns(responses, leading, blocks, given.draws, generator)
        maps[f"{output}_resampled"] = resampled_patterns(responses, leading, blocks, given.draws, generator)
    attrs = {
        "outputs": list(outputs),
        "subject": given.subject,
        "clips": len(names),
        "block": given.block,
        "draws": given.draws,
    }
    values = {name: values.astype(np.float32) for name, values in maps.items()}
    others = {**values, "voxel_index": places["voxel_index"], "roi": places["roi"].tolist()}
    write_arrays(given.maps, {}, None, attrs, others)


if __name__ == "__main__":
    run_command(main)
