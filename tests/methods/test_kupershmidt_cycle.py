"""The self-supervised part of Kupershmidt et al.: unpaired clips, the cycle, and the perceptual networks."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tiny_demo import ROOT

from mind_animator.artefacts.video import write_mp4
from mind_animator.errors import InputError
from mind_animator.methods import kupershmidt2022 as method
from mind_animator.methods.base import TrainingData, TrainingJob
from mind_animator.video.training import TrainingMovies

RATE = 8


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three movies of 8 s whose brightness is 20 x the movie's number + 2 x the number of the frame."""
    folder = tmp_path_factory.mktemp("movies")
    for number in range(3):
        frames = [np.full((16, 16, 3), 20 * number + 2 * frame, np.uint8) for frame in range(8 * RATE)]
        write_mp4(folder / f"{number}.mp4", iter(frames), RATE, lossless=True)
    return folder


def training_data(folder, **more):
    rows = [(f"m{number}", f"{number}.mp4", 2.0 * k, 2.0) for number in range(2) for k in range(4)]
    table = pd.DataFrame(rows, columns=["movie", "file", "onset", "duration"])
    stimuli = TrainingMovies(table, [folder / "0.mp4", folder / "1.mp4"])
    return TrainingData((), {}, table["movie"].tolist(), [], stimuli=stimuli, **more)


def test_unpaired_clips_are_read_at_random_onsets_outside_the_held_out_movies(videos):
    options = method.Options(preset="small", size=16, windows=3)
    data = training_data(videos, videos=(videos / "2.mp4",))
    clips = method.unpaired_clips(data, options, {"m1"}, frames=4, seed=0)
    assert clips.shape == (9 + 3, 4, 16, 16, 3)  # in 6 s of onsets: three per clip duration, and one
    level = clips.mean(axis=(2, 3, 4))
    movie = np.repeat([0, 2], (9, 3))
    frame = (level - 20 * movie[:, None]) / 2  # the number of the frame in its movie
    assert (frame >= 0).all() and (frame < 8 * RATE).all()
    np.testing.assert_allclose(np.diff(frame), RATE / 2, atol=1.1)  # half a second from frame to frame
    assert (np.diff(frame[:9, 0]) > 0).all()
    assert len(set(np.round(frame[:9, 0]) % RATE)) > 3  # not only the onsets of clips
    again = method.unpaired_clips(data, options, {"m1"}, frames=4, seed=0)
    np.testing.assert_array_equal(again, clips)


def test_a_cycle_without_any_unpaired_clip_is_an_error(videos):
    options = method.Options(preset="small", size=16)
    with pytest.raises(InputError, match="Expected unpaired videos of more than 2 s, found none"):
        method.unpaired_clips(training_data(videos), options, {"m0", "m1"}, frames=4, seed=0)
    with pytest.raises(ValueError, match="cycle requires windows of the training movies or videos"):
        method.Options(windows=0)


def test_the_loss_of_the_decoder_is_the_sum_of_its_terms():
    """Against a plain definition; the smoothness prior is the change in units of that of the training clips."""
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(0, 256, (6, 4, 16, 16, 3), np.uint8))
    responses = torch.randn(6, 10)
    weights = {"total_variation": 0.2, "smoothness": 0.3, "response_cycle": 0.4}
    options = method.Options(preset="small", size=16, perceptual=0, cycle=0, **weights)
    encoder, decoder = method.build_encoder(options, 10, 4).eval(), method.build_decoder(options, 10, 4)
    batches = {"responses": responses, "frames": frames}
    rows = np.arange(4)
    loss = method.decoder_loss(
        options, TrainingData((), {}, [], []), TrainingJob(0), encoder, batches, rows, np.array([4, 5])
    )
    with torch.no_grad():
        value = loss(decoder, batches, torch.Generator(), 1)
        made = method.decode(decoder, responses).numpy()
        again = method.encode(encoder, torch.from_numpy(made)).numpy()
    true = frames.numpy().transpose(0, 1, 4, 2, 3) / 255
    step = np.abs(np.diff(true[rows], axis=1)).mean()
    expected = (
        np.abs(made - true).mean()
        + 0.2 * (np.abs(np.diff(made, axis=-1)).mean() + np.abs(np.diff(made, axis=-2)).mean())
        + 0.3 * np.abs(np.diff(made, axis=1)).mean() / step
        + 0.4 * np.square(again - responses.numpy()).mean()
    )
    assert value.item() == pytest.approx(expected, rel=1e-5)


def write_vgg16(path, shift=0):
    """Random VGG16 weights as torchvision names them; returns the images' features by a plain loop."""
    torch.manual_seed(0)
    weights, index, channels = {}, 0, 3
    for block, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(block):
            scale = math.sqrt(2 / (9 * channels))
            weights[f"features.{index + shift}.weight"] = torch.randn(width, channels, 3, 3) * scale
            weights[f"features.{index + shift}.bias"] = torch.zeros(width)
            channels, index = width, index + 2
        index += 1
    save_file(weights, path)
    return weights


def test_vgg16_features_are_those_before_each_pooling(tmp_path):
    weights = write_vgg16(tmp_path / "vgg16.safetensors")
    data = TrainingData((), {}, [], [], models={"vgg16": str(tmp_path)})
    images = torch.rand(1, 3, 32, 32)
    features = method.perceptual_features(data, method.Options(), "cpu")(images)
    values = (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    expected, index = [], 0
    for block in (2, 2, 3, 3, 3):
        for _ in range(block):
            weight = weights[f"features.{index}.weight"]
            values, index = torch.nn.functional.conv2d(values, weight, padding=1).relu(), index + 2
        expected.append(values)
        values, index = torch.nn.functional.max_pool2d(values, 2), index + 1
    assert [f.shape for f in features] == [(1, c, s, s) for c, s in
                                           ((64, 32), (128, 16), (256, 8), (512, 4), (512, 2))]  # fmt: skip
    for own, reference in zip(features, expected, strict=True):
        torch.testing.assert_close(own, reference)


def test_other_weights_than_vgg16_are_an_error(tmp_path):
    write_vgg16(tmp_path / "vgg16.safetensors", shift=1)
    data = TrainingData((), {}, [], [], models={"vgg16": str(tmp_path)})
    with pytest.raises(InputError, match=r"Expected VGG16 weights \(features.0.weight, ...\)"):
        method.perceptual_features(data, method.Options(), "cpu")


def test_a_vit_classifier_gives_gradients_to_the_images():
    model_id_or_path = str(ROOT / "mind_animator/assets/models/vit")
    data = TrainingData((), {}, [], [], models={"vit": model_id_or_path})
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    options = method.Options(preset="small")
    features = method.perceptual_features(data, options, "cpu")(images)
    assert len(features) > 1 and all(len(one) == 2 for one in features)
    features[-1].sum().backward()
    assert images.grad.abs().max() > 0
