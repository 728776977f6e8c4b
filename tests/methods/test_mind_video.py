"""The patch transformer and the method built on it: published sizes, order of voxels, negative condition."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mind_animator.config.methods import MethodConfig
from mind_animator.decoders.patches import PatchEncoder, to_patches, voxel_order
from mind_animator.methods import open_methods
from mind_animator.methods.base import PredictionInputs, Responses
from mind_animator.methods.mind_video import ENTRY, PRESETS, ConditionConfig, EncoderConfig, Training, _build


@pytest.mark.parametrize(("ratio", "millions"), [(1.0, 252.3), (4.0, 403.4)])
def test_the_published_size(ratio, millions):
    """Of the encoder with its 235 fixed positions, and of the head for 2 x 234 patches."""
    settings = EncoderConfig(**PRESETS["published"]["encoder"] | {"mlp_ratio": ratio})
    shapes = {"tokens": 468, "prompt": [77, 768], "embedding": 512}
    with torch.device("meta"):
        network = _build(settings, ConditionConfig(**PRESETS["published"]["condition"]), shapes)
    count = sum(p.numel() for p in network.encoder.parameters()) + 235 * settings.width
    assert round(count / 1e6, 1) == millions
    assert sum(p.numel() for p in network.head.parameters()) == 1_413_905
    with torch.device("meta"):
        prompt, embedding = network(torch.zeros(2, 2, 234, 16))
    assert prompt.shape == (2, 77, 768) and embedding.shape == (2, 512)


def test_voxels_of_a_patch_are_neighbours():
    rng = np.random.default_rng(0)
    rois = np.repeat(["R_V1", "L_V2"], 20)
    mixed = rng.permutation(40)
    coordinates = np.stack([np.arange(40.0), np.zeros(40), np.zeros(40)], axis=1).astype(np.float32)
    order = voxel_order(rois[mixed], coordinates[mixed], 40)
    assert list(rois[mixed][order]) == ["L_V2"] * 20 + ["R_V1"] * 20
    assert (np.abs(np.diff(coordinates[mixed][order][:20, 0])) == 1).all()
    assert list(voxel_order(None, None, 3)) == [0, 1, 2]
    patches = to_patches(np.arange(5.0)[None], np.arange(5)[::-1], 4)
    assert patches.tolist() == [[[4, 3, 2, 1], [0, 4, 3, 2]]]
    assert to_patches(np.zeros((1, 8)), np.arange(8), 4).shape == (1, 2, 4)  # no patch more than needed


def test_a_window_is_seen_only_through_temporal_attention():
    torch.manual_seed(0)
    encoder = PatchEncoder(4, 8, 2, 2, 1.0, temporal=True)
    window = torch.randn(1, 2, 3, 4)
    changed = window.clone()
    changed[:, 1] = torch.randn(3, 4)
    torch.testing.assert_close(
        encoder(window)[:, 0], encoder(changed)[:, 0]
    )  # its output is zero at the start
    for block in encoder.blocks:
        torch.nn.init.xavier_uniform_(block.temporal.outward.weight)
    assert (encoder(window) - encoder(changed))[:, 0].abs().max() > 1e-3


def test_the_published_negative_condition_depends_on_the_test_clips(tmp_path):
    """By default it is decoded from the training mean; the published one is an option that the first guard refuses."""
    torch.manual_seed(0)
    encoder = EncoderConfig(width=8, depth=1, heads=2)
    shapes = {"tokens": 2 * 3, "prompt": [5, 4], "embedding": 6}
    network = _build(encoder, ConditionConfig(), shapes)
    path = tmp_path / "condition.safetensors"
    save_file({**network.state_dict(), "mean_window": torch.zeros(1, 2, 3, 16)}, path)
    record = {"encoder": encoder.model_dump(), "condition": ConditionConfig().model_dump(), "shapes": shapes}
    path.with_suffix(".json").write_text(json.dumps(record))
    save_file({"decoder.head.width.bias": torch.ones(4)}, tmp_path / "generator.safetensors")
    inputs = PredictionInputs(
        {name: tmp_path / f"{name}.safetensors" for name in ("condition", "generator")}, {}, 0
    )
    values = np.random.default_rng(0).normal(size=(6, 40)).astype(np.float32)
    responses = Responses(values, [str(n) for n in range(6)], np.stack([values, values], axis=1))

    def negative(given, which):
        options = {"order": "data", "negative": which}
        method = open_methods({"m": MethodConfig(kind="mind_video", options=options)})["m"]
        return ENTRY.predict(method.prediction_settings(), inputs, given)["negative_prompt_embedding"]

    half = responses.take(np.arange(3))
    for which, same in (("training_mean", True), ("published_test_mean", False)):
        whole, part = negative(responses, which), negative(half, which)
        assert (np.ptp(whole, axis=0) == 0).all()
        assert np.allclose(whole[:3], part, atol=1e-5) == same


def test_wrong_options_name_their_key():
    from mind_animator.errors import InputError

    options = {"encoder": {"optimisation": {"batch": 1}}}
    with pytest.raises(
        InputError, match=r"methods\.m\.options\.encoder\.optimisation\.batch = 1: must be at least 2"
    ):
        open_methods({"m": MethodConfig(kind="mind_video", options=options)})
    method = open_methods({"m": MethodConfig(kind="mind_video")})["m"]
    assert Training.model_validate_json(method.training_settings("encoder")).condition is None
