"""First pass of reconstruction for one shard: draw one image per clip, move it along the decoded flow, encode it.

The output contains the latents of the moving images; `invert_latents` and `reconstruct_clips` use them instead of
the decoded latents. If the predictions contain no flow, the decoded latents are written unchanged.
"""

from collections.abc import Sequence

import numpy as np
import torch

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.files import sole_writer
from mind_animator.artefacts.reconstructions import check_shapes, has_array, read_shard
from mind_animator.config.base import parse_settings
from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.device import use_device
from mind_animator.diffusion.generator import (
    check_inputs,
    draw_moving_image,
    empty_prompt_embeds,
    load_generator,
)
from mind_animator.diffusion.shards import FinishedBatches, array_digest, process_shard, shard_parser
from mind_animator.errors import run_command
from mind_animator.models.latents import encode_latents
from mind_animator.models.load import load_vae
from mind_animator.models.places import content_digest, locate
from mind_animator.provenance import code_digest, fingerprint


def main(arguments: list[str] | None = None) -> None:
    """Read predictions, draw and move images batch by batch, write the latents of the moving images."""
    parser = shard_parser(__doc__, "reconstruction")
    parser.add_argument("--output", required=True, help="HDF5 file with latents (clip, frame, 4, h, w)")
    given = parser.parse_args(arguments)
    settings = parse_settings(ReconstructionConfig, given.settings)
    torch.set_num_threads(settings.cpu_threads)
    device = use_device(given.device)
    names = [name for name in ("latents", "prompt_embedding", "flow") if has_array(given.predictions, name)]
    clips, arrays = read_shard(given.predictions, given.shard, given.shard_size, ["latents", *names[1:]])
    check_shapes(given.predictions, arrays, given.tokens)
    if "flow" not in arrays:
        write_arrays(given.output, {"latents": arrays["latents"]}, clips)
        return
    stamp = fingerprint(
        settings=settings.model_dump(mode="json"),
        seed=given.seed,
        device=device,
        tokens=given.tokens,
        clips=clips,
        arrays=array_digest(arrays),
        models=[
            content_digest(locate(given.model, given.lock, part)) for part in ("unet", "vae", "text_encoder")
        ],
        code=code_digest("workflow_scripts/draw_first_pass.py"),
    )
    generator = load_generator(given.model, given.lock, 1, settings, device=device, seed=given.seed)
    vae = load_vae(given.model, given.lock, device=device)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if "prompt_embedding" not in tensors:
        tensors["prompt_embedding"] = empty_prompt_embeds(generator, len(clips), given.tokens)
    check_inputs(generator, tensors["latents"].shape, tensors["prompt_embedding"].shape[-1])

    def work(rows: Sequence[int]) -> dict[str, np.ndarray]:
        latents, prompt_embedding, flow = (
            tensors[name][list(rows)] for name in ("latents", "prompt_embedding", "flow")
        )
        names = [clips[row] for row in rows]
        frames = draw_moving_image(
            generator,
            vae,
            latents,
            prompt_embedding,
            flow,
            names,
            settings,
            seed=given.seed,
            tokens=given.tokens,
        )
        return {"latents": encode_latents(vae, frames, batch=frames.shape[1]).numpy()}

    with sole_writer(given.state):
        finished = FinishedBatches(given.state, stamp)
        title = f"Drawing shard {given.shard:05d}"
        results = process_shard(clips, given.shard, settings.clips_per_batch, work, finished, title=title)
        write_arrays(given.output, results, clips)
        finished.remove()


if __name__ == "__main__":
    run_command(main)
