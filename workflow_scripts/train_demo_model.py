"""Train one small model of the synthetic data set again, or measure its accuracy.

A model whose training starts from others (clip, blip2 and videomae from vit; vificlip from clip; sd from vae and
clip) reads them from --models. An interrupted training resumes from its checkpoint next to the output.
"""

import json
import logging
from pathlib import Path

import torch

from mind_animator.artefacts.files import write_json
from mind_animator.errors import InputError, run_command
from mind_animator.synthetic.measure_models import NAMES
from mind_animator.synthetic.measure_models import measure as measure_model
from mind_animator.synthetic.rebuild_models import rebuild
from workflow_scripts.stages import Output, Param, Threads, Wildcard, command


def train_demo_model(
    *,
    model: Wildcard[str],
    output: Param[Path],
    models: Path | None = None,
    steps: int | None = None,
    budget_seconds: Param[float] | None = None,
    seed: int | None = None,
    threads: Threads = 2,
    measure: bool = False,
    record: Output | None = None,
) -> None:
    """
    Parameters
    ----------
    model
        Name of the model.
    output
        Folder of the model.
    models
        Folder of the models that its training starts from; by default the parent of --output.
    steps
        Training steps; with a fixed number the result is reproducible.
    budget_seconds
        Training time in seconds; by default that of the shipped model.
    seed
        Random seed of weights, data and batches; by default that of the shipped model.
    threads
        CPU threads.
    measure
        Measure the model in --output instead of training it.
    record
        Measurements of the model (JSON).
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    if model not in NAMES:
        raise InputError(f"--model = '{model}': must be one of {list(NAMES)}.")
    beside = models or output.parent
    if steps is not None and steps < 1:
        raise InputError(f"--steps = {steps}: must be at least 1.")
    if budget_seconds is not None and budget_seconds <= 0:
        raise InputError(f"--budget-seconds = {budget_seconds:g}: must be greater than 0.")
    measured = (
        measure_model(model, output, beside)
        if measure
        else rebuild(model, output, beside, steps, budget_seconds, seed)
    )
    print(json.dumps(measured))
    if record:
        write_json(record, measured)


main = command(train_demo_model)

if __name__ == "__main__":
    run_command(main)
