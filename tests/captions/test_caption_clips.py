"""Captioning by BLIP-2: as the library does it, regardless of the shard, and where it was interrupted."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import workflow_scripts.caption_clips as script
from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.tables import read_table
from mind_animator.captions.blip2 import describe_images
from mind_animator.errors import InputError
from mind_animator.models.load import load_blip2

PROMPT = "Question: What does this image describe? Answer:"
SETTINGS = {"max_new_tokens": 5, "batch": 4}


@pytest.fixture(scope="module")
def blip2(random_models):
    return load_blip2(random_models / "blip2")


@pytest.fixture
def segments(tmp_path, rng):
    """Two segments of 5 and 4 clips."""
    for name, count in (("one", 5), ("two", 4)):
        coarse = rng.integers(0, 255, (count, 8, 4, 4, 3), dtype=np.uint8)
        frames = coarse.repeat(16, 2).repeat(16, 3)
        clips = [f"{name}-{index:05d}" for index in range(count)]
        write_arrays(tmp_path / f"{name}.h5", {"frames": frames}, clips, {"stimuli": name})
    return [tmp_path / "one.h5", tmp_path / "two.h5"]


def _run(models, segments, out, *, skip=0, count=9, seed=1, **settings):
    script.main([
        "--frames", *map(str, segments), "--skip", str(skip), "--n-clips", str(count),
        "--models", json.dumps({name: str(models / name) for name in ("blip2", "clip")}),
        "--settings", json.dumps(SETTINGS | settings), "--seed", str(seed),
        "--state", f"{out}.state", "--captions", str(out),
    ])  # fmt: skip
    return read_table(out)


def test_as_the_library_answers(blip2, random_models, rng):
    from transformers import AutoTokenizer, Blip2Processor, BlipImageProcessorPil

    frames = rng.integers(0, 255, (3, 4, 4, 3), dtype=np.uint8).repeat(16, 1).repeat(16, 2)
    processor = Blip2Processor(
        BlipImageProcessorPil.from_pretrained(random_models / "blip2"),
        AutoTokenizer.from_pretrained(random_models / "blip2"),
        num_query_tokens=blip2.model.config.num_query_tokens,
    )
    expected = []
    for frame in frames:
        inputs = processor(images=Image.fromarray(frame), text=PROMPT, return_tensors="pt")
        tokens = blip2.model.generate(**inputs, max_new_tokens=5, do_sample=False)
        expected.append(" ".join(processor.batch_decode(tokens, skip_special_tokens=True)[0].split()))
    ours = describe_images(blip2, frames, prompt=PROMPT, max_new_tokens=5, batch=2)
    assert ours == expected
    assert len(set(ours)) > 1
    assert describe_images(blip2, frames[2:], prompt=PROMPT, max_new_tokens=5, batch=2) == ours[2:]


def test_a_model_without_a_image_token_is_refused(blip2):
    config, frame = blip2.model.config, torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    token = config.image_token_id
    config.image_token_id = None  # an alias, which monkeypatch cannot put back
    try:
        with pytest.raises(InputError, match="Expected 'image_token_index' in the BLIP-2 config"):
            describe_images(blip2, frame, prompt="", max_new_tokens=2, batch=1)
    finally:
        config.image_token_id = token


def test_shards_spanning_segments_give_the_rows_of_the_whole(random_models, segments, tmp_path):
    whole = _run(random_models, segments, tmp_path / "whole.tsv")
    assert whole["clip"].tolist() == [f"one-{i:05d}" for i in range(5)] + [f"two-{i:05d}" for i in range(4)]
    parts = [
        _run(random_models, segments[:1], tmp_path / "a.tsv", skip=0, count=3),
        _run(random_models, segments, tmp_path / "b.tsv", skip=3, count=4),
        _run(random_models, segments[1:], tmp_path / "c.tsv", skip=2, count=2),
    ]
    assert pd.concat(parts, ignore_index=True).equals(whole)
    for _, row in whole.iterrows():
        differs = abs(row["similarity_first"] - row["similarity_last"]) > 0.05
        assert row["joined"] == differs
        assert row["caption"] in (
            [f"{row['first']}, and then {row['last']}"] if differs else [row["first"], row["last"]]
        )
    assert not list(tmp_path.glob("*.state"))


def test_an_interrupted_shard_goes_on_and_other_work_does_not(random_models, segments, tmp_path, monkeypatch):
    whole = _run(random_models, segments, tmp_path / "whole.tsv")
    calls = []
    real = script.caption_group

    def interrupted(*arguments):
        calls.append(arguments[2])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    out = tmp_path / "out.tsv"
    monkeypatch.setattr(script, "caption_group", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _run(random_models, segments, out)
    assert not out.exists()
    state = tmp_path / "out.tsv.state"
    kept = state.read_text()
    assert len(json.loads(kept)["rows"]) == 4

    resumed = _run(random_models, segments, out)
    assert resumed.equals(whole)
    assert calls[3] == ["one-00004", "two-00000"]
    # another seed is other work
    state.write_text(kept)
    calls.clear()
    calls += [None] * 5
    _run(random_models, segments, out, seed=2)
    assert calls[5] == ["one-00000", "one-00001"]


def test_too_few_clips(random_models, segments, tmp_path):
    with pytest.raises(InputError, match=r"Expected 10 clips in .*two.h5, got 9"):
        _run(random_models, segments, tmp_path / "out.tsv", skip=3, count=7)
    assert not (tmp_path / "out.tsv").exists()
