"""Compute the features of one shard of clips with one feature provider."""

from typing import Any

from tqdm import tqdm

from mind_animator.artefacts.arrays import iterate_clips, shard_of
from mind_animator.artefacts.streams import write_stream
from mind_animator.captions.tables import read_captions
from mind_animator.config.features import FeaturesConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.device import use_device
from mind_animator.errors import InputError, run_command
from mind_animator.features.base import open_provider
from mind_animator.models.load import torch_device
from workflow_scripts.stages import Device, Inputs, Output, Param, Wildcard, command


def encode_features(
    *,
    kind: Wildcard[str],
    clips: Inputs,
    skip: Param[int],
    n_clips: Param[int],
    models: Param[ModelsConfig],
    settings: Param[str],
    seed: Param[int],
    device: Param[Device] = "cpu",
    features: Output,
) -> None:
    """
    Parameters
    ----------
    kind
        Feature provider: a module of mind_animator/features.
    clips
        Clip frames of the segments (HDF5) or tables of captions (TSV), in order.
    skip
        Number of clips of the first file that precede the shard.
    n_clips
        Clips of the shard.
    models
        Ids or folders of the provider's models, and the lock file.
    settings
        Settings of the provider (JSON).
    seed
        Random seed.
    device
        Device to compute on.
    features
        Output: arrays by clip (HDF5).
    """
    provider = type(open_provider(kind, FeaturesConfig(), "--kind"))
    torch_target, _ = torch_device(use_device(device))
    if provider.source == "captions":
        known = list(read_captions(clips).items())[skip : skip + n_clips]
        if len(known) != n_clips:
            raise InputError(
                f"Expected {skip + n_clips} captions in {', '.join(map(str, clips))}, got {skip + len(known)}."
            )
        names, given = [name for name, _ in known], known
    else:
        names = shard_of(clips, skip, n_clips)
        given: Any = iterate_clips(clips, "frames", names)
    notes: dict[str, str] = {}
    made = provider.compute(settings, given, models, seed=seed, device=torch_target, notes=notes)
    with write_stream(features, names, {"features": settings}) as stream:
        for row, (name, arrays) in enumerate(tqdm(made, kind, len(names), unit="clip", mininterval=5)):
            if name != names[row]:
                raise InputError(
                    f"Expected features of clip '{names[row]}' from provider '{kind}', got '{name}'."
                )
            stream.write(row, arrays)
        for key, text in notes.items():
            stream.note(key, text)


main = command(encode_features)

if __name__ == "__main__":
    run_command(main)
