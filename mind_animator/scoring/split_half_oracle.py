"""The split-half oracle: scores of a decoder that knows every test clip and errs by response noise alone.

Where the test clips were shown more than once, the repeats are split into two halves. The first half of a clip is
compared with the second halves of all test clips, and the most similar clip is the oracle's answer: its true video is
scored against the clip's own, by every metric of videos (with or without a network), and its features against the
clip's own, as a decoder's are. For retrieval in the small set, the rank of the clip's own second half is the score; in
the large set, those further candidates (which have no responses) go before it whose embedding is nearer to the
answer's than the clip's own is. No method takes part, so one oracle is listed beside all of them.

It is optimistic (it chooses among the test clips, and shows a perfect video) and pessimistic (half of the repeats per
side). A method that hedges can exceed it on a metric that rewards hedging, as a flat image exceeds most videos on SSIM,
PSNR and end-point error. It is not the noise ceiling of encoding models (maximum explainable correlation), which
``quality.tsv`` and ``maps.h5`` report.
"""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import open_arrays
from mind_animator.artefacts.streams import ClipReader, PairScores
from mind_animator.config.scoring import ScoringConfig
from mind_animator.metrics.retrieval import Ranks, retrieval_ranks, top_k_hits
from mind_animator.scoring.decoded import TOP, decoder_targets, target_scores
from mind_animator.scoring.score import COLUMNS, Networks, score
from mind_animator.scoring.sources import ArraySource, DonorSource
from mind_animator.statistics.ceiling import identify_halves

ORACLE = "split_half_oracle"
NO_REPEATS = "not computed: the clip has responses in fewer than two repeats"
UNDEFINED = "undefined: the targets of the repeated clips do not differ, or are not finite"


def score_oracle(
    clips: pd.DataFrame,
    ground_truth: Path | str,
    half_1: np.ndarray,
    half_2: np.ndarray,
    features: Mapping[str, np.ndarray],
    extra: Mapping[str, np.ndarray],
    settings: ScoringConfig,
    *,
    count: int,
    dataset: str,
    subject: str,
    seed: int,
    workers: int = 1,
) -> tuple[pd.DataFrame, PairScores, pd.DataFrame]:
    """Scores of the method `ORACLE` for one subject.

    Parameters
    ----------
    clips : DataFrame
        ``clip, segment, movie, scene_cut``, the order of the halves.
    ground_truth : path
        From `mind_animator.scoring.ground_truth.encode_ground_truth`.
    half_1, half_2 : array of shape (clip, voxel)
        Mean responses of the two halves of the repeats; nan for clips that were shown once.
    features, extra : mappings
        As for `score_decoded`: features of the same clips, further candidates of the large set.
    settings, count, seed, workers
        As for `mind_animator.scoring.score.score`.

    Returns
    -------
    rows, pairs
        As of `mind_animator.scoring.score.Scores`; a clip without two halves has its reason in every row.
    decoded : DataFrame
        `COLUMNS` and ``candidates``: ranks and top-k hits of the small set (ranks are computed from the responses, so
        the same values are listed for text and image) and of the large one, and ``target_*``.
    """
    names = np.array(clips["clip"])
    repeated = np.isfinite(half_1).all(axis=1) & np.isfinite(half_2).all(axis=1)
    donor, nearest, ranks = {}, None, None
    if repeated.sum() > 1:
        nearest, ranks = identify_halves(half_1[repeated], half_2[repeated])
        donor = dict(zip(names[repeated].tolist(), names[repeated][nearest].tolist(), strict=True))
    with closing(ClipReader([ground_truth])) as reader:
        found = score(
            clips, ground_truth, {ORACLE: _TrueVideos(ground_truth, donor, reader, settings.size, count)}, Networks(),
            settings,
            count=count, dataset=dataset, subject=subject, seed=seed, workers=workers,
        )[ORACLE]  # fmt: skip
    labels = clips[["clip", "segment", "movie", "scene_cut"]].reset_index(drop=True)
    tables = []
    for name, (values, candidates) in _decoded(features, extra, repeated, nearest, ranks).items():
        every = np.full(len(names), np.nan)
        if nearest is not None:
            every[repeated] = values
        reason = np.where(repeated & (nearest is not None), UNDEFINED, NO_REPEATS)
        status = np.where(np.isfinite(every), "ok", reason)
        tables.append(
            labels.assign(metric=name, value=every, weight=1.0, status=status, candidates=candidates)
        )
    decoded = pd.concat(tables, ignore_index=True).assign(dataset=dataset, method=ORACLE, subject=subject)
    return found.rows, found.pairs, decoded[[*COLUMNS, "candidates"]]


class _TrueVideos(DonorSource):
    """The true video of each clip's answer; flows and embeddings are looked up in the ground-truth file."""

    def __init__(
        self, ground_truth: Path | str, donor: Mapping[str, str], reader: ClipReader, size: int, count: int
    ) -> None:
        super().__init__(ArraySource([ground_truth], size=size, count=count), donor, NO_REPEATS)
        self.reader = reader
        with open_arrays(ground_truth) as file:
            self.arrays = set(file)

    def known(self, clip: str, name: str) -> np.ndarray | None:
        """An array of the answer in the ground-truth file, or None."""
        return self.reader.read(self.donor[clip], name) if name in self.arrays else None


def _decoded(
    features: Mapping[str, np.ndarray],
    extra: Mapping[str, np.ndarray],
    repeated: np.ndarray,
    nearest: np.ndarray | None,
    ranks: Ranks | None,
) -> dict[str, tuple[np.ndarray | float, int]]:
    """Scores of the repeated clips (nan without any) and number of candidates of each metric of features."""
    found: dict[str, tuple[np.ndarray | float, int]] = {}
    for kind in ("text", "image"):
        if f"clip_embedding_{kind}" not in features:
            continue
        sets = {kind: ranks}
        if kind in extra:
            own = np.asarray(features[f"clip_embedding_{kind}"])[repeated]
            sets[f"{kind}_large"] = ranks and _with_further(ranks, own[nearest], own, extra[kind])
        for name, pool in sets.items():
            if pool is None:
                found[f"retrieval_{name}_rank"] = np.nan, 0
                continue
            found[f"retrieval_{name}_rank"] = pool.middle, pool.n_candidates
            for k in TOP:
                if k <= pool.n_candidates:
                    found[f"retrieval_{name}_top{k}"] = top_k_hits(pool, k), pool.n_candidates
    for name, target in decoder_targets(features).items():
        own = target[repeated]
        corr, r2 = (
            (np.nan, np.nan)
            if nearest is None
            else target_scores(own, own[nearest], subtract_mean=name != "change")
        )
        found[f"target_{name}_corr"], found[f"target_{name}_r2"] = (corr, 0), (r2, 0)
    return found


def _with_further(ranks: Ranks, answers: np.ndarray, own: np.ndarray, further: np.ndarray) -> Ranks:
    """Ranks among more candidates: those nearer to the answer's embedding than the clip's own go before it."""
    target = np.arange(len(own))
    among = [retrieval_ranks(answers, pool, target) for pool in (own, np.concatenate([own, further]))]
    better, ties = (getattr(among[1], name) - getattr(among[0], name) for name in ("better", "ties"))
    return Ranks(ranks.better + better, ranks.ties + ties, ranks.n_candidates + len(further))
