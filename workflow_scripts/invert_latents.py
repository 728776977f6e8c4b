"""Invert the latents of one shard of test clips: the noise from which the generator starts."""

import torch

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.reconstructions import check_shapes, read_finite, read_shard
from mind_animator.config.reconstruction import InversionConfig
from mind_animator.device import use_device
from mind_animator.diffusion.generator import check_inputs, invert_batch, load_generator, with_clips_per_batch
from mind_animator.diffusion.shards import array_digest, resumable_shard
from mind_animator.errors import run_command
from mind_animator.models.hub import content_digest, locate
from mind_animator.provenance import code_digest
from workflow_scripts.stages import GeneratorShard, Input, Output, Param, command


def invert_latents(
    given: GeneratorShard, *, settings: Param[InversionConfig], first_pass: Input | None = None, noise: Output
) -> None:
    """
    Parameters
    ----------
    settings
        Settings of the generator (config.reconstruction).
    first_pass
        Latents of a first pass, used instead of the decoded latents (HDF5).
    noise
        Output: noise (clip, frame, channel, h, w) (HDF5).
    """
    torch.set_num_threads(settings.cpu_threads)
    device = use_device(given.device)
    names = [] if first_pass else ["latents"]
    clips, arrays = read_shard(given.predictions, given.shard, given.shard_size, names)
    if first_pass:
        arrays |= read_finite(first_pass, ["latents"], clips)
    check_shapes(given.predictions, arrays, given.tokens)
    latents = torch.from_numpy(arrays["latents"])
    n_frames = settings.drawn_frames(latents.shape[1])
    generator = load_generator(given.model, given.lock, n_frames, settings, device=device, seed=given.seed)
    check_inputs(generator, latents.shape)
    settings = with_clips_per_batch(generator, settings, latents.shape, given.tokens)
    with resumable_shard(
        given.state,
        clips,
        given.shard,
        settings,
        title=f"Inverting shard {given.shard:05d}",
        seed=given.seed,
        device=device,
        tokens=given.tokens,
        arrays=array_digest(arrays),
        models=[content_digest(locate(given.model, given.lock, part)) for part in ("unet", "text_encoder")],
        code=code_digest("workflow_scripts/invert_latents.py"),
    ) as process:
        results = process(
            lambda rows: {
                "noise": invert_batch(generator, latents[list(rows)], settings, given.tokens).numpy()
            }
        )
        write_arrays(noise, results, clips)


main = command(invert_latents)

if __name__ == "__main__":
    run_command(main)
