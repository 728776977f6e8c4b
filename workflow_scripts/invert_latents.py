"""Invert the latents of one shard of test clips: the noise from which the generator starts."""

import torch

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.files import sole_writer
from mind_animator.artefacts.reconstructions import check_shapes, read_finite, read_shard
from mind_animator.config.base import parse_settings
from mind_animator.config.reconstruction import InversionConfig
from mind_animator.device import use_device
from mind_animator.diffusion.generator import check_inputs, invert_batch, load_generator
from mind_animator.diffusion.shards import FinishedBatches, array_digest, process_shard, shard_parser
from mind_animator.errors import run_command
from mind_animator.models.places import content_digest, locate
from mind_animator.provenance import code_digest, fingerprint


def main(arguments: list[str] | None = None) -> None:
    """Read predictions, invert batch by batch, write the noise."""
    parser = shard_parser(__doc__, "inversion")
    parser.add_argument(
        "--latents", help="HDF5 file with the latents of a first pass, used instead of the decoded latents"
    )
    parser.add_argument("--output", required=True, help="HDF5 file with noise (clip, frame, 4, h, w)")
    given = parser.parse_args(arguments)
    settings = parse_settings(InversionConfig, given.settings)
    torch.set_num_threads(settings.cpu_threads)
    device = use_device(given.device)
    names = [] if given.latents else ["latents"]
    clips, arrays = read_shard(given.predictions, given.shard, given.shard_size, names)
    if given.latents:
        arrays |= read_finite(given.latents, ["latents"], clips)
    check_shapes(given.predictions, arrays, given.tokens)
    latents = torch.from_numpy(arrays["latents"])
    stamp = fingerprint(
        settings=settings.model_dump(mode="json"),
        seed=given.seed,
        device=device,
        tokens=given.tokens,
        clips=clips,
        arrays=array_digest(arrays),
        models=[content_digest(locate(given.model, given.lock, part)) for part in ("unet", "text_encoder")],
        code=code_digest("workflow_scripts/invert_latents.py"),
    )
    generator = load_generator(
        given.model,
        given.lock,
        settings.drawn_frames(latents.shape[1]),
        settings,
        device=device,
        seed=given.seed,
    )
    check_inputs(generator, latents.shape)
    with sole_writer(given.state):
        finished = FinishedBatches(given.state, stamp)
        noise = process_shard(
            clips,
            given.shard,
            settings.clips_per_batch,
            lambda rows: {
                "noise": invert_batch(generator, latents[list(rows)], settings, given.tokens).numpy()
            },
            finished,
            title=f"Inverting shard {given.shard:05d}",
        )
        write_arrays(given.output, noise, clips)
        finished.remove()


if __name__ == "__main__":
    run_command(main)
