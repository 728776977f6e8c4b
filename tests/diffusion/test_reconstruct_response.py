"""From a new response vector to a video, by the decoders of a run."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from mind_animator.artefacts.arrays import read_arrays, write_arrays
from mind_animator.artefacts.tables import write_table
from mind_animator.artefacts.video import read_video
from mind_animator.config import load_config
from mind_animator.errors import InputError
from mind_animator.methods import open_methods
from workflow_scripts import reconstruct_response, train_part

VOXELS = 30
SMALL = {
    "semantic": {"width": 16, "head": [16], "optimisation": {"epochs": 1}},
    "structure": {"width": 16, "optimisation": {"epochs": 1}},
    "motion": {
        "width": 16, "patch": 4, "token_width": 16, "heads": 2, "head_width": 8, "hidden": 16,
        "fmri_tokens": 2, "optimisation": {"epochs": 1},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, random_models) -> Path:
    """A configuration, and what the workflow has made of it up to the decoders."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(5)
    values = {
        "results": str(folder / "results"),
        "seed": 4,
        "dataset": {"name": "demo", "data_root": str(folder)},
        "models": {"stable_diffusion": str(random_models / "sd")},
        "methods": {
            "mind_animator": {"kind": "mind_animator", "options": SMALL},
            "flat": {"kind": "flat_mean"},
        },
        "reconstruction": {"num_inference_steps": 2, "num_inversion_steps": 2, "clips_per_batch": 2},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    config = load_config(values)
    clips = [f"{movie}-{index:05d}" for movie in ("a", "b", "c") for index in range(10)]
    arrays = {
        "responses": rng.standard_normal((30, VOXELS)),
        "clip_embedding_text": rng.standard_normal((30, 64)), "prompt_embedding": rng.standard_normal((30, 19, 128)),
        "clip_embedding_image": rng.standard_normal((30, 64)), "latents": rng.standard_normal((30, 4, 4, 8, 8)),
    }  # fmt: skip
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    responses = folder / "results" / "fmri" / "sub-1" / "responses.h5"
    files = {
        responses: ("responses",),
        folder / "clips-00000.text.h5": ("clip_embedding_text", "prompt_embedding"),
        folder / "clips-00000.image.h5": ("clip_embedding_image", "latents"),
    }
    for path, names in files.items():
        write_arrays(path, {name: arrays[name] for name in names}, clips)
    table = pd.DataFrame({"clip": clips, "movie": [clip[0] for clip in clips], "split": "train"})
    write_table(folder / "clips.tsv", table)
    method = open_methods(config.methods)["mind_animator"]
    for part in method.parts:
        out = folder / "results" / "decoders" / "mind_animator" / "sub-1" / part.name
        train_part.main([
            "--kind", method.kind, "--part", part.name, "--settings", method.training_settings(part.name),
            "--needs", part.needs.model_dump_json(),
            "--subjects", "1", "--responses", str(responses), "--clips", str(folder / "clips.tsv"),
            "--features", *map(str, sorted(folder.glob("clips-*.h5"))), "--seed", "4",
            "--weights", f"{out}.safetensors", "--record", f"{out}.json", "--checkpoint", f"{out}.checkpoint",
            "--logs", f"{out}.logs",
        ])  # fmt: skip
    return folder


@pytest.fixture(autouse=True)
def restore_threads():
    """The scripts fix the number of threads of their process, here the tests'."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def command(run, responses, output, method="mind_animator", subject="1"):
    reconstruct_response.main([
        "--config", str(run / "config.yaml"), "--method", method, "--subject", subject,
        "--responses", str(responses), "--output", str(output),
    ])  # fmt: skip


def test_a_vector_becomes_a_video(run, tmp_path, rng):
    responses = rng.standard_normal((3, VOXELS)).astype(np.float32)
    np.save(tmp_path / "all.npy", responses)
    command(run, tmp_path / "all.npy", tmp_path / "all")
    frames = read_arrays(tmp_path / "all" / "frames.h5", ["frames"])[1]["frames"]
    assert frames.shape == (3, 4, 64, 64, 3)
    assert len(read_video(tmp_path / "all" / "video.mp4")[0]) == 12
    # The same vector by itself gets the same noise and the same place in its batch.
    np.save(tmp_path / "one.npy", responses[0])
    command(run, tmp_path / "one.npy", tmp_path / "one")
    alone = read_arrays(tmp_path / "one" / "frames.h5", ["frames"])[1]["frames"]
    assert np.abs(alone[0].astype(int) - frames[0]).max() <= 1


def test_mistakes_are_one_line(run, tmp_path):
    np.save(tmp_path / "wrong.npy", np.zeros(VOXELS + 1, np.float32))
    with pytest.raises(
        InputError, match=rf"Expected {VOXELS} voxels \(as in .*responses\.h5\) in .*, got 31\."
    ):
        command(run, tmp_path / "wrong.npy", tmp_path / "out")
    np.save(tmp_path / "nan.npy", np.full(VOXELS, np.nan, np.float32))
    with pytest.raises(InputError, match=r"Expected finite responses in .*nan\.npy"):
        command(run, tmp_path / "nan.npy", tmp_path / "out")
    with pytest.raises(InputError, match=r"Expected responses at .*none\.npy, found none\."):
        command(run, tmp_path / "none.npy", tmp_path / "out")
    with pytest.raises(InputError, match=r"--method = 'x': must be one of \['flat', 'mind_animator'\]\."):
        command(run, tmp_path / "wrong.npy", tmp_path / "out", method="x")
    with pytest.raises(InputError, match=r"--method = 'flat': must predict from responses"):
        command(run, tmp_path / "wrong.npy", tmp_path / "out", method="flat")
    with pytest.raises(InputError, match=r"Expected the subject's responses at .*sub-9"):
        command(run, tmp_path / "wrong.npy", tmp_path / "out", subject="9")
    with pytest.raises(InputError, match=r"Expected a configuration at .*none\.yaml, found none\."):
        reconstruct_response.read_config(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text(json.dumps([1]))
    with pytest.raises(InputError, match=r"Expected keys and values in .*list\.yaml, got list\."):
        reconstruct_response.read_config(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"Expected YAML in .*broken\.yaml, got: "):
        reconstruct_response.read_config(tmp_path / "broken.yaml")
    assert not (tmp_path / "out").exists()
