"""Human ratings: a two-alternative page (which of two ground truths is this a reconstruction of?), and its scoring.

The page contains the questions and the videos, but not the answers, which are written to a separate key file. The
two ground truths of a question are sampled when the page is made; their sides and the order of the questions are
randomised for every rater. Attention checks show a ground truth itself instead of a reconstruction; raters who
fail more than one in five of them are excluded.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from mind_animator.artefacts.files import read_json
from mind_animator.errors import InputError

TEMPLATE = Path(__file__).with_name("ratings.html.j2")
ATTENTION = 0.8


@dataclass(frozen=True)
class Question:
    """One two-alternative question.

    Attributes
    ----------
    id : str
        Identifier that does not reveal the answer.
    method, subject, clip : str
        Method, subject and clip of the reconstruction; method ``attention`` presents the ground truth itself.
    first, second : str
        Clips whose ground truths are the two alternatives.
    """

    id: str
    method: str
    subject: str
    clip: str
    first: str
    second: str

    @property
    def right(self) -> str:
        """``first`` or ``second``."""
        return "first" if self.first == self.clip else "second"


def draw_questions(
    clips: Sequence[str],
    segments: Sequence[str],
    shown: Sequence[tuple[str, str]],
    *,
    count: int,
    checks: int,
    block: int = 10,
    generator: np.random.Generator,
) -> list[Question]:
    """Questions about clips sampled without replacement; clips and distractors are the same for every method.

    Parameters
    ----------
    clips, segments : sequences of str
        Clips that are available for every method, in temporal order within a segment.
    shown : sequence of (method, subject)
        Methods and subjects whose reconstructions are rated.
    count : int
        Clips per method; at most the number of clips.
    checks : int
        Number of attention checks.
    block : int
        Minimum distance in clips between a clip and its distractor within a segment, so that both do not show the
        same scene.
    generator : numpy Generator

    Raises
    ------
    InputError
        If there are too few clips, or no clip is far enough from another.
    """
    if not 1 <= count <= len(clips) or checks < 0:
        raise InputError(f"Expected 1 to {len(clips)} clips to rate, got {count} (--clips).")
    segments = np.asarray(segments)
    chosen = generator.permutation(len(clips))[:count]

    def distractor(index: int) -> int:
        far = (segments != segments[index]) | (np.abs(np.arange(len(clips)) - index) >= block)
        if not far.any():
            raise InputError(
                f"Expected clips at least {block} away from '{clips[index]}', found none (--block)."
            )
        return int(generator.choice(np.flatnonzero(far)))

    pairs = []
    for index in chosen:
        two = [int(index), distractor(int(index))]
        generator.shuffle(two)
        pairs.append((clips[index], clips[two[0]], clips[two[1]]))
    plain = [(m, s, *pair) for m, s in shown for pair in pairs]
    easy = [("attention", "", *pairs[int(generator.integers(len(pairs)))]) for _ in range(checks)]
    entries = plain + easy
    numbers = generator.permutation(len(entries))
    return [Question(f"q{number:04d}", *entry) for number, entry in zip(numbers, entries, strict=True)]


def build_rating_page(
    questions: Sequence[Question],
    ground_truths: Mapping[str, str],
    reconstructions: Mapping[tuple[str, str, str], str],
    *,
    page: str,
    title: str = "Which video is it?",
) -> str:
    """HTML of the page. It is self-contained, sends no data, and saves the answers as a file.

    Parameters
    ----------
    questions : sequence of Question
    ground_truths : mapping of clip to data URI
    reconstructions : mapping of (method, subject, clip) to data URI
    page : str
        Name of the page, stored in the files of answers to match them with their key.
    """
    videos: dict[str, str] = {}
    names: dict[str, str] = {}  # the same video is stored once, under a number that does not reveal its clip

    def number(source: str) -> str:
        if source not in names:
            names[source] = f"v{len(names):04d}"
            videos[names[source]] = source
        return names[source]

    asked = []
    for question in sorted(questions, key=lambda question: question.id):
        own = (question.method, question.subject, question.clip)
        source = ground_truths[question.clip] if question.method == "attention" else reconstructions[own]
        asked.append(
            {
                "id": question.id,
                "shown": number(source),
                "first": number(ground_truths[question.first]),
                "second": number(ground_truths[question.second]),
            }
        )
    text = json.dumps({"page": page, "questions": asked, "videos": videos}).replace("<", "\\u003c")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(TEMPLATE.read_text()).render(
        title=title, count=len(asked), data=Markup(text)
    )


def key_of(questions: Sequence[Question], page: str) -> dict:
    """Content of the key file: every question with its answer."""
    return {"page": page, "questions": [vars(question) | {"right": question.right} for question in questions]}


def score_ratings(
    key: dict,
    files: Sequence[Path],
    *,
    draws: int = 2000,
    level: float = 0.95,
    generator: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fraction of correct answers of each method and subject, with intervals, over raters who pass the
    attention checks.

    The interval is a percentile bootstrap over clips and raters together: both are sampled with replacement, and
    the weight of an answer is the product of the counts of its clip and its rater.

    Parameters
    ----------
    key : dict
        From `key_of`.
    files : sequence of paths
        Answers that raters returned.
    draws, level, generator
        Resamplings, level and random generator of the bootstrap.

    Returns
    -------
    scores : DataFrame
        ``method, subject, right, low, high, level, chance, answers, raters, clips``.
    raters : DataFrame
        ``file, rater, attention, answers, used, note``: one row per file, with the reason if it is not used.

    Raises
    ------
    InputError
        If no file can be used.
    """
    questions = {question["id"]: question for question in key["questions"]}
    raters, answers = [], []
    for path in files:
        entry = {
            "file": Path(path).name,
            "rater": "",
            "attention": np.nan,
            "answers": 0,
            "used": False,
            "note": "",
        }
        raters.append(entry)
        try:
            own = _read_answers(path, key["page"], questions)
        except InputError as error:
            entry["note"] = str(error)
            continue
        entry["rater"], rows = own
        checks = [row["right"] for row in rows if row["method"] == "attention"]
        entry["answers"] = len(rows)
        entry["attention"] = float(np.mean(checks)) if checks else np.nan
        if any(other["used"] and other["rater"] == entry["rater"] for other in raters[:-1]):
            entry["note"] = "a second file of the same rater"
        elif checks and entry["attention"] < ATTENTION:
            entry["note"] = f"attention below {ATTENTION:g}"
        else:
            entry["used"] = True
            answers += [row | {"rater": len(raters)} for row in rows if row["method"] != "attention"]
    table = pd.DataFrame(raters)
    if not answers:
        raise InputError(
            f"Expected at least one usable file of answers, got none of {len(raters)}: {raters}."
        )
    found = []
    for (method, subject), group in pd.DataFrame(answers).groupby(["method", "subject"], sort=False):
        clips, clip = np.unique(group["clip"], return_inverse=True)
        people, rater = np.unique(group["rater"], return_inverse=True)
        right = group["right"].to_numpy(float)
        times = generator.multinomial(len(clips), np.full(len(clips), 1 / len(clips)), draws)[:, clip]
        times = (
            times * generator.multinomial(len(people), np.full(len(people), 1 / len(people)), draws)[:, rater]
        )
        counted = times.sum(axis=1)
        fractions = (times @ right)[counted > 0] / counted[counted > 0]
        tail = (1 - level) / 2
        low, high = np.quantile(fractions, [tail, 1 - tail])
        found.append(
            {
                "method": method, "subject": subject, "right": right.mean(), "low": low, "high": high,
                "level": level,
                "chance": 0.5, "answers": len(group), "raters": len(people), "clips": len(clips),
            }
        )  # fmt: skip
    return pd.DataFrame(found), table


def _read_answers(path: Path, page: str, questions: Mapping[str, dict]) -> tuple[str, list[dict]]:
    content = read_json(path)
    if (
        not isinstance(content, dict)
        or content.get("page") != page
        or not isinstance(content.get("answers"), list)
    ):
        raise InputError(f"Expected answers to the page '{page}' in {path}, got other content.")
    rows, seen = [], set()
    for answer in content["answers"]:
        known = questions.get(answer.get("id")) if isinstance(answer, dict) else None
        if known is None or answer["id"] in seen or answer.get("chosen") not in ("first", "second"):
            raise InputError(
                f"Expected one answer 'first' or 'second' to each question in {path}, got {answer}."
            )
        seen.add(answer["id"])
        rows.append({name: known[name] for name in ("method", "subject", "clip")})
        rows[-1]["right"] = answer["chosen"] == known["right"]
    return str(content.get("rater", "")) or Path(path).name, rows
