"""Rebuild, or measure, one small model of the synthetic data set.

A model that begins from others (clip, blip2 and videomae from vit; vificlip from clip; sd from vae and
clip) finds them under --models. A killed training resumes from its state beside the output.
"""

import argparse
import json
import logging
from pathlib import Path

import torch

from mind_animator.errors import InputError, run_command
from mind_animator.synthetic.measure_models import NAMES, measure
from mind_animator.synthetic.rebuild_models import rebuild


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=NAMES, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of the model")
    parser.add_argument(
        "--models", type=Path, help="folder of the models it begins from (default: beside the output)"
    )
    parser.add_argument("--steps", type=int, help="steps of training; the result depends on nothing else")
    parser.add_argument("--budget-seconds", type=float, help="seconds of training (default: as shipped)")
    parser.add_argument("--seed", type=int, help="seed of weights, data and batches")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", action="store_true", help="only measure the model at --output, as JSON")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(given.threads)
    beside = given.models or given.output.parent
    if given.measure:
        print(json.dumps(measure(given.model, given.output, beside)))
        return
    if given.steps is not None and given.steps < 1:
        raise InputError(f"Expected --steps of at least 1, got {given.steps}.")
    if given.budget_seconds is not None and given.budget_seconds <= 0:
        raise InputError(f"Expected --budget-seconds above 0, got {given.budget_seconds:g}.")
    measured = rebuild(given.model, given.output, beside, given.steps, given.budget_seconds, given.seed)
    print(json.dumps(measured))


if __name__ == "__main__":
    run_command(main)
