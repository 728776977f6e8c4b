"""Scoring clip by clip: the same numbers with any number of workers, and a reason for each missing score."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest

from mind_animator.artefacts.arrays import read_arrays, write_arrays
from mind_animator.artefacts.streams import (
    read_pairs,
    read_problems,
    write_pairs,
    write_problems,
    write_stream,
)
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError
from mind_animator.metrics.flow import flows, speeds
from mind_animator.metrics.networks import frames_for
from mind_animator.metrics.registry import find_metric, networks_of, open_metrics
from mind_animator.scoring import score as module
from mind_animator.scoring.ground_truth import encode_ground_truth
from mind_animator.scoring.score import COLUMNS, Networks, embed_clips, score
from mind_animator.scoring.sources import ArraySource
from mind_animator.video.conform import conform
from workflow_scripts import encode_ground_truth as encode_script
from workflow_scripts import score_method as score_script

SIZE, FRAMES = 24, 4
CLIPS = [f"t-{index:05d}" for index in range(6)]
SETTINGS = ScoringConfig(size=SIZE, frames=FRAMES, n_ways=(2, 5), block=2, shuffles=5, batch=4)


def moving(rng, count):
    import cv2

    found = []
    for _ in range(count):
        large = cv2.resize(
            rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC
        )
        dx, dy = rng.integers(-2, 3, 2)
        found.append(
            [large[20 + k * dy : 20 + k * dy + SIZE, 20 + k * dx : 20 + k * dx + SIZE] for k in range(FRAMES)]
        )
    return np.array(found)


def linear(rng, dim):
    """A 'network': a fixed linear map of each frame's coarse colours, the same for any batch."""
    weights = rng.standard_normal((3 * 4 * 4, dim)).astype(np.float32)

    def embed(clips):
        coarse = clips[:, :, ::6, ::6].reshape(*clips.shape[:2], -1).astype(np.float32)
        return np.stack([[frame @ weights for frame in clip] for clip in coarse])

    return embed


@pytest.fixture
def files(tmp_path, rng):
    ground_truth, prediction = moving(rng, 6), moving(rng, 6)
    write_arrays(tmp_path / "ground_truth_frames.h5", {"frames": ground_truth}, CLIPS)
    with write_stream(tmp_path / "made.h5", CLIPS[:5]) as stream:
        for row in range(5):
            stream.write(row, {"frames": prediction[row]})
        write_problems(stream, {CLIPS[3]: "Expected a whole gif at 3.gif, got rubbish."})
    table = pd.DataFrame({"clip": CLIPS, "segment": "t", "movie": "t.mp4", "scene_cut": [True] + [False] * 5})
    write_table(tmp_path / "t.tsv", table)
    return tmp_path, table, ground_truth, prediction


def networks(rng):
    video = linear(rng, 9)
    return Networks(
        {
            "image_logits": linear(rng, 9),
            "video_logits": lambda clips: video(clips).mean(axis=1),
            "clip_embedding_image": linear(rng, 8),
            "vifi": linear(rng, 8),
        }
    )


def scored(folder, table, nets, workers=1, settings=SETTINGS, predictions=None):
    source = ArraySource([folder / "ground_truth_frames.h5"], size=SIZE, count=FRAMES)
    encode_ground_truth(CLIPS, source, nets, folder / "ground_truth.h5", settings, rate=4.0)
    made = ArraySource([folder / "made.h5"], size=SIZE, count=FRAMES)
    return score(
        table, folder / "ground_truth.h5", predictions or {"m": made}, nets, settings,
        count=FRAMES, dataset="d", subject="1", seed=3, workers=workers,
    )  # fmt: skip


def rows_and_pairs(*args, **options):
    found = scored(*args, **options)["m"]
    return found.rows, found.pairs


def test_rows_values_and_reasons(files, rng):
    folder, table, ground_truth, prediction = files
    rows, pairs = rows_and_pairs(folder, table, networks(rng))
    assert tuple(rows.columns) == COLUMNS
    assert len(rows) == len(CLIPS) * len(open_metrics(["standard"], (2, 5)))
    wide = rows.pivot(index="clip", columns="metric", values="value")
    for row in (0, 1, 2, 4):
        sides = ground_truth[row], prediction[row]
        for name in (
            "ssim",
            "psnr",
            "hue_cos_published",
            "hue_circular_corr",
            "epe_published",
            "epe",
            "flow_cosine",
        ):
            assert wide.loc[CLIPS[row], name] == find_metric(name)(*sides)
        speed = speeds(flows(ground_truth[row])).mean()
        assert wide.loc[CLIPS[row], "epe_relative"] == wide.loc[CLIPS[row], "epe"] / speed
        weight = rows[rows["clip"] == CLIPS[row]].set_index("metric")["weight"]
        assert weight["epe_relative"] == speed and (weight.drop("epe_relative") == 1).all()
    for clip, reason in ((CLIPS[3], "3.gif, got rubbish"), (CLIPS[5], "missing")):
        own = rows[rows["clip"] == clip]
        assert own["value"].isna().all()
        assert own["status"].str.contains(reason).all()
    # value is nan exactly where status is not ok; 5-way needs 7 classes, the model has 9
    assert (rows["value"].isna() == (rows["status"] != "ok")).all()
    assert np.isfinite(wide.loc[CLIPS[0]]).all()
    # aligned blocks of 2: (0,1), (2,3), (4,5); predictions 3 and 5 are missing
    assert pairs.rows.tolist() == [[0, 1], [2, 3], [4, 5]]
    for name in ("ssim", "hue_circular_corr", "flow_cosine", "image_2way", "video_2way"):
        nothing = np.zeros((3, 3, 2), bool)
        nothing[1, :, 1] = nothing[2, :, 1] = True
        np.testing.assert_array_equal(np.isnan(pairs.pairs[name]), nothing, err_msg=name)
    assert pairs.pairs["image_2way"][0, 0, 0] == wide.loc[CLIPS[0], "image_2way"]
    assert pairs.by_clip["shuffled_epe"].shape == (6, 5)
    write_pairs(folder / "pairs.h5", pairs)
    again = read_pairs(folder / "pairs.h5")
    assert again.clips == pairs.clips
    np.testing.assert_array_equal(again.pairs["ssim"], pairs.pairs["ssim"])


def test_own_pairs_equal_scores_and_other_pairs_the_metric(files, rng):
    """The clip's own pair is its score; pairs with other clips are the same function of the other ground truth."""
    folder, table, ground_truth, prediction = files
    rows, pairs = rows_and_pairs(folder, table, networks(rng))
    wide = rows.pivot(index="clip", columns="metric", values="value")
    metrics = {m.name: m for m in open_metrics(n_ways=(2, 5))}
    assert sorted(pairs.pairs) == sorted(name for name, m in metrics.items() if m.paired)
    for name, values in pairs.pairs.items():
        for (b, c, o), value in np.ndenumerate(values):
            clip, other = pairs.rows[b, o], pairs.rows[c, o]
            if clip in (3, 5):
                assert np.isnan(value)
            elif b == c:
                assert value == wide.loc[CLIPS[clip], name]
            elif not metrics[name].networks:
                assert value == metrics[name](ground_truth[other], prediction[clip])


@pytest.mark.parametrize("block", [1, 2, 4])
def test_pairs_at_their_own_size(files, rng, block):
    """Clips larger than the pairs are described twice; leftover clips have scores and no pairs."""
    folder, table, ground_truth, prediction = files
    settings = SETTINGS.model_copy(update={"pair_size": 16, "block": block})
    found = scored(folder, table, Networks(), settings=settings)["m"]
    assert found.pairs.rows.shape == (6 // block, block)
    wide = found.rows.pivot(index="clip", columns="metric", values="value")
    assert wide.loc[CLIPS[4], "ssim"] == find_metric("ssim")(ground_truth[4], prediction[4])
    if block == 4:
        assert not found.pairs.pairs
        return
    small = [conform(side, size=16, count=FRAMES) for side in (ground_truth[4], prediction[0])]
    for name in ("ssim", "hue_circular_corr", "epe"):
        assert found.pairs.pairs[name][0, 4 // block, 0] == find_metric(name)(*small)
    direction = found.pairs.pairs["flow_cosine"][0, 4 // block, 0]  # of the whole frames
    assert direction == find_metric("flow_cosine")(ground_truth[4], prediction[0])


def test_workers_and_company_give_the_same_numbers(files, rng, monkeypatch):
    folder, table, *_ = files
    made = ArraySource([folder / "made.h5"], size=SIZE, count=FRAMES)
    ground_truth = ArraySource([folder / "ground_truth_frames.h5"], size=SIZE, count=FRAMES)
    both = {"m": made, "truth/2": ground_truth}
    alone = scored(folder, table, Networks())["m"]
    monkeypatch.setattr(module, "TILE", 2)
    one, two = (scored(folder, table, Networks(), workers, predictions=both) for workers in (1, 2))
    for key, method, subject in (("m", "m", "1"), ("truth/2", "truth", "2")):
        assert set(one[key].rows["method"]) == {method} and set(one[key].rows["subject"]) == {subject}
        pd.testing.assert_frame_equal(one[key].rows, two[key].rows)
        pd.testing.assert_frame_equal(one[key].frames, two[key].frames)
        for name, values in one[key].pairs.pairs.items():
            np.testing.assert_array_equal(two[key].pairs.pairs[name], values)
        for name, values in one[key].pairs.by_clip.items():
            np.testing.assert_array_equal(two[key].pairs.by_clip[name], values)
    pd.testing.assert_frame_equal(one["m"].rows, alone.rows)
    np.testing.assert_array_equal(one["m"].pairs.pairs["epe"], alone.pairs.pairs["epe"])


def test_values_per_frame(files):
    folder, table, ground_truth, prediction = files
    frames = scored(folder, table, Networks())["m"].frames.set_index(["clip", "metric"])
    for name, count in (("ssim", FRAMES), ("epe", FRAMES - 1)):
        own = frames.loc[(CLIPS[1], name)]
        assert own["frame"].tolist() == list(range(count))
        expected = find_metric(name).frame_values(ground_truth[1], prediction[1])
        np.testing.assert_array_equal(own["value"], expected)
    assert CLIPS[3] not in frames.index.get_level_values("clip")


def test_a_file_made_with_other_settings_is_one_error(files):
    """It is not the clips' fault."""
    folder, table, *_ = files
    scored(folder, table, Networks())
    source = {"m": ArraySource([folder / "made.h5"], size=SIZE, count=FRAMES)}
    options = {"count": FRAMES, "dataset": "d", "subject": "1", "seed": 0}
    other = SETTINGS.model_copy(update={"pair_size": 16})
    with pytest.raises(InputError, match=r"for pairs of 16 pixels \(scoring\.pair_size\).*for 64 pixels"):
        score(table, folder / "ground_truth.h5", source, Networks(), other, **options)
    with h5py.File(folder / "ground_truth.h5", "a") as file:
        for name in [name for name in file if name.startswith("pair:epe:")]:
            del file[name]
    with pytest.raises(InputError, match="without 'epe'"):
        score(table, folder / "ground_truth.h5", source, Networks(), SETTINGS, **options)
    with h5py.File(folder / "ground_truth.h5", "a") as file:
        del file["flow_published"]
    with pytest.raises(InputError, match=r"Expected an array 'flow_published' in .*truth\.h5, found none"):
        score(table, folder / "ground_truth.h5", source, Networks(), SETTINGS, **options)


def test_clips_of_one_frame_have_scores_of_images(files):
    folder, table, *_ = files
    settings = SETTINGS.model_copy(update={"frames": 1})
    source = ArraySource([folder / "ground_truth_frames.h5"], size=SIZE, count=1)
    encode_ground_truth(CLIPS, source, Networks(), folder / "one.h5", settings, rate=4.0)
    made = ArraySource([folder / "ground_truth_frames.h5"], size=SIZE, count=1)
    found = score(
        table, folder / "one.h5", {"m": made}, Networks(), settings, count=1, dataset="d", subject="1", seed=0
    )["m"]
    own = found.rows[found.rows["clip"] == CLIPS[0]].set_index("metric")
    assert own.loc["ssim", "value"] == 1
    assert own.loc["epe", "status"] == "not computed: optical flow needs at least 2 frames, got 1"
    assert "ssim" in found.pairs.pairs and "flow_cosine" not in found.pairs.pairs


def test_absent_models_are_said_and_nothing_takes_their_place(files, rng):
    folder, table, *_ = files
    rows, pairs = rows_and_pairs(
        folder, table, Networks(absent={"clip_embedding_image": "no such folder", "vifi": "offline"})
    )
    first = rows[rows["clip"] == CLIPS[0]].set_index("metric")["status"]
    assert first["clip_consistency_to_ground_truth"] == "not computed: no such folder"
    assert first["vifi_score"] == "not computed: offline"
    assert first["image_2way"] == "not computed: no model given"
    assert first["ssim"] == "ok"
    assert "image_2way" not in pairs.pairs


def test_model_without_enough_classes(files, rng):
    folder, table, *_ = files
    settings = SETTINGS.model_copy(update={"n_ways": (2, 50)})
    rows, _ = rows_and_pairs(folder, table, networks(rng), settings=settings)
    first = rows[rows["clip"] == CLIPS[0]].set_index("metric")
    assert first.loc["image_50way", "status"] == "not computed: the image classifier has 9 classes"
    assert np.isfinite(first.loc["image_2way", "value"])


def test_nan_gives_a_reason_and_the_rest_is_scored(files, rng):
    """A model that answers NaN for one clip, frames that are no bytes: a row each, no mean silently."""
    folder, table, _, prediction = files
    nets = networks(rng)

    def broken(frames):
        out = nets.functions["clip_embedding_image"](frames)
        return np.where((frames == prediction[1]).all(axis=(1, 2, 3, 4))[:, None, None], np.nan, out)

    def broken_logits(frames):
        out = nets.functions["image_logits"](frames)
        return np.where((frames == prediction[2]).all(axis=(1, 2, 3, 4))[:, None, None], np.inf, out)

    rows, pairs = rows_and_pairs(
        folder,
        table,
        Networks({**nets.functions, "clip_embedding_image": broken, "image_logits": broken_logits}),
    )
    status = rows.pivot(index="clip", columns="metric", values="status")
    wrong = "not computed: the model returned NaN or infinity for this clip"
    for name in ("clip_consistency_gated", "clip_consistency_ungated", "clip_consistency_to_ground_truth"):
        assert status[name].tolist()[:3] == ["ok", wrong, "ok"]
    for name in ("image_2way", "image_5way"):
        assert status[name].tolist()[:3] == ["ok", "ok", wrong]
    assert status["vifi_score"].tolist()[:3] == status["ssim"].tolist()[:3] == ["ok"] * 3
    assert np.isnan(pairs.pairs["image_2way"][1, :, 0]).all()
    floats = prediction.astype(np.float32)
    floats[0, 0, 0, 0, 0] = np.nan
    write_arrays(folder / "made.h5", {"frames": floats}, CLIPS)
    status = rows_and_pairs(folder, table, Networks())[0].drop_duplicates("clip")["status"].tolist()
    assert status[0].endswith("got (4, 24, 24, 3) float32 with NaN.")
    assert status[1].endswith("got (4, 24, 24, 3) float32.")


def test_embeddings_do_not_depend_on_the_batch(files, rng):
    folder, *_ = files
    source, nets = ArraySource([folder / "ground_truth_frames.h5"], size=SIZE, count=FRAMES), networks(rng)
    used = list(networks_of(open_metrics()).values())
    found = [
        {clip: arrays for clip, _, arrays in embed_clips(CLIPS, source, nets, used, batch=batch)}
        for batch in (1, 4, 6)
    ]
    for other in found[1:]:
        assert list(other) == CLIPS
        for clip in CLIPS:
            for name in ("image_logits", "video_logits", "clip_embedding_image", "vifi"):
                np.testing.assert_array_equal(other[clip][name], found[0][clip][name])


def test_unreadable_ground_truth(files, rng):
    folder, table, *_ = files
    source = ArraySource([folder / "made.h5"], size=SIZE, count=FRAMES)
    with pytest.raises(InputError, match="rubbish"):
        encode_ground_truth(CLIPS[:5], source, Networks(), folder / "bad.h5", SETTINGS, rate=4.0)
    assert not (folder / "bad.h5").exists()
    problems = encode_ground_truth(
        CLIPS[:5], source, Networks(), folder / "some.h5", SETTINGS, rate=4.0, strict=False
    )
    assert list(problems) == [CLIPS[3]]
    assert read_problems([folder / "some.h5"]) == problems
    source = ArraySource([folder / "ground_truth_frames.h5"], size=SIZE, count=FRAMES)
    found = score(
        table[:5], folder / "some.h5", {"m": source}, Networks(), SETTINGS,
        count=FRAMES, dataset="d", subject="1", seed=0,
    )["m"]  # fmt: skip
    rows = found.rows
    assert (
        np.isnan(found.pairs.pairs["ssim"][:, 1, 1]).all()
        and np.isfinite(found.pairs.pairs["ssim"][0, 0]).all()
    )
    reasons = rows[rows["clip"] == CLIPS[3]]["status"]
    assert reasons.str.startswith("the ground truth is unreadable: ").all()


def test_scripts(files):
    folder, _table, *_ = files
    common = [
        "--tables", str(folder / "t.tsv"), "--frames", str(FRAMES), "--models", json.dumps({"vit": "nowhere"}),
        "--settings", SETTINGS.model_dump_json(), "--ground-truth", str(folder / "ground_truth.h5"),
    ]  # fmt: skip
    encode_script.main(["--stimuli", str(folder / "ground_truth_frames.h5"), "--rate", "4", *common])
    score_script.main(
        [
            "--reconstructions", str(folder / "made.h5"), "--dataset", "d", "--method", "m", "--subject", "1",
            "--seed", "3", "--scores", str(folder / "s.parquet"), "--table", str(folder / "s.tsv"),
            "--pairs", str(folder / "p.h5"), *common,
        ]
    )  # fmt: skip
    rows = read_table(folder / "s.parquet", COLUMNS)
    assert set(rows["subject"]) == {"1"}
    text = read_table(folder / "s.tsv", ("clip", "ssim", "status"))
    assert text["clip"].tolist() == CLIPS
    assert text["status"].str.contains("missing").tolist() == [False] * 5 + [True]
    status = rows[rows["metric"] == "image_2way"]["status"].iloc[0]
    assert status.startswith("not computed: Expected")


def test_sources(files):
    folder, *_ = files
    source = ArraySource([folder / "made.h5"], size=12, count=2)
    assert source.read(CLIPS[0]).shape == (2, 12, 12, 3)
    with pytest.raises(InputError, match="found none of that name"):
        source.read("unknown")
    write_arrays(folder / "void.h5", {"frames": np.empty((1, 0, 8, 8, 3), np.uint8)}, ["x"])
    with pytest.raises(InputError, match="zero length"):
        ArraySource([folder / "void.h5"], size=12, count=2).read("x")
    _, arrays = read_arrays(folder / "made.h5", ["frames"])
    assert arrays["frames"].shape == (5, FRAMES, SIZE, SIZE, 3)


def test_frames_of_a_video_classifier():
    assert frames_for(16, 8).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    assert frames_for(4, 8).tolist() == [1, 3, 5, 7]
