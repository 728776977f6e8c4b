"""The noise ceiling: how a decoder scores that knows every test clip and fails by the responses' noise alone.

Where the test clips were shown more than once, the showings are split into two halves. A clip's first half is
compared with the second halves of all test clips, and the clip that it resembles most is the decoder's answer:
its true video is scored against the clip's own, by every metric of videos. For retrieval the rank of the own
clip's second half is the score. No method takes part, so one ceiling stands beside all of them.

It is an optimistic decoder (it chooses among the test clips, and shows a perfect video) on pessimistic data
(half of the showings a side). A method that hedges can pass it on a metric that rewards hedging, as a flat
picture passes most videos on SSIM, PSNR and end-point error.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import open_arrays
from mind_animator.artefacts.streams import ClipReader, PairScores
from mind_animator.config.scoring import ScoringConfig
from mind_animator.metrics.retrieval import Ranks, top_k_hits
from mind_animator.scoring.decoded import TOP
from mind_animator.scoring.judge import judge
from mind_animator.scoring.score import COLUMNS, NETWORKS, Networks
from mind_animator.scoring.sources import ArraySource, DonorSource
from mind_animator.statistics.ceiling import identify_halves

CEILING = "noise_ceiling"
NO_REPEATS = "not computed: the clip was shown once, a noise ceiling needs two showings"


def score_ceiling(
    clips: pd.DataFrame,
    truth: Path | str,
    half_1: np.ndarray,
    half_2: np.ndarray,
    settings: ScoringConfig,
    *,
    count: int,
    dataset: str,
    subject: str,
    seed: int,
    workers: int = 1,
) -> tuple[pd.DataFrame, PairScores, pd.DataFrame]:
    """Scores of the method `CEILING` for one subject.

    Parameters
    ----------
    clips : DataFrame
        ``clip, segment, movie, scene_cut``, the order of the halves.
    truth : path
        From `mind_animator.scoring.truth.encode_truth`.
    half_1, half_2 : array of shape (clip, voxel)
        Mean responses of the two halves of the showings; nan for clips that were shown once.
    settings, count, seed, workers
        As for `judge`.

    Returns
    -------
    rows, pairs
        As of `judge`; a clip without two halves has its reason in every row.
    decoded : DataFrame
        `COLUMNS` and ``candidates``: ranks and top-k hits of the small set. The responses know no embedding,
        so the values stand under ``text`` and ``image`` alike.
    """
    names = np.array(clips["clip"])
    repeated = np.isfinite(half_1).all(axis=1) & np.isfinite(half_2).all(axis=1)
    donor, ranks = {}, None
    if repeated.sum() > 1:
        nearest, ranks = identify_halves(half_1[repeated], half_2[repeated])
        donor = dict(zip(names[repeated].tolist(), names[repeated][nearest].tolist(), strict=True))
    truths = ArraySource([truth], size=settings.size, count=count)
    rows, pairs = judge(
        clips, truth, DonorSource(truths, donor, NO_REPEATS), _KEPT, settings, count=count, dataset=dataset,
        method=CEILING, subject=subject, seed=seed, workers=workers, embed=partial(_kept_embeddings, truth, donor),
    )  # fmt: skip
    decoded = _retrieval(clips[repeated] if donor else clips, ranks)
    return (
        rows,
        pairs,
        decoded.assign(dataset=dataset, method=CEILING, subject=subject)[[*COLUMNS, "candidates"]],
    )


def _kept_embeddings(
    truth: Path | str, donor: Mapping[str, str], clips: Sequence[str]
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """What the networks said of the donors when the truth's file was made."""
    kept = ClipReader([truth])
    with open_arrays(truth) as file:
        there = [name for name in NETWORKS if name in file]
    for clip in clips:
        yield clip, {name: kept.read(donor[clip], name) for name in there}
    kept.close()


def _not_asked(frames: np.ndarray) -> np.ndarray:
    raise AssertionError("the truth's file holds what the networks said")


_KEPT = Networks(**dict.fromkeys(NETWORKS, _not_asked))


def _retrieval(clips: pd.DataFrame, ranks: Ranks | None) -> pd.DataFrame:
    place = clips[["clip", "segment", "movie", "scene_cut"]]
    values: dict[str, np.ndarray | float] = {"rank": np.nan}
    if ranks is not None:
        values = {"rank": ranks.middle}
        values |= {f"top{k}": top_k_hits(ranks, k) for k in TOP if k <= ranks.n_candidates}
    status, candidates = ("ok", ranks.n_candidates) if ranks is not None else (NO_REPEATS, 0)
    tables = [
        place.assign(metric=f"retrieval_{kind}_{name}", value=value, status=status, candidates=candidates)
        for kind in ("text", "image")
        for name, value in values.items()
    ]
    return pd.concat(tables, ignore_index=True)
