"""The split-half oracle: true videos of the clips whose halves of the repeats are most similar."""

import numpy as np
import pandas as pd
import pytest

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.streams import read_pairs
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.scoring import ScoringConfig
from mind_animator.metrics.registry import find_metric
from mind_animator.scoring.ground_truth import encode_ground_truth
from mind_animator.scoring.score import Networks
from mind_animator.scoring.sources import ArraySource
from mind_animator.scoring.split_half_oracle import NO_REPEATS, ORACLE, UNDEFINED, score_oracle
from workflow_scripts import score_split_half_oracle as script
from workflow_scripts import test_methods as tests_script
from workflow_scripts.make_report import _score_row

CLIPS = [f"t-{index:05d}" for index in range(8)]
SETTINGS = ScoringConfig(
    size=16, frames=3, n_ways=(2,), block=2, shuffles=4, batch=4, permutations=99, bootstraps=100
)


@pytest.fixture
def study(tmp_path, rng):
    """Eight clips whose halves agree, but for two that take each other's place in the second half."""
    frames = rng.integers(0, 256, (8, 3, 16, 16, 3), dtype=np.uint8)
    write_arrays(tmp_path / "frames.h5", {"frames": frames}, CLIPS)
    networks = Networks(
        {
            "image_logits": lambda clips: (
                clips[:, :, ::4, ::4].reshape(*clips.shape[:2], -1).astype(np.float32)
            ),
            "vifi": lambda clips: clips[:, :, ::8, ::8].reshape(*clips.shape[:2], -1).astype(np.float32),
        },
        {"clip_embedding_image": "not here"},
    )
    encode_ground_truth(
        CLIPS, ArraySource([tmp_path / "frames.h5"], size=16, count=3), networks, tmp_path / "ground_truth.h5",
        SETTINGS, rate=4.0,
    )  # fmt: skip
    clips = pd.DataFrame({"clip": CLIPS, "segment": "t", "movie": "t.mp4", "scene_cut": False})
    first = rng.standard_normal((8, 40)).astype(np.float32)
    second = first + 0.1 * rng.standard_normal(first.shape).astype(np.float32)
    second[[2, 5]] = second[[5, 2]]
    return tmp_path, clips, frames, first, second


def features(frames):
    """Eight clips' embeddings on a circle (30 degrees apart), and what the other decoders aim at."""
    angles = np.deg2rad(30 * np.arange(8))
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    latents = frames[:, :, ::4, ::4].astype(np.float32).transpose(0, 1, 4, 2, 3)
    return {
        "clip_embedding_text": circle,
        "clip_embedding_image": circle,
        "prompt_embedding": circle[:, None] + 1,
        "latents": latents,
    }


def scored(study, first, second, extra=None):
    folder, clips, frames, *_ = study
    return score_oracle(
        clips, folder / "ground_truth.h5", first, second, features(frames), extra or {}, SETTINGS,
        count=3, dataset="d", subject="1", seed=0,
    )  # fmt: skip


def test_a_mistaken_clip_is_scored_on_the_video_it_was_taken_for(study):
    *_, frames, first, second = study
    rows, pairs, decoded = scored(study, first, second)
    wide = rows.pivot(index="clip", columns="metric", values="value")
    right = [clip for index, clip in enumerate(CLIPS) if index not in (2, 5)]
    assert (wide.loc[right, "ssim"] == 1).all()
    assert (wide.loc[right, "psnr"] == 100).all()
    assert (wide.loc[right, "epe"] == 0).all()
    assert wide.loc[right, "vifi_score"].tolist() == pytest.approx([1] * 6, abs=1e-12)
    status = rows[rows["clip"] == CLIPS[0]].set_index("metric")["status"]
    assert status["clip_consistency_to_ground_truth"] == "not computed: not here"
    embedded, vifi = frames[:, :, ::8, ::8].reshape(8, 3, -1), find_metric("vifi_score")
    for clip, other in ((2, 5), (5, 2)):
        # what the networks said of the other clip is looked up, and compared as for any method
        assert wide.loc[CLIPS[clip], "vifi_score"] == pytest.approx(
            vifi.compare(vifi.describe(embedded[clip]), vifi.describe(embedded[other]))
        )
        assert wide.loc[CLIPS[clip], "image_2way"] < 1
        assert wide.loc[CLIPS[clip], "ssim"] == find_metric("ssim")(frames[clip], frames[other])
        assert wide.loc[CLIPS[clip], "epe"] == find_metric("epe")(frames[clip], frames[other])
    assert set(rows["method"]) == {ORACLE}
    assert pairs.pairs["ssim"].shape == (4, 4, 2)
    hits = decoded[decoded["metric"] == "retrieval_image_top1"].set_index("clip")["value"]
    assert hits.tolist() == [float(index not in (2, 5)) for index in range(8)]
    ranked = decoded[decoded["metric"].str.startswith("retrieval")]
    assert (ranked["candidates"] == 8).all() and not ranked["metric"].str.contains("large").any()
    assert "retrieval_text_top10" not in set(decoded["metric"])  # of 8 clips


def test_further_candidates_stand_before_it_where_they_are_nearer_to_the_answer(study):
    """Clips 2 (60 degrees) and 5 (150) are taken for each other: what lies less than 90 degrees from the answer
    goes before the clip's own embedding; behind it what lies further, level with it what lies as far."""
    *_, first, second = study
    angles = np.deg2rad([149.0, 100.0, 241.0, 61.0])
    further = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    further = np.concatenate([further, features(study[2])["clip_embedding_image"][2:3]])  # clip 2 once more
    _, _, decoded = scored(study, first, second, {"image": further})
    table = decoded.pivot(index="clip", columns="metric", values="value")
    small, large = (table[f"retrieval_image{size}_rank"].to_numpy() for size in ("", "_large"))
    right = [0, 1, 3, 4, 6, 7]
    np.testing.assert_array_equal(large[right], small[right])
    # clip 2, answer at 150: 149, 100 and 61 are nearer than its own 60, 241 is not, its copy ties
    assert large[2] == small[2] + 3 + 0.5
    # clip 5, answer at 60: 149, 100, 61 and the copy are nearer than its own 150, 241 is not
    assert large[5] == small[5] + 4
    assert "retrieval_text_large_rank" not in table
    pools = decoded.groupby("metric")["candidates"].first()
    assert (pools["retrieval_image_rank"], pools["retrieval_image_large_rank"]) == (8, 13)
    assert "retrieval_image_large_top10" in table and "retrieval_image_top10" not in table


def test_a_decoders_target_is_scored_on_the_target_of_the_answer(study):
    *_, frames, first, second = study
    _, _, decoded = scored(study, first, second)
    table = decoded.pivot(index="clip", columns="metric", values="value")
    circle = features(frames)["clip_embedding_text"].astype(float)
    centred = circle - circle.mean(axis=0)
    corr = centred[2] @ centred[5] / np.linalg.norm(centred[2]) / np.linalg.norm(centred[5])
    r2 = 1 - ((circle[2] - circle[5]) ** 2).sum() / (centred**2).sum(axis=1).mean()
    for name in ("semantic", "prompt_embedding"):
        np.testing.assert_allclose(table[f"target_{name}_corr"].iloc[[0, 2, 5]], [1, corr, corr], atol=1e-6)
        np.testing.assert_allclose(table[f"target_{name}_r2"].iloc[[0, 2, 5]], [1, r2, r2], atol=1e-6)
    for name in ("structure", "change"):  # of latents: the first frame, and the change about the mean
        assert (table[f"target_{name}_r2"].iloc[[0, 1, 3]] == 1).all()
        assert (table[f"target_{name}_r2"].iloc[[2, 5]] < 1).all()


def test_clips_that_were_shown_once_say_so(study):
    *_, first, second = study
    once = second.copy()
    once[6:] = np.nan
    rows, _, decoded = scored(study, first, once)
    ssim = rows[rows["metric"] == "ssim"].set_index("clip")
    assert ssim["status"].tolist() == ["ok"] * 6 + [NO_REPEATS] * 2
    for _, rows in decoded.groupby("metric"):
        assert rows["status"].tolist() == ["ok"] * 6 + [NO_REPEATS] * 2
        assert rows["value"].isna().tolist() == [False] * 6 + [True] * 2
    rows, _, decoded = scored(study, first, np.full_like(second, np.nan))
    assert set(rows["status"]) == set(decoded["status"]) == {NO_REPEATS}
    assert rows["value"].isna().all() and decoded["value"].isna().all()


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_targets_that_do_not_differ_are_no_lack_of_repeats(study):
    """One latent for all clips: no variance to explain, though six clips were shown twice."""
    folder, clips, frames, first, second = study
    once = second.copy()
    once[6:] = np.nan
    targets = features(frames)
    targets["latents"] = np.ones_like(targets["latents"])
    _, _, decoded = score_oracle(
        clips, folder / "ground_truth.h5", first, once, targets, {}, SETTINGS, count=3, dataset="d", subject="1", seed=0
    )  # fmt: skip
    status = {name: rows["status"].tolist() for name, rows in decoded.groupby("metric")}
    assert status["target_structure_r2"] == [UNDEFINED] * 6 + [NO_REPEATS] * 2
    assert status["target_semantic_r2"] == ["ok"] * 6 + [NO_REPEATS] * 2


@pytest.mark.parametrize("repeated", [True, False])
def test_scripts_put_it_into_the_tables(study, repeated):
    folder, clips, _, first, second = study
    write_table(folder / "t.tsv", clips)
    halves = {"half_1": first, "half_2": second if repeated else np.full_like(second, np.nan)}
    write_arrays(folder / "responses.h5", halves, CLIPS)
    targets = features(study[2])
    for kind, names in (
        ("text", ("clip_embedding_text", "prompt_embedding")),
        ("image", ("clip_embedding_image", "latents")),
    ):
        write_arrays(folder / f"{kind}.h5", {name: targets[name] for name in names}, CLIPS)
    out = {name: str(folder / name) for name in ("s.parquet", "s.tsv", "p.h5", "d.parquet", "dp.h5")}
    script.main(
        ["--ground-truth", str(folder / "ground_truth.h5"), "--tables", str(folder / "t.tsv"), "--dataset", "d",
        "--subject", "1",
         "--responses", str(folder / "responses.h5"), "--text", str(folder / "text.h5"),
         "--image", str(folder / "image.h5"), "--settings", SETTINGS.model_dump_json(), "--frames", "3",
         "--seed", "0", "--scores", out["s.parquet"], "--table", out["s.tsv"],
         "--pairs", out["p.h5"], "--decoded", out["d.parquet"], "--decoded-pairs", out["dp.h5"]]
    )  # fmt: skip
    assert read_pairs(out["dp.h5"]).pairs == {}
    made = {name: folder / name for name in ("tests.tsv", "summary.tsv", "summary.parquet", "retrieval.tsv",
                                             "clips.parquet", "clips.tsv", "metrics.tsv")}  # fmt: skip
    tests_script.main(
        ["--scores", out["s.parquet"], "--pairs", out["p.h5"], "--decoded", out["d.parquet"],
         "--decoded-pairs", out["dp.h5"], "--settings", SETTINGS.model_dump_json(), "--seed", "0",
         "--tests", str(made["tests.tsv"]), "--summary", str(made["summary.tsv"]), str(made["summary.parquet"]),
         "--retrieval", str(made["retrieval.tsv"]), "--clips", str(made["clips.parquet"]),
         "--clip-table", str(made["clips.tsv"]), "--metrics", str(made["metrics.tsv"])]
    )  # fmt: skip
    summary = read_table(made["summary.tsv"]).set_index("metric")
    assert summary.loc["ssim", "n_clips"] == (8 if repeated else 0)
    assert "fewer than two repeats" in summary.loc["ssim", "status"] or repeated
    assert read_table(made["summary.parquet"])["metric"].tolist() == summary.index.tolist()
    table = read_table(made["clips.parquet"])
    psnr = table[table["metric"] == "psnr"]
    assert set(psnr["unit"]) == {"dB"} and set(psnr["direction"]) == {"higher"}
    assert set(table[table["metric"] == "epe"]["direction"]) == {"lower"}
    assert read_table(made["clips.tsv"])["clip"].tolist() == CLIPS
    metrics = read_table(made["metrics.tsv"]).set_index("metric")
    assert metrics.loc["psnr", ["unit", "direction", "lowest", "highest"]].tolist() == [
        "dB",
        "higher",
        0,
        100,
    ]
    retrieval = read_table(made["retrieval.tsv"])
    assert len(retrieval) == (4 if repeated else 0)  # top-1 and median rank, by text and by image
    # a second subject: pooled rows, regardless of units and counts in the tables
    again = {name: str(folder / f"2-{name}") for name in ("s.parquet", "d.parquet")}
    for name, path in again.items():
        write_table(path, read_table(out[name]).assign(subject="2"))
    tests_script.main(
        ["--scores", out["s.parquet"], again["s.parquet"], "--pairs", out["p.h5"], out["p.h5"],
         "--decoded", out["d.parquet"], again["d.parquet"], "--decoded-pairs", out["dp.h5"], out["dp.h5"],
         "--settings", SETTINGS.model_dump_json(), "--seed", "0", "--tests", str(made["tests.tsv"]),
         "--summary", str(made["summary.tsv"]), "--retrieval", str(made["retrieval.tsv"]),
         "--clips", str(made["clips.parquet"]), "--clip-table", str(made["clips.tsv"])]
    )  # fmt: skip
    assert set(read_table(made["summary.tsv"])["subject"]) == {"1", "2", "pooled"}


def test_the_report_never_calls_the_oracle_best():
    rows = pd.DataFrame({"mean": [0.3, 0.4, 0.9], "low": 0.2, "high": 1.0, "status": "ok", "label": "SSIM"})
    rows = rows.assign(unit="1", direction="higher", definition="published")
    rows.index = ["ours", "ridge", ORACLE]
    cells = _score_row(rows, list(rows.index), [ORACLE])
    assert [cell.strong for cell in cells[1:]] == [False, True, False]
    rows = rows.assign(mean=[3.0, 4.0, 0.1], direction="lower")
    cells = _score_row(rows, list(rows.index), [ORACLE])
    assert [cell.strong for cell in cells[1:]] == [True, False, False]
