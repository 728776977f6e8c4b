"""Summaries and tests of score tables: hand-made tables with known answers."""

import numpy as np
import pandas as pd
import pytest

from mind_animator.artefacts.streams import PairScores
from mind_animator.config.scoring import ScoringConfig
from mind_animator.scoring.compare import (
    above_chance_tests,
    metric_table,
    motion_tests,
    moving_clips,
    paired_tests,
    pooled_pairs,
    retrieval_summary,
    summarise,
    swap_test,
    whole_blocks,
    wide,
    with_pooled,
)
from mind_animator.scoring.decoded import score_decoded, target_scores
from mind_animator.scoring.demo_controls import evaluate_subjects
from mind_animator.scoring.score import COLUMNS
from mind_animator.statistics.median_pairing import median_interval, median_pairing_test
from mind_animator.statistics.permutation import holm

SETTINGS = ScoringConfig(block=2, permutations=199, bootstraps=200)
WHO = {"dataset": "d", "method": "m", "subject": "1"}

ROLES = {"method": "mind_animator", "baseline": "ridge"}


def table(values, method="m", subject="1", metric="ssim", cut=(), weight=1.0):
    clips = [f"t-{index:05d}" for index in range(len(values))]
    return pd.DataFrame(
        {
            "dataset": "d",
            "method": method,
            "subject": subject,
            "clip": clips,
            "segment": "t",
            "movie": "t.mp4",
            "scene_cut": [index in cut for index in range(len(values))],
            "metric": metric,
            "value": values,
            "weight": weight,
            "status": ["ok" if np.isfinite(value) else "broken" for value in values],
        }
    )[list(COLUMNS)]


def test_relative_error_of_a_set_is_a_ratio_of_means(rng):
    """Still clips do not rule: they have no ratio, and the summary's row counts them."""
    speed = rng.random(20) + 0.5
    speed[[4, 9]] = 0, 1e-9
    error = {"a": rng.random(20) + 1, "b": rng.random(20) + 1}
    moving = speed > 0
    ratios = {name: np.divide(e, speed, out=np.full(20, np.nan), where=moving) for name, e in error.items()}
    rows = with_pooled(
        pd.concat(
            [
                table(values, name, subject, "epe_relative", weight=speed)
                for name, values in ratios.items()
                for subject in ("1", "2")
            ]
        )
    )
    found = summarise(rows, SETTINGS, seed=1).set_index(["method", "subject"])
    for name, e in error.items():
        ratio = e[moving].sum() / speed[moving].sum()
        for subject in ("1", "2", "pooled"):
            row = found.loc[(name, subject)]
            assert row["mean"] == pytest.approx(ratio, rel=1e-12)
            assert row["low"] < ratio < row["high"] < 5  # the plain mean is about 1e8
            assert (row["n_clips"], row["n_expected"], row["status"]) == (19, 20, "1 clip: broken")
    frozen = summarise(table(np.ones(20), metric="epe_relative", weight=speed + 1), SETTINGS, seed=1).iloc[0]
    assert [frozen["low"], frozen["high"]] == pytest.approx([1, 1], abs=1e-12)
    weights = metric_table(["epe", "epe_relative"]).set_index("metric")["mean_weighted_by"]
    assert weights.to_dict() == {"epe": "", "epe_relative": "speed of the ground truth (weight)"}
    # two methods differ in it exactly as in their errors
    test = paired_tests(rows, SETTINGS, seed=1).iloc[0]
    own = paired_tests(
        pd.concat([table(e[moving], name, metric="epe") for name, e in error.items()]), SETTINGS, seed=1
    ).iloc[0]
    assert test["statistic"] == pytest.approx(own["statistic"] / speed[moving].mean(), rel=1e-9)
    # the published test has no weights
    plain = paired_tests(rows.assign(weight=1.0), SETTINGS, seed=1).iloc[0]
    assert test["p_published"] == plain["p_published"] and test["statistic"] != plain["statistic"]


def test_summary_means_counts_and_reasons(rng):
    values = rng.random(20)
    values[3] = np.nan
    found = summarise(table(values, cut=(0, 1)), SETTINGS, seed=1).set_index("clips")
    row = found.loc["all"]
    assert row["mean"] == pytest.approx(np.nanmean(values), abs=1e-12)
    assert (row["n_clips"], row["n_expected"], row["n_blocks"]) == (19, 20, 10)
    assert row["status"] == "1 clip: broken"
    assert (row["unit"], row["direction"], row["definition"]) == ("1", "higher", "published")
    assert row["low"] < row["mean"] < row["high"]
    assert found.loc["without_cuts", "mean"] == pytest.approx(np.nanmean(values[2:]), abs=1e-12)
    nothing = summarise(table([np.nan, np.nan]), SETTINGS, seed=1).iloc[0]
    assert np.isnan(nothing["mean"])
    assert nothing["n_clips"] == 0


def test_pooled_is_the_mean_over_subjects_where_all_have_a_score():
    rows = pd.concat([table([1.0, 2.0, np.nan]), table([3.0, 6.0, 5.0], subject="2")], ignore_index=True)
    pooled = with_pooled(rows)
    own = pooled[pooled["subject"] == "pooled"].set_index("clip")
    assert own["value"].tolist()[:2] == [2.0, 4.0]
    assert np.isnan(own["value"].iloc[2])
    assert own["status"].tolist() == ["ok", "ok", "broken"]
    one = table([1.0, 2.0])
    assert with_pooled(one) is one


def test_paired_tests_use_common_clips_and_holm_over_metrics(rng):
    base = rng.random(40)
    rows = [
        table(base + 0.5 + 0.01 * rng.random(40), "a"),
        table(base, "b"),
        table(base, "a", metric="psnr"),
        table(base + 1e-3 * rng.standard_normal(40), "b", metric="psnr"),
    ]
    rows[1].loc[5, "value"] = np.nan
    found = paired_tests(pd.concat(rows, ignore_index=True), SETTINGS, seed=1).set_index("metric")
    assert (found["method"] == "a").all()
    assert found.loc["ssim", "n_clips"] == 39
    assert found.loc["ssim", "statistic"] == pytest.approx(0.505, abs=0.01)
    assert found.loc["ssim", "p"] == 1 / 200
    np.testing.assert_allclose(found["p_holm"], holm(found["p"].to_numpy()))
    assert found.loc["psnr", "p"] > 0.01
    assert (found["p_published"] <= 1).all()


def test_above_chance_and_missing_blocks(rng):
    pairs = 0.1 * rng.standard_normal((8, 8, 2))
    pairs[np.arange(8), np.arange(8)] += 3
    pairs[2, :, 1] = np.nan  # a missing prediction
    assert whole_blocks(pairs).tolist() == [True, True, False, True, True, True, True, True]
    (row,) = above_chance_tests({"ssim": pairs}, SETTINGS, **WHO, seed=1)
    assert row["p"] == 1 / 200
    assert row["n_blocks"] == 7
    assert row["note"] == "1 of 8 blocks left out: clips are missing"
    rank, median = above_chance_tests({"retrieval_text_rank": pairs}, SETTINGS, **WHO, seed=1)
    assert rank["alternative"] == "less"
    assert rank["p"] == 1
    assert median["metric"] == "retrieval_text_median_rank"
    pairs[:, 3, 0] = np.nan  # a missing ground truth
    assert whole_blocks(pairs).tolist() == [True, True, False, False, True, True, True, True]


def test_median_pairing_counts_every_order():
    from itertools import permutations

    pairs = np.random.default_rng(3).integers(1, 9, (4, 4, 3)).astype(float)
    result = median_pairing_test(pairs, n_permutations=9999, generator=np.random.default_rng(0))
    own = np.median([pairs[b, b] for b in range(4)])
    orders = [np.median([pairs[b, order[b]] for b in range(4)]) for order in permutations(range(4))]
    assert result.exact
    assert result.p == sum(value <= own for value in orders) / 24
    with pytest.raises(ValueError, match="Expected finite values"):
        median_pairing_test(np.full((2, 2, 1), np.nan), generator=np.random.default_rng(0))
    low, high = median_interval(np.arange(40.0), np.arange(40) // 4, generator=np.random.default_rng(0))
    assert low < 19.5 < high
    assert np.isnan(
        median_interval(np.arange(4.0), np.zeros(4, int), generator=np.random.default_rng(0))
    ).all()


def motion_scores(rng, agree):
    ground_truth = rng.standard_normal((40, 2)) * np.repeat([1, 0.01], 20)[:, None]
    flow = ground_truth + 0.1 * rng.standard_normal((40, 2)) if agree else rng.standard_normal((40, 2))
    shuffled = np.full((40, 9), 2.0)
    rows = np.arange(40).reshape(20, 2)
    return PairScores(
        [f"t-{index:05d}" for index in range(40)],
        rows,
        {},
        {"mean_flow_ground_truth": ground_truth, "mean_flow": flow, "shuffled_epe": shuffled},
    )


def test_motion_tests(rng):
    epe = np.ones(40)
    pairing, shuffle = motion_tests(motion_scores(rng, True), epe, SETTINGS, **WHO, seed=1)
    assert pairing["p"] == 1 / 200
    assert pairing["n_clips"] == 20  # half of the clips move
    assert shuffle["p"] == 0.1
    assert shuffle["p_published"] == 0
    assert "smoothness" in shuffle["note"]
    null, _ = motion_tests(motion_scores(rng, False), epe, SETTINGS, **WHO, seed=1)
    assert null["p"] > 0.01
    epe[0] = np.nan
    _, shuffle = motion_tests(motion_scores(rng, True), epe, SETTINGS, **WHO, seed=1)
    assert shuffle["n_clips"] == 39


def test_swap(rng):
    full, swapped = (
        motion_scores(np.random.default_rng(1), True),
        motion_scores(np.random.default_rng(1), True),
    )
    swapped.by_clip["mean_flow"] = np.random.default_rng(2).standard_normal((40, 2))
    (row,) = swap_test(
        full, swapped, ["t"] * 40, SETTINGS, dataset="d", method="m", other="s", subject="1", seed=1
    )
    assert row["statistic"] > 0.5
    assert row["p"] <= 0.01
    assert row["n_clips"] == 20


def test_moving_clips():
    ground_truth = np.array([[3, 0], [0, 0], [1, 1], [np.nan, 0], [0, 2]], float)
    assert moving_clips(ground_truth, 0.5).tolist() == [True, False, False, False, True]
    assert moving_clips(ground_truth, 1.0).tolist() == [True, False, True, False, True]


def test_wide_keeps_the_order_of_clips():
    rows = pd.concat([table([0.1, np.nan, 0.3]), table([1.0, np.nan, 3.0], metric="psnr")], ignore_index=True)
    found = wide(rows)
    assert found["clip"].tolist() == ["t-00000", "t-00001", "t-00002"]
    assert found["status"].tolist() == ["ok", "broken", "ok"]
    assert found["psnr"].tolist()[::2] == [1.0, 3.0]


def test_decoded_features(rng):
    n = 24
    clips = table(np.zeros(n)).rename(columns={"metric": "_"})[["clip", "segment", "movie", "scene_cut"]]
    text, image = rng.standard_normal((n, 6)), rng.standard_normal((n, 6))
    latents = rng.standard_normal((n, 3, 4, 2, 2)).astype(np.float32)
    features = {
        "clip_embedding_text": text,
        "clip_embedding_image": image,
        "prompt_embedding": rng.standard_normal((n, 5, 3)),
        "latents": latents,
    }
    predictions = {
        "semantic": text,
        "structure": latents[:, 0],
        "latents": np.zeros_like(latents) + latents.mean(0).mean(0),
    }
    rows, pairs, candidates = score_decoded(
        clips,
        predictions,
        features,
        {"text": rng.standard_normal((30, 6))},
        {"clip_embedding_text": np.full(6, 0.2), "latents": np.full((3, 4, 2, 2), 0.1)},
        block=3,
        dataset="d",
        method="m",
        subject="1",
    )
    mean = rows.groupby("metric")["value"].mean()
    assert mean["retrieval_text_rank"] == mean["retrieval_text_large_rank"] == 1
    assert mean["retrieval_text_top1"] == 1
    assert mean["target_structure_corr"] == pytest.approx(1)
    assert mean["target_structure_r2"] == pytest.approx(1)
    assert mean["target_change_r2"] == pytest.approx(0, abs=1e-6)  # a frozen clip explains nothing
    assert candidates == {
        "text": 24, "text_large": 54, "text_centred": 24, "text_large_centred": 54, "image": 24
    }  # fmt: skip
    assert mean["retrieval_text_centred_2way"] == mean["retrieval_text_large_centred_2way"] == 1
    assert "retrieval_image_centred_rank" not in mean  # no training mean of it
    assert mean["target_structure_trainr2"] == pytest.approx(1)
    assert mean["target_change_trainr2"] == pytest.approx(0, abs=1e-6)
    assert pairs.pairs["retrieval_text_centred_rank"].shape == (8, 8, 3)
    assert pairs.pairs["retrieval_text_rank"].shape == (8, 8, 3)
    assert "retrieval_text_top50" not in set(rows["metric"])
    pool = rows["metric"].str.split("_").str[1:-1].str.join("_").map(candidates).fillna(0).astype(int)
    summary = retrieval_summary([rows.assign(candidates=pool)], SETTINGS, seed=1)
    own = summary.set_index(["similarity", "embedding", "candidates_set", "metric"])["chance"]
    assert own["published", "text", "large", "median_rank"] == 27.5
    assert own["centred", "text", "large", "median_rank"] == 27.5
    assert own["published", "image", "small", "top_10"] == pytest.approx(10 / 24)
    assert own["centred", "text", "large", "two_way"] == 0.5


def test_tests_that_cannot_succeed_say_so_and_chance_tests_are_a_family():
    """Four blocks: 24 pairings, so that even a perfect decoder has p = 1/24, and Holm over 4 tests leaves nothing."""
    perfect = np.eye(4)[:, :, None] * 0.9 + 0.1
    pairs = {"retrieval_text_centred_cosine": perfect, "retrieval_image_cosine": perfect, "ssim": perfect}
    found = above_chance_tests(pairs, SETTINGS, **WHO, seed=1)
    assert [row["p"] for row in found] == pytest.approx([1 / 24] * 3)
    assert [row["least_p"] for row in found] == pytest.approx([1 / 24] * 3)
    assert [row["p_holm"] for row in found] == pytest.approx([3 / 24] * 3)
    assert {row["note"] for row in found} == {"cannot succeed after Holm over 3 tests: p is at least 0.042"}
    (three,) = above_chance_tests({"ssim": perfect[:3, :3]}, SETTINGS, **WHO, seed=1)
    assert three["note"] == "cannot succeed: with 3 blocks p is at least 0.17"
    (many,) = above_chance_tests({"ssim": np.eye(9)[:, :, None]}, SETTINGS, **WHO, seed=1)
    assert many["note"] == "" and many["least_p"] <= many["p"]


def test_subjects_are_pooled_block_by_block(rng):
    """Two subjects with the same clips, each too noisy alone; other clips are never pooled."""
    rows = np.arange(12).reshape(6, 2)
    names = [f"c{k}" for k in range(12)]
    every = [
        PairScores(names, rows, {"ssim": 0.5 * np.eye(6)[:, :, None] + rng.standard_normal((6, 6, 2))}, {})
        for _ in range(2)
    ]
    pooled = pooled_pairs(every)
    np.testing.assert_allclose(pooled["ssim"], (every[0].pairs["ssim"] + every[1].pairs["ssim"]) / 2)
    assert pooled_pairs(every[:1]) == {}
    other = PairScores([*names[:-1], "x"], rows, every[0].pairs, {})
    assert pooled_pairs([every[0], other]) == {}


def test_scores_of_motion_see_motion(rng):
    """A frozen clip scores 0, a reversed ramp -1, although whole latents agree; the decoded flow by its direction."""
    n = 12
    clips = table(np.zeros(n)).rename(columns={"metric": "_"})[["clip", "segment", "movie", "scene_cut"]]
    angle = rng.uniform(0, 2 * np.pi, n)
    velocity = np.stack([np.cos(angle), np.sin(angle)], 1)
    rows, columns = np.mgrid[:16, :16]
    # blobs that start in the middle and move by half a pixel per frame
    centre = 8 + 0.5 * velocity[:, None] * (np.arange(4) - 1.5)[:, None]
    distance = (columns - centre[..., 0, None, None]) ** 2 + (rows - centre[..., 1, None, None]) ** 2
    latents = np.exp(-distance / 18)[:, :, None].astype(np.float32)
    ramp = 5 + rng.standard_normal((n, 1, 1, 16, 16)) * np.arange(4)[:, None, None, None]
    given = {"block": 3, "dataset": "d", "method": "m", "subject": "1"}

    def means(target, **predictions):
        features = {"clip_embedding_text": velocity, "latents": target}
        scored = score_decoded(clips, {"semantic": velocity, **predictions}, features, {}, **given)[0]
        return scored.groupby("metric")["value"].mean()

    still = np.repeat(ramp[:, :1], 4, axis=1)
    frozen = means(ramp, latents=still)
    assert (frozen["target_change_corr"], frozen["target_change_r2"]) == (0, pytest.approx(0))
    exact = means(ramp, latents=ramp)
    assert exact["target_change_corr"] == pytest.approx(1)
    assert exact["target_change_reversed_corr"] == pytest.approx(-1, abs=0.1)
    assert abs(exact["target_change_swapped_corr"]) < 0.3
    moved = means(latents, flow=np.broadcast_to(velocity[..., None, None], (n, 2, 3, 3)))
    assert moved["target_flow_cosine"] > 0.95
    assert moved["target_flow_swapped_cosine"] == pytest.approx(
        (velocity * np.roll(velocity, -3, axis=0)).sum(1).mean(), abs=0.15
    )


def test_target_scores_by_definition(rng):
    target, prediction = rng.standard_normal((9, 2, 3)), rng.standard_normal((9, 2, 3))
    corr, r2 = target_scores(target, prediction)
    t, p = ((side - target.mean(0)).reshape(9, -1) for side in (target, prediction))
    np.testing.assert_allclose(
        corr, [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(t, p, strict=True)]
    )
    assert r2.mean() == pytest.approx(1 - ((t - p) ** 2).sum() / (t**2).sum())
    with pytest.raises(ValueError, match="one shape"):
        target_scores(target, prediction[:, :1])


def simulated(p_content, p_motion, behind=()):
    content = [
        "retrieval_text_top10",
        "retrieval_text_median_rank",
        "image_2way",
        "video_2way",
        "ssim",
        "hue_circular_corr",
    ]
    rows = []
    for subject in ("1", "2"):
        for name in content:
            rows.append({"test": "above_chance", "metric": name, "p": p_content})
        rows.append({"test": "motion_pairing", "metric": "flow_cosine", "p": p_motion})
        for decoder in ("semantic", "structure", "change"):
            worse = decoder in behind
            rows.append(
                {
                    "test": "paired",
                    "other": "ridge",
                    "metric": f"target_{decoder}_corr",
                    "clips": "all",
                    "p": 1e-4 if worse else 0.5,
                    "statistic": -1.0 if worse else 0.1,
                }
            )
        for row in rows[-10:]:
            row.setdefault("statistic", 0.5)
            row |= {"method": "mind_animator", "subject": subject}
    return pd.DataFrame(rows)


def maps(structure, motion):
    return pd.DataFrame(
        {
            "subject": "1",
            "decoder": ["structure", "motion"],
            "auc": [structure, motion],
            "low": 0.4,
            "high": 0.6,
            "voxels_alone": 12,
        }
    )


def test_demo_ground_truth_passes_and_fails_row_by_row():
    good = {"full": simulated(1e-4, 1e-4), "no_motion": simulated(1e-4, 0.4), "none": simulated(0.3, 0.6)}
    images = {"full": maps(0.95, 0.97), "no_motion": maps(0.95, 0.5), "none": maps(0.45, 0.55)}
    rows, notes = evaluate_subjects(good, images, **ROLES)
    assert all(row.passes for row in rows), [row for row in rows if not row.passes]
    assert len(notes) == 2
    assert "14 null tests" in notes[1]
    bad = dict(good)
    bad["full"] = simulated(0.002, 1e-4, behind=("change",))
    failed = [row for row in evaluate_subjects(bad, {}, **ROLES)[0] if not row.passes]
    assert {row.row for row in failed} == {
        *(
            "retrieval_text_top10",
            "retrieval_text_median_rank",
            "image_2way",
            "video_2way",
            "ssim",
            "hue_circular_corr",
        ),
        "target_change_corr vs ridge",
    }
    leak = {**good, "no_motion": simulated(1e-4, 1e-4)}
    assert [row.row for row in evaluate_subjects(leak, {}, **ROLES)[0] if not row.passes] == [
        "motion_pairing"
    ] * 2
    # Holm: one p of .002 among 14 is not significant at a family-wise .01, one of .0001 is
    for p, passes in ((0.002, True), (1e-4, False)):
        none = simulated(0.3, 0.6)
        none.loc[0, "p"] = p
        assert all(row.passes for row in evaluate_subjects({"none": none}, {}, **ROLES)[0]) is passes
    wrong = evaluate_subjects(
        {}, {"full": maps(0.85, 0.97), "no_motion": maps(0.95, 0.7), "none": maps(0.7, 0.5)}, **ROLES
    )[0]
    assert [(row.signal, row.row) for row in wrong if not row.passes] == [
        ("full", "map_structure"),
        ("no_motion", "map_motion"),
        ("none", "map_structure"),
    ]


def test_a_test_that_was_not_made_is_a_row_that_fails():
    full = simulated(1e-4, 1e-4)
    full = full[full["metric"] != "video_2way"]
    failed = [row for row in evaluate_subjects({"full": full}, {}, **ROLES)[0] if not row.passes]
    assert [(row.row, row.note) for row in failed] == [("video_2way", "not tested")] * 2
