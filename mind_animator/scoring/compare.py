"""Summaries with intervals, and tests with Holm's correction, from score rows."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from mind_animator.artefacts.streams import PairScores
from mind_animator.config.scoring import ScoringConfig
from mind_animator.metrics.registry import find_metric
from mind_animator.statistics.blocks import block_labels, least_p
from mind_animator.statistics.bootstrap import block_bootstrap
from mind_animator.statistics.median_pairing import median_interval, median_pairing_test
from mind_animator.statistics.permutation import (
    TestResult,
    frame_shuffle_test,
    holm,
    motion_pairing,
    motion_swap_test,
    pairing_test,
    sign_flip_test,
)
from mind_animator.statistics.published import wilcoxon_of_bootstrap_means

POOLED = "pooled"
ALPHA = 0.05
SUMMARY = (
    "dataset", "method", "subject", "clips", "metric", "label", "group", "unit", "direction", "definition",
    "mean", "low", "high", "level", "n_clips", "n_expected", "n_blocks", "status",
)  # fmt: skip
METRIC_COLUMNS = (
    "metric", "label", "unit", "direction", "lowest", "highest", "definition", "mean_weighted_by",
)  # fmt: skip
TESTS = (
    "dataset", "subject", "test", "method", "other", "metric", "clips", "alternative", "statistic", "score",
    "p", "least_p", "p_holm", "p_published", "n_permutations", "exact", "n_clips", "n_blocks", "note",
)  # fmt: skip


def with_pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the subject `POOLED`: the mean over subjects of each clip for which all subjects of the method have a score.

    Data sets with one subject get no pooled rows.
    """
    keys = ["dataset", "method", "clip", "segment", "movie", "scene_cut", "metric"]
    several = rows.groupby(["dataset", "method"])["subject"].transform("nunique") > 1
    if not several.any():
        return rows
    groups = rows[several].groupby(keys, sort=False, observed=True)
    pooled = groups.agg(
        value=("value", lambda v: v.mean(skipna=False)), weight=("weight", "mean"), status=("status", _worst)
    ).reset_index()
    return pd.concat([rows, pooled.assign(subject=POOLED)[list(rows.columns)]], ignore_index=True)


def _worst(status: pd.Series) -> str:
    bad = status[status != "ok"]
    return "ok" if bad.empty else bad.iloc[0]


def wide(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per clip, one column per metric, and ``status``, for reading."""
    keys = ["dataset", "method", "subject", "clip", "segment", "movie", "scene_cut"]
    order = list(dict.fromkeys(rows["metric"]))
    table = rows.pivot(index=keys, columns="metric", values="value")[order].reset_index()
    # the reason of a clip is that of all its metrics
    whole = rows.assign(ok=rows["status"] == "ok").sort_values("ok", ascending=False, kind="stable")
    status = whole.drop_duplicates(keys)[[*keys, "status"]]
    first = rows.drop_duplicates(keys)[keys]
    return first.merge(table, on=keys, how="left").merge(status, on=keys, how="left")


def with_units(rows: pd.DataFrame) -> pd.DataFrame:
    """Add each metric's ``unit`` and ``direction`` (which way is better) to rows of scores."""
    entries = {name: find_metric(name) for name in rows["metric"].unique()}
    return rows.assign(
        unit=rows["metric"].map(lambda name: entries[name].unit),
        direction=rows["metric"].map(lambda name: entries[name].direction),
    )


def metric_table(names: Sequence[str]) -> pd.DataFrame:
    """Names, units, directions and ranges of metrics: one row each, `METRIC_COLUMNS`."""
    entries = [find_metric(name) for name in names]
    found = [
        (
            e.name, e.label, e.unit, e.direction, e.low, e.high, "published" if e.published else "ours",
            "speed of the ground truth (weight)" if e.weighted else "",
        )
        for e in entries
    ]  # fmt: skip
    return pd.DataFrame(found, columns=METRIC_COLUMNS)


def subsets(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """``all`` clips, and those ``without_cuts`` where some clip spans a scene cut."""
    yield "all", rows
    cut = rows["scene_cut"].astype(bool)
    if cut.any() and not cut.all():
        yield "without_cuts", rows[~cut]


def summarise(
    rows: pd.DataFrame, settings: ScoringConfig, *, seed: int, sets: Sequence[Mapping[str, object]] = ()
) -> pd.DataFrame:
    """Mean over clips with its block-bootstrap interval, per data set, method, subject, subset and metric.

    A mean is over the clips that have a value, by their ``weight`` (`epe_relative`: a ratio of means);
    ``n_clips`` of ``n_expected``, and ``status`` gives the reason for each excluded clip, so that a mean never hides
    missing clips.

    Parameters
    ----------
    rows : DataFrame
        `mind_animator.scoring.score.COLUMNS`, pooled subjects included where needed (`with_pooled`).
    settings : ScoringConfig
        ``block, bootstraps, confidence``.
    seed : int
    sets : sequence of mapping
        From `set_rows`: scores of a set as a whole, which have no interval.

    Returns
    -------
    DataFrame
        `SUMMARY`.
    """
    found = []
    keys = ["dataset", "method", "subject", "metric"]
    for subset, part in subsets(rows):
        for key, group in part.groupby(keys, sort=False, observed=True):
            blocks = block_labels(group["segment"].tolist(), settings.block)
            there = np.isfinite(group["value"].to_numpy())
            numbers = {"mean": np.nan, "low": np.nan, "high": np.nan, "n_blocks": 0}
            if there.any():
                interval = block_bootstrap(
                    group["value"].to_numpy()[there], blocks[there], group["segment"].to_numpy()[there],
                    weights=group["weight"].to_numpy()[there], n_draws=settings.bootstraps, level=settings.confidence,
                    generator=np.random.default_rng(seed),
                )  # fmt: skip
                numbers = {"mean": interval.estimate, "low": interval.low, "high": interval.high}
                numbers["n_blocks"] = interval.n_blocks
            found.append(
                {
                    **dict(zip(keys, key, strict=True)), **_described(key[-1]), "clips": subset,
                    "level": settings.confidence, "n_clips": int(there.sum()), "n_expected": len(group),
                    "status": _status(group["status"][~there]), **numbers,
                }
            )  # fmt: skip
    found += [{**one, **_described(str(one["metric"])), "level": settings.confidence} for one in sets]
    return pd.DataFrame(found, columns=SUMMARY)


def set_rows(pairs: PairScores, *, dataset: str, method: str, subject: str) -> list[dict]:
    """Scores of a method's set of clips as rows for `summarise`."""
    return [
        {
            "dataset": dataset, "method": method, "subject": subject, "metric": name, "clips": "all",
            "mean": one["value"], "n_clips": one["n"], "n_expected": one["n_expected"], "n_blocks": 0,
            "status": one["status"],
        }
        for name, one in pairs.sets.items()
    ]  # fmt: skip


def _described(name: str) -> dict[str, str]:
    entry = find_metric(name)
    return {
        "label": entry.label, "group": entry.group, "unit": entry.unit, "direction": entry.direction,
        "definition": "published" if entry.published else "ours",
    }  # fmt: skip


def _status(bad: pd.Series) -> str:
    """``ok``, or the three most frequent reasons, each with its number of clips, and the number with other reasons."""
    if bad.empty:
        return "ok"
    counts = bad.value_counts()
    shown = [f"{_clips(count)}: {reason}" for reason, count in counts.head(3).items()]
    others = int(counts.iloc[3:].sum())
    return "; ".join([*shown, f"{_clips(others)}: other reasons"] if others else shown)


def _clips(count: int) -> str:
    return f"{count} clip{'' if count == 1 else 's'}"


def paired_tests(
    rows: pd.DataFrame, settings: ScoringConfig, *, seed: int, published: bool = True
) -> pd.DataFrame:
    """Paired tests of all pairs of methods on the clips that both have: block sign flips, Holm over metrics.

    ``p_published`` is the p value of the published test (Wilcoxon between bootstrap means, clips without weights),
    which rejects most true nulls.

    Returns
    -------
    DataFrame
        `TESTS`, ``test = paired``; ``statistic`` is the mean of method minus other, clips weighted as in
        `summarise`, in the metric's unit.
    """
    found = []
    for subset, part in subsets(rows):
        for (dataset, subject), group in part.groupby(["dataset", "subject"], sort=False, observed=True):
            order = group.drop_duplicates("clip")[["clip", "segment"]].reset_index(drop=True)
            blocks = block_labels(order["segment"].tolist(), settings.block)
            table, weights = (
                group.pivot(index="clip", columns=["metric", "method"], values=column).reindex(order["clip"])
                for column in ("value", "weight")
            )
            methods = list(dict.fromkeys(group["method"]))
            metrics = list(dict.fromkeys(group["metric"]))
            for first, second in combinations(methods, 2):
                family = []
                for name in metrics:
                    if (name, first) not in table or (name, second) not in table:
                        continue
                    values = table[[(name, first), (name, second)]].to_numpy()
                    both = np.isfinite(values).all(axis=1)
                    if not both.any():
                        continue
                    weight = weights[name, first].to_numpy()[both]
                    a, b = values[both].T
                    result = sign_flip_test(
                        (a - b) * (weight / weight.mean()), blocks[both], n_permutations=settings.permutations,
                        generator=np.random.default_rng(seed),
                    )  # fmt: skip
                    row = _row(result, dataset, subject, "paired", first, second, name, subset, "two-sided")
                    if published:
                        row["p_published"] = wilcoxon_of_bootstrap_means(
                            a, b, generator=np.random.default_rng(seed)
                        )
                    family.append(row)
                found += with_power(_with_holm(family))
    return pd.DataFrame(found, columns=TESTS)


def above_chance_tests(
    pairs: Mapping[str, np.ndarray],
    settings: ScoringConfig,
    *,
    dataset: str,
    method: str,
    subject: str,
    seed: int,
) -> list[dict]:
    """Tests whether predictions match their own clip better than the clips at the same offset of other blocks.

    Parameters
    ----------
    pairs : mapping of metric to array of shape (block, block, offset)
        `PairScores.pairs`. Blocks with a missing score are left out, and the note says how many.

    Returns
    -------
    list of dict
        Rows of `TESTS`, ``test = above_chance``; ``statistic`` is own minus mean of the others, ``score``
        the mean with the own ground truth. Holm's correction is over all these tests; the note says where too few
        blocks leave no chance of success.
    """
    found = []
    for name, values in pairs.items():
        whole = whole_blocks(values)
        kept = values[np.ix_(whole, whole)]
        better = "greater" if find_metric(name).higher_is_better else "less"
        if whole.sum() < 2:
            continue
        result = pairing_test(
            kept,
            n_permutations=settings.permutations,
            alternative=better,
            generator=np.random.default_rng(seed),
        )
        row = _row(result, dataset, subject, "above_chance", method, "other clips", name, "all", better)
        row["score"] = float(np.einsum("bbo->", kept) / (kept.shape[0] * kept.shape[2]))
        row["note"] = _left_out(whole)
        found.append(row)
        if name.endswith("_rank"):
            result = median_pairing_test(
                kept, n_permutations=settings.permutations, generator=np.random.default_rng(seed)
            )
            kind = name.removesuffix("_rank")
            row = _row(
                result,
                dataset,
                subject,
                "above_chance",
                method,
                "other clips",
                f"{kind}_median_rank",
                "all",
                better,
            )
            row["score"] = float(np.median(kept[np.arange(len(kept)), np.arange(len(kept))]))
            row["note"] = _left_out(whole)
            found.append(row)
    return with_power(_with_holm(found))


def pooled_pairs(every: Sequence[PairScores]) -> dict[str, np.ndarray]:
    """Mean over subjects of the pair scores of one method, for tests of all subjects at once.

    All subjects saw the same clips, so that a re-pairing of blocks of clips is the same for all. A block that one
    subject lacks is missing. Empty where there is one subject, or where the subjects have other clips.
    """
    first = every[0]
    same = all(own.clips == first.clips and np.array_equal(own.rows, first.rows) for own in every)
    if len(every) < 2 or not same:
        return {}
    names = [name for name in first.pairs if all(name in own.pairs for own in every)]
    return {name: np.mean([own.pairs[name] for own in every], axis=0) for name in names}


def motion_tests(
    scores: PairScores,
    epe: Sequence[float],
    settings: ScoringConfig,
    *,
    dataset: str,
    method: str,
    subject: str,
    seed: int,
) -> list[dict]:
    """`motion_pairing` and the published frame-shuffle test of one method and subject.

    Parameters
    ----------
    scores : PairScores
    epe : sequence of float, length clip
        End-point errors of ``scores.clips`` as predicted; nan where there is none.

    Returns
    -------
    list of dict
        Rows of `TESTS`.
    """
    found = []
    if "mean_flow" not in scores.by_clip:
        return []  # flow_cosine is not among the chosen metrics
    flow, ground_truth = scores.by_clip["mean_flow"], scores.by_clip["mean_flow_ground_truth"]
    there = np.isfinite(flow).all(axis=1) & np.isfinite(ground_truth).all(axis=1)
    whole = there[scores.rows].all(axis=1)
    rows, moving = scores.rows[whole], moving_clips(ground_truth, settings.moving_fraction) & there
    if whole.sum() > 1 and moving[rows].any():
        result, score = motion_pairing(
            np.nan_to_num(ground_truth), np.nan_to_num(flow), rows, moving=moving,
            n_permutations=settings.permutations, generator=np.random.default_rng(seed),
        )  # fmt: skip
        row = _row(
            result,
            dataset,
            subject,
            "motion_pairing",
            method,
            "other clips",
            "flow_cosine",
            "moving",
            "greater",
        )
        row["score"], row["note"] = score, _left_out(whole)
        found.append(row)
    shuffled, own = scores.by_clip.get("shuffled_epe"), np.asarray(epe, float)
    if shuffled is not None and (used := np.isfinite(own) & np.isfinite(shuffled).all(axis=1)).any():
        outcome = frame_shuffle_test(own[used], shuffled[used].T, higher_is_better=False)
        row = dict.fromkeys(TESTS) | {
            "dataset": dataset, "subject": subject, "test": "frame_shuffle", "method": method,
            "other": "shuffled frames", "metric": "epe", "clips": "all", "alternative": "less",
            "statistic": float(own[used].mean() - shuffled[used].mean()), "score": float(own[used].mean()),
            "p": outcome.p, "p_published": outcome.p_published, "n_permutations": outcome.n_orders,
            "exact": False, "n_clips": outcome.n_clips, "n_blocks": 0,
            "note": "any smooth video passes: it measures smoothness, not motion from the brain",
        }  # fmt: skip
        found.append(row)
    return found


def swap_test(
    full: PairScores,
    swapped: PairScores,
    segments: Sequence[str],
    settings: ScoringConfig,
    *,
    dataset: str,
    method: str,
    other: str,
    subject: str,
    seed: int,
) -> list[dict]:
    """`motion_swap`: cosine of mean flows, full minus swapped, over clips whose ground truth moves.

    Parameters
    ----------
    full, swapped : PairScores
        Of the method, and of one whose motion decoder saw another clip's responses.
    segments : sequence of str, length clip
    """
    if full.clips != swapped.clips:
        raise ValueError(f"Expected the same clips of '{method}' and '{other}', got others.")
    flows = [scores.by_clip["mean_flow"] for scores in (full, swapped)]
    ground_truth = full.by_clip["mean_flow_ground_truth"]
    there = (
        np.isfinite(ground_truth).all(axis=1)
        & np.isfinite(flows[0]).all(axis=1)
        & np.isfinite(flows[1]).all(axis=1)
    )
    used = moving_clips(ground_truth, settings.moving_fraction) & there
    if not used.any():
        return []
    blocks = block_labels(list(segments), settings.block)[used]
    values = [_cosines(ground_truth[used], flow[used]) for flow in flows]
    result = motion_swap_test(
        *values, blocks, n_permutations=settings.permutations, generator=np.random.default_rng(seed)
    )
    row = _row(result, dataset, subject, "motion_swap", method, other, "flow_cosine", "moving", "greater")
    row["score"] = float(values[0].mean())
    return [row]


def moving_clips(ground_truth: np.ndarray, fraction: float) -> np.ndarray:
    """The ``fraction`` of clips whose ground truth has the greatest mean flow (clip, 2), at least one, as a
    mask (clip,)."""
    speed = np.where(np.isfinite(ground_truth).all(axis=1), np.linalg.norm(ground_truth, axis=1), -np.inf)
    count = max(1, round(fraction * int(np.isfinite(speed).sum())))
    mask = np.zeros(len(speed), bool)
    mask[np.argsort(-speed, kind="stable")[:count]] = True
    return mask & (speed > 0)


def whole_blocks(values: np.ndarray) -> np.ndarray:
    """Blocks all of whose clips have prediction and ground truth, (block,) bool, of pairs (block, block, offset).

    A missing prediction leaves its row of the pairs nan, a missing ground truth its column.
    """
    rows = np.isnan(values).all(axis=1).any(axis=1)  # some prediction has no score with any ground truth
    columns = np.isnan(values).all(axis=0).any(axis=1)
    return ~(rows | columns)


def _cosines(ground_truth: np.ndarray, flow: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(ground_truth, axis=1) * np.linalg.norm(flow, axis=1)
    return np.divide((ground_truth * flow).sum(axis=1), norm, out=np.zeros(len(norm)), where=norm > 0)


def _left_out(whole: np.ndarray) -> str:
    return "" if whole.all() else f"{int((~whole).sum())} of {len(whole)} blocks left out: clips are missing"


def with_power(rows: list[dict]) -> list[dict]:
    """Add to the note of every test that cannot become significant the reason: too few blocks for p below
    .05, or after Holm's correction."""
    family = sum(row["p_holm"] is not None for row in rows)
    for row in rows:
        least = row["least_p"]
        if least is None or row["n_blocks"] is None:
            continue
        text = ""
        if least > ALPHA:
            text = f"cannot succeed: with {row['n_blocks']} blocks p is at least {least:.2g}"
        elif family * least > ALPHA:
            text = f"cannot succeed after Holm over {family} tests: p is at least {least:.2g}"
        row["note"] = "; ".join(part for part in (row["note"], text) if part)
    return rows


def _row(
    result: TestResult,
    dataset: str,
    subject: str,
    test: str,
    method: str,
    other: str,
    name: str,
    clips: str,
    alternative: str,
) -> dict:
    least = least_p(result.n_permutations, result.exact, two_sided=alternative == "two-sided")
    return dict.fromkeys(TESTS) | {
        "dataset": dataset, "subject": subject, "test": test, "method": method, "other": other,
        "metric": name,
        "clips": clips, "alternative": alternative, "statistic": result.statistic, "p": result.p, "least_p": least,
        "n_permutations": result.n_permutations, "exact": result.exact, "n_clips": result.n_clips,
        "n_blocks": result.n_blocks, "note": "",
    }  # fmt: skip


def _with_holm(family: list[dict]) -> list[dict]:
    if family:
        for row, adjusted in zip(family, holm(np.array([row["p"] for row in family])), strict=True):
            row["p_holm"] = float(adjusted)
    return family


RETRIEVAL = (
    "dataset", "method", "subject", "embedding", "candidates_set", "n_candidates", "similarity", "metric", "unit",
    "direction",
    "value", "low", "high", "level", "chance", "n_clips",
)  # fmt: skip


def retrieval_summary(tables: Sequence[pd.DataFrame], settings: ScoringConfig, *, seed: int) -> pd.DataFrame:
    """Top-k accuracies and median ranks with intervals and chance levels.

    Parameters
    ----------
    tables : sequence of DataFrame
        Rows of decoded features with their number of ``candidates``, one table per method and subject.

    Returns
    -------
    DataFrame
        `RETRIEVAL`; ``similarity`` is ``published`` (cosine) or ``centred`` (cosine of embeddings minus the training
        mean); ``top_k`` and ``two_way`` are fractions in [0, 1], ``median_rank`` counts from 1.
    """
    found = []
    for table in tables:
        rows = table[table["metric"].str.startswith("retrieval_")]
        for name, group in rows.groupby("metric", sort=False):
            kind, _, measure = name.removeprefix("retrieval_").rpartition("_")
            embedding, *rest = kind.split("_")
            group = group[np.isfinite(group["value"])]
            if group.empty:
                continue  # the summary gives the reason
            values, pool = group["value"].to_numpy(), int(group["candidates"].iloc[0])
            blocks = block_labels(group["segment"].tolist(), settings.block)
            generator = np.random.default_rng(seed)
            options = {"n_draws": settings.bootstraps, "level": settings.confidence, "generator": generator}
            if measure == "rank":
                value, chance = float(np.median(values)), (pool + 1) / 2
                low, high = median_interval(values, blocks, **options)
            else:
                interval = block_bootstrap(values, blocks, group["segment"].to_numpy(), **options)
                value, low, high = interval.estimate, interval.low, interval.high
                chance = 0.5 if measure == "2way" else int(measure.removeprefix("top")) / pool
            entry = find_metric(name)
            found.append(
                {
                    **{key: group[key].iloc[0] for key in ("dataset", "method", "subject")},
                    "embedding": embedding, "candidates_set": "large" if "large" in rest else "small",
                    "n_candidates": pool, "similarity": "centred" if "centred" in rest else "published",
                    "metric": {"rank": "median_rank", "2way": "two_way"}.get(
                        measure, f"top_{measure.removeprefix('top')}"
                    ),
                    "unit": entry.unit, "direction": entry.direction, "value": value, "low": low,
                    "high": high,
                    "level": settings.confidence, "chance": chance, "n_clips": len(values),
                }
            )  # fmt: skip
    return pd.DataFrame(found, columns=RETRIEVAL)
