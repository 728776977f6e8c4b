"""Activation patterns of a method's outputs per voxel, with permuted and resampled ones."""

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
from workflow_scripts.stages import Device, Input, Inputs, Output, Param, Wildcard, command


def explain_decoder(
    *,
    kind: Param[str],
    settings: Param[str],
    weights: Param[list[str]],
    subject: Wildcard[str],
    responses: Input,
    clips: Inputs,
    block: Param[int],
    most_clips: int = 960,
    draws: int = 200,
    seed: Param[int],
    device: Param[Device] = "cpu",
    maps: Output,
) -> None:
    """
    Parameters
    ----------
    kind
        Type of the method.
    settings
        Prediction settings of the method as JSON.
    weights
        Weights of the method's parts, PART=FILE (safetensors).
    subject
        Subject of the responses.
    responses
        Responses, voxel_index and roi (HDF5).
    clips
        Tables of the clips to use (TSV).
    block
        Neighbouring clips that are permuted together.
    most_clips
        Maximum number of clips; more are reduced to evenly spaced blocks.
    draws
        Number of permutations, and of resamples.
    seed
        Random seed.
    device
        Device to compute on.
    maps
        Activation patterns (HDF5).
    """
    method = open_kind(kind, "--kind")
    inputs = prediction_inputs(weights, subject, seed, use_device(device))
    table = pd.concat([read_table(path, ("clip", "segment")) for path in clips], ignore_index=True)
    table = table[read_responses(responses, table["clip"].tolist())[2]]
    all_clips, segments = table["clip"].tolist(), table["segment"].tolist()
    blocks = aligned_blocks(segments, block)
    if len(blocks) < 2:
        raise InputError(
            f"Expected at least 2 whole blocks of {block} clips in {clips[0]} (and "
            f"{len(clips) - 1} more tables), "
            f"got {len(blocks)} (subject {subject})."
        )
    most = max(2, most_clips // block)
    blocks = blocks[np.unique(np.linspace(0, len(blocks) - 1, min(most, len(blocks))).round().astype(int))]
    names = [all_clips[row] for row in blocks.ravel()]
    own = read_arrays(responses, ["responses"], names)[1]["responses"]
    places = read_whole(responses, ["voxel_index", "roi"])
    blocks = np.arange(len(names)).reshape(len(blocks), block)
    outputs = method.readout(settings, inputs, Responses(own, names))
    patterns: dict[str, np.ndarray] = {}
    for number, (output, values) in enumerate(outputs.items()):
        leading = leading_components(values)
        generator = np.random.default_rng([seed, number])
        patterns[output] = activation_pattern(own, leading)
        patterns[f"{output}_permuted"] = permuted_patterns(own, leading, blocks, draws, generator)
        patterns[f"{output}_resampled"] = resampled_patterns(own, leading, blocks, draws, generator)
    attrs = {
        "outputs": list(outputs),
        "subject": subject,
        "clips": len(names),
        "block": block,
        "draws": draws,
    }
    values = {name: values.astype(np.float32) for name, values in patterns.items()}
    others = {**values, "voxel_index": places["voxel_index"], "roi": places["roi"].tolist()}
    write_arrays(maps, {}, None, attrs, others)


main = command(explain_decoder)

if __name__ == "__main__":
    run_command(main)
