"""Image targets of one shard of clips: CLIP image embeddings and the VAE's latents of every frame."""

from tqdm import tqdm

from mind_animator.artefacts.arrays import iterate_clips, shard_of
from mind_animator.artefacts.streams import write_stream
from mind_animator.config.features import FeaturesConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.device import use_device
from mind_animator.errors import run_command
from mind_animator.features.targets import image_targets
from mind_animator.models.load import load_clip, load_vae, torch_device
from workflow_scripts.stages import Device, Inputs, Output, Param, command


def encode_frames(
    *,
    frames: Inputs,
    skip: Param[int],
    n_clips: Param[int],
    models: Param[ModelsConfig],
    settings: Param[FeaturesConfig],
    seed: Param[int],
    device: Param[Device] = "cpu",
    features: Output,
) -> None:
    """
    Parameters
    ----------
    frames
        Frames of the segments in order (HDF5).
    skip
        Clips of the first segment that come before the shard.
    n_clips
        Clips of the shard.
    models
        Ids or folders of `clip` and `stable_diffusion`, and the lock file.
    settings
        Settings of the features (config.features).
    seed
        Random seed of sampled latents and of crops.
    device
        Device to compute on.
    features
        CLIP image embeddings and latents (HDF5).
    """
    place, _ = torch_device(use_device(device))
    names = shard_of(frames, skip, n_clips)
    embedder = load_clip(models.clip, models.lock, device=place)
    vae = load_vae(models.stable_diffusion, models.lock, device=place)
    clips = iterate_clips(frames, "frames", names)
    targets = image_targets(embedder, vae, clips, settings, seed)
    with write_stream(features, names, {"features": settings.model_dump_json()}) as stream:
        progress = tqdm(targets, total=len(names), desc="features", unit="clip", mininterval=5)
        for row, (_, arrays) in enumerate(progress):
            stream.write(row, arrays)


main = command(encode_frames)

if __name__ == "__main__":
    run_command(main)
