"""Compute the activation patterns of the outputs of a method per voxel, and permuted and resampled patterns."""

import numpy as np

from mind_animator.artefacts.arrays import read_whole, write_arrays
from mind_animator.errors import InputError, run_command
from mind_animator.explain.patterns import (
    activation_pattern,
    leading_components,
    permuted_patterns,
    resampled_patterns,
)
from mind_animator.methods._read import read_clips, read_subject
from mind_animator.methods.base import open_kind
from mind_animator.statistics.blocks import aligned_blocks
from workflow_scripts.predict import inputs_of
from workflow_scripts.stages import Inputs, Output, Param, TrainedMethod, command


def explain_decoder(
    given: TrainedMethod,
    *,
    clips: Inputs,
    block: Param[int],
    most_clips: int = 960,
    draws: int = 200,
    maps: Output,
) -> None:
    """
    Parameters
    ----------
    clips
        Tables of the clips to use (TSV).
    block
        Length of a block in clips, for permutations.
    most_clips
        Maximum number of clips; more are reduced to evenly spaced blocks.
    draws
        Number of permutations, and of resamples.
    maps
        Activation patterns (HDF5).
    """
    method, inputs = open_kind(given.kind, "--kind"), inputs_of(given)
    table = read_clips(clips, "train")
    everything, present = read_subject(given.responses, table, given.needs, given.t_r)
    everything, table = everything.take(np.flatnonzero(present)), table[present]
    blocks = aligned_blocks(table["segment"].tolist(), block)
    if len(blocks) < 2:
        raise InputError(
            f"Expected at least 2 whole blocks of {block} clips in {clips[0]} (and "
            f"{len(clips) - 1} more tables), "
            f"got {len(blocks)} (subject {given.subject})."
        )
    most = max(2, most_clips // block)
    blocks = blocks[np.unique(np.linspace(0, len(blocks) - 1, min(most, len(blocks))).round().astype(int))]
    chosen = everything.take(blocks.ravel())
    own = chosen.values
    voxels = read_whole(given.responses, ["voxel_index", "roi"])
    blocks = np.arange(len(own)).reshape(len(blocks), block)
    outputs = method.readout(given.settings, inputs, chosen)
    patterns: dict[str, np.ndarray] = {}
    for number, (output, values) in enumerate(outputs.items()):
        leading = leading_components(values)
        generator = np.random.default_rng([given.seed, number])
        patterns[output] = activation_pattern(own, leading)
        patterns[f"{output}_permuted"] = permuted_patterns(own, leading, blocks, draws, generator)
        patterns[f"{output}_resampled"] = resampled_patterns(own, leading, blocks, draws, generator)
    attrs = {
        "outputs": list(outputs),
        "subject": given.subject,
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
