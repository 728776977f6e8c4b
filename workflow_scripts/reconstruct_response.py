"""Reconstruct videos from new response vectors with the decoders that a run of the workflow trained.

    python -m workflow_scripts.reconstruct_response --config config.yaml --method mind_animator \
        --subject 1 --responses new.npy --output new

writes ``new/predictions.h5``, ``new/frames.h5`` and ``new/video.mp4``.
"""

from pathlib import Path

import numpy as np
import yaml

from mind_animator.artefacts.arrays import open_arrays
from mind_animator.config import Config, load_config
from mind_animator.errors import InputError, run_command
from mind_animator.methods.base import open_methods
from workflow_scripts import decode_latents, draw_first_pass, invert_latents, predict, reconstruct_clips
from workflow_scripts.stages import GeneratorShard, TrainedMethod, command


def reconstruct_response(*, config: Path, method: str, subject: str, responses: Path, output: Path) -> None:
    """
    Parameters
    ----------
    config
        Configuration file of the run (YAML).
    method
        Name of a method of the configuration.
    subject
        Subject whose trained parts are used.
    responses
        Selected and scaled like the subject's responses.h5: .npy (voxel,) or (clip, voxel), or HDF5.
    output
        Folder to write to.
    """
    loaded = read_config(config)
    methods, results = open_methods(loaded.methods), Path(loaded.results)
    if method not in methods:
        raise InputError(f"--method = '{method}': must be one of {sorted(methods)}.")
    chosen = methods[method]
    if not chosen.predicts:
        raise InputError(
            f"--method = '{method}': must predict from responses; method type '{chosen.kind}' does not."
        )
    if chosen.reconstruction == "own":
        raise InputError(
            f"--method = '{method}': must reconstruct by the generator or the VAE decoder, but it produces "
            "frames itself: run the workflow on a data set with the new responses."
        )
    check_voxels(responses, results / f"fmri/sub-{subject}/responses.h5")
    predictions, models = output / "predictions.h5", loaded.models
    method_of_subject = TrainedMethod(
        kind=chosen.kind,
        settings=chosen.prediction_settings(),
        needs=chosen.needs,
        weights={
            part: results / f"decoders/{owner}/sub-{methods[owner].part(part).group(subject)}/{part}.safetensors"
            for part, owner in chosen.weights.items()
        },
        subject=subject,
        responses=responses,
        models=models.model_dump_json(),
        seed=loaded.seed,
        device=loaded.device,
    )  # fmt: skip
    predict.predict(method_of_subject, predictions=predictions)
    shard = {
        "predictions": predictions,
        "model": models.stable_diffusion,
        "lock": models.lock,
        "shard": 0,
        "shard_size": count_clips(predictions),
        "device": loaded.device,
    }
    shown = {"rate": loaded.stimuli.rate, "frames": output / "frames.h5", "video": output / "video.mp4"}
    settings = loaded.reconstruction
    if chosen.reconstruction == "vae":
        decode_latents.decode_latents(
            **shard, **shown, vae_precision=settings.vae_precision, cpu_threads=settings.cpu_threads
        )
        return

    def given(name: str) -> GeneratorShard:
        return GeneratorShard(
            **shard, tokens=loaded.features.tokens, seed=loaded.seed, state=output / f"{name}.state"
        )

    first_pass = inversions = None
    if settings.two_passes:
        first_pass = output / "first_pass.h5"
        draw_first_pass.draw_first_pass(
            given("first_pass"), settings=settings.image_pass(), latents=first_pass
        )
    final = settings.final_pass()
    if final.num_inversion_steps:
        inversions = output / "noise.h5"
        invert_latents.invert_latents(
            given("noise"), settings=final.inversion(), first_pass=first_pass, noise=inversions
        )
    reconstruct_clips.reconstruct_clips(
        given("frames"), settings=final, first_pass=first_pass, inversions=inversions, **shown
    )


def read_config(path: Path) -> Config:
    """The validated configuration of a run."""
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise InputError(f"Expected a configuration at {path}, found none.") from None
    except yaml.YAMLError as error:
        raise InputError(f"Expected YAML in {path}, got: {' '.join(str(error).split())}.") from None
    if not isinstance(values, dict):
        raise InputError(f"Expected keys and values in {path}, got {type(values).__name__}.")
    return load_config(values)


def check_voxels(responses: Path, known: Path) -> None:
    """`InputError` if the number of voxels of a new response differs from that of the subject's responses."""
    if not known.is_file():
        raise InputError(f"Expected the subject's responses at {known}, found none: run the workflow first.")
    if not responses.is_file():
        raise InputError(f"Expected responses at {responses}, found none.")
    with open_arrays(known) as file:
        expected = file["responses"].shape[1]
    if responses.suffix == ".npy":
        voxels = np.load(responses, mmap_mode="r", allow_pickle=False).shape[-1]
    else:
        with open_arrays(responses) as file:
            voxels = file["responses"].shape[-1] if "responses" in file else 0
    if voxels != expected:
        raise InputError(f"Expected {expected} voxels (as in {known}) in {responses}, got {voxels}.")


def count_clips(path: Path) -> int:
    """Number of clips in a file of predictions."""
    with open_arrays(path) as file:
        return len(file["clip"])


main = command(reconstruct_response)

if __name__ == "__main__":
    run_command(main)
