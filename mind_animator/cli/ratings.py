"""``mind-animator ratings``: a page for human ratings, and scoring of the returned answers."""

import argparse
import sys
from pathlib import Path
from typing import Any

from mind_animator.cli.options import EXIT_CODES, Formatter, add_sides, at_least, positive, sides
from mind_animator.errors import InputError

EXAMPLES = """examples:
  mind-animator ratings make --ground-truth stimuli/ --pred ours=videos/ --seed 1 --page study.html --key key.json
  mind-animator ratings score --key key.json --answers returned/*.json --scores ratings.tsv --raters raters.tsv

"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    texts = {"epilog": EXAMPLES + EXIT_CODES, "formatter_class": Formatter}
    help_text = "pages for human ratings, and the scoring of their answers"
    parser = commands.add_parser("ratings", help=help_text, description=__doc__, **texts)
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    help_text = "write a page that raters open in a browser, and the key with its correct answers"
    make = steps.add_parser("make", help=help_text, description=help_text, **texts)
    add_sides(make)
    make.add_argument("--clips", type=at_least(1), default=20, help="clips rated per method")
    make.add_argument("--checks", type=at_least(0), default=5, help="attention checks")
    make.add_argument(
        "--block",
        type=at_least(1),
        default=10,
        help="minimum distance, in clips, between the correct clip and the distractor",
    )
    make.add_argument("--size", type=at_least(16), default=256, help="height of the videos in pixels")
    make.add_argument("--frames", type=at_least(1), default=8, help="frames per clip")
    make.add_argument("--rate", type=positive, default=4.0, help="frames per second")
    make.add_argument("--seed", type=at_least(0), required=True, help="seed of the choice of clips")
    make.add_argument(
        "--page", type=Path, required=True, help="output, HTML; answers are matched to the key by its name"
    )
    make.add_argument(
        "--key", type=Path, required=True, help="output, JSON: the correct answers; do not give it to raters"
    )
    make.set_defaults(run=_make_ratings)
    help_text = "score the files of answers that raters returned"
    score = steps.add_parser("score", help=help_text, description=help_text, **texts)
    score.add_argument("--key", type=Path, required=True, help="key that was written with the page, JSON")
    score.add_argument("--answers", type=Path, nargs="+", required=True, help="files that raters returned")
    score.add_argument("--seed", type=at_least(0), default=0, help="seed of the bootstrap")
    score.add_argument(
        "--scores", type=Path, required=True, help="output, TSV: one row per method and subject"
    )
    score.add_argument("--raters", type=Path, required=True, help="output, TSV: one row per file of answers")
    score.set_defaults(run=_score_ratings)


def _make_ratings(arguments: argparse.Namespace) -> None:
    import numpy as np

    from mind_animator.artefacts.clipfolder import scan_clips
    from mind_animator.artefacts.files import atomic, write_json
    from mind_animator.report.leaderboard import video_uri
    from mind_animator.report.ratings import build_rating_page, draw_questions, key_of
    from mind_animator.scoring.sources import FolderSource, open_prediction

    true_layout, predictions = sides(arguments)
    shape = {"size": arguments.size, "count": arguments.frames}
    scan = scan_clips(arguments.ground_truth, true_layout)
    ground_truth, notes = FolderSource(scan.files, true_layout, **shape), list(scan.notes)
    sources = {}
    for name, (path, layout) in predictions.items():
        sources[name], found = open_prediction(path, layout, ground_truth.clips, **shape)
        notes += found
    for note in notes:
        print(note, file=sys.stderr)
    lost: set[str] = set()

    def video(name: str, source: Any, clip: str) -> str:
        try:
            return video_uri(source.read(clip), arguments.rate, size=arguments.size)
        except InputError as error:
            print(f"excluded: clip '{clip}' of {name}: {error}", file=sys.stderr)
            lost.add(clip)
            return ""

    for name, source in sources.items():
        for clip in ground_truth.clips:
            if clip not in source.clips:
                video(name, source, clip)
    ground_truths, shown, complete = {}, {}, False
    while (
        not complete
    ):  # only sampled clips are read; if one cannot be read, all are sampled again without it
        clips = [clip for clip in ground_truth.clips if clip not in lost]
        questions = draw_questions(
            clips, ["all"] * len(clips), [(name, "all") for name in sources], count=arguments.clips,
            checks=arguments.checks, block=arguments.block, generator=np.random.default_rng(arguments.seed),
        )  # fmt: skip
        for question in questions:
            for clip in (question.first, question.second):
                if clip not in ground_truths:
                    ground_truths[clip] = video("ground_truth", ground_truth, clip)
            own = (question.method, question.subject, question.clip)
            if question.method != "attention" and own not in shown:
                shown[own] = video(question.method, sources[question.method], question.clip)
        complete = lost.isdisjoint(clips)
    with atomic(arguments.page) as temporary:
        temporary.write_text(build_rating_page(questions, ground_truths, shown, page=arguments.page.stem))
    write_json(arguments.key, key_of(questions, arguments.page.stem))
    print(f"{len(questions)} questions in {arguments.page}; the key is {arguments.key}.")


def _score_ratings(arguments: argparse.Namespace) -> None:
    import numpy as np

    from mind_animator.artefacts.files import read_json
    from mind_animator.artefacts.tables import write_table
    from mind_animator.report.ratings import score_ratings

    key = read_json(arguments.key)
    if not isinstance(key, dict) or not {"page", "questions"} <= set(key):
        raise InputError(
            f"Expected a key with 'page' and 'questions' in {arguments.key}, got something else."
        )
    scores, raters = score_ratings(key, arguments.answers, generator=np.random.default_rng(arguments.seed))
    write_table(arguments.scores, scores)
    write_table(arguments.raters, raters)
    print(scores.to_string(index=False))
    for row in raters[~raters["used"]].itertuples(index=False):
        print(f"excluded: {row.file}: {row.note}")
