"""Further metrics of the field against plain definitions, with small networks in the files that the real ones
come in."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import sqrtm
from torch.nn import functional

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.config.models import ModelsConfig
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError
from mind_animator.metrics.action_nway import ActionNWay
from mind_animator.metrics.base import NotComputed
from mind_animator.metrics.dino_similarity import DinoSimilarity
from mind_animator.metrics.fid import Fid
from mind_animator.metrics.flow import flows
from mind_animator.metrics.frechet import frechet_distance
from mind_animator.metrics.fvd_videomae import FvdVideomae
from mind_animator.metrics.lpips import BACKBONE, HEADS, Lpips
from mind_animator.metrics.motion_cosine import MotionCosine
from mind_animator.metrics.pixcorr import PixCorr
from mind_animator.metrics.registry import open_metrics
from mind_animator.models.images import prepare_images
from mind_animator.models.load import load_videomae
from mind_animator.provenance import ROOT
from mind_animator.scoring.compare import set_rows, summarise
from mind_animator.scoring.ground_truth import encode_ground_truth
from mind_animator.scoring.networks import open_networks
from mind_animator.scoring.score import score
from mind_animator.scoring.sources import ArraySource

VIDEOMAE = ROOT / "mind_animator" / "assets" / "models" / "videomae"


@pytest.fixture
def clips(rng):
    """Two clips of 8 frames, (2, 8, 64, 64, 3)."""
    return rng.integers(0, 256, (2, 8, 64, 64, 3), dtype=np.uint8)


def network(metric, model) -> object:
    return metric.inputs[0].load(str(model), "", "cpu")


def test_pixcorr_is_the_correlation_of_pixels(clips):
    expected = [np.corrcoef(t.ravel(), p.ravel())[0, 1] for t, p in zip(*clips, strict=True)]
    # float32 unit vectors of 12288 terms
    np.testing.assert_allclose(PixCorr().frame_values(*clips), expected, atol=1e-6)
    assert PixCorr()(clips[0], np.full_like(clips[0], 7)) == 0
    assert PixCorr()(clips[0], 255 - clips[0]) == pytest.approx(-1, abs=1e-6)


def test_motion_cosine_is_the_mean_over_steps_of_the_cosine_of_flows(clips):
    values = MotionCosine().frame_values(*clips)
    for value, t, p in zip(values, flows(clips[0]), flows(clips[1]), strict=True):
        products = sum(float(t[y, x] @ p[y, x]) for y in range(64) for x in range(64))
        expected = products / np.sqrt((t.astype(float) ** 2).sum() * (p.astype(float) ** 2).sum())
        assert value == pytest.approx(expected, abs=1e-5)  # dot products of float32
    assert MotionCosine()(clips[0], clips[0]) == pytest.approx(1)
    still = np.repeat(clips[0][:1], 8, axis=0)
    assert MotionCosine()(clips[0], still) == 0


def test_action_accuracy_is_of_a_network_built_for_six_frames(clips):
    from transformers import VideoMAEForVideoClassification

    metric = ActionNWay(2)
    logits = network(metric, VIDEOMAE)(clips)
    six = VideoMAEForVideoClassification.from_pretrained(VIDEOMAE, num_frames=6).eval()
    chosen = torch.from_numpy(
        clips[:, [0, 2, 3, 4, 6, 7]]
    )  # the frames in the middle of six spans of 8 frames
    recipe = load_videomae(VIDEOMAE).recipe
    with torch.inference_mode():
        images = prepare_images(chosen.reshape(-1, 64, 64, 3), recipe)
        expected = six(images.reshape(2, 6, *images.shape[1:])).logits.numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    described = [metric.describe(row) for row in logits]
    best = np.argsort(logits[0])[-3:]
    others = np.setdiff1d(np.arange(logits.shape[1]), best)
    rivals = (logits[1][others] >= logits[1][best].max()).mean()
    assert metric.compare(*described) == pytest.approx(1 - rivals, abs=1e-12)
    assert [m.name for m in ActionNWay.variants((2, 50))] == ["action_2way", "action_50way"]


def test_dino_similarity_is_the_cosine_of_class_tokens(clips, tmp_path):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    model = Dinov2Model(
        Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    ).eval()
    model.save_pretrained(tmp_path)
    settings = {
        "size": {"height": 28, "width": 28},
        "image_mean": [0.5] * 3,
        "image_std": [0.25] * 3,
        "resample": 3,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    metric = DinoSimilarity()
    embedded = network(metric, tmp_path)(clips)
    small = functional.interpolate(
        torch.from_numpy(clips[1]).permute(0, 3, 1, 2).float(), (28, 28), mode="bicubic", antialias=True
    ).round().clamp(0, 255)  # fmt: skip
    with torch.inference_mode():
        token = model((small / 255 - 0.5) / 0.25).last_hidden_state[:, 0].numpy()
    np.testing.assert_allclose(
        embedded[1], token, atol=0.05 * np.abs(token).max()
    )  # two passes round to bytes
    values = metric.compare(*(metric.describe(clip) for clip in embedded))
    for value, t, p in zip(values, *embedded, strict=True):
        assert value == pytest.approx(float(t @ p / np.linalg.norm(t) / np.linalg.norm(p)), abs=1e-6)


@pytest.fixture
def lpips_folder(tmp_path):
    """Random weights under the names of torchvision's AlexNet and of the package lpips."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        0: (64, 3, 11, 11),
        3: (192, 64, 5, 5),
        6: (384, 192, 3, 3),
        8: (256, 384, 3, 3),
        10: (256, 256, 3, 3),
    }
    backbone = {}
    for key, shape in shapes.items():
        backbone[f"features.{key}.weight"] = torch.randn(shape, generator=generator) / np.sqrt(
            np.prod(shape[1:])
        )
        backbone[f"features.{key}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    heads = {
        f"lin{index}.model.1.weight": torch.rand((1, shape[0], 1, 1), generator=generator)
        for index, shape in enumerate(shapes.values())
    }
    folder = tmp_path / "lpips"
    folder.mkdir()
    torch.save(backbone, folder / BACKBONE)
    torch.save(heads, folder / HEADS)
    return folder, backbone, heads


def plain_lpips(t, p, backbone, heads):
    """Layer by layer, pixel by pixel, as the paper defines it."""
    sides = []
    for frame in (t, p):
        x = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255 * 2 - 1
        x = (x - torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)) / torch.tensor(
            [0.458, 0.448, 0.450]
        ).view(1, 3, 1, 1)
        layers = []
        for key, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
            if key in (3, 6):
                x = functional.max_pool2d(x, 3, 2)
            weight, bias = (backbone[f"features.{key}.{name}"] for name in ("weight", "bias"))
            x = functional.relu(functional.conv2d(x, weight, bias, stride, padding))
            layers.append(x[0].double().permute(1, 2, 0).numpy())
        sides.append(layers)
    total = 0.0
    for index, (a, b) in enumerate(zip(*sides, strict=True)):
        weights = heads[f"lin{index}.model.1.weight"].numpy().ravel()
        unit = [x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-10) for x in (a, b)]
        total += np.mean(
            [
                [weights @ (unit[0][y, x] - unit[1][y, x]) ** 2 for x in range(a.shape[1])]
                for y in range(a.shape[0])
            ]
        )
    return total


def test_lpips_is_the_weighted_distance_of_unit_activations(clips, lpips_folder):
    folder, backbone, heads = lpips_folder
    metric = Lpips()
    features = network(metric, folder)(clips)
    values = metric.compare(*(metric.describe(clip) for clip in features))
    for frame in (0, 5):
        assert values[frame] == pytest.approx(plain_lpips(*clips[:, frame], backbone, heads), rel=1e-4)
    assert (metric.compare(*[metric.describe(features[0])] * 2) == 0).all()
    (folder / HEADS).unlink()
    with pytest.raises(InputError, match=r"Expected a folder with alexnet.*found no alex\.pth"):
        network(metric, folder)


@pytest.mark.parametrize("n", [200, 12])
def test_frechet_distance_equals_the_root_of_a_matrix(rng, n):
    """With more samples than features, and with fewer."""
    first, second = rng.standard_normal((n, 30)), rng.standard_normal((n + 3, 30)) * 1.5 + 0.3
    covariances = [np.cov(sample, rowvar=False) for sample in (first, second)]
    # a little on the diagonal lets scipy take the root of singular matrices
    root = sqrtm((covariances[0] + 1e-9 * np.eye(30)) @ (covariances[1] + 1e-9 * np.eye(30))).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(
        covariances[0] + covariances[1] - 2 * root
    )
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(first, first + 2) == pytest.approx(120)
    with pytest.raises(NotComputed, match="at least 2 samples"):
        frechet_distance(first[:1], second)


class Pooled(torch.nn.Module):
    """Stands for Inception: its interface, and mean colours as features."""

    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return images.float().mean((2, 3))


def test_fid_is_of_all_frames_and_states_its_sample(rng, tmp_path):
    torch.jit.script(Pooled()).save(str(tmp_path / "inception.pth"))
    metric, frames = Fid(), rng.integers(0, 256, (2, 5, 4, 16, 16, 3), dtype=np.uint8)
    sides = [[metric.describe(clip) for clip in network(metric, tmp_path)(side)] for side in frames]
    found = metric.compare_sets(*sides)
    colours = [side.reshape(-1, 256, 3).mean(axis=1) for side in frames]
    assert found.value == pytest.approx(frechet_distance(*colours), rel=1e-4)
    assert found.n == 5
    order = np.random.default_rng(0).permutation(5)
    halves = [colours[0].reshape(5, 4, 3)[part].reshape(-1, 3) for part in (order[:3], order[3:])]
    assert found.note.startswith(
        "20 frames, 3 features: with fewer than 10000 the distance is biased upwards"
    )
    assert found.note.endswith(
        f"two random halves of the ground truth, 2 clips each: {frechet_distance(*halves):.4g}"
    )
    (tmp_path / "inception.pth").write_bytes(b"no network")
    with pytest.raises(InputError, match="Expected a TorchScript file at"):
        network(metric, tmp_path)


def test_fvd_is_of_the_features_before_the_classifier(clips):
    metric = FvdVideomae()
    features = network(metric, VIDEOMAE)(clips)
    classifier = load_videomae(VIDEOMAE).model.classifier
    logits = network(open_metrics(["video_2way"])[0], VIDEOMAE)(clips)
    with torch.inference_mode():
        np.testing.assert_allclose(classifier(torch.from_numpy(features)).numpy(), logits, atol=1e-4)
    assert metric.compare_sets(
        [{"video_features": f} for f in features] * 2, [{"video_features": f} for f in features] * 2
    ).value == pytest.approx(0, abs=1e-6)


def test_they_are_scored_like_any_other(rng, tmp_path, lpips_folder):
    """Through the ground-truth file, with what is not available named, and sets in the summary."""
    names = [f"c{index}" for index in range(6)]
    frames = rng.integers(0, 256, (2, 6, 8, 32, 32, 3), dtype=np.uint8)
    for name, side in zip(("truth", "made"), frames, strict=True):
        write_arrays(tmp_path / f"{name}.h5", {"frames": side}, names)
    shutil.copytree(VIDEOMAE, tmp_path / "videomae")
    chosen = ("pixcorr", "motion_cosine", "action_nway", "dino_similarity", "lpips", "fid", "fvd_videomae")
    settings = ScoringConfig(
        size=32, metrics=chosen, n_ways=(2,), block=2, shuffles=0, batch=4, bootstraps=100
    )
    metrics = open_metrics(settings.metrics, settings.n_ways)
    models = ModelsConfig.model_validate(
        {"videomae": str(tmp_path / "videomae"), "lpips": str(lpips_folder[0])}
    )
    networks = open_networks(metrics, models, frames=8)
    ground_truth, made = (
        ArraySource([tmp_path / f"{name}.h5"], size=32, count=8) for name in ("truth", "made")
    )
    encode_ground_truth(names, ground_truth, networks, tmp_path / "gt.h5", settings, rate=4.0)
    table = pd.DataFrame({"clip": names, "segment": "t", "movie": "t", "scene_cut": False})
    who = {"dataset": "d", "subject": "1"}
    found = score(
        table,
        tmp_path / "gt.h5",
        {"m": made, "same": ground_truth},
        networks,
        settings,
        count=8,
        seed=0,
        **who,
    )
    rows = found["m"].rows.pivot(index="clip", columns="metric", values="value")
    features = networks.functions["lpips"](frames[:, 2])
    assert rows.loc["c2", "lpips"] == pytest.approx(
        ((features[0] - features[1]) ** 2).sum(-1).mean(), rel=1e-5
    )
    assert rows.loc["c2", "pixcorr"] == PixCorr()(frames[0, 2], frames[1, 2])
    same = found["same"].rows.pivot(index="clip", columns="metric", values="value")
    assert (same[["lpips"]] == 0).all().all() and same["action_2way"].eq(1).all()
    assert {"pixcorr", "motion_cosine", "action_2way"} <= set(found["m"].pairs.pairs)
    status = found["m"].rows.set_index("metric")["status"]
    assert (status["dino_similarity"].str.contains("not computed: Expected")).all()
    summary = pd.concat(
        [
            summarise(one.rows, settings, seed=0, sets=set_rows(one.pairs, method=key, **who))
            for key, one in found.items()
        ]
    ).set_index(["method", "metric"])
    fvd = summary.loc[("m", "fvd_videomae")]
    assert fvd["mean"] > summary.loc[("same", "fvd_videomae"), "mean"] == pytest.approx(0, abs=1e-5)
    assert fvd["n_clips"] == 6 and np.isnan(fvd["low"]) and "two random halves" in fvd["status"]
    assert np.isnan(summary.loc[("m", "fid"), "mean"])
    assert "not computed: Expected" in summary.loc[("m", "fid"), "status"]


def test_single_images_are_scored_by_metrics_of_images(rng, tmp_path):
    """The frame shown at the middle of each clip; networks of videos are not computed, with the reason."""
    names = [f"c{index}" for index in range(4)]
    frames = rng.integers(0, 256, (2, 4, 8, 32, 32, 3), dtype=np.uint8)
    for name, side in zip(("truth", "made"), frames, strict=True):
        write_arrays(tmp_path / f"{name}.h5", {"frames": side}, names)
    settings = ScoringConfig(
        size=32,
        frames=1,
        metrics=("ssim", "pixcorr", "epe", "action_nway", "fvd_videomae"),
        n_ways=(2,),
        block=1,
    )
    metrics = open_metrics(settings.metrics, settings.n_ways)
    networks = open_networks(metrics, ModelsConfig.model_validate({"videomae": str(VIDEOMAE)}), frames=1)
    assert networks.absent == dict.fromkeys(
        ("action_logits", "video_features"), "one frame per clip is no video"
    )
    ground_truth, made = (
        ArraySource([tmp_path / f"{name}.h5"], size=32, count=1) for name in ("truth", "made")
    )
    encode_ground_truth(names, ground_truth, networks, tmp_path / "gt.h5", settings, rate=0.5)
    table = pd.DataFrame({"clip": names, "segment": "t", "movie": "t", "scene_cut": False})
    rows = score(
        table, tmp_path / "gt.h5", {"m": made}, networks, settings, count=1, seed=0, dataset="d", subject="1"
    )["m"].rows
    values = rows.pivot(index="clip", columns="metric", values="value")
    assert values.loc["c1", "pixcorr"] == PixCorr()(frames[0, 1, 4:5], frames[1, 1, 4:5])
    assert values["ssim"].notna().all() and values[["epe", "action_2way"]].isna().all(axis=None)
    status = rows.set_index("metric")["status"]
    assert status["action_2way"].str.contains("one frame per clip is no video").all()
