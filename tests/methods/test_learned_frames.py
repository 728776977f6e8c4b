"""Methods that learn frames from responses: what they find, what they do not find in noise, and resuming."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from moving_blobs import make_blobs
from safetensors.torch import save_file

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.files import write_json
from mind_animator.artefacts.streams import ClipReader
from mind_animator.config.methods import MethodConfig
from mind_animator.methods.base import PredictionInputs, Responses, TrainingData, TrainingJob, open_methods
from mind_animator.statistics.permutation import pairing_test

ADAM = {"learning_rate": 5e-3, "batch": 16, "checkpoint_interval": 0, "schedule": "constant"}
OPTIONS = {
    "kupershmidt2022": {
        "preset": "small", "size": 16, "encoder_widths": (8, 8, 8, 16), "decoder_width": 16, "decoder_blocks": 1,
        "perceptual": 0, "total_variation": 0.1, "windows": 0, "cycle": 0, "response_cycle": 0.01,
        "encoder_optimisation": {**ADAM, "epochs": 3}, "decoder_optimisation": {**ADAM, "epochs": 10},
    },
    "gan": {
        "preset": "small", "size": 16, "widths": (32, 16, 8), "discriminator_width": 4, "ema": 0.9,
        "optimisation": {**ADAM, "learning_rate": 2e-3, "betas": (0.0, 0.9), "epochs": 10},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Training data of moving blobs of 8 x 8 pixels, and the test clips: responses and frames."""
    blobs = make_blobs(movies=5, clips=40)
    path = tmp_path_factory.mktemp("blobs") / "frames.h5"
    low, high = blobs.latents.min(), blobs.latents.max()
    images = (blobs.latents[:, :, :3] - low) / (high - low)
    frames = (255 * images).astype(np.uint8).transpose(0, 1, 3, 4, 2)
    write_arrays(path, {"frames": frames}, blobs.clips)
    train = blobs.split == "train"
    clips = [clip for clip, kept in zip(blobs.clips, train, strict=True) if kept]
    responses = Responses(blobs.responses[train], clips)
    movies = blobs.movie[train].tolist()
    data = TrainingData((responses,), {}, movies, clips, frames=ClipReader([path], clips))
    test = Responses(blobs.responses[~train], [c for c in blobs.clips if c not in clips])
    return data, test, frames[~train]


def trained(kind, data, folder, **options):
    """Weights by part of a method, trained as the workflow does."""
    method = open_methods({"case": MethodConfig(kind=kind, options=OPTIONS[kind] | options)})["case"]
    folder.mkdir(exist_ok=True)
    weights = {}
    for part in method.parts:
        job = TrainingJob(3, checkpoint=folder / f"{part.name}.checkpoint", fingerprint="the same")
        own = replace(data, weights=dict(weights))
        made = method.train(part.name, method.training_settings(part.name), own, job)
        weights[part.name] = folder / f"{part.name}.safetensors"
        save_file(dict(made.weights), weights[part.name])
        write_json(weights[part.name].with_suffix(".json"), made.record)
    return weights


def frames_of(kind, weights, responses):
    module = importlib.import_module(f"mind_animator.methods.{kind}")
    inputs = PredictionInputs(weights, dict.fromkeys(weights, 0), 3)
    return module.decoded_frames(inputs, responses)


def p_above_chance(frames, ground_truth):
    """Of a paired block test of correlations between reconstructions and ground truths of 8 x 8 pixels."""
    step = frames.shape[2] // 8
    small = frames.reshape(*frames.shape[:2], 8, step, 8, step, 3).mean(axis=(3, 5))
    flat = [a.reshape(len(a), -1).astype(float) for a in (small, ground_truth)]
    flat = [a - a.mean(axis=0) for a in flat]
    one, other = (a / (np.linalg.norm(a, axis=1, keepdims=True) + 1e-9) for a in flat)
    pairs = (one @ other.T).reshape(10, 4, 10, 4).transpose(0, 2, 1, 3)[..., range(4), range(4)]
    return pairing_test(pairs, n_permutations=999, generator=np.random.default_rng(0)).p


@pytest.mark.parametrize("kind", OPTIONS)
def test_content_is_found_in_responses_and_not_in_noise(simulated, tmp_path, kind):
    data, test, ground_truth = simulated
    assert p_above_chance(frames_of(kind, trained(kind, data, tmp_path / "own"), test), ground_truth) <= 0.001
    noise = np.random.default_rng(0).normal(size=data.responses[0].values.shape).astype(np.float32)
    data = replace(data, responses=(replace(data.responses[0], values=noise),))
    weights = trained(kind, data, tmp_path / "noise")
    test = replace(test, values=np.random.default_rng(1).normal(size=test.values.shape).astype(np.float32))
    assert p_above_chance(frames_of(kind, weights, test), ground_truth) > 0.01


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_training_that_resumes_gives_the_same_weights(simulated, tmp_path, kind):
    names = [name for name in OPTIONS[kind] if name.endswith("optimisation")]

    def epochs(count):
        return {name: {**OPTIONS[kind][name], "epochs": count} for name in names}

    data = simulated[0]
    more = (
        {"response_cycle": 0} if kind == "kupershmidt2022" else {}
    )  # no part depends on the epochs of another
    whole = trained(kind, data, tmp_path / "whole", **epochs(2), **more)
    trained(kind, data, tmp_path / "parts", **epochs(1), **more)
    resumed = trained(kind, data, tmp_path / "parts", **epochs(2), **more)
    for part, path in whole.items():
        assert path.read_bytes() == resumed[part].read_bytes()


def test_sizes_of_kupershmidt_are_those_that_are_known():
    """62.4 million parameters of the encoder and 56.8 of the decoder of one image, at 4,500 voxels."""
    module = importlib.import_module("mind_animator.methods.kupershmidt2022")
    with torch.device("meta"):
        encoder = module.build_encoder(module.Options(), voxels=4500, frames=32)
        decoder = module.build_decoder(module.Options(), voxels=4500, frames=1)
        images = torch.zeros(2, 32, 3, 112, 112)
        responses = module.encode(encoder, images)
        assert responses.shape == (2, 4500)
        assert module.decode(decoder, responses).shape == (2, 1, 3, 112, 112)
    count = {network: sum(p.numel() for p in network.parameters()) for network in (encoder, decoder)}
    assert round(count[encoder] / 1e6, 1) == 62.4
    assert round(count[decoder] / 1e6, 1) == 56.8


def test_the_first_layer_of_the_generator_has_its_known_size():
    """4,500 x 4,096 weights from the voxels; eight frames of 64 x 64 pixels in [-1, 1]."""
    module = importlib.import_module("mind_animator.methods.gan")
    with torch.device("meta"):
        options = module.Options()
        networks = module.build_networks(options, voxels=4500, frames=8)
        made = module.generate(networks["generator"], torch.zeros(2, 4500))
        assert made.shape == (2, 8, 3, 64, 64)
    assert networks["generator"]["first"].weight.shape == (4096, 4500 + options.noise)


def test_neither_side_of_the_gan_receives_the_gradient_of_the_other():
    """With the generator's terms at weight 0, its gradient is 0, and the discriminators' does not change."""
    module = importlib.import_module("mind_animator.methods.gan")
    rng = np.random.default_rng(0)
    batch = {
        "frames": torch.from_numpy(rng.integers(0, 256, (4, 4, 16, 16, 3), np.uint8)),
        "responses": torch.from_numpy(rng.normal(size=(4, 10)).astype(np.float32)),
    }
    gradients = []
    for weight in (0.0, 1.0):
        terms = {name: weight for name in ("adversarial", "absolute_error", "feature_matching")}
        options = module.Options(**OPTIONS["gan"] | terms)
        torch.manual_seed(0)
        networks = module.build_networks(options, voxels=10, frames=4)
        loss = module.adversarial_loss(options)(networks, batch, torch.Generator().manual_seed(0), 1)
        loss.backward()
        gradients.append({name: p.grad for name, p in networks.named_parameters()})
    for name, own in gradients[0].items():
        if name.startswith(("spatial", "temporal")):
            torch.testing.assert_close(own, gradients[1][name], rtol=0, atol=0)
            assert own.abs().max() > 0 or name.endswith("bias")
        elif name.startswith("generator"):
            assert own.abs().max() == 0 and gradients[1][name].abs().max() > 0
        else:
            assert own is None  # the moving average
