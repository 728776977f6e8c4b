"""Three guards that every registered method must pass.

1. The prediction and the reconstruction of a clip do not depend on the other test clips: those of a random half
   and of all clips in reverse order equal those of the whole set.
2. No training reaches test responses or test stimuli: after the recorded runs of the test movie and its frames and
   features are replaced by noise, preprocessing (voxel selection, scaling, single repeats) gives the same training
   data byte for byte, and the weights are bit-identical.
3. Where a generator has a ``strength``, 0 returns the given latents and 1 ignores them:
tests/diffusion/test_generator.py.

A new method type adds its smallest options to `OPTIONS`, nothing else.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from moving_blobs import make_blobs
from random_models import save_small_generator
from safetensors.numpy import load_file
from tiny_demo import ROOT

from mind_animator.artefacts.arrays import read_arrays, read_whole, write_arrays
from mind_animator.artefacts.tables import write_table
from mind_animator.artefacts.video import write_mp4
from mind_animator.config.base import merged
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.methods import MethodConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.methods._read import prediction_inputs, read_clips, read_subject
from mind_animator.methods.base import ReconstructionInputs, available, open_methods
from workflow_scripts import extract_repeats, preprocess_subject, train_part

_SMALL = {
    "semantic": {"width": 32, "head": [32], "optimisation": {"epochs": 2}},
    "structure": {"width": 32, "optimisation": {"epochs": 2}},
    "motion": {
        "width": 32, "patch": 4, "token_width": 32, "heads": 2, "head_width": 16, "hidden": 32, "fmri_tokens": 2,
        "optimisation": {"epochs": 2},
    },
}  # fmt: skip
_ONE_EPOCH = {"optimisation": {"epochs": 1, "batch": 16}}
_MIND_VIDEO = {
    "preset": "small",
    "order": "roi",  # the simulated voxels have no coordinates
    "encoder": {"width": 16, "depth": 1, "heads": 2, "decoder_width": 16, "decoder_heads": 2, **_ONE_EPOCH},
    "condition": _ONE_EPOCH, "generator": _ONE_EPOCH,
    "reconstruction": {"num_inference_steps": 1, "guidance_scale": 2.0, "clips_per_batch": 20},
}  # fmt: skip
_NEUROCLIPS = {
    "preset": "small",
    "tokens": {"width": 16, "blocks": 1, **_ONE_EPOCH},
    "prior": {"layers": 1, "heads": 2, "steps": 2, **_ONE_EPOCH},
    "blurry": {"hidden": 4, "width": 16, "channels": [8, 8, 4], **_ONE_EPOCH},
    "motion": _ONE_EPOCH,
    "keyframe": {"num_inference_steps": 1, "clips_per_batch": 20},
    "reconstruction": {"num_inference_steps": 1, "guidance_scale": 2.0, "clips_per_batch": 20},
}  # fmt: skip
# Smallest options of every method type, by a name for the variant.
OPTIONS = {
    "mind_animator": {
        "ridge_residual": {"preset": "ridge_residual", **_SMALL},
        "paper": {"preset": "paper", **_SMALL},
        "released_code": {"preset": "released_code", **_SMALL},
        "pooled": {"preset": "paper", "subjects": "pooled", **_SMALL},
    },
    "stacked_ridge": {"": {"n_components": 8}, "window": {"n_components": 8, "window": [1, 1]}},
    "ridge": {"": {}, "window": {"window": [0, 1]}},
    "mind_video": {"": _MIND_VIDEO, "encoder": merged(_MIND_VIDEO, {"generator": {"cotrain": "encoder"}})},
    "kupershmidt2022": {"": {
        "preset": "small", "size": 16, "encoder_widths": (4, 4, 4, 4), "decoder_width": 4, "decoder_blocks": 1,
        "response_cycle": 0.1, "cycle_noise": 1.0,
        "encoder_optimisation": {"epochs": 1}, "decoder_optimisation": {"epochs": 1},
    }},
    "gan": {"": {
        "preset": "small", "size": 16, "widths": (8, 4, 4), "discriminator_width": 4, "optimisation": {"epochs": 1},
    }},
    "bilinear": {"": {"n_components": 8, "n_products": 4}},
    "motion_energy": {"": {"n_voxels": 20, "n_averaged": [1, 3], "size": 16}},
    "wen2018": {
        "": {"n_components": 8, "channels": [4, 4], "epochs": 1},
        "per frame, published solver": {
            "n_components": 4,
            "channels": [4, 4],
            "epochs": 1,
            "images": "frame",
            "solver": "published",
            "l1": [0.05],
        },
    },
    "neuroclips": {"": _NEUROCLIPS},
    "flat_mean": {"": {}},
    "frozen": {"": {"of": "ridge"}},
    "mismatched": {"": {"of": "ridge", "block": 4}},
    "shuffled_frames": {"": {"of": "ridge"}},
    "folder": {"": {"path": "videos", "size": 16, "layout": {"name": "{clip}"}}},
}  # fmt: skip
CASES = [(kind, variant) for kind in available() for variant in OPTIONS.get(kind, {"": None})]
TEST_MOVIE = "movie4"
# The frozen models of the demo, for methods that need any.
MODELS = ModelsConfig.model_validate(yaml.safe_load((ROOT / "config.yaml").read_text())["models"])
# Voxels of each subject with a signal, and voxels without one.
VOXELS, NOISE_VOXELS = {"1": 120, "2": 90}, 20


@pytest.fixture(scope="module", autouse=True)
def small_generator(tmp_path_factory):
    """Replaces the generator of `MODELS` by a smaller one."""
    global MODELS
    folder = save_small_generator(tmp_path_factory.mktemp("models") / "sd", Path(MODELS.stable_diffusion))
    MODELS = MODELS.model_copy(update={"stable_diffusion": str(folder)})


def open_case(kind, variant, **options):
    """The method, opened beside a ridge regression that baselines can be derived from."""
    assert kind in OPTIONS, f"add the smallest options of the method type '{kind}' to OPTIONS"
    configs = {
        "ridge": MethodConfig(kind="ridge"),
        "case": MethodConfig(kind=kind, options=OPTIONS[kind][variant] | options),
    }
    return open_methods(configs)["case"]


def preprocess(folder, subject, out, voxels='{"count": 60}', **options):
    """The files of the workflow's scripts from the recorded runs of a subject: responses, maps, single repeats."""
    layout = {"clips": "clips.tsv", "responses": "sub-{subject}_{run}.npy", "axes": "volume repeat voxel"}
    if "srm_components" not in options:
        layout["rois"] = "rois-{subject}.tsv"
    dataset = DatasetConfig(
        name="arrays", data_root=str(folder / "runs"), subjects=tuple(VOXELS), options=layout | options
    )
    shared = ["--dataset", dataset.model_dump_json(), "--subject", subject]
    shared += ["--settings", f'{{"lag": 4, "voxels": {voxels}}}']
    files = [text for name, ending in (("responses", "h5"), ("maps", "h5"), ("voxels", "tsv"), ("quality", "tsv"))
             for text in (f"--{name}", str(out / f"{name}-{subject}.{ending}"))]  # fmt: skip
    preprocess_subject.main([*shared, *files])
    repeats = [
        "--responses",
        str(out / f"responses-{subject}.h5"),
        "--repeats",
        str(out / f"repeats-{subject}.h5"),
    ]
    extract_repeats.main([*shared, *repeats])


def write_study(folder, poison):
    """The files that a training may read, of five movies; with ``poison`` everything about the test movie is noise."""
    folder.mkdir()
    # prompt embeddings as wide as the demo's generator takes them
    blobs, rng = make_blobs(clips=20, prompt_width=128), np.random.default_rng(8)
    test = blobs.split == "test"
    noise = np.random.default_rng(9)

    def poisoned(array):
        if not poison:
            return array
        array = array.copy()
        drawn = noise.normal(size=array[test].shape) * 100
        array[test] = drawn.astype(array.dtype) if array.dtype.kind == "f" else np.abs(drawn) % 256
        return array

    runs = folder / "runs"
    runs.mkdir()
    for subject, voxels in VOXELS.items():
        mixed = blobs.responses @ rng.normal(size=(120, voxels)).astype(np.float32) / 11
        mixed = np.hstack([mixed, np.zeros((len(mixed), NOISE_VOXELS), np.float32)])
        rois = [f"L_{n % 7}" for n in range(mixed.shape[1])]
        write_table(runs / f"rois-{subject}.tsv", pd.DataFrame({"voxel": range(len(rois)), "roi": rois}))
        for movie in np.unique(blobs.movie):
            # volume n of a run is the response to clip n - 2, because the lag is two volumes
            series = np.pad(mixed[blobs.movie == movie], ((2, 1), (0, 0)))[:, None]
            series = 100 + series + rng.normal(size=(len(series), 2, series.shape[2])) * 0.3
            if poison and movie == TEST_MOVIE:
                series = noise.normal(size=series.shape) * 100
            np.save(runs / f"sub-{subject}_{movie}.npy", series.astype(np.float32))
    pd.DataFrame({
        "split": blobs.split, "movie": blobs.movie, "segment": blobs.movie, "caption": "a clip", "run": blobs.movie,
        "onset": [2.0 * int(clip.rsplit("-", 1)[1]) for clip in blobs.clips], "duration": 2.0,
    }).to_csv(runs / "clips.tsv", sep="\t", index=False)  # fmt: skip
    for subject in VOXELS:
        preprocess(folder, subject, folder)
    copies = {}
    for name, ending in (
        ("clip_embedding_text", "copies"),
        ("prompt_embedding", "copies"),
        ("clip_embedding_image", "crops"),
    ):
        own = getattr(blobs, name)
        copies[f"{name}_{ending}"] = (own[:, None] + rng.normal(size=(len(own), 2, *own.shape[1:]))).astype(
            np.float32
        )
    tokens = blobs.clip_embedding_image @ rng.normal(size=(16, 4 * 8))
    copies["clip_tokens"] = tokens.reshape(-1, 1, 4, 8).astype(np.float32)
    for kind, names in (
        ("clip_tokens", ("clip_tokens",)),
        (
            "text",
            (
                "clip_embedding_text",
                "prompt_embedding",
                "clip_embedding_text_copies",
                "prompt_embedding_copies",
            ),
        ),
        ("image", ("clip_embedding_image", "latents", "clip_embedding_image_crops")),
    ):
        arrays = {name: poisoned(copies.get(name, getattr(blobs, name, None))) for name in names}
        write_arrays(folder / f"clips-00000.{kind}.h5", arrays, blobs.clips)
    maps = blobs.latents @ rng.normal(size=(8, 3))
    others = {
        "motion_energy": {"motion_energy": blobs.latents.mean(axis=(1, 3, 4)) @ rng.normal(size=(4, 12))},
        "classifier": {
            "early_map": maps.mean(1), "early_map_frames": maps, "deep_layer": blobs.clip_embedding_image,
            "class_scores": blobs.clip_embedding_image @ rng.normal(size=(16, 5)),
        },
    }  # fmt: skip
    for kind, arrays in others.items():
        arrays = {name: poisoned(array.astype(np.float32)) for name, array in arrays.items()}
        write_arrays(folder / f"clips-00000.{kind}.h5", arrays, blobs.clips)
    frames = poisoned(rng.integers(0, 255, (len(blobs.clips), 4, 16, 16, 3)).astype(np.uint8))
    for movie in np.unique(blobs.movie):
        own = blobs.movie == movie
        clips = [clip for clip, kept in zip(blobs.clips, own, strict=True) if kept]
        write_arrays(folder / f"{movie}.frames.h5", {"frames": frames[own]}, clips)
        write_mp4(folder / f"{movie}.mp4", iter(frames[own].reshape(-1, 16, 16, 3)), 2)
        write_table(folder / f"{movie}.tsv", pd.DataFrame({
            "clip": clips, "segment": movie, "movie": movie, "file": f"{movie}.mp4",
            "onset": 2.0 * np.arange(len(clips)),
            "duration": 2.0, "split": "test" if movie == TEST_MOVIE else "train",
        }))  # fmt: skip
    (folder / "videos").mkdir()
    for clip, own in zip(blobs.clips, frames, strict=True):
        if clip.startswith(TEST_MOVIE):
            write_mp4(folder / "videos" / f"{clip}.mp4", iter(own), 2)
    return folder


def train(method, folder, out):
    """Train every part by the workflow's script, in order; weights by part for the first subject."""
    out.mkdir()
    weights = {}
    movies = sorted(path.stem for path in folder.glob("movie*.tsv"))
    training = [movie for movie in movies if movie != TEST_MOVIE]
    for part in method.parts:
        group = part.group("1")
        subjects = part.subjects(group, ("1", "2"))
        needs, path = part.needs, out / f"{part.name}.safetensors"
        optional = {
            "--repeats": [folder / f"repeats-{s}.h5" for s in subjects] if needs.repeats else [],
            "--frames": [folder / f"{m}.frames.h5" for m in training] if needs.frames else [],
            "--movies": [folder / f"{m}.mp4" for m in training] if needs.movies else [],
            "--videos": [p for name in needs.videos for p in sorted((folder / name).iterdir())],
            "--earlier": [f"{name}={weights[name]}" for name in part.after],
        }
        train_part.main([
            "--kind", method.kind, "--part", part.name, "--settings", method.training_settings(part.name),
            "--needs", needs.model_dump_json(), "--subjects", *subjects,
            "--held-out", "1" if part.trained_on == "all_but_one" else "",
            "--responses", *(str(folder / f"responses-{s}.h5") for s in subjects),
            # the tables of all movies: the script must leave the test movie out
            "--clips", *(str(folder / f"{movie}.tsv") for movie in movies),
            "--features", *(str(p) for p in sorted(folder.glob("clips-*.h5"))),
            *(text for flag, values in optional.items() if values for text in (flag, *map(str, values))),
            "--models", MODELS.model_dump_json(), "--t-r", "2", "--seed", "3",
            "--weights", str(path), "--record", str(path.with_suffix(".json")),
        ])  # fmt: skip
        weights[part.name] = path
    return weights


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    base = tmp_path_factory.mktemp("studies")
    return {name: write_study(base / name, name == "poisoned") for name in ("clean", "poisoned")}


@pytest.fixture(scope="module")
def trained(studies, tmp_path_factory):
    """Weights of each case, trained once on the clean data."""
    cache, base = {}, tmp_path_factory.mktemp("weights")

    def get(kind, variant):
        if (kind, variant) not in cache:
            method = open_case(kind, variant)
            cache[kind, variant] = method, train(method, studies["clean"], base / f"{kind}-{variant}")
        return cache[kind, variant]

    return get


def inputs_of(method, weights):
    """Inputs to prediction for the first subject."""
    return prediction_inputs(
        weights, "1", 3, "cpu", {key: getattr(MODELS, key) for key in method.needs.models}
    )


def subsets(count):
    """Rows of a random half, and of all clips in reverse order."""
    half = np.random.default_rng(0).choice(count, count // 2, replace=False)
    return {"half": half, "reverse": np.arange(count)[::-1]}


def check_predictions(method, inputs, responses):
    """Predictions of the whole set, after those of its subsets were compared with them."""
    whole = method.predict(method.prediction_settings(), inputs, responses)
    for name, rows in subsets(len(responses.clips)).items():
        part = method.predict(method.prediction_settings(), inputs, responses.take(rows))
        assert part.keys() == whole.keys()
        for array, values in part.items():
            # other rows in a batch change the last bits of matrix products, no more
            scale = float(np.abs(whole[array]).max())
            np.testing.assert_allclose(
                values, whole[array][rows], atol=1e-5 * scale, err_msg=f"{name}: {array}"
            )
    return whole


@pytest.mark.parametrize(("kind", "variant"), CASES)
def test_a_clip_does_not_depend_on_the_other_test_clips(trained, studies, kind, variant):
    method, weights = trained(kind, variant)
    folder = studies["clean"]
    table = read_clips([folder / f"{TEST_MOVIE}.tsv"], "test")
    responses, _ = read_subject(folder / "responses-1.h5", table, method.needs, 2.0)
    inputs = inputs_of(method, weights)
    whole = check_predictions(method, inputs, responses) if method.predicts else {}
    if method.reconstruction not in ("own", "frames"):
        return
    clips = table["clip"].tolist()
    files = {
        "training": [folder / f"movie{n}.frames.h5" for n in range(4)], "method": [folder / f"{TEST_MOVIE}.frames.h5"],
        "folder": [folder / "videos"], "none": [],
    }[method.frames_from]  # fmt: skip

    def frames_of(rows):
        given = ReconstructionInputs(
            clips, 3, files, inputs, responses.take(rows), {name: a[rows] for name, a in whole.items()},
            table.iloc[rows].reset_index(drop=True),
        )  # fmt: skip
        made = method.reconstruct(method.reconstruction_settings(), [clips[row] for row in rows], given)
        return {clip: frames for clip, frames in made}

    every = frames_of(np.arange(len(clips)))
    assert list(every) == clips and all(isinstance(frames, np.ndarray) for frames in every.values())
    for name, rows in subsets(len(clips)).items():
        for clip, frames in frames_of(rows).items():
            difference = np.abs(frames.astype(int) - every[clip].astype(int))
            assert difference.max() <= (1 if method.reconstruction == "own" else 0), f"{name}: {clip}"


def test_the_first_guard_finds_a_method_that_reads_other_clips(trained, studies):
    """The negative control that passes the responses of other clips to a decoder must fail."""
    _, weights = trained("mind_animator", "paper")
    control = open_case("mind_animator", "paper", swap=["structure"], block=4)
    table = read_clips([studies["clean"] / f"{TEST_MOVIE}.tsv"], "test")
    responses, _ = read_subject(studies["clean"] / "responses-1.h5", table, control.needs, 2.0)
    with pytest.raises(AssertionError, match="structure"):
        check_predictions(control, inputs_of(control, weights), responses)


@pytest.mark.parametrize(
    ("voxels", "options"),
    [('{"count": 60}', {}), ('{"threshold": 0.05}', {}), ('{"all": true}', {"srm_components": 5})],
)
def test_no_preprocessing_of_training_data_reaches_test_runs(studies, tmp_path, voxels, options):
    """Voxel selection, its statistics, scaling and single repeats: the same bytes for any test runs."""
    found = {}
    for name, folder in studies.items():
        (out := tmp_path / name).mkdir()
        preprocess(folder, "1", out, voxels, **options)
        clips, arrays = read_arrays(out / "responses-1.h5", ["responses"])
        chosen = read_whole(out / "responses-1.h5", ["voxel_index", "t", "reliability"])
        maps = read_whole(out / "maps-1.h5", ["t", "reliability", "selected"])
        repeats = read_arrays(out / "repeats-1.h5", ["repeats"])[1]["repeats"]
        train = np.array([not clip.startswith(TEST_MOVIE) for clip in clips])
        training = {"responses": arrays["responses"][train], "repeats": repeats, **chosen}
        training |= {f"map {name}": values for name, values in maps.items()}
        found[name] = training, arrays["responses"][~train]
    (clean, clean_test), (poisoned, poisoned_test) = found["clean"], found["poisoned"]
    assert clean["responses"].shape[0] == 80 and clean["repeats"].shape[:2] == (80, 2)
    for name, array in clean.items():
        assert array.tobytes() == poisoned[name].tobytes(), name
    assert np.abs(clean_test - poisoned_test).max() > 1


@pytest.mark.parametrize(("kind", "variant"), [case for case in CASES if open_case(*case).parts])
def test_no_training_reaches_test_responses_or_stimuli(trained, studies, tmp_path, kind, variant):
    method, weights = trained(kind, variant)
    again = train(method, studies["poisoned"], tmp_path / "weights")
    for part, path in weights.items():
        clean, poisoned = load_file(path), load_file(again[part])
        assert clean.keys() == poisoned.keys()
        for name, array in clean.items():
            np.testing.assert_array_equal(poisoned[name], array, err_msg=f"{part}: {name}")
        records = [json.loads(p.with_suffix(".json").read_text()) for p in (path, again[part])]
        losses = [
            [(row["train_loss"], row["validation_loss"]) for row in r.get("history", [])] for r in records
        ]
        assert losses[0] == losses[1]  # early stopping, too


def test_the_poison_is_strong_enough(studies, tmp_path):
    """A training on the clips of the poisoned test movie differs."""
    method = open_case("ridge", "")
    for name, folder in studies.items():
        table = pd.read_csv(folder / f"{TEST_MOVIE}.tsv", sep="\t").assign(split="train")
        write_table(folder / "movie5.tsv", table)  # the same clips under another split
        train(method, folder, tmp_path / name)
        (folder / "movie5.tsv").unlink()
    one, other = (load_file(tmp_path / name / "semantic.safetensors") for name in studies)
    assert any(not np.array_equal(one[key], other[key]) for key in one)
