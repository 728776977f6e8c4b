"""Reconstruct videos from new response vectors with the decoders that a run of the workflow trained.

    python -m workflow_scripts.reconstruct_response --config config.yaml --method mind_animator \
        --subject 1 --responses new.npy --output new

writes ``new/predictions.h5``, ``new/frames.h5`` and ``new/video.mp4``.
"""

import argparse
from pathlib import Path

import numpy as np
import yaml

from mind_animator.artefacts.arrays import open_arrays
from mind_animator.config import Config, load_config
from mind_animator.errors import InputError, run_command
from mind_animator.methods.base import open_methods
from workflow_scripts import decode_latents, draw_first_pass, invert_latents, predict, reconstruct_clips


def main(arguments: list[str] | None = None) -> None:
    """Find the subject's weights, then predict, invert and sample, or decode by the VAE alone."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="configuration file of the run")
    parser.add_argument("--method", required=True, help="name of a method of the configuration")
    parser.add_argument("--subject", required=True, help="subject whose decoders are used")
    parser.add_argument(
        "--responses", type=Path, required=True,
        help="selected and scaled like the subject's responses.h5: .npy (voxel,) or (clip, voxel), or HDF5",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    given = parser.parse_args(arguments)
    config = read_config(given.config)
    methods = open_methods(config.methods)
    if given.method not in methods:
        raise InputError(f"Expected --method to be one of {sorted(methods)}, got '{given.method}'.")
    method = methods[given.method]
    if not method.predicts:
        raise InputError(
            f"Expected a method that predicts from responses, got '{given.method}' ({method.kind})."
        )
    if method.reconstruction == "own":
        raise InputError(
            f"Expected a method that reconstructs by the generator or the VAE decoder, got '{given.method}', which "
            "makes frames of its own: run the workflow on a data set with the new responses."
        )
    results = Path(config.results)
    check_voxels(given.responses, results / f"fmri/sub-{given.subject}/responses.h5")
    weights = []
    for part, owner in method.weights.items():
        group = methods[owner].part(part).group(given.subject)
        weights.append(f"{part}={results / f'decoders/{owner}/sub-{group}/{part}.safetensors'}")
    predictions, output = given.output / "predictions.h5", given.output
    machine = ["--seed", str(config.seed), "--device", config.device]
    predict.main([
        "--kind", method.kind, "--settings", method.prediction_settings(), "--needs", method.needs.model_dump_json(),
        "--weights", *weights, *machine,
        "--subject", given.subject, "--responses", str(given.responses), "--predictions", str(predictions),
    ])  # fmt: skip
    model = ["--model", config.models.stable_diffusion, "--lock", config.models.lock]
    clips = ["--predictions", str(predictions), "--shard", "0", "--shard-size", str(count_clips(predictions))]
    files = ["--frames", str(output / "frames.h5"), "--video", str(output / "video.mp4")]
    rate, settings = ["--rate", str(config.stimuli.rate)], config.reconstruction
    if method.reconstruction == "vae":
        threads = ["--cpu-threads", str(settings.cpu_threads)]
        decode_latents.main([*clips, *model, *rate, *files, *threads, "--device", config.device])
        return
    tokens, inversions, latents = ["--tokens", str(config.features.tokens)], [], []
    if settings.two_passes:
        drawn = output / "first_pass.h5"
        draw_first_pass.main([
            *clips, *model, *tokens, *machine, "--settings", settings.image_pass().model_dump_json(),
            "--state", str(output / "first_pass.state"), "--output", str(drawn),
        ])  # fmt: skip
        latents = ["--latents", str(drawn)]
    final = settings.final_pass()
    if final.num_inversion_steps:
        noise = output / "noise.h5"
        invert_latents.main([
            *clips, *latents, *model, *tokens, *machine, "--settings", final.inversion().model_dump_json(),
            "--state", str(output / "noise.state"), "--output", str(noise),
        ])  # fmt: skip
        inversions = ["--inversions", str(noise)]
    reconstruct_clips.main([
        *clips, *latents, *inversions, *model, *tokens, *machine, *rate, *files,
        "--settings", final.model_dump_json(), "--state", str(output / "frames.state"),
    ])  # fmt: skip


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


if __name__ == "__main__":
    run_command(main)
