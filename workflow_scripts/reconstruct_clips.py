"""Reconstruct one shard of test clips: from predictions and inverted latents to frames."""

from collections.abc import Sequence

import numpy as np
import torch

from mind_animator.artefacts.files import sole_writer
from mind_animator.artefacts.reconstructions import (
    check_shapes,
    has_array,
    problems_of,
    read_finite,
    read_shard,
    write_reconstructions,
)
from mind_animator.config.base import parse_settings
from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.device import use_device
from mind_animator.diffusion.generator import (
    check_inputs,
    empty_prompt_embeds,
    frames_of_predictions,
    load_generator,
)
from mind_animator.diffusion.shards import FinishedBatches, array_digest, process_shard, shard_parser
from mind_animator.errors import InputError, run_command
from mind_animator.models.load import load_vae
from mind_animator.models.places import content_digest, locate
from mind_animator.provenance import code_digest, fingerprint


def main(arguments: list[str] | None = None) -> None:
    """Read predictions and inversions, sample batch by batch, write frames and a video."""
    parser = shard_parser(__doc__, "reconstruction")
    parser.add_argument(
        "--inversions", help="HDF5 file with noise of the same clips; omit it if num_inversion_steps is 0"
    )
    parser.add_argument(
        "--latents", help="HDF5 file with the latents of a first pass, used instead of the decoded latents"
    )
    parser.add_argument("--rate", type=float, required=True, help="frames per second of the video")
    parser.add_argument("--frames", required=True, help="HDF5 file of frames to write")
    parser.add_argument("--video", required=True, help="mp4 file to write")
    given = parser.parse_args(arguments)
    settings = parse_settings(ReconstructionConfig, given.settings)
    torch.set_num_threads(settings.cpu_threads)
    device = use_device(given.device)
    if bool(settings.num_inversion_steps) != bool(given.inversions):
        raise InputError(
            f"Expected --inversions just where num_inversion_steps > 0, got {given.inversions} "
            f"with num_inversion_steps {settings.num_inversion_steps}."
        )
    has_text = has_array(given.predictions, "prompt_embedding")
    has_flow = settings.motion == "warped" and has_array(given.predictions, "flow")
    names = [
        *([] if given.latents else ["latents"]),
        *(["prompt_embedding"] if has_text else []),
        *(["flow"] if has_flow else []),
    ]
    clips, arrays = read_shard(given.predictions, given.shard, given.shard_size, names)
    if given.latents:
        arrays |= read_finite(given.latents, ["latents"], clips)
    if given.inversions:
        arrays |= read_finite(given.inversions, ["noise"], clips)
    frames = arrays["latents"].shape[1]
    check_shapes(given.predictions, arrays, given.tokens, settings.drawn_frames(frames))
    stamp = fingerprint(
        settings=settings.model_dump(mode="json"),
        seed=given.seed,
        device=device,
        clips=clips,
        arrays=array_digest(arrays),
        models=[
            content_digest(locate(given.model, given.lock, part)) for part in ("unet", "vae", "text_encoder")
        ],
        code=code_digest("workflow_scripts/reconstruct_clips.py"),
    )
    generator = load_generator(
        given.model,
        given.lock,
        settings.drawn_frames(frames),
        settings,
        device=device,
        seed=given.seed,
    )
    vae = load_vae(given.model, given.lock, device=device)
    check_inputs(
        generator, arrays["latents"].shape, arrays["prompt_embedding"].shape[-1] if has_text else None
    )
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if not has_text:
        tensors["prompt_embedding"] = empty_prompt_embeds(generator, len(clips), given.tokens)

    def work(rows: Sequence[int]) -> dict[str, np.ndarray]:
        batch = {name: tensor[list(rows)] for name, tensor in tensors.items()}
        names = [clips[row] for row in rows]
        shown = frames_of_predictions(
            generator, vae, batch, names, settings, seed=given.seed, tokens=given.tokens
        )
        return {"frames": shown.numpy()}

    with sole_writer(given.state):
        finished = FinishedBatches(given.state, stamp)
        title = f"Reconstructing shard {given.shard:05d}"
        results = process_shard(clips, given.shard, settings.clips_per_batch, work, finished, title=title)
        problems = problems_of(given.predictions, clips)
        write_reconstructions(given.frames, given.video, clips, results["frames"], given.rate, problems)
        finished.remove()


if __name__ == "__main__":
    run_command(main)
