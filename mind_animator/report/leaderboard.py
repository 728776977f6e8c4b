"""The leaderboard: methods, metrics, subjects and data sets on one self-contained page."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from mind_animator.artefacts.tables import read_table
from mind_animator.artefacts.video import write_mp4
from mind_animator.report.page import data_uri

TEMPLATE = Path(__file__).with_name("leaderboard.html.j2")
PUBLISHED = Path(__file__).with_name("published.tsv")
SCORES = (
    "dataset", "method", "subject", "clips", "metric", "mean", "low", "high", "level", "n_clips",
    "n_expected", "status",
)  # fmt: skip
METRICS = ("metric", "label", "unit", "direction", "definition")


@dataclass(frozen=True)
class ClipVideo:
    """A video of one clip: ground truth on the left, reconstruction on the right.

    Attributes
    ----------
    dataset, method, subject, clip : str
    source : str
        Data URI of an mp4 file.
    """

    dataset: str
    method: str
    subject: str
    clip: str
    source: str


def build_leaderboard(
    summary: pd.DataFrame,
    *,
    baselines: Sequence[str],
    baselines_of: Mapping[str, str] | None = None,
    oracles: Sequence[str] = (),
    videos: Sequence[ClipVideo] = (),
    cards: Sequence[Mapping[str, Any]] = (),
    title: str = "Reconstructing video from fMRI: a leaderboard",
    subtitle: str = "",
) -> str:
    """HTML of the page. It is self-contained, so that it can be opened from a file, including on a phone.

    Parameters
    ----------
    summary : DataFrame
        ``summary.tsv`` of one or several data sets, concatenated.
    baselines : sequence of str
        Methods that are baselines: they are marked, and the other methods are compared with them.
    baselines_of : mapping of baseline to method, optional
        The method from whose frames a baseline is computed. A method is compared with its own baselines and with those
        that belong to no method; a method without own baselines is compared with all.
    oracles : sequence of str
        Methods that are split-half oracles: they are marked, and excluded from the best method.
    videos : sequence of ClipVideo
    cards : sequence of mapping
        Cards of submissions (`mind_animator.config.submission.SubmissionConfig`), shown in a separate table.
    title, subtitle : str
        Plain text.

    Returns
    -------
    str
        Published values (`PUBLISHED`) are shown in a separate table, each with its source.
    """
    if not len(summary):
        raise ValueError("Expected at least one score, got an empty summary.")
    metrics = summary[list(METRICS)].drop_duplicates("metric").rename(columns={"metric": "name"})
    data = {
        "scores": _records(summary[list(SCORES)]),
        "metrics": _records(metrics),
        "baselines": list(baselines),
        "baselines_of": dict(baselines_of or {}),
        "oracles": list(oracles),
        "videos": [asdict(video) for video in videos],
        "cards": list(cards),
        "published": _records(read_published()),
    }
    # '<' inside a script element could terminate it
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text())
    # this markup is safe: it contains no '<', and JSON.parse reads it as data
    return template.render(title=title, subtitle=subtitle, data=Markup(text))


def read_published() -> pd.DataFrame:
    """Values published in papers: ``method, year, dataset, metric, value, unit, source, second_hand, chance``.

    ``value`` is a string as printed (.390, not 0.39); ``chance`` is that of `chance_of`.
    """
    columns = ("method", "year", "dataset", "metric", "value", "unit", "source", "second_hand")
    table = read_table(PUBLISHED, columns)
    raw = pd.read_csv(PUBLISHED, sep="\t", dtype=str)
    return (
        raw[list(columns)].loc[table.index].assign(chance=[chance_of(metric) for metric in table["metric"]])
    )


def chance_of(metric: str) -> float:
    """Chance level of a published metric, in its unit; NaN where it has no closed form.

    The published n-way accuracies count a hit if any of the three best classes of the ground truth exceeds n - 1
    other classes. For independent scores the best of these n + 2 classes is one of the three with probability
    3 / (n + 2): .75 for 2-way and .058 for 50-way accuracy. The chance of top-k retrieval is k / candidates, in %.
    """
    if found := re.fullmatch(r"(\d+)-way-[IV]", metric):
        return 3 / (int(found[1]) + 2)
    if found := re.fullmatch(r"retrieval top-(\d+), ([\d,]+) candidates", metric):
        return 100 * int(found[1]) / int(found[2].replace(",", ""))
    return float("nan")


def side_by_side(ground_truth: np.ndarray, prediction: np.ndarray, rate: float, *, size: int = 128) -> str:
    """Ground truth and prediction next to each other as a data URI of an mp4 file.

    Parameters
    ----------
    ground_truth, prediction : array of shape (frame, height, width, 3), uint8
        One shape, square.
    rate : float
        Frames per second.
    size : int
        Approximate height of the video: small frames are enlarged by a whole factor, large ones are subsampled.
    """
    return video_uri(np.concatenate([ground_truth, prediction], axis=2), rate, size=size)


def video_uri(frames: np.ndarray, rate: float, *, size: int = 128) -> str:
    """Frames (frame, height, width, 3) uint8 as a data URI of an mp4 file about ``size`` pixels high."""
    height = frames.shape[1]
    factor, step = max(1, size // height), max(1, height // (2 * size))
    shown = frames[:, ::step, ::step].repeat(factor, axis=1).repeat(factor, axis=2)
    shown = shown[:, : shown.shape[1] // 2 * 2, : shown.shape[2] // 2 * 2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_mp4(path, shown, rate, crf=23)
        return data_uri(path)


def _records(table: pd.DataFrame) -> list[dict]:
    """Rows as plain values, nan as None."""
    return json.loads(table.to_json(orient="records"))
