"""Scores of the arms of a study -> table with references, tests, and figure."""

import pandas as pd

from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.scoring import ScoringConfig
from mind_animator.config.study import StudyConfig
from mind_animator.errors import InputError, run_command
from mind_animator.methods._read import read_clips
from mind_animator.report.study_figure import draw_study
from mind_animator.scoring.score import COLUMNS
from mind_animator.scoring.studies import describe_arms, study_scores, study_tests
from workflow_scripts.stages import Inputs, Output, Param, command


def summarise_study(
    *,
    decoded: Inputs,
    clips: Inputs,
    study: Param[StudyConfig],
    settings: Param[ScoringConfig],
    seed: Param[int],
    scores: Output,
    tests: Output,
    figure: Output,
) -> None:
    """
    Parameters
    ----------
    decoded
        Score tables of decoded features of all arms (Parquet).
    clips
        Tables of the training clips (TSV).
    study
        The study (config.study).
    settings
        Settings of scoring (config.scoring).
    seed
        Seed of bootstraps and permutations.
    scores
        Output: one row per arm, subject and metric (TSV).
    tests
        Output: differences to the baseline, and trends (TSV).
    figure
        Output: score against the factor x (PNG).
    """
    rows = pd.concat([read_table(path, COLUMNS)[list(COLUMNS)] for path in decoded], ignore_index=True)
    known = list(dict.fromkeys(rows["metric"]))
    if absent := [metric for metric in study.metrics if metric not in known]:
        raise InputError(f"config.study.metrics: must be of {known}, got {absent}.")
    rows = rows[rows["metric"].isin(study.metrics)]
    arms = describe_arms(study, float(read_clips(clips, "train")["duration"].sum() / 60))
    found = study_scores(study, arms, rows, settings, seed)
    write_table(scores, found)
    write_table(tests, study_tests(study, arms, rows, settings, seed))
    label = {"training.minutes": "minutes of training movies"}.get(study.x, study.x.rpartition(".")[2])
    draw_study(found, study.question, label, study.log_x, figure)


main = command(summarise_study)

if __name__ == "__main__":
    run_command(main)
