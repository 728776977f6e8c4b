"""train_part and predict on files: real data flow, poisoned test rows, ablations, resume after a kill."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from moving_blobs import make_blobs
from safetensors.numpy import load_file

from mind_animator.artefacts.arrays import read_arrays, write_arrays
from mind_animator.artefacts.tables import write_table
from mind_animator.config.features import FeaturesConfig
from mind_animator.config.methods import MethodConfig
from mind_animator.errors import InputError
from mind_animator.features.base import open_provider
from mind_animator.methods import open_methods
from mind_animator.methods.base import check_features
from mind_animator.provenance import ROOT
from workflow_scripts import predict, train_part

SMALL = {
    "semantic": {"width": 32, "head": [32], "optimisation": {"epochs": 3}},
    "structure": {"width": 32, "optimisation": {"epochs": 3}},
    "motion": {
        "width": 32,
        "patch": 4,
        "token_width": 32,
        "heads": 2,
        "head_width": 16,
        "hidden": 32,
        "fmri_tokens": 2,
        "optimisation": {"epochs": 3},
    },
}


@pytest.fixture(scope="module")
def blobs():
    return make_blobs()


@pytest.fixture(scope="module")
def files(blobs, tmp_path_factory):
    """Files as the earlier stages leave them: features in two shards, one table per movie."""
    folder = tmp_path_factory.mktemp("blobs")
    for name, responses in (("responses", blobs.responses), ("poisoned", _poison(blobs))):
        write_arrays(folder / f"{name}.h5", {"responses": responses}, blobs.clips)
    for start in (0, 100):
        rows = slice(start, start + 100)
        text = {
            "clip_embedding_text": blobs.clip_embedding_text[rows],
            "prompt_embedding": blobs.prompt_embedding[rows],
        }
        image = {"clip_embedding_image": blobs.clip_embedding_image[rows], "latents": blobs.latents[rows]}
        write_arrays(folder / f"clips-{start:05d}.text.h5", text, blobs.clips[rows])
        write_arrays(folder / f"clips-{start:05d}.image.h5", image, blobs.clips[rows])
    table = pd.DataFrame({"clip": blobs.clips, "movie": blobs.movie, "split": blobs.split})
    for movie, part in table.groupby("movie"):
        write_table(folder / f"{movie}.tsv", part)
    return folder


def _poison(blobs):
    responses = blobs.responses.copy()
    responses[blobs.split == "test"] = np.nan
    return responses


def _method(kind, options=None, name="m", **others):
    configs = {name: MethodConfig(kind=kind, options=options or {})}
    return open_methods({**configs, **{n: MethodConfig(**o) for n, o in others.items()}})[name]


def _needs(method, part, stimuli=True):
    needs = method.part(part).needs
    kept = {name: kind for name, kind in needs.features.items() if stimuli or name not in needs.optional}
    return needs.model_copy(update={"features": kept}).model_dump_json()


def _train(files, method, decoder, out, responses="responses", tables=None, extra=(), stimuli=True):
    tables = tables or sorted(files.glob("*.tsv"))
    train_part.main([
        "--kind", method.kind, "--part", decoder, "--needs", _needs(method, decoder, stimuli),
        "--settings", method.training_settings(decoder),
        "--subjects", "1", "--responses", str(files / f"{responses}.h5"),
        "--clips", *map(str, tables), "--features", *map(str, sorted(files.glob("clips-*.h5"))),
        "--seed", "3", "--weights", str(out / f"{decoder}.safetensors"),
        "--record", str(out / f"{decoder}.json"),
        *extra,
    ])  # fmt: skip
    return load_file(out / f"{decoder}.safetensors")


def _predict(files, method, folders, out, responses=None, subject="1"):
    weights = [f"{part}={folder / f'{part}.safetensors'}" for part, folder in folders.items()]
    predict.main([
        "--kind", method.kind, "--settings", method.prediction_settings(), "--needs", "{}", "--weights", *weights,
        "--subject", subject,
        "--responses", str(responses or files / "responses.h5"),
        *(() if responses else ("--clips", *map(str, sorted(files.glob("*.tsv"))))),
        "--seed", "3", "--predictions", str(out),
    ])  # fmt: skip
    names = ["semantic", "structure", "latents"]
    clips, arrays = read_arrays(out, names)
    return clips, arrays


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):
    """Weights of `ridge_residual` and of ridge, small."""
    folders = {}
    for kind, options in (("mind_animator", SMALL), ("ridge", {})):
        method, out = _method(kind, options), tmp_path_factory.mktemp(kind)
        for decoder in ("semantic", "structure", "motion"):
            _train(files, method, decoder, out)
        folders[kind] = out
    return folders


@pytest.mark.parametrize("kind", ["mind_animator", "ridge"])
def test_predictions_follow_the_brain(blobs, files, trained, tmp_path, kind):
    method = _method(kind, SMALL if kind == "mind_animator" else {})
    folders = dict.fromkeys(("semantic", "structure", "motion"), trained[kind])
    clips, arrays = _predict(files, method, folders, tmp_path / "p.h5")
    test = blobs.split == "test"
    assert clips == [clip for clip, kept in zip(blobs.clips, test, strict=True) if kept]
    assert arrays["semantic"].shape == (40, 16)
    assert arrays["structure"].shape == (40, 4, 8, 8)
    assert arrays["latents"].shape == (40, 4, 4, 8, 8)
    np.testing.assert_array_equal(arrays["latents"][:, 0], arrays["structure"])
    for array, ground_truth in (
        ("semantic", blobs.clip_embedding_text),
        ("structure", blobs.latents[:, 0]),
        ("latents", blobs.latents),
    ):
        expected = ground_truth[test].reshape(40, -1)
        error = np.square(arrays[array].reshape(40, -1) - expected).mean()
        assert error < 0.7 * expected.var(axis=0).mean(), array


@pytest.mark.parametrize("kind", ["mind_animator", "ridge"])
@pytest.mark.parametrize("decoder", ["semantic", "structure", "motion"])
def test_test_rows_cannot_be_reached(files, trained, tmp_path, kind, decoder):
    method = _method(kind, SMALL if kind == "mind_animator" else {})
    poisoned = _train(files, method, decoder, tmp_path, responses="poisoned")
    for name, clean in load_file(trained[kind] / f"{decoder}.safetensors").items():
        np.testing.assert_array_equal(poisoned[name], clean, err_msg=name)


def test_training_needs_training_clips(files, tmp_path):
    with pytest.raises(
        InputError, match=r"Expected training clips in .*movie4\.tsv \(and 0 more tables\), found none"
    ):
        _train(files, _method("ridge"), "structure", tmp_path, tables=[files / "movie4.tsv"])


def test_poisoned_training_row_is_named(blobs, files, tmp_path):
    responses = blobs.responses.copy()
    responses[7, 5] = np.nan
    write_arrays(files / "bad.h5", {"responses": responses}, blobs.clips)
    with pytest.raises(InputError, match="Expected finite responses, got nan at training clip 7, voxel 5"):
        _train(files, _method("mind_animator", SMALL), "structure", tmp_path, responses="bad")


def test_a_killed_training_resumes_to_the_same_bits(files, tmp_path):
    """SIGKILL in the middle, then a new start: all weights equal those of an uninterrupted run."""
    slow = {
        "motion": {
            **SMALL["motion"],
            "optimisation": {"epochs": 12, "patience": None, "checkpoint_interval": 0},
        }
    }
    method = _method("mind_animator", slow)
    whole = _train(files, method, "motion", tmp_path)
    out = tmp_path / "killed"
    out.mkdir()
    state = out / "motion.checkpoint"
    command = [
        sys.executable, "-m", "workflow_scripts.train_part", "--kind", method.kind, "--part", "motion",
        "--needs", _needs(method, "motion"),
        "--settings", method.training_settings("motion"), "--subjects", "1",
        "--responses", str(files / "responses.h5"), "--clips", *map(str, sorted(files.glob("*.tsv"))),
        "--features", *map(str, sorted(files.glob("clips-*.h5"))), "--seed", "3",
        "--weights", str(out / "motion.safetensors"), "--record", str(out / "motion.json"),
        "--checkpoint", str(state),
    ]  # fmt: skip
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", ""), "PYTHONPATH": str(ROOT)}
    environment = {**os.environ, **{k: v for k, v in threads.items() if v}}
    running = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    while not (state / "fit.safetensors").is_file() and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL, "the training ended before it could be killed"
    assert state.is_dir() and not (out / "motion.safetensors").exists()
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "Resuming after epoch" in again.stderr
    assert not state.exists()
    resumed = load_file(out / "motion.safetensors")
    assert resumed.keys() == whole.keys()
    for name, tensor in whole.items():
        np.testing.assert_array_equal(resumed[name], tensor, err_msg=name)
    first, second = (json.loads((p / "motion.json").read_text())["history"] for p in (tmp_path, out))
    assert [row["validation_loss"] for row in first] == [row["validation_loss"] for row in second]


def test_nothing_is_left_of_a_state_whose_training_is_done(files, tmp_path):
    """A training killed between its record and its state's removal; a kind that keeps its state in one file."""
    state, method = tmp_path / "structure.checkpoint", _method("ridge")
    state.write_text("a kind's own")
    _train(files, method, "structure", tmp_path, extra=("--checkpoint", str(state)))
    assert not state.exists()
    made = (tmp_path / "structure.safetensors").stat().st_mtime_ns
    state.mkdir()
    (state / "fit.safetensors").write_text("left behind")
    _train(files, method, "structure", tmp_path, extra=("--checkpoint", str(state)))
    assert not state.exists()
    assert (tmp_path / "structure.safetensors").stat().st_mtime_ns == made  # not made again


def test_ablations(blobs, files, trained, tmp_path):
    """Without semantics there is no condition; without structure the first frame is the mean; swap moves
    blocks."""
    full = dict.fromkeys(("semantic", "structure", "motion"), trained["mind_animator"])
    base = {"kind": "mind_animator", "options": SMALL}
    _, plain = _predict(files, _method("mind_animator", SMALL), full, tmp_path / "full.h5")

    silent = _method("mind_animator", {"decoders_from": "m", "without": ["semantic"]}, "s", m=base)
    assert silent.parts == () and silent.inversion_of == "m"
    _predict(files, silent, full, tmp_path / "silent.h5")
    with pytest.raises(InputError, match="prompt_embedding"):
        read_arrays(tmp_path / "silent.h5", ["prompt_embedding"])

    blank = _method("mind_animator", {"decoders_from": "m", "without": ["structure"]}, "b", m=base)
    _, arrays = _predict(files, blank, full, tmp_path / "blank.h5")
    mean = blobs.latents[blobs.split == "train", 0].mean(0)
    np.testing.assert_allclose(arrays["structure"], np.broadcast_to(mean, (40, 4, 8, 8)), atol=1e-5)

    still = _method(
        "mind_animator", {"decoders_from": "m", "without": ["motion"], "motion": SMALL["motion"]}, "w", m=base
    )
    assert (
        [part.name for part in still.parts] == ["motion"]
        and still.weights["semantic"] == "m"
        and still.inversion_of == "w"
    )
    _train(files, still, "motion", tmp_path)
    _, arrays = _predict(files, still, {**full, "motion": tmp_path}, tmp_path / "still.h5")
    assert not np.array_equal(arrays["latents"], plain["latents"])

    swap = _method("mind_animator", {"decoders_from": "m", "swap": ["motion"]}, "x", m=base)
    _, arrays = _predict(files, swap, full, tmp_path / "swap.h5")
    np.testing.assert_array_equal(arrays["structure"], plain["structure"])
    assert np.abs(arrays["latents"][:, 1:] - plain["latents"][:, 1:]).max(axis=(1, 2, 3, 4)).min() > 0


def test_a_new_response_vector(blobs, files, trained, tmp_path):
    """A vector in a .npy file is predicted as the same response among others is, to float32 rounding."""
    method = _method("mind_animator", SMALL)
    folders = dict.fromkeys(("semantic", "structure", "motion"), trained["mind_animator"])
    _, all_clips = _predict(files, method, folders, tmp_path / "all.h5")
    np.save(tmp_path / "new.npy", blobs.responses[blobs.split == "test"][4])
    clips, one = _predict(files, method, folders, tmp_path / "one.h5", responses=tmp_path / "new.npy")
    assert clips == ["new-00000"]
    for name, array in one.items():
        np.testing.assert_allclose(array[0], all_clips[name][4], atol=1e-4)


@pytest.mark.parametrize("preset", ["ridge_residual", "paper"])
def test_pooled_subjects_share_a_network(blobs, files, tmp_path, preset):
    """One training on two subjects of unlike voxels: each one's own responses are decoded, a stranger's are not."""
    small = {d: dict(SMALL[d]) for d in SMALL}
    if preset == "paper":
        small["semantic"] |= {"augmented_captions": False, "cropped_images": False}
        for decoder in small:
            small[decoder] |= {"dropout_in": 0.0, "dropout": 0.0, "sparsification": {"fraction": 0.0}}
            small[decoder]["optimisation"] = {
                "epochs": 20,
                "schedule": "constant",
                "learning_rate": 3e-3,
                "l1": 0.0,
            }
    other = blobs.responses @ np.random.default_rng(5).normal(size=(120, 90)).astype(np.float32)
    other = (other - other.mean(0)) / other.std(0)
    write_arrays(tmp_path / "other.h5", {"responses": other}, blobs.clips)
    responses = {"1": files / "responses.h5", "2": tmp_path / "other.h5"}
    method = _method("mind_animator", {"preset": preset, "subjects": "pooled", **small})
    assert {part.trained_on for part in method.parts} == {"all"}
    for decoder in ("semantic", "structure", "motion"):
        train_part.main([
            "--kind", method.kind, "--part", decoder, "--needs", _needs(method, decoder),
            "--settings", method.training_settings(decoder),
            "--subjects", *responses, "--responses", *map(str, responses.values()),
            "--clips", *map(str, sorted(files.glob("*.tsv"))),
            "--features", *map(str, sorted(files.glob("clips-*.h5"))), "--seed", "3",
            "--weights", str(tmp_path / f"{decoder}.safetensors"), "--record", str(tmp_path / f"{decoder}.json"),
        ])  # fmt: skip
    folders = dict.fromkeys(("semantic", "structure", "motion"), tmp_path)
    test = blobs.split == "test"
    expected = blobs.latents[test, 0].reshape(40, -1)
    found = {}
    for subject, path in responses.items():
        _predict(files, method, folders, tmp_path / f"{subject}.h5", path, subject)
        _, arrays = read_arrays(tmp_path / f"{subject}.h5", ["semantic", "structure", "latents"])
        found[subject] = arrays["structure"].reshape(len(arrays["structure"]), -1)[-40:]
        error = np.square(found[subject] - expected).mean()
        assert error < 0.75 * expected.var(axis=0).mean(), subject
    assert not np.allclose(found["1"], found["2"], atol=1e-3)
    with pytest.raises(
        InputError, match=r"Expected .* to be trained on subject 3, got subjects \['1', '2'\]"
    ):
        _predict(files, method, folders, tmp_path / "3.h5", responses["1"], "3")


def test_augmented_targets_are_read_where_settings_request_them(blobs, files, tmp_path):
    """Captions and crops of the feature files reach the training; the weights differ from those without."""
    small = {"preset": "paper", "semantic": SMALL["semantic"]}
    method = _method("mind_animator", small)
    with pytest.raises(InputError, match="Expected 'clip_embedding_text_copies' in files"):
        _train(files, method, "semantic", tmp_path)
    rng = np.random.default_rng(0)
    for path in sorted(files.glob("clips-*.h5")):
        names = (
            ["clip_embedding_text", "prompt_embedding"]
            if ".text." in path.name
            else ["clip_embedding_image", "latents"]
        )
        clips, arrays = read_arrays(path, names)
        for own, ending in (
            ("clip_embedding_text", "copies"),
            ("prompt_embedding", "copies"),
            ("clip_embedding_image", "crops"),
        ):
            if own in arrays:
                noise = rng.normal(size=(len(clips), 2, *arrays[own].shape[1:])).astype(np.float32)
                arrays[f"{own}_{ending}"] = arrays[own][:, None] + noise
        write_arrays(tmp_path / path.name, arrays, clips)
    for path in files.glob("*.tsv"):
        (tmp_path / path.name).write_text(path.read_text())
    write_arrays(tmp_path / "responses.h5", {"responses": blobs.responses}, blobs.clips)
    augmented = _train(tmp_path, method, "semantic", tmp_path)
    for path in tmp_path.glob("*.image.h5"):  # captions alone: their embeddings replace those of the images
        path.unlink()
    spoken = _train(tmp_path, method, "semantic", tmp_path, stimuli=False)
    assert all(np.isfinite(array).all() for array in spoken.values())
    plain = {**small, "semantic": {**SMALL["semantic"], "augmented_captions": False, "cropped_images": False}}
    without = _train(files, _method("mind_animator", plain), "semantic", tmp_path)
    assert any(not np.array_equal(augmented[name], without[name]) for name in without)


def _providers(**settings):
    return {kind: open_provider(kind, FeaturesConfig(**settings)) for kind in ("text", "image")}


def test_features_must_hold_what_a_method_trains_on():
    methods = {"paper": _method("mind_animator", {"preset": "paper"})}
    check_features(methods, _providers(caption_copies=2, crops=1))
    check_features({"ridge_residual": _method("mind_animator")}, _providers())
    with pytest.raises(
        InputError,
        match=r"config\.features\.crops = 0: must be at least 1, since config\.methods\.paper trains",
    ):
        check_features(methods, _providers(caption_copies=2))


def test_the_shipped_ablations_share_what_they_do_not_change():
    """config/ablations.yaml over the demo's config: who trains what, and whose inversion serves whom."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())["methods"]
    config |= yaml.safe_load((ROOT / "config/ablations.yaml").read_text())["methods"]
    methods = open_methods({name: MethodConfig(**given) for name, given in config.items()})
    check_features(methods, _providers())
    every = ("semantic", "structure", "motion")
    trains = {
        name: tuple(part.name for part in method.parts) for name, method in methods.items() if method.weights
    }
    masked = [f"mask_{percent}" for percent in (0, 20, 40, 60, 80)]
    closed = ["stacked_ridge", "clips_480", "clips_960"]
    expected = dict.fromkeys(["mind_animator", "ridge", "pooled"], every) | dict.fromkeys(
        closed, ("decoders",)
    )
    expected |= dict.fromkeys([*masked, "without_motion"], ("motion",))
    assert trains == expected | dict.fromkeys(["without_semantic", "without_structure", "swapped_motion"], ())
    assert methods["without_semantic"].inversion_of == "mind_animator"
    for name in ("without_structure", "without_motion", "swapped_motion", "mask_20", "clips_480", "pooled"):
        assert methods[name].inversion_of == name
    settings = [json.loads(methods[name].training_settings("motion"))["decoder"] for name in masked]
    assert settings[0]["linear"] is None  # the paper's
    assert [own.pop("mask_keep_ratio") for own in settings] == [1.0, 0.8, 0.6, 0.4, 0.2]
    assert all(own == settings[0] for own in settings)
    for decoder in every:
        own, expected = (
            json.loads(methods[n].training_settings(decoder)) for n in ("pooled", "mind_animator")
        )
        assert own["decoder"] == expected["decoder"]
    for name, clips in zip(closed, (None, 480, 960), strict=True):
        own, expected = (
            json.loads(methods[n].training_settings("decoders")) for n in (name, "stacked_ridge")
        )
        assert own == expected | {"training_clips": clips}
