"""What the decoders aim at."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from mind_animator.artefacts.arrays import read_arrays, read_attrs, write_arrays
from mind_animator.artefacts.tables import write_table
from mind_animator.config.features import FeaturesConfig
from mind_animator.errors import InputError
from mind_animator.features.image import clip_generator, image_targets
from mind_animator.models.embed import embed_images, embed_texts, encode_prompts
from mind_animator.models.load import load_clip, load_text_encoder, load_vae
from workflow_scripts.encode_features import main as encode_features

CLIPS = [f"one-{index:05d}" for index in range(4)] + [f"two-{index:05d}" for index in range(3)]
CAPTIONS = [
    "a horse",
    "a car in a city",
    "a pig, and then a frog",
    "a fish",
    "a ball",
    "",
    "a turtle in space",
]


@pytest.fixture(scope="module")
def clip(random_models):
    return load_clip(random_models / "clip")


@pytest.fixture(scope="module")
def vae(random_models):
    return load_vae(random_models / "sd")


@pytest.fixture(scope="module")
def frames():
    coarse = np.random.default_rng(2).integers(0, 255, (7, 4, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, 2).repeat(8, 3)


def _targets(clip, vae, frames, seed=0, **settings):
    settings = FeaturesConfig(**({"batch": 8} | settings))
    found = dict(image_targets(clip, vae, zip(CLIPS, frames, strict=False), settings, seed))
    return {name: np.stack([found[c][name] for c in found]) for name in ("clip_embedding_image", "latents")}


@pytest.mark.parametrize(("image", "index"), [("middle", 2), ("first", 0)])
def test_one_frame_stands_for_a_clip(clip, vae, frames, image, index):
    got = _targets(clip, vae, frames[:3], image=image)["clip_embedding_image"]
    assert np.allclose(got, embed_images(clip, frames[:3, index], 3).numpy(), atol=1e-5)


def test_the_mean_of_normalised_embeddings(clip, vae, frames):
    got = _targets(clip, vae, frames[:3], image="mean")["clip_embedding_image"]
    every = embed_images(clip, frames[:3].reshape(-1, 64, 64, 3), 8)
    slow = (every / every.norm(dim=1, keepdim=True)).reshape(3, 4, -1).mean(dim=1)
    assert np.allclose(got, slow.numpy(), atol=1e-5)


def test_sampled_latents_depend_on_seed_and_name_alone(clip, vae, frames):
    mean = _targets(clip, vae, frames)["latents"]
    one = _targets(clip, vae, frames, seed=1, latents="sample")["latents"]
    assert np.array_equal(one, _targets(clip, vae, frames, seed=1, latents="sample")["latents"])
    assert not np.allclose(one, _targets(clip, vae, frames, seed=2, latents="sample")["latents"], atol=1e-3)
    assert not np.allclose(one, mean, atol=1e-3)
    assert np.allclose(
        one, _targets(clip, vae, frames, seed=1, latents="sample", batch=16)["latents"], atol=1e-5
    )
    draws = [
        torch.randn(3, generator=clip_generator(*key)).tolist()
        for key in ((1, "a"), (1, "b"), (2, "a"), (1, "a"))
    ]
    assert draws[0] == draws[3] and draws[0] != draws[1] and draws[0] != draws[2]


def _segments(folder, frames):
    write_arrays(folder / "one.h5", {"frames": frames[:4]}, CLIPS[:4])
    write_arrays(folder / "two.h5", {"frames": frames[4:]}, CLIPS[4:])
    return [folder / "one.h5", folder / "two.h5"]


def _models(folder):
    return json.dumps({"clip": str(folder / "clip"), "stable_diffusion": str(folder / "sd")})


def _frames_shard(models, files, out, skip, count):
    encode_features([
        "--kind", "image", "--clips", *map(str, files), "--skip", str(skip), "--n-clips", str(count), "--models",
        _models(models),
        "--settings", '{"batch": 8}', "--seed", "0", "--features", str(out),
    ])  # fmt: skip


def test_shards_of_frames_are_identical_to_the_whole(random_models, frames, tmp_path):
    one, two = _segments(tmp_path, frames)
    _frames_shard(random_models, [one, two], tmp_path / "whole.h5", 0, 7)
    _frames_shard(random_models, [one], tmp_path / "a.h5", 0, 3)
    _frames_shard(random_models, [one, two], tmp_path / "b.h5", 3, 4)
    clips, whole = read_arrays(tmp_path / "whole.h5", ["clip_embedding_image", "latents"])
    names, parts = read_arrays([tmp_path / "a.h5", tmp_path / "b.h5"], ["clip_embedding_image", "latents"])
    assert clips == names == CLIPS
    assert whole["latents"].shape == (7, 4, 4, 8, 8) and whole["latents"].dtype == np.float32
    for name in whole:
        assert np.array_equal(whole[name], parts[name])
    with pytest.raises(InputError, match=r"Expected 8 clips in .*two.h5, got 7"):
        _frames_shard(random_models, [one, two], tmp_path / "c.h5", 3, 5)
    assert not (tmp_path / "c.h5").exists()


def test_text_targets_of_a_shard(random_models, tmp_path):
    for name, rows in (("a", slice(0, 4)), ("b", slice(4, 7))):
        write_table(tmp_path / f"{name}.tsv", pd.DataFrame({"clip": CLIPS[rows], "caption": CAPTIONS[rows]}))

    def run(out, files, skip, count, settings):
        encode_features([
            "--kind", "text", "--clips", *[str(tmp_path / f"{file}.tsv") for file in files],
            "--skip", str(skip), "--n-clips", str(count), "--models", _models(random_models),
            "--settings", json.dumps(settings), "--seed", "3", "--features", str(tmp_path / out),
        ])  # fmt: skip
        names = ["clip_embedding_text", "prompt_embedding"]
        names += (
            ["clip_embedding_text_copies", "prompt_embedding_copies"]
            if settings.get("caption_copies")
            else []
        )
        return read_arrays(tmp_path / out, names)

    clips, whole = run("whole.h5", "ab", 0, 7, {"batch": 4})
    names, part = run("part.h5", "ab", 2, 4, {"batch": 4})
    assert clips == CLIPS and names == CLIPS[2:6]
    for name in whole:
        assert np.array_equal(whole[name][2:6], part[name])
    clip, encoder = load_clip(random_models / "clip"), load_text_encoder(random_models / "sd")
    assert whole["prompt_embedding"].shape == (7, 19, 128)
    assert np.allclose(
        whole["prompt_embedding"], encode_prompts(encoder, CAPTIONS, 20, 7)[:, 1:].numpy(), atol=1e-5
    )
    assert np.allclose(whole["clip_embedding_text"], embed_texts(clip, CAPTIONS, 7).numpy(), atol=1e-5)
    assert run("short.h5", "a", 0, 4, {"batch": 4, "tokens": 7})[1]["prompt_embedding"].shape == (4, 6, 128)
    # "a pig, and then a frog" has 8 tokens with BOS and EOS, "a turtle in space" 6
    cut = json.loads(read_attrs(tmp_path / "short.h5")["captions_cut"])
    assert list(cut.values()) == [0, 1] and list(cut)[1] == "prompt embedding (7 tokens)"
    with pytest.raises(InputError, match=r"Expected 9 captions in .*b.tsv, got 7"):
        run("none.h5", "ab", 3, 6, {})
    # augmented captions: the same for any sharding, none of them equal to the clips' own targets
    _, copies = run("copies.h5", "ab", 0, 7, {"batch": 4, "caption_copies": 2})
    _, some = run("some.h5", "b", 1, 2, {"batch": 4, "caption_copies": 2})
    assert copies["clip_embedding_text_copies"].shape == (7, 2, 64) and copies[
        "prompt_embedding_copies"
    ].shape == (
        7,
        2,
        19,
        128,
    )
    for name in copies:
        assert np.array_equal(copies[name][5:7], some[name]), name
    assert np.array_equal(copies["clip_embedding_text"], whole["clip_embedding_text"])
    far = np.abs(copies["clip_embedding_text_copies"] - copies["clip_embedding_text"][:, None]).max(axis=2)
    assert (far.max(axis=1) > 1e-3).sum() >= 5  # an empty or unlucky caption may stay as it is


def test_crops_of_the_clips_frame(clip, vae, frames):
    settings = FeaturesConfig(batch=8, crops=3)
    found = dict(image_targets(clip, vae, zip(CLIPS, frames, strict=True), settings, 1))
    alone = dict(image_targets(clip, vae, [(CLIPS[2], frames[2])], settings, 1))[CLIPS[2]]
    assert alone["clip_embedding_image_crops"].shape == (3, alone["clip_embedding_image"].shape[0])
    assert np.allclose(
        alone["clip_embedding_image_crops"], found[CLIPS[2]]["clip_embedding_image_crops"], atol=1e-5
    )
    assert (
        np.abs(alone["clip_embedding_image_crops"] - alone["clip_embedding_image"]).max(axis=1).min() > 1e-3
    )
    other = dict(image_targets(clip, vae, [(CLIPS[2], frames[2])], settings, 2))[CLIPS[2]]
    assert not np.allclose(
        other["clip_embedding_image_crops"], alone["clip_embedding_image_crops"], atol=1e-3
    )
