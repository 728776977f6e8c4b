"""The training loop: each decoder overfits a few clips, stops early, resumes to the same bits, keeps global
state."""

import json
import math

import numpy as np
import pytest
import torch
from moving_blobs import make_blobs
from torch import nn

from mind_animator.config.decoders import OptimisationConfig, ValidationConfig, decoder_settings
from mind_animator.decoders.checkpoint import Checkpoint
from mind_animator.decoders.fit import fit, l1_weight, split_clips
from mind_animator.decoders.layers import by_subject
from mind_animator.decoders.linear_baseline import fit_linear_baseline
from mind_animator.decoders.motion import MotionDecoder
from mind_animator.decoders.train import decode, restore, train_decoder
from mind_animator.errors import InputError

OVERFIT = {"epochs": 150, "schedule": "constant", "learning_rate": 5e-3, "l1": 0.0, "keep": "last"}
PLAIN = {"dropout_in": 0.0, "dropout": 0.0, "sparsification": {"fraction": 0.0}, "optimisation": OVERFIT}
NETWORKS = {
    "semantic": {
        "width": 64, "head": [64], "contrast": 0.0, "augmented_captions": False, "cropped_images": False,
    },
    "structure": {"width": 64},
    "motion": {
        "width": 64, "token_width": 96, "heads": 4, "head_width": 24, "hidden": 192, "patch": 4,
        "fmri_tokens": 2, "mask_keep_ratio": 1.0, "first_loss_frame": 2,
        "optimisation": {**OVERFIT, "batch": 2, "learning_rate": 3e-3},  # attention wants more steps
    },
}  # fmt: skip


@pytest.mark.parametrize("decoder", NETWORKS)
def test_each_decoder_overfits_a_few_clips(decoder):
    blobs = make_blobs(movies=3, clips=8)
    rows = np.arange(16)  # two movies; the eight clips of one are fitted
    settings = decoder_settings(decoder, "paper", {**PLAIN, **NETWORKS[decoder]})
    trained = train_decoder(
        decoder,
        settings,
        [blobs.responses[rows]],
        blobs.targets(decoder, rows),
        list(blobs.movie[rows]),
        seed=0,
    )
    fitted, _ = split_clips(blobs.movie[rows], settings.validation, 0)
    assert len(fitted) == 8
    if decoder == "motion":  # teacher forced: a frame decoded from decoded ones adds their errors up
        later = blobs.latents[fitted, 1:]
        assert trained.history[-1]["train_loss"] < 0.05 * later.var()
        return
    network = restore(decoder, settings.model_dump(mode="json"), trained.shapes, trained.weights)
    out = decode(network, blobs.responses[fitted])
    expected = {
        "semantic": lambda: {
            "semantic": blobs.clip_embedding_text,
            "prompt_embedding": blobs.prompt_embedding,
        },
        "structure": lambda: {"structure": blobs.latents[:, 0]},
    }[decoder]()
    assert out.keys() == expected.keys()
    for name, target in expected.items():
        target = target[fitted]
        assert np.square(out[name] - target).mean() < 0.05 * target.var()


class _Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Linear(8, 1))


def _loss(network, batch, generator, epoch):
    return (network.layer(batch["x"]) - batch["y"]).square().mean()


def _problem(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(60, 3, generator=generator)
    network = _Line()
    for parameter in network.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return network, {"x": x, "y": x.sum(1, keepdim=True)}


def _fit(network, data, **settings):
    folder, stamp, loss = settings.pop("folder", None), settings.pop("stamp", ""), settings.pop("loss", _loss)
    more = {"logs": settings.pop("logs")} if "logs" in settings else {}
    plain = {"batch": 16, "epochs": 6, "learning_rate": 0.01, "checkpoint_interval": 0}
    chosen = OptimisationConfig(**{**plain, **settings})
    checkpoint = Checkpoint(folder, stamp, chosen.checkpoint_interval)
    return fit(network, loss, data, range(40), range(40, 60), chosen, seed=5, checkpoint=checkpoint, **more)


def test_resumed_equals_uninterrupted(tmp_path, capsys):
    whole, data = _problem()
    history = _fit(whole, data)
    assert [row["epoch"] for row in history] == list(range(7))
    folder = tmp_path / "x.checkpoint"
    for stop in (2, 4):  # interrupted twice
        network, _ = _problem()
        _fit(network, data, folder=folder, stamp="s", epochs=stop)
    network, _ = _problem()
    again = _fit(network, data, folder=folder, stamp="s")
    assert "Resuming after epoch 4" in capsys.readouterr().err
    assert [row["validation_loss"] for row in again] == [row["validation_loss"] for row in history]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name]), name


def test_a_state_of_another_experiment_is_not_used(tmp_path, capsys):
    folder = tmp_path / "x.checkpoint"
    network, data = _problem()
    _fit(network, data, folder=folder, stamp="one", epochs=3)
    network, _ = _problem()
    _fit(network, data, folder=folder, stamp="two")
    assert "Removed the checkpoint of another experiment" in capsys.readouterr().err
    whole, _ = _problem()
    _fit(whole, data)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), network.parameters(), strict=True))


def test_global_generator_is_left_alone():
    network, data = _problem()
    before = torch.random.get_rng_state()
    _fit(network, data)
    assert torch.equal(before, torch.random.get_rng_state())


def test_early_stopping_keeps_the_best_weights():
    network, data = _problem()
    history = _fit(network, data, epochs=400, patience=3, learning_rate=0.3)
    losses = [row["validation_loss"] for row in history]
    assert len(losses) < 401 and len(losses) - 1 - int(np.argmin(losses)) == 3
    with torch.no_grad():
        held_out = (network.layer(data["x"][40:]) - data["y"][40:]).square().mean()
    assert float(held_out) == pytest.approx(min(losses), rel=1e-5)


def test_l1_is_the_sign_of_the_parameters():
    """One plain step with L1 equals one step on loss + weight * sum |p|, written out with autograd."""
    network, data = _problem()
    reference, _ = _problem()
    network.layer[1].p = reference.layer[1].p = 0.0
    _fit(network, data, epochs=1, batch=40, schedule="constant", l1=0.05, keep="last")
    optimiser = torch.optim.Adam(reference.parameters(), lr=0.01)
    rows = range(40)
    loss = _loss(reference, {name: tensor[list(rows)] for name, tensor in data.items()}, None, 1)
    (loss + 0.05 * sum(p.abs().sum() for p in reference.parameters())).backward()
    optimiser.step()
    for one, other in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_l1_decays_by_the_epoch():
    """The first epoch has the whole weight; a decay to nothing leaves the second epoch without."""
    ends = {}
    for epochs in (1, 2):
        for decay in (1.0, 1e-9):
            network, data = _problem()
            _fit(
                network,
                data,
                epochs=epochs,
                batch=40,
                schedule="constant",
                l1=0.05,
                l1_decay=decay,
                keep="last",
            )
            ends[epochs, decay] = torch.cat([p.detach().flatten() for p in network.parameters()])
    torch.testing.assert_close(ends[1, 1.0], ends[1, 1e-9], rtol=0, atol=0)
    assert not torch.equal(ends[2, 1.0], ends[2, 1e-9])


def test_noam_overwrites_the_learning_rate():
    network, data = _problem()
    history = _fit(network, data, schedule="noam", warm_up=4, learning_rate=9.0)
    rates = [row["learning_rate"] for row in history]
    step = 3 * 6  # three steps per epoch; width 512 by default
    assert rates[-1] == pytest.approx(512**-0.5 * step**-0.5)


def test_a_loss_that_explodes_is_named():
    network, data = _problem()
    with pytest.raises(InputError, match=r"Expected a finite loss, got .* at epoch \d+; is the learning"):
        _fit(network, {**data, "y": data["y"] * 1e30}, learning_rate=1e30)


def test_tensorboard_files_are_written(tmp_path):
    network, data = _problem()
    _fit(network, data, logs=tmp_path / "logs", epochs=1)
    assert list((tmp_path / "logs").glob("events.out.tfevents.*"))


def test_history_is_plain_json():
    network, data = _problem()
    row = json.loads(json.dumps(_fit(network, data)))[-1]
    assert 0 < row["roofline_fraction"] < 2 and row["seconds"] > 0 and math.isfinite(row["train_loss"])


def test_validation_is_whole_movies_or_the_tail():
    movies = np.repeat(["a", "b", "c", "d"], 10)
    rows, held_out = split_clips(movies, ValidationConfig(how="movies", fraction=0.3), 1)
    assert len(np.unique(movies[held_out])) == 1 and len(held_out) == 10
    assert not set(movies[rows]) & set(movies[held_out])
    rows, held_out = split_clips(movies, ValidationConfig(how="tail", fraction=0.3), 1)
    np.testing.assert_array_equal(held_out, np.arange(28, 40))
    with pytest.raises(
        InputError, match=r"Expected at least 2 training movies, one of them for early stopping"
    ):
        split_clips(["a"] * 9, ValidationConfig(), 1)


def test_pooled_training_keeps_subjects_in_order_beyond_ten():
    """Twelve subjects: the decoded first frames of each are those of its own responses.

    All subjects but the last have pure noise; sorted by name, the last ones would change places.
    """
    blobs = make_blobs(movies=3, clips=8)
    rows = np.arange(16)
    rng = np.random.default_rng(0)
    responses = [rng.normal(size=(16, 20 + n)).astype(np.float32) for n in range(11)] + [
        blobs.responses[rows]
    ]
    settings = decoder_settings("motion", "ridge_residual", {
        "width": 16, "token_width": 16, "heads": 1, "head_width": 16, "hidden": 16, "patch": 4,
    })  # fmt: skip
    targets = {"latents": torch.from_numpy(blobs.latents[rows])}
    checkpoint = Checkpoint()
    data, baseline_targets = MotionDecoder.prepare(settings, targets, checkpoint)
    voxels = [torch.from_numpy(own) for own in responses]
    baseline, pcs = fit_linear_baseline(
        voxels, baseline_targets, blobs.movie[rows], settings.linear, checkpoint
    )
    shapes = {"voxels": [own.shape[1] for own in responses], "latent": blobs.latents.shape[1:]}
    network = MotionDecoder.build(settings, {**shapes, "sizes": baseline.sizes})
    network.linear_baseline.load_state_dict(baseline.state_dict())
    data |= {f"pcs/{subject}": own for subject, own in enumerate(pcs)}
    data |= network.calibrate(data, baseline_targets, np.arange(16), torch.Generator(), checkpoint)
    for subject, own in enumerate(pcs):
        expected = baseline.target(own, "first").unflatten(1, blobs.latents.shape[2:])
        assert torch.equal(by_subject(data, "decoded")[subject], expected), subject
    inputs = network.batch_inputs(data, None, 0)
    first = []
    network._linear_steps = lambda inputs, frames: (
        first.append(frames) or torch.zeros(len(frames), 3, 4, 8, 8)
    )
    network.loss(data, None, 0)
    expected = baseline.target(inputs, "first").unflatten(1, blobs.latents.shape[2:])
    np.testing.assert_array_equal(first[0], expected)


def test_l1_of_the_released_code_decays_as_published():
    """5.4e-8 for the motion decoder at epoch 70, 3.48e-6 for the structure decoder at epoch 75."""
    motion, structure = (
        decoder_settings(decoder, "released_code", {}).optimisation for decoder in ("motion", "structure")
    )
    assert l1_weight(motion, 1) == 6e-7
    assert l1_weight(motion, 70) == pytest.approx(5.4e-8, rel=0.01)
    assert l1_weight(structure, 75) == pytest.approx(3.48e-6, rel=1e-3)
    assert l1_weight(OptimisationConfig(l1=2.0, l1_decay=0.5), 3) == 0.5
    assert (motion.betas, motion.epsilon) == ((0.9, 0.98), 1e-9)
