"""The shipped models load with ordinary code and do their job; training is deterministic and resumes."""

import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ViTForImageClassification

from mind_animator.errors import InputError
from mind_animator.provenance import file_sha256
from mind_animator.synthetic import measure_models, models, scenes, ship_models, train_models
from mind_animator.synthetic.train_models import Plan
from workflow_scripts import train_demo_model

SHIPPED = Path(str(files("mind_animator"))) / "assets" / "models"
BASELINES = {
    "vit": {"noun": 0.97, "scene": 0.97},
    "clip": {"noun": 0.95, "scene": 0.95},
    "vificlip": {"noun": 0.95, "scene": 0.95},
    "blip2": {"noun": 0.95, "scene": 0.95},
    "videomae": {"noun": 0.95, "direction": 0.55},
    "sd": {"noun": 0.8, "scene": 0.9},
}


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", BASELINES)
def test_shipped_models_do_their_job_on_fresh_images(name):
    measured = measure_models.measure(name, SHIPPED / name, SHIPPED, count=32 if name == "sd" else 96)
    for key, baseline in BASELINES[name].items():
        assert measured[key] >= baseline, (name, key, measured)


def test_the_shipped_autoencoder_keeps_images():
    measured = measure_models.measure("vae", SHIPPED / "sd" / "vae", SHIPPED, count=64)
    assert measured["psnr"] > 23 and measured["psnr_object"] > 19


def test_shipped_weights_are_those_of_their_cards_and_small():
    weights = sorted(SHIPPED.rglob("*.safetensors"))
    assert weights and sum(path.stat().st_size for path in weights) <= 25e6
    for path in weights:
        name = path.relative_to(SHIPPED).parts[0]
        card = (SHIPPED / name / "README.md").read_text()
        assert file_sha256(path) in card and "CC BY-SA 4.0" in card
        assert f"| {path.stat().st_size} |" in card, name
        assert re.search(r"\d+ steps in \d+ s on the CPU", card), f"cost of {name}"
        assert "Images drawn by `mind_animator.synthetic.scenes`" in card, f"data of {name}"
        assert "## Measured" in card


def test_plain_loading_computes_in_float32():
    model = ViTForImageClassification.from_pretrained(SHIPPED / "vit")
    assert model.dtype == torch.float32
    assert model.config.id2label[0] == "horse, beach"


def test_tokenizer_knows_the_worlds_words_and_spells_others():
    tokenizer = models.build_clip_tokenizer()
    for noun in scenes.NOUNS:
        for phrase in scenes.PHRASES.values():
            words = f"a {noun} {phrase}".split()
            assert tokenizer.tokenize(" ".join(words)) == [f"{word}</w>" for word in words]
    assert tokenizer.unk_token_id not in tokenizer("zebra-crossing 7", add_special_tokens=False).input_ids
    assert tokenizer.model_max_length == 77


def test_vificlip_keys_hold_the_same_network():
    from mind_animator.models.vificlip import PREFIX, build_encoder

    torch.manual_seed(0)
    clip = models.build_clip().eval()
    weights = models.to_vificlip(clip)
    named = {key.removeprefix(PREFIX): value for key, value in weights.items() if key.startswith(PREFIX)}
    images = torch.rand(2, 3, models.IMAGE_SIZE, models.IMAGE_SIZE)
    with torch.no_grad():
        expected = clip.get_image_features(images).pooler_output
        found = build_encoder(named, "here")(images)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)  # sums of 512 terms in float32


def test_a_trunk_starts_the_other_vision_transformers():
    torch.manual_seed(0)
    vit, blip2 = models.build_vit().eval(), models.build_blip2().eval()
    models.start_from_trunk(blip2, vit)
    images = torch.rand(2, 3, models.IMAGE_SIZE, models.IMAGE_SIZE)
    with torch.no_grad():
        expected = vit.vit(images).last_hidden_state
        found = blip2.vision_model(images).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_augmentation_keeps_shape_range_and_input():
    torch.manual_seed(0)
    images = torch.rand(3, 2, 3, 64, 64) * 2 - 1
    before = images.clone()
    changed = train_models.augment(images)
    assert changed.shape == images.shape and changed.abs().max() <= 1
    torch.testing.assert_close(images, before, rtol=0, atol=0)
    same = before[:, :1].expand(-1, 2, -1, -1, -1).clone()
    torch.manual_seed(5)
    pair = train_models.augment(same)
    assert (pair[:, 0] - pair[:, 1]).abs().mean() < 0.2  # frames of an item differ by noise alone


def test_two_way_loss_is_the_sum_of_three_cross_entropies():
    logits = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, second = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 0, 1, 1, 0])
    chance = logits.softmax(-1).numpy().reshape(5, 3, 2)
    rows = np.arange(5)
    joint, alone = chance[rows, first, second], chance.sum(2)[rows, first]
    expected = -np.mean(np.log(joint) + np.log(alone) + np.log(chance.sum(1)[rows, second]))
    assert float(train_models.two_way_loss(logits, first, second, 2)) == pytest.approx(expected, rel=1e-5)


def test_contrast_counts_equal_labels_as_right():
    logits = torch.tensor([[9.0, 9.0], [9.0, 9.0]])
    assert float(train_models.contrast(logits, torch.tensor([1, 1]))) == pytest.approx(np.log(2))
    assert float(train_models.contrast(10 * torch.eye(2), torch.tensor([0, 1]))) < 1e-3


def _fit(path: Path, steps: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    module = torch.nn.Linear(4, 1)
    targets = torch.linspace(-1, 1, 40).reshape(10, 4)

    def loss(net: torch.nn.Module, index: torch.Tensor) -> torch.Tensor:
        return (net(targets[index] + 0.1 * torch.randn(len(index), 4)) - 1).square().mean()

    fitted, record = train_models.fit(module, loss, 10, Plan(steps, None, 4, 1e-2), path)
    assert record["steps"] == steps
    return fitted.state_dict()


def test_a_resumed_training_ends_at_the_same_weights(tmp_path, monkeypatch):
    whole = _fit(tmp_path / "whole.pt", 30)
    monkeypatch.setattr(train_models, "SAVE_EVERY_SECONDS", 0.0)

    class Killed(Exception):
        pass

    def die_at_ten(state, plan, module, average, optimiser, step, seconds, losses):
        save(state, plan, module, average, optimiser, step, seconds, losses)
        if step == 10:
            raise Killed

    save = train_models._save_state
    monkeypatch.setattr(train_models, "_save_state", die_at_ten)
    with pytest.raises(Killed):
        _fit(tmp_path / "killed.pt", 30)
    resumed = _fit(tmp_path / "killed.pt", 30)
    for key, value in whole.items():
        torch.testing.assert_close(resumed[key], value, rtol=0, atol=0)


def test_the_command_rebuilds_deterministically_and_cleans_up(tmp_path, capsys):
    for folder in ("first", "second"):
        train_demo_model.main(["--model", "vit", "--steps", "2", "--output", str(tmp_path / folder)])
    sums = [file_sha256(tmp_path / folder / "model.safetensors") for folder in ("first", "second")]
    assert sums[0] == sums[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]
    assert '"noun"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--model", "clip"], "Expected the model 'vit' in"),
        (["--model", "vit", "--steps", "0"], "--steps = 0: must be at least 1."),
        (["--model", "vit", "--budget-seconds", "-1"], "--budget-seconds = -1: must be greater than 0."),
    ],
)
def test_bad_requests_stop_at_once(tmp_path, arguments, text):
    with pytest.raises(InputError) as error:
        train_demo_model.main([*arguments, "--output", str(tmp_path / "models" / "made")])
    assert text in str(error.value)


def test_unknown_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected the model to be one of .*, got 'gpt'"):
        measure_models.measure("gpt", tmp_path, tmp_path)


def test_shipping_replaces_a_folder_at_the_end_only(tmp_path, monkeypatch):
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit" / "old").write_text("old")

    def fail():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(models, "build_vit_processor", fail)
    with pytest.raises(OSError, match="No space left"):
        ship_models.ship("vit", models.build_vit(), tmp_path / "vit")
    assert (tmp_path / "vit" / "old").read_text() == "old"
