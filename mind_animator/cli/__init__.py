"""Score existing videos, merge submissions into a leaderboard, collect human ratings, deploy the workflow,
measure a GPU.

Scoring, submissions and ratings require neither the workflow nor fMRI data.
"""

import argparse

from mind_animator.cli import benchmark_gpu, ratings, score, submissions, workflow
from mind_animator.cli.options import EXIT_CODES, Formatter
from mind_animator.errors import run_command


def main() -> None:
    """Entry point of the console script."""
    run_command(_main)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="mind-animator", description=__doc__, epilog=EXIT_CODES, formatter_class=Formatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    score.add(commands)
    submissions.add(commands)
    ratings.add(commands)
    workflow.add(commands)
    benchmark_gpu.add(commands)
    return top


def _main(given: list[str] | None = None) -> None:
    arguments = parser().parse_args(given)
    arguments.run(arguments)
