"""Print the jobs, GPU-hours and bytes of a run per rule, before anything is started."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from mind_animator.artefacts.files import read_json
from mind_animator.config import Config
from mind_animator.config.fmri import VoxelsConfig
from mind_animator.cost import CONSTANTS, Constant, Scale, cost_table, measured_speeds
from mind_animator.datasets import open_dataset
from mind_animator.datasets.base import Dataset
from mind_animator.errors import InputError, run_command
from mind_animator.fmri.reliability import in_rois
from mind_animator.methods import open_methods
from mind_animator.methods.base import Size
from workflow_scripts.stages import Param, command

JOB_ROW = re.compile(r"^(\w+)\s+(\d+)$")


def plan_run(
    *,
    config: Param[Config],
    snakefile: Param[Path],
    fetched: Param[str] = "{}",
    gpu: Param[Path] | None = None,
    efficiency: float | None = None,
    target: str = "all",
) -> None:
    """
    Parameters
    ----------
    config
        The whole configuration as JSON.
    snakefile
        Snakefile of the workflow.
    fetched
        Per rule: bytes to fetch, and number of files of unknown size, as JSON.
    gpu
        Speed of your GPU as measured by benchmark_gpu (JSON).
    efficiency
        Fraction of the GPU's speed that your jobs reach.
    target
        Target of the workflow.
    """
    constants, measured = dict(CONSTANTS), {}
    if gpu:
        speed = read_json(gpu)
        if speed.get("shapes") != "full":
            raise InputError(
                f"Expected measurements of the full shapes in {gpu}, got '{speed.get('shapes')}': run "
                "`snakemake -- benchmark_gpu` on the GPU."
            )
        measured = measured_speeds(speed["lines"])
        constants["gpu"] = Constant(speed["tflops"], "TFLOP/s", "measured", f"your {speed['device']}")
    if efficiency is not None:
        if not 0 < efficiency <= 1:
            raise InputError(f"--efficiency = {efficiency}: must be greater than 0 and at most 1.")
        constants["efficiency"] = Constant(efficiency, "fraction of the GPU", "yours", "given")
    to_fetch = json.loads(fetched)
    table = cost_table(
        count_jobs(config.model_dump_json(), snakefile, target),
        scale_of(config),
        constants,
        {rule: stated for rule, (stated, _) in to_fetch.items()},
        measured if efficiency is None else None,
    )
    for name in ("fetched_bytes", "kept_bytes"):
        table[name.replace("bytes", "GiB")] = table.pop(name) / 1024**3
    print(table.to_string(index=False, float_format="{:.2f}".format))
    if unstated := sum(unknown for _, unknown in to_fetch.values()):
        print(
            f"\nFetched bytes are those that publishers state; {unstated} files of unstated size are not included,"
        )
        print("fetched and kept (an archive is deleted after unpacking; its contents are kept).")
    print(
        "\nThe models that pin_models fetches are not included (about 60 GB at full size, most of it BLIP-2)."
    )
    if measured:
        print(
            f"\nSpeeds measured on your {speed['device']}, TFLOP/s (stages without one use gpu x efficiency):"
        )
        print("  " + ", ".join(f"{line} {value:.3g}" for line, value in measured.items()))
    print("\nConstants:")
    for name, constant in constants.items():
        print(f"  {name:16} {constant.value:10.4g} {constant.unit:20} {constant.source:9} {constant.note}")


def scale_of(config: Config) -> Scale:
    """Sizes of a study, from the epochs, voxels and methods of the configuration."""
    dataset, methods = open_dataset(config.dataset), open_methods(config.methods)
    clips = {
        split: sum(s.n_clips for s in dataset.segments if s.split == split) for split in ("train", "test")
    }
    voxels = {subject: selected_voxels(dataset, config.fmri.voxels, subject) for subject in dataset.subjects}
    latent = config.stimuli.frames * 4 * (config.stimuli.size // 8) ** 2
    steps: dict[str, float] = {}
    weights = 0
    for method in methods.values():
        for part in method.parts:
            groups = dict.fromkeys(part.group(subject) for subject in dataset.subjects)
            for group in groups:
                own = part.subjects(group, dataset.subjects)
                of_group = sum(voxels[subject] for subject in own)
                weights += method.weights_bytes(
                    part.name, Size(clips["train"], latent, of_group, len(own), config.stimuli.frames)
                )
                epochs = epochs_of(json.loads(method.training_settings(part.name)))
                steps[part.name] = steps.get(part.name, 0) + epochs * clips["train"] / 64 * len(own)
    ways = [method.reconstruction for method in methods.values()]
    return Scale(
        subjects=len(dataset.subjects),
        clips=sum(clips.values()),
        test_clips=clips["test"],
        frames=config.stimuli.frames,
        size=config.stimuli.size,
        scored_size=config.scoring.size,
        pair_size=config.scoring.pair_size,
        voxels=sum(voxels.values()),
        vertices=dataset.n_voxels,
        tokens=config.features.tokens,
        caption_copies=config.features.caption_copies,
        crops=config.features.crops,
        num_inference_steps=config.reconstruction.num_inference_steps,
        num_inversion_steps=config.reconstruction.num_inversion_steps,
        generators=ways.count("generator"),
        vaes=ways.count("vae"),
        methods=len(methods),
        predicting=sum(method.predicts for method in methods.values()),
        training_steps=steps,
        weights=weights,
    )


def epochs_of(settings: object) -> int:
    """The largest number of epochs in a part's training settings; 0 where it is solved in closed form."""
    if not isinstance(settings, dict):
        return 0
    return max([settings.get("epochs") or 0, *(epochs_of(inner) for inner in settings.values())])


def selected_voxels(dataset: Dataset, settings: VoxelsConfig, subject: str) -> int:
    """Number of voxels that the settings select; all voxels if the number is known only from the responses."""
    if settings.count:
        return min(settings.count, dataset.n_voxels)
    if settings.mask:
        return int(np.count_nonzero(np.load(settings.mask, allow_pickle=False)))
    if settings.rois:
        try:
            names = dataset.roi_names(subject)
        except InputError:
            names = None
        if names:
            return len(in_rois(names, settings.rois))
    return dataset.n_voxels


def count_jobs(config: str, snakefile: Path, target: str) -> dict[str, int]:
    """Jobs of each rule in the whole DAG of a target, as a dry run counts them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(config)
        dry_run = [sys.executable, "-m", "snakemake", "-s", str(snakefile), "--configfile", str(path), "-n",
        "--nolock", "--forceall",
                   "--quiet", "rules", "--", target]  # fmt: skip
        done = subprocess.run(dry_run, capture_output=True, text=True)
    if done.returncode:
        raise InputError(
            f"Expected a dry run of '{target}', got: {(done.stderr or done.stdout).strip()[-500:]}"
        )
    rows = [JOB_ROW.match(line.strip()) for line in (done.stdout + done.stderr).splitlines()]
    jobs = {row[1]: int(row[2]) for row in rows if row and row[1] not in ("total", "all")}
    if not jobs:
        raise InputError(f"Expected jobs in the dry run of '{target}', found none.")
    return jobs


main = command(plan_run)

if __name__ == "__main__":
    run_command(main)
