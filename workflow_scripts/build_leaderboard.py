"""One page of methods, metrics, subjects and data sets, with videos and the values published in papers."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import read_attrs
from mind_animator.artefacts.files import atomic
from mind_animator.artefacts.tables import read_table
from mind_animator.errors import InputError, run_command
from mind_animator.report.leaderboard import METRICS, SCORES, ClipVideo, build_leaderboard, side_by_side
from mind_animator.scoring.sources import ArraySource


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--summaries", type=Path, nargs="+", required=True, help="summary.tsv of each data set"
    )
    parser.add_argument(
        "--baselines",
        nargs="*",
        default=[],
        metavar="BASELINE[=METHOD]",
        help="methods that are baselines, and whose frames they are made of",
    )
    parser.add_argument("--oracles", nargs="*", default=[], help="methods that are split-half oracles")
    parser.add_argument("--ground-truth", type=Path, help="ground truth's file, for videos")
    parser.add_argument("--dataset", help="data set of the ground truth's file")
    parser.add_argument(
        "--videos",
        nargs="*",
        default=[],
        metavar="METHOD/SUBJECT=FRAMES.h5",
        help="shards of frames, for videos",
    )
    parser.add_argument("--clips", type=int, default=4, help="clips shown of each method and subject")
    parser.add_argument("--title", default="Reconstructing video from fMRI: a leaderboard")
    parser.add_argument("--page", type=Path, required=True, help="output, HTML")
    given = parser.parse_args(arguments)

    if given.videos and not (given.ground_truth and given.dataset):
        raise InputError("Expected --ground-truth and --dataset with --videos, got none.")
    summary = pd.concat(
        [read_table(path, (*SCORES, *METRICS)) for path in given.summaries], ignore_index=True
    )
    shards: dict[tuple[str, str], list[str]] = {}
    for text in given.videos:
        who, _, path = text.partition("=")
        method, _, subject = who.partition("/")
        if not (path and subject):
            raise InputError(f"Expected METHOD/SUBJECT=FRAMES.h5, got '{text}' (--videos).")
        shards.setdefault((method, subject), []).append(path)
    videos = []
    for (method, subject), paths in shards.items():
        shape = _shape(given.ground_truth)
        ground_truth = ArraySource([given.ground_truth], **shape)
        source = ArraySource(paths, **shape)
        rate = float(read_attrs(given.ground_truth)["rate"])
        good = [
            clip for clip in ground_truth.clips if clip in set(source.clips) and clip not in source.problems
        ]
        for place in np.unique(np.linspace(0, len(good) - 1, given.clips).astype(int)) if good else []:
            clip = good[place]
            uri = side_by_side(ground_truth.read(clip), source.read(clip), rate)
            videos.append(ClipVideo(given.dataset, method, subject, clip, uri))
    subtitle = (
        "Every method on the same clips, at one size and frame rate, from lossless frames, "
        "next to uninformative baselines and the split-half oracle, which errs because of response noise alone."
    )
    page = build_leaderboard(
        summary,
        baselines=[text.partition("=")[0] for text in given.baselines],
        baselines_of=dict(text.split("=", 1) for text in given.baselines if "=" in text),
        oracles=given.oracles,
        videos=videos,
        title=given.title,
        subtitle=subtitle,
    )
    with atomic(given.page) as temporary:
        temporary.write_text(page)


def _shape(ground_truth: Path) -> dict[str, int]:
    from mind_animator.artefacts.arrays import open_arrays

    with open_arrays(ground_truth) as file:
        _, count, size = file["frames"].shape[:3]
    return {"size": size, "count": count}


if __name__ == "__main__":
    run_command(main)
