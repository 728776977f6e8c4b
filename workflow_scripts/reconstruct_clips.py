"""Reconstruct one shard of test clips: from predictions and inverted latents to frames."""

from collections.abc import Sequence

import numpy as np
import torch

from mind_animator.artefacts.reconstructions import (
    check_shapes,
    has_array,
    problems_of,
    read_finite,
    read_shard,
    write_reconstructions,
)
from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.device import use_device
from mind_animator.diffusion.generator import (
    check_inputs,
    empty_prompt_embeds,
    frames_of_predictions,
    load_generator,
    with_clips_per_batch,
)
from mind_animator.diffusion.shards import array_digest, resumable_shard
from mind_animator.errors import InputError, run_command
from mind_animator.models.hub import content_digest, locate
from mind_animator.models.load import load_vae, network_dtype
from mind_animator.provenance import code_digest
from workflow_scripts.stages import GeneratorShard, Input, Output, Param, command


def reconstruct_clips(
    given: GeneratorShard,
    *,
    settings: Param[ReconstructionConfig],
    first_pass: Input | None = None,
    inversions: Input | None = None,
    rate: Param[float],
    frames: Output,
    video: Output,
) -> None:
    """
    Parameters
    ----------
    settings
        Settings of the generator (config.reconstruction).
    first_pass
        Latents of a first pass, used instead of the decoded latents (HDF5).
    inversions
        Noise of the same clips (HDF5); none if num_inversion_steps is 0.
    rate
        Frames per second of the video.
    frames
        Output: frames (HDF5).
    video
        Output: video for viewing (mp4).
    """
    torch.set_num_threads(settings.cpu_threads)
    device = use_device(given.device)
    if bool(settings.num_inversion_steps) != bool(inversions):
        raise InputError(
            f"Expected --inversions just where num_inversion_steps > 0, got {inversions} "
            f"with num_inversion_steps {settings.num_inversion_steps}."
        )
    has_text = has_array(given.predictions, "prompt_embedding")
    has_flow = settings.motion == "warped" and has_array(given.predictions, "flow")
    names = [
        *([] if first_pass else ["latents"]),
        *(["prompt_embedding"] if has_text else []),
        *(["flow"] if has_flow else []),
    ]
    clips, arrays = read_shard(given.predictions, given.shard, given.shard_size, names)
    if first_pass:
        arrays |= read_finite(first_pass, ["latents"], clips)
    if inversions:
        arrays |= read_finite(inversions, ["noise"], clips)
    n_frames = settings.drawn_frames(arrays["latents"].shape[1])
    check_shapes(given.predictions, arrays, given.tokens, n_frames)
    generator = load_generator(given.model, given.lock, n_frames, settings, device=device, seed=given.seed)
    vae = load_vae(
        given.model, given.lock, device=device, dtype=network_dtype(settings.vae_precision, device)
    )
    check_inputs(
        generator, arrays["latents"].shape, arrays["prompt_embedding"].shape[-1] if has_text else None
    )
    settings = with_clips_per_batch(generator, settings, arrays["latents"].shape, given.tokens)
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

    with resumable_shard(
        given.state,
        clips,
        given.shard,
        settings,
        title=f"Reconstructing shard {given.shard:05d}",
        seed=given.seed,
        device=device,
        tokens=given.tokens,
        arrays=array_digest(arrays),
        models=[
            content_digest(locate(given.model, given.lock, part)) for part in ("unet", "vae", "text_encoder")
        ],
        code=code_digest("workflow_scripts/reconstruct_clips.py"),
    ) as process:
        shown = process(work)["frames"]
        write_reconstructions(frames, video, clips, shown, rate, problems_of(given.predictions, clips))


main = command(reconstruct_clips)

if __name__ == "__main__":
    run_command(main)
