"""Token decoder, prior and blurry video, and the method built on them: sizes, losses, fusion, features."""

import numpy as np
import pandas as pd
import pytest
import torch
from random_models import save_small_generator
from safetensors.torch import save_file
from tiny_demo import ROOT

from mind_animator.config.features import FeaturesConfig
from mind_animator.config.methods import MethodConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.decoders.tokens import BlurryVideo, ClipAttention, contrast, mix_half, soft_contrast
from mind_animator.diffusion.motion_module import load_motion_generator
from mind_animator.features.base import open_provider
from mind_animator.features.clip_tokens import ClipTokens
from mind_animator.methods import open_methods
from mind_animator.methods.base import PredictionInputs, ReconstructionInputs
from mind_animator.methods.neuroclips import ENTRY, PRESETS, SECTIONS, _build

ASSETS = ROOT / "mind_animator/assets/models"


def test_the_published_size():
    """Behind the input layer of 13,447 voxels; without the published mixer over a single token (24 parameters)."""
    chosen = {part: SECTIONS[part](**PRESETS["published"][part]) for part in ("tokens", "prior", "blurry")}
    shapes = {
        "voxels": 13_447, "tokens": [256, 1664], "embedding": 1280, "prompt": [76, 768], "latents": [6, 4, 28, 28],
    }  # fmt: skip
    with torch.device("meta"):
        decoder = _build("tokens", chosen["tokens"], shapes)
        count = sum(p.numel() for p in decoder.parameters())
        first = sum(p.numel() for p in decoder.input_layer.parameters())
        assert count - first == 1_887_861_400 - 24
        assert round(first / 1e6, 1) == 55.1
        prior = _build("prior", chosen["prior"], shapes, decoder)
        assert sum(p.numel() for p in prior.network.parameters()) == pytest.approx(237.7e6, rel=0.1)
        made, features = _build("blurry", chosen["blurry"], shapes)(torch.zeros(2, 13_447))
    assert made.shape == (2, 6, 4, 28, 28) and features.shape == (2, 256, 1664)


def test_contrasts_by_their_definition(rng):
    first, second = (torch.from_numpy(x / np.linalg.norm(x, axis=1, keepdims=True))
                     for x in rng.normal(size=(2, 5, 7)))  # fmt: skip
    labels = torch.from_numpy(rng.dirichlet(np.ones(5), 5))
    scores = (first @ second.T / 0.1).numpy()
    expected = 0.0
    for i in range(5):
        for j in range(5):
            row = scores[i, j] - np.log(np.exp(scores[i]).sum())
            column = scores[i, j] - np.log(np.exp(scores[:, j]).sum())
            expected -= labels[i, j] * (row + column) / 10
    assert float(contrast(first @ second.T / 0.1, labels)) == pytest.approx(float(expected))
    soft = torch.softmax(second @ second.T / 0.1, 1)
    assert float(soft_contrast(first, second, 0.1)) == pytest.approx(
        float(contrast(first @ second.T / 0.1, soft))
    )


def test_half_of_a_batch_is_mixed():
    order, fractions = mix_half(400, 0.5, torch.Generator().manual_seed(0))
    mixed = fractions[fractions < 1]
    assert sorted(order.tolist()) == list(range(400)) and 195 <= len(mixed) <= 200
    # Beta(1/2, 1/2): mean 1/2, variance 1/8
    assert abs(mixed.mean() - 0.5) < 0.1 and abs(mixed.var() - 0.125) < 0.03
    again = mix_half(400, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(again[1], fractions)


def test_attention_stays_within_a_clip():
    torch.manual_seed(0)
    layer = ClipAttention(8)
    x = torch.randn(3, 4, 8, 2, 2)
    changed = x.clone()
    changed[1, 2] = torch.randn(8, 2, 2)
    with torch.no_grad():
        assert (layer(x) - layer(changed)).abs().amax((2, 3, 4))[
            1, 0
        ] == 0  # the blend starts without other frames
        layer.blend.fill_(0.5)
        difference = (layer(x) - layer(changed)).abs().amax((2, 3, 4))
    assert (difference[1] > 1e-4).all() and (difference[[0, 2]] == 0).all()


def test_frames_of_a_blurry_video_differ_and_clips_do_not_mix():
    torch.manual_seed(0)
    network = BlurryVideo(30, 6, 16, 1, (4, 4, 8, 8), (8, 8, 4), (4, 5)).eval()
    responses = torch.randn(3, 30)
    with torch.no_grad():
        made, features = network(responses)
        torch.testing.assert_close(network(responses[1:2])[0][0], made[1], atol=1e-5, rtol=0)
    assert made.shape == (3, 4, 4, 8, 8) and features.shape == (3, 4, 5)
    assert (made[:, 1:] - made[:, :1]).abs().amax() > 1e-3


def test_features_are_tokens_of_the_middle_frames(rng):
    frames = rng.integers(0, 255, (3, 6, 64, 64, 3)).astype(np.uint8)
    clips = [(f"clip{n}", own) for n, own in enumerate(frames)]
    models = ModelsConfig(clip=str(ASSETS / "clip"))

    def tokens(given, **options):
        provider = open_provider("clip_tokens", FeaturesConfig(options={"clip_tokens": options}))
        made = ClipTokens.compute(provider.settings(), given, models, seed=0, device="cpu", notes={})
        return {name: arrays["clip_tokens"] for name, arrays in made}

    pooled, every = tokens(clips, grid=4, frames=1), tokens(clips)
    assert pooled["clip1"].shape == (1, 16, 128) and every["clip1"].shape == (2, 64, 128)
    cells = every["clip1"][1].reshape(4, 2, 4, 2, 128).mean((1, 3)).reshape(16, 128)
    np.testing.assert_allclose(pooled["clip1"][0], cells, atol=1e-4)  # frame 3 of 0 .. 5
    np.testing.assert_array_equal(tokens(clips[1:2], grid=4, frames=1)["clip1"], pooled["clip1"])


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    """Reconstructs four clips of two movies from fixed predictions."""
    folder = tmp_path_factory.mktemp("drawing")
    model_folder = save_small_generator(folder / "sd", ASSETS / "sd")
    moving = load_motion_generator(
        model_folder, None, 3, ReconstructionConfig(num_inversion_steps=0), device="cpu"
    )
    save_file(moving.unet.motion_weights(), folder / "motion.safetensors")
    rng = np.random.default_rng(0)
    predictions = {
        "semantic": np.ones((4, 6), np.float32),
        "prompt_embedding": rng.normal(size=(4, 19, 128)).astype(np.float32),
        "latents": rng.normal(size=(4, 3, 4, 8, 8)).astype(np.float32),
    }
    table = pd.DataFrame({"clip": list("abcd"), "movie": ["m", "m", "n", "n"]})
    models = {"stable_diffusion": str(model_folder), "blip2": str(ASSETS / "blip2")}
    inputs = ReconstructionInputs(
        list("abcd"), 0, prediction=PredictionInputs({"motion": folder / "motion.safetensors"}, {}, 0, models=models),
        predictions=predictions, table=table,
    )  # fmt: skip

    def draw(strength=0.5, **options):
        video = {"num_inference_steps": 1, "strength": strength}
        options |= {"preset": "small", "keyframe": {"num_inference_steps": 1}, "reconstruction": video}
        method = open_methods({"m": MethodConfig(kind="neuroclips", options=options)})["m"]
        return dict(ENTRY.reconstruct(method.reconstruction_settings(), list("abcd"), inputs))

    return draw


def test_strength_of_zero_shows_the_blurry_video(drawing):
    """For any keyframe; at 1, only the keyframe shows the decoded latents."""
    none, captioned, pure = drawing(0.0), drawing(0.0, caption=True), drawing(1.0)
    for clip, frames in none.items():
        np.testing.assert_array_equal(frames, captioned[clip])
        assert not np.array_equal(frames, pure[clip])


def test_fusion_starts_a_clip_from_the_last_frame_of_the_one_before(drawing):
    plain, fused = drawing(), drawing(fusion=0.9)
    for clip in "ac":  # the first of each movie
        assert np.abs(plain[clip].astype(int) - fused[clip].astype(int)).max() <= 1
    for first, second in ("ab", "cd"):
        near = np.abs(fused[second][0].astype(int) - fused[first][-1].astype(int)).mean()
        assert near < 0.5 * np.abs(plain[second][0].astype(int) - plain[first][-1].astype(int)).mean()


def test_a_caption_replaces_the_decoded_prompt(drawing):
    assert any(not np.array_equal(drawing(caption=True)[clip], frames) for clip, frames in drawing().items())


def test_at_full_size_pretrained_motion_modules_are_needed():
    method = open_methods({"m": MethodConfig(kind="neuroclips")})["m"]
    assert [part.name for part in method.parts] == ["tokens", "prior", "blurry"]
    assert "motion_adapter" in method.needs.models
