"""First pass of reconstruction for one shard: draw one image per clip, move it along the decoded flow, encode it.

The output contains the latents of the moving images; `invert_latents` and `reconstruct_clips` use them instead of
the decoded latents. If the predictions contain no flow, the decoded latents are written unchanged.
"""

from collections.abc import Sequence

import numpy as np
import torch

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.reconstructions import check_shapes, has_array, read_shard
from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.device import use_device
from mind_animator.diffusion.generator import (
    check_inputs,
    draw_moving_image,
    empty_prompt_embeds,
    load_generator,
    with_clips_per_batch,
)
from mind_animator.diffusion.shards import array_digest, resumable_shard
from mind_animator.errors import run_command
from mind_animator.models.hub import content_digest, locate
from mind_animator.models.latents import encode_latents
from mind_animator.models.load import load_vae, network_dtype
from mind_animator.provenance import code_digest
from workflow_scripts.stages import GeneratorShard, Output, Param, command


def draw_first_pass(given: GeneratorShard, *, settings: Param[ReconstructionConfig], latents: Output) -> None:
    """
    Parameters
    ----------
    settings
        Settings of the generator (config.reconstruction).
    latents
        Output: latents of the moving images (clip, frame, channel, h, w) (HDF5).
    """
    torch.set_num_threads(settings.cpu_threads)
    device = use_device(given.device)
    names = [name for name in ("latents", "prompt_embedding", "flow") if has_array(given.predictions, name)]
    clips, arrays = read_shard(given.predictions, given.shard, given.shard_size, ["latents", *names[1:]])
    check_shapes(given.predictions, arrays, given.tokens)
    if "flow" not in arrays:
        write_arrays(latents, {"latents": arrays["latents"]}, clips)
        return
    generator = load_generator(given.model, given.lock, 1, settings, device=device, seed=given.seed)
    vae = load_vae(
        given.model, given.lock, device=device, dtype=network_dtype(settings.vae_precision, device)
    )
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if "prompt_embedding" not in tensors:
        tensors["prompt_embedding"] = empty_prompt_embeds(generator, len(clips), given.tokens)
    check_inputs(generator, tensors["latents"].shape, tensors["prompt_embedding"].shape[-1])
    settings = with_clips_per_batch(generator, settings, tensors["latents"].shape, given.tokens)

    def work(rows: Sequence[int]) -> dict[str, np.ndarray]:
        inputs = [tensors[name][list(rows)] for name in ("latents", "prompt_embedding", "flow")]
        names = [clips[row] for row in rows]
        frames = draw_moving_image(
            generator, vae, *inputs, names, settings, seed=given.seed, tokens=given.tokens
        )
        return {"latents": encode_latents(vae, frames, batch=frames.shape[1]).numpy()}

    with resumable_shard(
        given.state,
        clips,
        given.shard,
        settings,
        title=f"Drawing shard {given.shard:05d}",
        seed=given.seed,
        device=device,
        tokens=given.tokens,
        arrays=array_digest(arrays),
        models=[
            content_digest(locate(given.model, given.lock, part)) for part in ("unet", "vae", "text_encoder")
        ],
        code=code_digest("workflow_scripts/draw_first_pass.py"),
    ) as process:
        write_arrays(latents, process(work), clips)


main = command(draw_first_pass)

if __name__ == "__main__":
    run_command(main)
