"""Scoring clip by clip: the same numbers by any number of workers, a reason for whatever is missing."""

import json
from dataclasses import replace
from itertools import chain

import h5py
import numpy as np
import pandas as pd
import pytest
from mind_animator.metrics.catalogue import metric, metric_names
from mind_animator.scoring.judge import judge

from mind_animator.artefacts.arrays import read_arrays, write_arrays
from mind_animator.artefacts.streams import (
    ClipReader,
    read_pairs,
    read_problems,
    write_pairs,
    write_problems,
    write_stream,
)
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError
from mind_animator.metrics import motion, pixel
from mind_animator.scoring.ground_truth import encode_ground_truth
from mind_animator.scoring.networks import frames_for
from mind_animator.scoring.score import COLUMNS, Networks, embed_clips, score_clips
from mind_animator.scoring.sources import ArraySource
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
    """A 'network': a fixed linear map of the frame's coarse colours, the same for any batch."""
    weights = rng.standard_normal((3 * 4 * 4, dim)).astype(np.float32)

    def embed(frames):
        coarse = frames[:, ::6, ::6].reshape(len(frames), -1).astype(np.float32)
        return np.stack([row @ weights for row in coarse])

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
        linear(rng, 9),
        lambda clips: np.stack([video(clip).mean(0) for clip in clips]),
        linear(rng, 8),
        linear(rng, 8),
    )


def judged(folder, table, nets, workers=1, settings=SETTINGS):
    source = ArraySource([folder / "ground_truth_frames.h5"], size=SIZE, count=FRAMES)
    encode_ground_truth(CLIPS, source, nets, folder / "ground_truth.h5", batch=4, rate=4.0, pair_size=64)
    prediction = ArraySource([folder / "made.h5"], size=SIZE, count=FRAMES)
    return judge(
        table,
        folder / "ground_truth.h5",
        prediction,
        nets,
        settings,
        count=FRAMES,
        dataset="d",
        method="m",
        subject="1",
        seed=3,
        workers=workers,
    )


def test_rows_values_and_reasons(files, rng):
    folder, table, ground_truth, prediction = files
    rows, pairs = judged(folder, table, networks(rng))
    assert tuple(rows.columns) == COLUMNS
    assert len(rows) == len(CLIPS) * len(metric_names((2, 5)))
    wide = rows.pivot(index="clip", columns="metric", values="value")
    for row in (0, 1, 2, 4):
        sides = ground_truth[row], prediction[row]
        assert wide.loc[CLIPS[row], "ssim"] == pixel.ssim(*sides).mean()
        assert wide.loc[CLIPS[row], "epe_published"] == motion.epe_published(*sides)
        assert wide.loc[CLIPS[row], "epe"] == motion.epe(*sides)
        speed = motion.mean_speed(motion.flows(ground_truth[row]))
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


def test_workers_give_the_same_numbers(files, rng):
    folder, _table, *_ = files
    source = ArraySource([folder / "ground_truth_frames.h5"], size=SIZE, count=FRAMES)
    encode_ground_truth(
        CLIPS, source, Networks(), folder / "ground_truth.h5", batch=4, rate=4.0, pair_size=64
    )
    made = ArraySource([folder / "made.h5"], size=SIZE, count=FRAMES)
    orders = np.array([[1, 0, 2, 3], [3, 2, 1, 0]])
    one, two = (
        list(
            score_clips(
                CLIPS,
                source,
                [made, source],
                kept=ClipReader([folder / "ground_truth.h5"]),
                orders=orders,
                workers=workers,
            )
        )
        for workers in (1, 2)
    )
    alone = score_clips(CLIPS, source, [made], orders=orders)
    assert [a.values for a, _ in one] == [
        a.values for (a,) in alone
    ]  # whatever else is compared, kept or not
    for a, b in zip(chain(*one), chain(*two), strict=True):
        assert (a.clip, a.status, a.values) == (b.clip, b.status, b.values)
        np.testing.assert_array_equal(a.mean_flow, b.mean_flow)
        np.testing.assert_array_equal(a.shuffled_epe, b.shuffled_epe)


def test_a_ground_truth_without_its_motion_is_one_error(files):
    """A file of another version is not the clips' fault."""
    folder, *_ = files
    source = ArraySource([folder / "ground_truth_frames.h5"], size=SIZE, count=FRAMES)
    encode_ground_truth(
        CLIPS, source, Networks(), folder / "ground_truth.h5", batch=4, rate=4.0, pair_size=64
    )
    with h5py.File(folder / "ground_truth.h5", "a") as file:
        del file["speed"]
    with pytest.raises(InputError, match=r"Expected an array 'speed' in .*ground_truth\.h5, found none"):
        next(score_clips(CLIPS, source, [source], kept=ClipReader([folder / "ground_truth.h5"])))


def test_absent_models_are_said_and_nothing_takes_their_place(files, rng):
    folder, table, *_ = files
    rows, pairs = judged(
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
    rows, _ = judged(folder, table, networks(rng), settings=settings)
    first = rows[rows["clip"] == CLIPS[0]].set_index("metric")
    assert first.loc["image_50way", "status"] == "not computed: the image model has 9 classes"
    assert np.isfinite(first.loc["image_2way", "value"])


def test_nan_gives_a_reason_and_the_rest_is_scored(files, rng):
    """A model that answers NaN for one clip, frames that are no bytes: a row each, no mean in silence."""
    folder, table, _, prediction = files
    nets = networks(rng)

    def broken(frames):
        out = nets.clip_embedding_image(frames)
        return np.where((frames == prediction[1][0]).all(axis=(1, 2, 3))[:, None], np.nan, out)

    def broken_logits(frames):
        out = nets.image_logits(frames)
        return np.where((frames == prediction[2][0]).all(axis=(1, 2, 3))[:, None], np.inf, out)

    rows, pairs = judged(
        folder, table, replace(nets, clip_embedding_image=broken, image_logits=broken_logits)
    )
    status = rows.pivot(index="clip", columns="metric", values="status")
    wrong = "not computed: the model answers NaN or infinity for this clip"
    for name in ("clip_consistency_gated", "clip_consistency_ungated", "clip_consistency_to_ground_truth"):
        assert status[name].tolist()[:3] == ["ok", wrong, "ok"]
    for name in ("image_2way", "image_5way"):
        assert status[name].tolist()[:3] == ["ok", "ok", wrong]
    assert status["vifi_score"].tolist()[:3] == status["ssim"].tolist()[:3] == ["ok"] * 3
    assert np.isnan(pairs.pairs["image_2way"][1, :, 0]).all()
    floats = prediction.astype(np.float32)
    floats[0, 0, 0, 0, 0] = np.nan
    write_arrays(folder / "floats.h5", {"frames": floats}, CLIPS)
    source = ArraySource([folder / "floats.h5"], size=SIZE, count=FRAMES)
    kept = ArraySource([folder / "ground_truth_frames.h5"], size=SIZE, count=FRAMES)
    found = [score for (score,) in score_clips(CLIPS[:2], kept, [source])]
    assert found[0].status.endswith("got (4, 24, 24, 3) float32 with NaN.")
    assert found[1].status.endswith("got (4, 24, 24, 3) float32.")


def test_embeddings_do_not_depend_on_the_batch(files, rng):
    folder, *_ = files
    source, nets = ArraySource([folder / "ground_truth_frames.h5"], size=SIZE, count=FRAMES), networks(rng)
    found = [dict(embed_clips(CLIPS, source, nets, batch=batch)) for batch in (1, 4, 6)]
    for other in found[1:]:
        assert list(other) == CLIPS
        for clip in CLIPS:
            for name in ("image_logits", "video_logits", "clip_embedding_image", "vifi"):
                np.testing.assert_array_equal(other[clip][name], found[0][clip][name])


def test_unreadable_ground_truth(files, rng):
    folder, table, *_ = files
    source = ArraySource([folder / "made.h5"], size=SIZE, count=FRAMES)
    with pytest.raises(InputError, match="rubbish"):
        encode_ground_truth(CLIPS[:5], source, Networks(), folder / "bad.h5", batch=4, rate=4.0, pair_size=64)
    assert not (folder / "bad.h5").exists()
    problems = encode_ground_truth(
        CLIPS[:5], source, Networks(), folder / "some.h5", batch=4, rate=4.0, pair_size=64, strict=False
    )
    assert list(problems) == [CLIPS[3]]
    assert read_problems([folder / "some.h5"]) == problems
    rows, _ = judge(
        table[:5],
        folder / "some.h5",
        ArraySource([folder / "ground_truth_frames.h5"], size=SIZE, count=FRAMES),
        Networks(),
        SETTINGS,
        count=FRAMES,
        dataset="d",
        method="m",
        subject="1",
        seed=0,
    )
    reasons = rows[rows["clip"] == CLIPS[3]]["status"]
    assert reasons.str.startswith("the ground truth is unreadable: ").all()


def test_scripts(files):
    folder, _table, *_ = files
    common = [
        "--tables",
        str(folder / "t.tsv"),
        "--frames",
        str(FRAMES),
        "--models",
        json.dumps({"vit": "nowhere"}),
    ]
    encode_script.main(
        [
            "--stimuli",
            str(folder / "ground_truth_frames.h5"),
            "--size",
            str(SIZE),
            "--rate",
            "4",
            "--batch",
            "4",
            "--pair-size",
            "64",
            "--ground-truth",
            str(folder / "ground_truth.h5"),
            *common,
        ]
    )
    score_script.main(
        [
            "--ground-truth",
            str(folder / "ground_truth.h5"),
            "--reconstructions",
            str(folder / "made.h5"),
            "--dataset",
            "d",
            "--method",
            "m",
            "--subject",
            "1",
            "--settings",
            SETTINGS.model_dump_json(),
            "--seed",
            "3",
            "--scores",
            str(folder / "s.parquet"),
            "--table",
            str(folder / "s.tsv"),
            "--pairs",
            str(folder / "p.h5"),
            *common,
        ]
    )
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


def test_catalogue():
    assert metric("image_50way").label == "50-way-I"
    assert metric("image_2way_efficientnet_lite0").published is False
    assert metric("retrieval_text_large_top10").label == "top-10 (text, large)"
    assert metric("retrieval_image_rank").higher_is_better is False
    assert metric("epe").direction == "lower"
    with pytest.raises(KeyError):
        metric("beauty")
    assert frames_for(16, 8).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    assert frames_for(4, 8).tolist() == [1, 3, 5, 7]
