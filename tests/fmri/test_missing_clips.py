"""Clips without a response are missing everywhere: voxel choice, scaling, training, predictions and scores."""

import json

import numpy as np
import pandas as pd
import pytest
from moving_blobs import make_blobs

from mind_animator.artefacts.arrays import read_arrays, write_arrays
from mind_animator.artefacts.reconstructions import problems_of, read_shard, write_reconstructions
from mind_animator.artefacts.responses import NO_RESPONSE
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.methods import MethodConfig
from mind_animator.errors import InputError
from mind_animator.methods import open_methods
from mind_animator.scoring.sources import ArraySource
from workflow_scripts import predict, preprocess_subject, score_retrieval, train_part


@pytest.fixture
def lab(tmp_path, rng):
    """Responses around 1000, as GLM betas or raw volumes have: zeros in the place of missing ones would ruin them."""
    x = (1000 + 5 * rng.standard_normal((60, 30))).astype(np.float32)
    np.save(tmp_path / "sub-whole.npy", x)
    x[10:15] = x[55:] = np.nan
    np.save(tmp_path / "sub-gap.npy", x)
    x[40:] = np.nan
    np.save(tmp_path / "sub-untested.npy", x)
    rows = [
        ("train" if k < 40 else "test", "abcd"[k // 10] if k < 40 else "t", f"dog {k}") for k in range(60)
    ]
    table = pd.DataFrame(rows, columns=["split", "movie", "caption"])
    table.to_csv(tmp_path / "clips.tsv", sep="\t", index=False)
    return tmp_path


def preprocess(root, subject):
    dataset = {
        "name": "arrays",
        "data_root": str(root),
        "subjects": [subject],
        "options": {"clips": "clips.tsv"},
    }
    given = [
        "--dataset",
        json.dumps(dataset),
        "--subject",
        subject,
        "--settings",
        '{"voxels": {"all": true, "count": null}}',
    ]
    for name, ending in (("responses", "h5"), ("maps", "h5"), ("voxels", "tsv"), ("quality", "tsv")):
        given += [f"--{name}", str(root / f"{name}.{ending}")]
    preprocess_subject.main(given)
    return read_arrays(root / "responses.h5", ["responses", "present"])[1]


def test_missing_clips_do_not_touch_the_scaling_of_the_others(lab):
    arrays = preprocess(lab, "gap")
    values, present = arrays["responses"], arrays["present"]
    gap = np.r_[10:15, 55:60]
    assert np.flatnonzero(~present).tolist() == gap.tolist()
    assert np.isnan(values[gap]).all()
    trained = np.r_[0:10, 15:40]
    np.testing.assert_allclose(values[trained].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(values[trained].std(axis=0), 1, atol=1e-4)
    assert read_table(lab / "quality.tsv", ("missing_clips",))["missing_clips"].sum() == 10
    whole = preprocess(lab, "whole")
    assert whole["present"].all()
    np.testing.assert_allclose(whole["responses"][:40].std(axis=0), 1, atol=1e-4)


def test_a_subject_without_any_test_response_is_refused(lab):
    with pytest.raises(
        InputError, match=r"^Expected responses to test clips, got none\. \(subject untested\)$"
    ):
        preprocess(lab, "untested")


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(movies=3)


def write_study(folder, blobs, kept):
    """Files of the stages before training; clips outside ``kept`` are left out, or marked as missing."""
    responses = np.where(kept[:, None], blobs.responses, np.nan).astype(np.float32)
    write_arrays(folder / "gap.h5", {"responses": responses, "present": kept}, blobs.clips)
    clips = [clip for clip, k in zip(blobs.clips, kept, strict=True) if k]
    write_arrays(folder / "short.h5", {"responses": blobs.responses[kept]}, clips)
    text = {"clip_embedding_text": blobs.clip_embedding_text, "prompt_embedding": blobs.prompt_embedding}
    write_arrays(folder / "clips-00000.text.h5", text, blobs.clips)
    table = pd.DataFrame(
        {"clip": blobs.clips, "segment": blobs.movie, "movie": blobs.movie, "split": blobs.split}
    )
    write_table(folder / "gap.tsv", table.assign(scene_cut=False))
    write_table(folder / "short.tsv", table[kept])
    write_table(folder / "test.tsv", table[table["split"] == "test"].assign(scene_cut=False))


def train(folder, name):
    method = open_methods({"m": MethodConfig(kind="ridge")})["m"]
    train_part.main([
        "--kind", "ridge", "--part", "semantic", "--settings", method.training_settings("semantic"),
        "--needs", method.part("semantic").needs.model_dump_json(), "--subjects", "1",
        "--responses", str(folder / f"{name}.h5"), "--clips", str(folder / f"{name}.tsv"),
        "--features", str(folder / "clips-00000.text.h5"), "--seed", "3",
        "--weights", str(folder / f"{name}.safetensors"), "--record", str(folder / f"{name}.json"),
    ])  # fmt: skip
    return method, (folder / f"{name}.safetensors").read_bytes()


def test_missing_clips_are_neither_trained_on_nor_scored(blobs, tmp_path):
    kept = np.ones(len(blobs.clips), bool)
    kept[[3, 4, 50, 85, 90]] = False  # two of them are test clips
    write_study(tmp_path, blobs, kept)
    method, weights = train(tmp_path, "gap")
    assert weights == train(tmp_path, "short")[1]

    predict.main([
        "--kind", "ridge", "--settings", method.prediction_settings(), "--needs", "{}", "--weights",
        f"semantic={tmp_path / 'gap.safetensors'}",
        "--subject", "1", "--responses", str(tmp_path / "gap.h5"), "--clips", str(tmp_path / "test.tsv"), "--seed", "3",
        "--predictions", str(tmp_path / "predictions.h5"),
    ])  # fmt: skip
    missing = [blobs.clips[85], blobs.clips[90]]
    clips, arrays = read_arrays(tmp_path / "predictions.h5", ["semantic"])
    assert clips == list(blobs.clips[80:])
    absent = np.isnan(arrays["semantic"]).all(axis=1)
    assert [clip for clip, a in zip(clips, absent, strict=True) if a] == missing
    score_retrieval.main([
        "--predictions", str(tmp_path / "predictions.h5"), "--text", str(tmp_path / "clips-00000.text.h5"),
        "--tables", str(tmp_path / "test.tsv"), "--block", "5", "--dataset", "d", "--method", "m", "--subject", "1",
        "--scores", str(tmp_path / "scores.parquet"), "--pairs", str(tmp_path / "pairs.h5"),
    ])  # fmt: skip
    scores = read_table(tmp_path / "scores.parquet", ("clip", "metric", "value", "status", "candidates"))
    ranks = scores[scores["metric"] == "retrieval_text_rank"]
    assert len(ranks) == 40
    assert set(ranks.loc[ranks["status"] == NO_RESPONSE, "clip"]) == set(missing)
    assert ranks["value"].isna().sum() == 2
    assert (ranks["candidates"] == 38).all()


def test_shards_keep_their_shape_and_scores_get_the_reason(tmp_path):
    latents = np.ones((4, 2, 4, 8, 8), np.float32)
    latents[2] = np.nan
    problems = {"t-00002": NO_RESPONSE}
    clips = [f"t-{k:05d}" for k in range(4)]
    write_arrays(tmp_path / "p.h5", {"latents": latents}, clips, {"problems": json.dumps(problems)})
    names, arrays = read_shard(tmp_path / "p.h5", 2, 2, ["latents"])
    assert names == clips[2:]
    assert (arrays["latents"][0] == 0).all()
    frames = np.full((2, 2, 16, 16, 3), 9, np.uint8)
    found = problems_of(tmp_path / "p.h5", names)
    write_reconstructions(tmp_path / "f.h5", tmp_path / "f.mp4", names, frames, 4.0, found)
    source = ArraySource([tmp_path / "f.h5"], size=16, count=2)
    assert (source.read("t-00003") == 9).all()
    with pytest.raises(InputError, match="the subject has no response to this clip"):
        source.read("t-00002")
