"""An interrupted training loses at most one interval of work and ends with the bits of an uninterrupted one."""

import itertools
import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch
from moving_blobs import make_blobs
from safetensors import safe_open
from torch import nn

from mind_animator.config.decoders import OptimisationConfig, decoder_settings
from mind_animator.decoders.checkpoint import Checkpoint
from mind_animator.decoders.fit import fit
from mind_animator.decoders.train import train_decoder

EPOCHS, STEPS = 3, 4


class Killed(BaseException):
    """Stands for the end of the process at a chosen moment: nothing catches it."""


def problem():
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    for parameter in network.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    x = torch.randn(60, 3, generator=generator)
    return network, {"x": x, "y": x.sum(1, keepdim=True)}


def kill():
    raise Killed


def run(folder=None, at=None, happens=kill, seconds=0.0, step_seconds=0.0):
    """Weights and history of a training whose loss draws, too; in the forward pass of a step (from 1) it happens."""
    network, data = problem()
    counted = itertools.count(1)

    def loss(network, batch, generator, epoch):
        if generator is not None:  # not validation, not the estimate of a step's cost
            time.sleep(step_seconds)
            if next(counted) == at:
                happens()
        noise = torch.randn(len(batch["x"]), 1, generator=generator) if generator is not None else 0.0
        return (network(batch["x"]) + 0.1 * noise - batch["y"]).square().mean()

    settings = OptimisationConfig(
        batch=10, epochs=EPOCHS, learning_rate=0.01, schedule="exponential", decay=0.5
    )
    with Checkpoint(folder, "fingerprint", seconds) as kept:
        history = fit(network, loss, data, range(40), range(40, 60), settings, seed=5, checkpoint=kept)
    return [p.detach().clone() for p in network.parameters()], history


def stored_steps(folder) -> int:
    """Steps that the stored training has behind it."""
    with safe_open(folder / "fit.safetensors", framework="np") as file:
        values = json.loads(file.metadata()["values"])
    return STEPS * (len(values["history"]) - 1) + (values["inside"] or {"step": 0})["step"]


@pytest.fixture(scope="module")
def uninterrupted():
    return run()


def assert_same(one, other):
    """Equal weights and histories, but for how long an epoch took."""
    assert all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))
    for first, second in zip(one[1], other[1], strict=True):
        for name in ("epoch", "train_loss", "validation_loss", "learning_rate"):
            assert first[name] == second[name], name
        assert (
            (first["roofline_fraction"] is None)
            == (second["roofline_fraction"] is None)
            == (not first["epoch"])
        )


@pytest.mark.parametrize("step", range(1, EPOCHS * STEPS + 1))
def test_killed_at_any_step_it_ends_with_the_same_bits(tmp_path, uninterrupted, step):
    with pytest.raises(Killed):
        run(tmp_path / "state", at=step)
    assert stored_steps(tmp_path / "state") == step - 1
    assert_same(uninterrupted, run(tmp_path / "state"))


@pytest.mark.parametrize("step", [8, 12])
def test_a_kill_loses_at_most_the_interval_and_a_step(tmp_path, step):
    """Steps of at least 50 ms, an interval of 100 ms: the second step after a store ends with the next one.

    So of the steps that have ended at most one is lost, beside the step under way.
    """
    with pytest.raises(Killed):
        run(tmp_path / "state", at=step, seconds=0.1, step_seconds=0.05)
    assert step - 1 - stored_steps(tmp_path / "state") <= 1


@pytest.mark.parametrize("step", [6, 8])  # inside an epoch, and its last
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_stores_and_loses_nothing(tmp_path, uninterrupted, number, step, capfd):
    inherited = signal.signal(number, signal.default_int_handler)  # a job in the background ignores SIGINT
    try:
        with pytest.raises(SystemExit) as ended:
            run(tmp_path / "state", at=step, happens=lambda: os.kill(os.getpid(), number), seconds=1000)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, inherited)
    assert ended.value.code == 128 + number
    assert stored_steps(tmp_path / "state") == step  # the step under way, too
    log = capfd.readouterr().err
    assert log.index("storing the checkpoint after the step in progress") < log.index(
        "Interrupted: the checkpoint is stored in"
    )
    assert_same(uninterrupted, run(tmp_path / "state"))


def test_only_a_main_thread_heeds_signals_and_an_ignored_one_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Checkpoint(tmp_path / "state"):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)
    found = []

    def work():
        with Checkpoint(tmp_path / "state", interval=0) as checkpoint:
            found.append(checkpoint.cached("piece", lambda: {"x": torch.ones(2)}))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found and (tmp_path / "state/piece.safetensors").is_file()


@pytest.mark.parametrize("decoder", ["semantic", "structure", "motion"])
def test_the_closed_form_start_is_done_piece_by_piece(tmp_path, monkeypatch, decoder):
    """The training of `ridge_residual`, ended after every single piece of work and started again each time."""
    blobs = make_blobs(movies=3, clips=8)
    small = {"width": 16, "linear": {"n_components": 8, "n_input_components": 4, "alphas": [1.0, 10.0]}}
    small |= {"head": [16]} if decoder == "semantic" else {}
    if decoder == "motion":
        small |= {"token_width": 16, "heads": 1, "head_width": 16, "hidden": 16, "rescale_flow": True}
    optimisation = {"epochs": 1, "batch": 8, "checkpoint_interval": 1000}
    settings = decoder_settings(decoder, "ridge_residual", {**small, "optimisation": optimisation})

    def train(folder=None):
        return train_decoder(
            decoder, settings, [blobs.responses], blobs.targets(decoder, np.arange(24)), list(blobs.movie),
            seed=0, checkpoint=folder, fingerprint="fingerprint",
        )  # fmt: skip

    whole = train()
    pieces = []
    save = Checkpoint.save

    def end_after(self, step, content, *others, **more):
        pieces.append(step)
        assert all(t.is_contiguous() for t in content()[0].values()), step  # what is read has the same layout
        if self.folder:
            os.kill(os.getpid(), signal.SIGTERM)
        save(self, step, content, *others, **more)

    monkeypatch.setattr(Checkpoint, "save", end_after)
    again = None
    while again is None:
        try:
            again = train(tmp_path / "state")
        except SystemExit:
            assert len(pieces) < 40
    whole_pieces = {
        "semantic": ["basis-text", "basis-image", "basis-prompt_embedding"],
        "structure": ["basis-first"],
        "motion": ["flow-000000", "basis-first", "basis-change", "basis-flow", "basis-mask"],
    }[decoder]
    whole_pieces += ["kernel-0", "penalties-0", "penalties-0", "ridge-0"]
    whole_pieces += ["gains"] if decoder == "motion" else []
    assert pieces == whole_pieces + ["fit"] * 4  # each once: epoch 0, two steps, epoch 1
    left = sorted(path.name for path in (tmp_path / "state").iterdir())
    assert left == sorted(
        f"{part}.safetensors" for part in {*pieces} - {"kernel-0", "penalties-0"}
    )  # superseded parts go
    assert whole.weights.keys() == again.weights.keys()
    for name, tensor in whole.weights.items():
        assert torch.equal(tensor, again.weights[name]), name


def test_another_fingerprint_starts_again(tmp_path, capsys):
    for fingerprint in ("one", "two"):
        with Checkpoint(tmp_path / "state", fingerprint, 0) as checkpoint:
            assert checkpoint.read("piece") is None
            checkpoint.cached("piece", lambda: {"x": torch.ones(2)})
            assert torch.equal(checkpoint.read("piece")[0]["x"], torch.ones(2))
    assert "Removed the checkpoint of another experiment" in capsys.readouterr().err


def test_a_part_of_another_stamp_takes_no_other_part_with_it(tmp_path):
    with Checkpoint(tmp_path / "state", "one", 0) as checkpoint:
        checkpoint.cached("fit", lambda: {"x": torch.ones(2)})
    with Checkpoint(tmp_path / "state", "two", 0) as checkpoint:
        checkpoint.cached("basis", lambda: {"x": torch.zeros(2)})
        assert checkpoint.read("fit") is None
        assert torch.equal(checkpoint.read("basis")[0]["x"], torch.zeros(2))
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["basis.safetensors"]


def test_a_superseded_part_goes_with_the_store_of_what_is_in_its_place(tmp_path):
    def stored():
        return {path.stem for path in (tmp_path / "state").iterdir()}

    with Checkpoint(tmp_path / "state", "fingerprint", 0) as checkpoint:
        checkpoint.cached("kernel", lambda: {"x": torch.ones(2)})
        checkpoint.interval = 1000
        checkpoint.save("ridge", lambda: ({"x": torch.ones(2)}, None), replaces=("kernel",))
        assert stored() == {"kernel"}
        checkpoint.interval = 0
        checkpoint.cached("gains", lambda: {"x": torch.ones(2)})
        assert stored() == {"ridge", "gains"}


def test_a_file_where_the_folder_goes_makes_way(tmp_path):
    (tmp_path / "state").write_text("of other code")
    with Checkpoint(tmp_path / "state", "fingerprint", 0) as checkpoint:
        checkpoint.cached("piece", lambda: {"x": torch.ones(2)})
    with Checkpoint(tmp_path / "state", "fingerprint", 0) as checkpoint:
        assert torch.equal(checkpoint.read("piece")[0]["x"], torch.ones(2))
