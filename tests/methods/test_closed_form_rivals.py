"""bilinear, motion_energy and wen2018: what each can know on simulated data, nothing on noise, and a whole run."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from moving_blobs import make_blobs
from safetensors.numpy import save_file
from tiny_demo import ROOT, snakemake, write_tiny_demo

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.video import write_mp4
from mind_animator.config.features import FeaturesConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.errors import InputError
from mind_animator.features.base import open_provider
from mind_animator.features.classifier import alexnet
from mind_animator.features.motion_energy import Options as Filters
from mind_animator.features.motion_energy import motion_energy
from mind_animator.methods.base import (
    PredictionInputs,
    ReconstructionInputs,
    Responses,
    TrainingData,
    TrainingJob,
    open_kind,
)
from mind_animator.methods.wen2018 import build_decoder, published_solver
from mind_animator.scoring.decoded import change_of, target_scores


class Frames:
    """Frames of clips in memory, read like those of a file."""

    def __init__(self, frames):
        self._frames = frames

    def read(self, clip, name):
        return self._frames[clip]


def write_part(folder, part, trained):
    """The files of a trained part, as the workflow writes them."""
    path = folder / f"{part}.safetensors"
    save_file({name: np.ascontiguousarray(array) for name, array in trained.weights.items()}, path)
    path.with_suffix(".json").write_text(json.dumps(trained.record))
    return path


def run(kind, blobs, targets, folder, options=None, noise=False, **data):
    """Train all parts on the training movies of a blobs, then predict its test movie."""
    method, settings = open_kind(kind), json.dumps(options or {})
    train, test = (np.flatnonzero(blobs.split == name) for name in ("train", "test"))
    responses = blobs.responses
    if noise:
        responses = np.random.default_rng(4).normal(size=responses.shape).astype(np.float32)
    clips = [blobs.clips[row] for row in train]
    own, weights = Responses(responses[train], clips), {}
    given = {name: array[train] for name, array in targets.items()}
    names = [part if isinstance(part, str) else part.name for part in data.pop("parts")]
    for part in names:
        required = {
            "semantic": ("clip_embedding_text", "deep_layer", "class_scores"),
            "video": ("latents",),
        }.get(part)
        chosen = {n: a for n, a in given.items() if not required or n in required}
        inputs = TrainingData((own,), chosen, blobs.movie[train].tolist(), clips, dict(weights), **data)
        weights[part] = write_part(folder, part, method.train(part, settings, inputs, TrainingJob(0)))
    inputs = PredictionInputs(weights, {}, 0)
    found = method.predict(settings, inputs, Responses(responses[test], [blobs.clips[row] for row in test]))
    return found, inputs, test


@pytest.mark.parametrize("noise", [False, True])
def test_products_predict_the_change_that_a_linear_map_cannot(tmp_path, noise):
    blobs = make_blobs(clips=80)
    targets = {"clip_embedding_text": blobs.clip_embedding_text, "latents": blobs.latents}
    options = {"n_components": 32, "n_products": 16}
    found, _, test = run("bilinear", blobs, targets, tmp_path, options, noise, parts=("semantic", "video"))
    change, predicted = change_of(blobs.latents[test]), change_of(found["latents"])
    corr = target_scores(change, predicted, subtract_mean=False)[0]
    wrong = target_scores(change, predicted[:, ::-1], subtract_mean=False)[0]
    if noise:
        corr = target_scores(change, predicted)[0]  # the mean change over clips needs no response
        assert abs(corr.mean()) < 4 * corr.std() / len(corr) ** 0.5
        return
    assert corr.mean() > 0.5 and wrong.mean() < -0.3
    # one linear map from the same responses
    train = np.flatnonzero(blobs.split == "train")
    from sklearn.linear_model import RidgeCV

    linear = RidgeCV(np.logspace(0, 5, 11)).fit(
        blobs.responses[train], change_of(blobs.latents[train]).reshape(len(train), -1)
    )
    predicted = linear.predict(blobs.responses[test]).reshape(change.shape)
    assert corr.mean() > target_scores(change, predicted, subtract_mean=False)[0].mean() + 0.1


def frames_of(blobs, side=16):
    """Frames (clip, frame, side, side, 3) uint8 of a blobs's latents, and their motion energy."""
    shown = blobs.latents[:, :, :3].transpose(0, 1, 3, 4, 2)
    shown = np.uint8(np.clip(60 * shown + 60, 0, 255)).repeat(side // 8, 2).repeat(side // 8, 3)
    return shown, motion_energy(shown, FILTERS)


FILTERS = Filters(size=16, spatial_frequencies=(0, 2))


@pytest.mark.parametrize("noise", [False, True])
def test_motion_energy_finds_similar_clips_of_the_library(tmp_path, noise):
    blobs = make_blobs(clips=60)
    frames, energy = frames_of(blobs)
    reader = Frames(dict(zip(blobs.clips, frames, strict=True)))
    targets = {"motion_energy": energy, "clip_embedding_text": blobs.clip_embedding_text}
    options = {"window": [0, 0], "n_voxels": 60, "n_averaged": [1, 3, 10, 30], "size": 16}
    found, inputs, test = run(
        "motion_energy",
        blobs,
        targets,
        tmp_path,
        options,
        noise,
        parts=("library", "encoding"),
        frames=reader,
    )
    record = json.loads((tmp_path / "encoding.json").read_text())
    given = ReconstructionInputs([], 0, prediction=inputs, predictions=found)
    clips = [blobs.clips[row] for row in test]
    made = np.stack([f for _, f in open_kind("motion_energy").reconstruct(json.dumps(options), clips, given)])
    assert made.shape == frames[test].shape and made.dtype == np.uint8
    corr = target_scores(frames[test].astype(float), made.astype(float))[0]
    assert record["image_r2"] < record["image_r2_library_ceiling"]
    if noise:
        assert abs(corr.mean()) < 4 * corr.std() / len(corr) ** 0.5
        assert 0.4 < record["identification_accuracy"] < 0.6 and record["image_r2"] < 0.02
    else:
        assert corr.mean() > 0.4 and record["identification_accuracy"] > 0.8 and record["image_r2"] > 0.05


def test_a_folder_of_videos_replaces_the_library(tmp_path):
    blobs = make_blobs(clips=20)
    frames, energy = frames_of(blobs)
    for row in range(3):
        write_mp4(tmp_path / f"{row}.mp4", iter(frames[40 * row : 40 * row + 40].reshape(-1, 16, 16, 3)), 4)
    train = np.flatnonzero(blobs.split == "train")
    clips = [blobs.clips[row] for row in train]
    data = TrainingData(
        (Responses(blobs.responses[train], clips),), {"motion_energy": energy[train]}, blobs.movie[train].tolist(),
        clips, frames=Frames(dict(zip(blobs.clips, frames, strict=True))), videos=tuple(sorted(tmp_path.glob("*.mp4"))),
        models={"clip": ModelsConfig(clip="mind_animator/assets/models/clip").clip}, lock="models.lock.json",
    )  # fmt: skip
    method = open_kind("motion_energy")
    options = {
        "window": [0, 0], "n_voxels": 20, "n_averaged": [1, 3], "size": 16, "library": str(tmp_path),
        "library_filters": FILTERS.model_dump(),
    }  # fmt: skip
    library = method.train("library", json.dumps(options), data, TrainingJob(0))
    assert library.weights["frames"].shape == (100, 4, 16, 16, 3) and library.record["clips"] == 100
    # the first clip of the first video is the first clip of the blobs, apart from the codec
    np.testing.assert_allclose(library.weights["frames"][0], frames[0], atol=25)
    with pytest.raises(InputError, match=r"must be equal to config\.features\.options\.motion_energy"):
        method.train("library", json.dumps(options | {"library_filters": {"size": 20}}), data, TrainingJob(0))


@pytest.mark.parametrize("noise", [False, True])
def test_wen2018_decodes_images_and_categories(tmp_path, noise):
    blobs = make_blobs(clips=40)
    frames, _ = frames_of(blobs)
    scores = blobs.clip_embedding_image @ np.random.default_rng(1).normal(size=(16, 6)).astype(np.float32)
    targets = {
        "early_map": blobs.latents.mean(1), "deep_layer": blobs.clip_embedding_image, "class_scores": scores,
        "clip_embedding_text": blobs.clip_embedding_text,
    }  # fmt: skip
    options = {"n_components": 16, "channels": [16, 8], "epochs": 40, "batch_size": 16, "learning_rate": 5e-3}
    method, parts = open_kind("wen2018"), ("decoder", "first_layer", "semantic")
    reader = Frames(dict(zip(blobs.clips, frames, strict=True)))
    found, inputs, test = run("wen2018", blobs, targets, tmp_path, options, noise, parts=parts, frames=reader)
    given = ReconstructionInputs([], 0, prediction=inputs, predictions=found)
    clips = [blobs.clips[row] for row in test]
    made = np.stack([f for _, f in method.reconstruct(json.dumps(options), clips, given)])
    assert made.shape == (40, 1, 16, 16, 3)  # one image per clip
    corr = target_scores(frames[test].mean(1, keepdims=True), made.astype(float))[0]
    right = (found["class_scores"].argmax(1) == scores[test].argmax(1)).mean()
    if noise:
        assert abs(corr.mean()) < 4 * corr.std() / len(corr) ** 0.5 and right < 0.45
    else:
        assert corr.mean() > 0.4 and right > 0.45


def test_the_published_solver():
    """It finds a linear map from many correlated inputs, and the L1 penalty removes inputs without effect."""
    rng = np.random.default_rng(0)
    causes = rng.normal(size=(600, 5))
    x = np.repeat(causes, 100, axis=1) + rng.normal(size=(600, 500))
    y = torch.from_numpy((causes[:, :2] * 3 + 7).astype(np.float32))
    x = torch.from_numpy(x.astype(np.float32))
    slope, intercept = published_solver(x, y, 0.0, 0)
    predicted = x @ slope + intercept
    assert all(np.corrcoef(predicted[:, k], y[:, k])[0, 1] > 0.9 for k in range(2))
    np.testing.assert_allclose(predicted.mean(0), y.mean(0), atol=1e-3)
    sparse, _ = published_solver(x, y, 0.1, 0)
    assert sparse[200:].abs().mean() < 0.5 * slope[200:].abs().mean()


def test_sizes_as_published():
    """torchvision's AlexNet from a weight file, and the decoder of the default options, on one clip."""
    with torch.device("meta"):
        assert sum(p.numel() for p in alexnet().parameters()) == 61_100_840
    decoder = build_decoder(1024, (128, 64, 32, 16))
    images = decoder(torch.zeros(2, 1024))
    assert images.shape == (2, 3, 64, 64)
    images.mean().backward()
    assert all(p.grad is not None for p in decoder.parameters())


def test_the_layers_of_alexnet(tmp_path):
    model = alexnet()
    torch.save(model.state_dict(), tmp_path / "alexnet.pth")
    options = {"network": "alexnet", "per_frame": True}
    provider = open_provider("classifier", FeaturesConfig(options={"classifier": options}))
    assert provider.models == ("alexnet",)
    frames = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    models = ModelsConfig(alexnet=str(tmp_path))
    ((_, found),) = provider.compute(
        provider.settings(), [("a", frames)], models, seed=0, device="cpu", notes={}
    )
    shapes = {name: array.shape for name, array in found.items()}
    assert shapes == {
        "early_map": (64, 27, 27), "deep_layer": (4096,), "class_scores": (1000,), "early_map_frames": (2, 64, 27, 27),
    }  # fmt: skip
    last = model.classifier[6]
    expected = last(torch.from_numpy(found["deep_layer"])).detach().numpy()
    np.testing.assert_allclose(found["class_scores"], expected, atol=1e-5)
    torch.save({"a": torch.zeros(1)}, tmp_path / "alexnet.pth")
    with pytest.raises(InputError, match="Expected the weights of torchvision's AlexNet in"):
        list(provider.compute(provider.settings(), [("a", frames)], models, seed=0, device="cpu", notes={}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of the three methods with the shipped settings."""
    folder = tmp_path_factory.mktemp("rivals")
    path = write_tiny_demo(folder)
    values = yaml.safe_load(path.read_text())
    shipped = yaml.safe_load((ROOT / "config" / "rivals.yaml").read_text())
    values["features"] = shipped["features"]
    values["methods"] = {name: shipped["methods"][name] for name in ("bilinear", "motion_energy", "wen2018")}
    values["report"] = {"headline": "bilinear"}
    path.write_text(yaml.safe_dump(values))
    targets = [f"results/scores/{name}/sub-1.decoded.parquet" for name in values["methods"]]
    targets += [f"results/reconstructions/{name}/sub-1/clips-00000.h5" for name in values["methods"]]
    done = snakemake(folder, "--quiet", "rules", "--", *targets)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize("name", ["bilinear", "motion_energy", "wen2018"])
def test_a_whole_run_predicts_and_reconstructs_with_each_method(finished, name):
    scores = pd.read_parquet(finished / f"results/scores/{name}/sub-1.decoded.parquet")
    ranks = scores.loc[scores["metric"] == "retrieval_text_rank", "value"]
    assert len(ranks) == 20 and ranks.between(1, 20).all()
    path = finished / f"results/reconstructions/{name}/sub-1/clips-00000.h5"
    frames = read_arrays(path, ["frames"])[1]["frames"]
    assert frames.shape == (20, 8, 64, 64, 3)
    still = (frames == frames[:, :1]).all()
    assert still == (name == "wen2018")  # the only one with one image per clip
