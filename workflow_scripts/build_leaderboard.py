"""One page of methods, metrics, subjects and data sets, with videos and the values published in papers."""

from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import read_attrs
from mind_animator.artefacts.files import atomic
from mind_animator.artefacts.tables import read_table
from mind_animator.errors import InputError, run_command
from mind_animator.report.leaderboard import METRICS, SCORES, ClipVideo, side_by_side
from mind_animator.report.leaderboard import build_leaderboard as build_page
from mind_animator.scoring.sources import ArraySource
from workflow_scripts.stages import Input, Inputs, Output, Param, command


def build_leaderboard(
    *,
    summaries: Inputs,
    baselines: Param[list[str]] = (),
    oracles: Param[list[str]] = (),
    ground_truth: Input | None = None,
    dataset: Param[str] | None = None,
    videos: Param[dict[str, list[Path]]] = {},  # noqa: B006
    clips: int = 4,
    title: str = "Reconstructing video from fMRI: a leaderboard",
    page: Output,
) -> None:
    """
    Parameters
    ----------
    summaries
        Summary of scores of each data set (summary.tsv).
    baselines
        Methods that are baselines, BASELINE or BASELINE=METHOD whose frames it is made of.
    oracles
        Methods that are split-half oracles.
    ground_truth
        Ground-truth file, for videos (HDF5).
    dataset
        Data set of the ground-truth file.
    videos
        Shards of frames of each method/subject, for videos (HDF5).
    clips
        Number of clips shown per method and subject.
    title
        Title of the page.
    page
        The page (HTML).
    """
    if videos and not (ground_truth and dataset):
        raise InputError("Expected --ground-truth and --dataset with --videos, got none.")
    summary = pd.concat([read_table(path, (*SCORES, *METRICS)) for path in summaries], ignore_index=True)
    shown = []
    for label, paths in videos.items():
        method, sign, subject = label.partition("/")
        if not sign:
            raise InputError(f"--videos = '{label}=...': the label must be METHOD/SUBJECT.")
        shape = _shape(ground_truth)
        target = ArraySource([ground_truth], **shape)
        source = ArraySource(paths, **shape)
        rate = float(read_attrs(ground_truth)["rate"])
        good = [clip for clip in target.clips if clip in set(source.clips) and clip not in source.problems]
        for index in np.unique(np.linspace(0, len(good) - 1, clips).astype(int)) if good else []:
            clip = good[index]
            uri = side_by_side(target.read(clip), source.read(clip), rate)
            shown.append(ClipVideo(dataset, method, subject, clip, uri))
    subtitle = (
        "Every method on the same clips, at one size and frame rate, from lossless frames, "
        "next to uninformative baselines and the split-half oracle, which errs because of response noise alone."
    )
    html = build_page(
        summary,
        baselines=[text.partition("=")[0] for text in baselines],
        baselines_of=dict(text.split("=", 1) for text in baselines if "=" in text),
        oracles=oracles,
        videos=shown,
        title=title,
        subtitle=subtitle,
    )
    with atomic(page) as temporary:
        temporary.write_text(html)


def _shape(ground_truth: Path) -> dict[str, int]:
    from mind_animator.artefacts.arrays import open_arrays

    with open_arrays(ground_truth) as file:
        _, count, size = file["frames"].shape[:3]
    return {"size": size, "count": count}


main = command(build_leaderboard)

if __name__ == "__main__":
    run_command(main)
