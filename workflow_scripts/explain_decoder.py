"""Compute the activation patterns of the outputs of a method per voxel, and permuted and resampled patterns."""

from pathlib import Path

import numpy as np

from mind_animator.artefacts.arrays import read_whole, write_arrays
from mind_animator.config.models import ModelsConfig
from mind_animator.device import use_device
from mind_animator.errors import InputError, run_command
from mind_animator.explain.patterns import (
    activation_pattern,
    leading_components,
    permuted_patterns,
    resampled_patterns,
)
from mind_animator.methods._read import prediction_inputs, read_clips, read_subject
from mind_animator.methods.base import Needs, open_kind
from mind_animator.statistics.blocks import aligned_blocks
from workflow_scripts.stages import Device, Input, Inputs, Output, Param, Wildcard, command


def explain_decoder(
    *,
    kind: Param[str],
    settings: Param[str],
    needs: Param[Needs],
    weights: Param[dict[str, Path]],
    subject: Wildcard[str],
    responses: Input,
    clips: Inputs,
    block: Param[int],
    most_clips: int = 960,
    draws: int = 200,
    seed: Param[int],
    models: Param[str] = "{}",
    t_r: Param[float] = 0.0,
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
    needs
        Inputs that the method needs in addition to weights and responses.
    weights
        Weights of the method's parts (safetensors).
    subject
        Subject of the responses.
    responses
        Responses, voxel_index and roi (HDF5).
    clips
        Tables of the clips to use (TSV).
    block
        Length of a block in clips, for permutations.
    most_clips
        Maximum number of clips; more are reduced to evenly spaced blocks.
    draws
        Number of permutations, and of resamples.
    seed
        Random seed.
    models
        Ids or folders of the models, and the lock file (JSON).
    t_r
        Seconds between volumes, for windows.
    device
        Device to compute on.
    maps
        Activation patterns (HDF5).
    """
    method = open_kind(kind, "--kind")
    known = ModelsConfig.model_validate_json(models)
    named = {key: getattr(known, key) for key in needs.models}
    inputs = prediction_inputs(weights, subject, seed, use_device(device), named, known.lock)
    table = read_clips(clips, "train")
    everything, present = read_subject(responses, table, needs, t_r)
    everything, table = everything.take(np.flatnonzero(present)), table[present]
    blocks = aligned_blocks(table["segment"].tolist(), block)
    if len(blocks) < 2:
        raise InputError(
            f"Expected at least 2 whole blocks of {block} clips in {clips[0]} (and "
            f"{len(clips) - 1} more tables), "
            f"got {len(blocks)} (subject {subject})."
        )
    most = max(2, most_clips // block)
    blocks = blocks[np.unique(np.linspace(0, len(blocks) - 1, min(most, len(blocks))).round().astype(int))]
    chosen = everything.take(blocks.ravel())
    own = chosen.values
    voxels = read_whole(responses, ["voxel_index", "roi"])
    blocks = np.arange(len(own)).reshape(len(blocks), block)
    outputs = method.readout(settings, inputs, chosen)
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
        "clips": len(own),
        "block": block,
        "draws": draws,
    }
    values = {name: values.astype(np.float32) for name, values in patterns.items()}
    others = {**values, "voxel_index": voxels["voxel_index"], "roi": voxels["roi"].tolist()}
    write_arrays(maps, {}, None, attrs, others)


main = command(explain_decoder)

if __name__ == "__main__":
    run_command(main)
