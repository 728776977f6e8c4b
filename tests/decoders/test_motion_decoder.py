"""The Consistency Motion Generator: causality, cached decoding, masks, patches, warps and flow."""

import numpy as np
import pytest
import torch
from moving_blobs import make_blobs

from mind_animator.config.decoders import MotionConfig, decoder_settings
from mind_animator.decoders.flow import choose_gains, linear_clip
from mind_animator.decoders.motion import MotionDecoder, causal_mask, fold_patches, unfold_patches
from mind_animator.errors import InputError

LATENT = (5, 4, 8, 8)
SMALL = {
    "width": 24,
    "heads": 2,
    "head_width": 8,
    "hidden": 16,
    "token_width": 16,
    "patch": 4,
    "fmri_tokens": 3,
}
SIZES = {"first": (6, 256), "change": (6, 1024), "flow": (2, 2), "mask": (6, 64)}
SHAPES = {"voxels": [10], "latent": LATENT, "sizes": SIZES}


def _network(preset, **overrides):
    settings = decoder_settings("motion", preset, {**SMALL, **overrides})
    network = MotionDecoder.build(settings, SHAPES if settings.linear else SHAPES | {"sizes": None})
    network.reset(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for tensor in [*network.parameters(), *network.buffers()]:  # nothing at zero, no symmetric part
        if tensor.dtype.is_floating_point and not torch.equal(tensor, network.times):
            tensor.data.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return network.eval()


def _inputs(clips=3):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(clips, 10, generator=generator), torch.randn(clips, *LATENT, generator=generator)


@pytest.mark.parametrize("preset", ["paper", "released_code", "ridge_residual"])
def test_cached_decoding_equals_uncached(preset):
    network, (responses, latents) = _network(preset), _inputs()
    with torch.no_grad():
        inputs = network.inputs(responses)
        cached = network.generate(inputs, latents[:, 0])
        plain = network.generate(inputs, latents[:, 0], cached=False)
    assert cached.shape == (3, *LATENT)
    np.testing.assert_array_equal(cached[:, 0], latents[:, 0])
    # the same sums in another order: a few roundings of float32 a frame
    np.testing.assert_allclose(cached, plain, atol=2e-5 * float(plain.abs().max()))


@pytest.mark.parametrize("preset", ["paper", "released_code"])
def test_no_frame_sees_a_later_one(preset):
    network, (responses, latents) = _network(preset), _inputs()
    seen = causal_mask(3, 4, 1.0, None, "cpu")
    with torch.no_grad():
        inputs = network.inputs(responses)
        before = network(inputs, latents[:, :4], seen)
        changed = latents.clone()
        changed[:, 2] += 1
        after = network(inputs, changed[:, :4], seen)
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert (before[:, 2:] - after[:, 2:]).abs().amax(dim=(2, 3, 4)).min() > 0


def test_the_released_mask_by_its_rule():
    """Entries of the causal mask in rows from the third on, outside the first column, are kept with probability .6, the
    own position included; validation and inference keep none of them, so that only the first frame is visible."""
    causal = np.tril(np.ones((7, 7), bool))
    free = np.array([[column <= row and row > 1 and column != 0 for column in range(7)] for row in range(7)])
    none = causal_mask(1, 7, 0.0, None, "cpu", mask_own=True)[0].numpy()
    np.testing.assert_array_equal(none, causal & ~free)
    assert (none[2:] == (np.arange(7) == 0)).all()
    assert (causal_mask(1, 7, 0.0, None, "cpu")[0].numpy() != none).sum() == 5  # the own positions
    drawn = causal_mask(4000, 7, 0.6, torch.Generator().manual_seed(0), "cpu", mask_own=True).numpy()
    np.testing.assert_array_equal(drawn.all(axis=0), causal & ~free)
    assert not drawn[:, ~causal].any()
    np.testing.assert_allclose(drawn.mean(axis=0)[free], 0.6, atol=4.5 * (0.24 / 4000) ** 0.5)


def test_frames_of_the_released_code_depend_on_the_first_frame_alone():
    """At inference, from the third on; those of the paper depend on all earlier frames."""
    for preset, alone in (("released_code", True), ("paper", False)):
        network, (responses, latents) = _network(preset), _inputs()
        changed = latents.clone()
        changed[:, 1:3] += 1
        with torch.no_grad():
            inputs, visible = network.inputs(responses), network._inference_mask("cpu")
            before, after = (network(inputs, frames[:, :4], visible)[:, 3] for frames in (latents, changed))
        assert torch.equal(before, after) == alone


def test_validation_generates_clips_from_their_first_frames():
    """The published validation; a step from true earlier frames is the loss of training and of other presets."""
    network, (responses, latents) = _network("released_code"), _inputs()
    batch = {"responses/0": responses, "latents": latents}
    with torch.no_grad():
        value = network.loss(batch, None, 1)
        clips = network.generate(network.inputs(responses), latents[:, 0])
    assert float(value) == pytest.approx(float((clips[:, 1:] - latents[:, 1:]).square().mean()), rel=1e-5)
    single = _network("released_code", autoregressive_validation=False)
    with torch.no_grad():
        assert abs(float(single.loss(batch, None, 1) - value)) > 1e-3
    assert network.loss(batch, None, 1).requires_grad  # where the cost of a training step is measured


@pytest.mark.parametrize("name", ["dropout_encoder", "dropout_attention", "dropout_positions"])
def test_each_dropout_acts_in_training_alone(name):
    names = ("dropout", "dropout_in", "dropout_attention", "dropout_positions", "dropout_encoder")
    network, (responses, latents) = (
        _network("released_code", **dict.fromkeys(names, 0.0) | {name: 0.5}),
        _inputs(),
    )
    seen = causal_mask(3, 4, 1.0, None, "cpu")
    with torch.no_grad():
        calm = [network(network.inputs(responses), latents[:, :4], seen) for _ in range(2)]
        network.train()
        wild = [network(network.inputs(responses), latents[:, :4], seen) for _ in range(2)]
    assert torch.equal(*calm)
    assert not torch.allclose(*wild)


def test_random_mask_is_causal_and_keeps_its_share():
    seen = causal_mask(4000, 5, 0.6, torch.Generator().manual_seed(0), "cpu").numpy()
    assert not np.triu(seen, 1).any()
    assert seen[:, range(5), range(5)].all() and seen[:, :, 0].all()
    free = np.tril(np.ones((5, 5), bool), -1)
    free[:, 0] = False
    fraction = seen[:, free].mean()
    assert abs(fraction - 0.6) < 4 * np.sqrt(0.24 / (4000 * free.sum()))  # four standard errors


def test_a_mask_drawn_once_is_that_of_every_step():
    """The released code's training mask does not change with the step's draws; the paper's does."""
    (responses, latents) = _inputs()
    mask = causal_mask(1, 4, 0.5, torch.Generator().manual_seed(4), "cpu").expand(3, -1, -1)
    batch = {"responses/0": responses, "latents": latents, "mask": mask}
    for drawn, alike in (("once", True), ("step", False)):
        network = _network("paper", mask_drawn=drawn)
        losses = {
            float(network.loss(batch, torch.Generator().manual_seed(seed), 1).detach()) for seed in range(5)
        }
        assert (len(losses) == 1) == alike


def test_norm_and_output_by_their_definition():
    """paper: x + LN(sublayer(x)) and the next frame itself; ridge_residual: x + sublayer(LN(x)) and the
    change to it."""
    network, (responses, latents) = _network("paper"), _inputs()
    layer, x = network.layers[0], torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(3))
    fmri = layer.fmri.project(torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(4)))
    with torch.no_grad():
        y = x + layer.norms[0](layer.earlier(x, *layer.earlier.project(x)))
        y = y + layer.norms[1](layer.fmri(y, *fmri))
        y = y + layer.norms[2](layer.feed(y))
        torch.testing.assert_close(layer(x, *layer.keys_values(x), None, fmri), y)
        for output, expected in (("frame", 0 * latents), ("change", latents)):
            own = _network("paper", output=output)
            own.out.weight.zero_(), own.out.bias.zero_()
            out = own(own.inputs(responses), latents[:, :4], causal_mask(3, 4, 1.0, None, "cpu"))
            torch.testing.assert_close(out, expected[:, :4])
    with pytest.raises(InputError, match=r"motion\.linear: must be null with output: frame"):
        decoder_settings("motion", "ridge_residual", {"output": "frame"})


def test_one_fmri_token_leaves_queries_and_keys_without_gradient():
    """The peculiarity of the released code, which several tokens remove."""
    for preset, dead in (("released_code", True), ("paper", False)):
        network, (responses, latents) = _network(preset), _inputs()
        out = network(network.inputs(responses), latents[:, :4], causal_mask(3, 4, 1.0, None, "cpu"))
        out.square().sum().backward()
        gradient = network.layers[0].fmri.query.weight.grad.abs().max()
        assert (gradient < 1e-6 * network.layers[0].fmri.value.weight.grad.abs().max()) == dead


def test_linear_start_is_the_linear_clip():
    """Before training, `ridge_residual` gives the warped first frame plus the decoded change, and nothing of its
    own."""
    settings = decoder_settings("motion", "ridge_residual", SMALL)
    network = MotionDecoder.build(settings, SHAPES)
    network.reset(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(3)
    for buffer in network.linear_baseline.buffers():
        buffer.copy_(torch.randn(buffer.shape, generator=generator))
    network.gains.copy_(torch.tensor([0.05, 0.7]))
    network.eval()
    responses, latents = _inputs()
    inputs = network.inputs(responses)
    flow, change = network.decoded_motion(inputs)
    expected = linear_clip(latents[:, 0], 0.05 * flow, 0.7 * change)
    got = network.generate(inputs, latents[:, 0])
    np.testing.assert_allclose(got, expected, atol=1e-5 * float(expected.abs().max()))


def test_patches_fold_and_unfold():
    frames = torch.arange(2 * 3 * 2 * 4 * 6).reshape(2, 3, 2, 4, 6)
    patches = fold_patches(frames, 2)
    assert patches.shape == (2, 3, 6, 8)
    for row in range(2):
        for column in range(3):
            own = frames[..., 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_array_equal(patches[:, :, 3 * row + column], own.flatten(2))
    np.testing.assert_array_equal(unfold_patches(patches, (2, 4, 6), 2), frames)
    with pytest.raises(ValueError, match=r"Expected latents of a multiple of patch 3, got 8 x 8\."):
        MotionDecoder.build(MotionConfig(**{**SMALL, "patch": 3}), SHAPES)


def test_gains_are_the_best_of_the_grid():
    blobs = make_blobs(movies=2, clips=20)
    latents = torch.from_numpy(blobs.latents).double()
    flow = torch.from_numpy(blobs.velocity / 2)[:, :, None, None]  # true direction, half the speed
    change = torch.zeros_like(latents[:, 1:])
    gains = choose_gains(latents[:, 0], flow, change, latents)
    assert gains.tolist() == [2.0, 0.0]
    wrong = choose_gains(latents[:, 0], -flow, change, latents)
    assert wrong.tolist() == [0.0, 0.0]
