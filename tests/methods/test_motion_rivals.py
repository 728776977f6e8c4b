"""The methods with motion modules through the real workflow, on the smallest run of the synthetic data set."""

import numpy as np
import pytest
import yaml
from tiny_demo import ROOT, snakemake, write_tiny_demo

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.tables import read_table

_ONE = {"optimisation": {"epochs": 1, "batch": 16}}
OPTIONS = {
    "mind_video": {
        "encoder": {"width": 16, "depth": 1, "heads": 2, **_ONE}, "condition": _ONE, "generator": _ONE,
        "reconstruction": {"num_inference_steps": 1},
    },
    "neuroclips": {
        "tokens": {"width": 16, **_ONE}, "prior": {"layers": 1, "steps": 2, **_ONE},
        "blurry": {"hidden": 4, "width": 16, "channels": [8, 8, 4], **_ONE}, "motion": _ONE,
        "keyframe": {"num_inference_steps": 1}, "reconstruction": {"num_inference_steps": 1},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with the shipped options of the features and the smallest ones of the methods."""
    folder = tmp_path_factory.mktemp("motion_rivals")
    path = write_tiny_demo(folder)
    values = yaml.safe_load(path.read_text())
    shipped = yaml.safe_load((ROOT / "config" / "rivals.yaml").read_text())
    values["features"] = {"options": {"clip_tokens": shipped["features"]["options"]["clip_tokens"]}}
    values["methods"] = {
        name: shipped["methods"][name] | {"options": shipped["methods"][name]["options"] | own}
        for name, own in OPTIONS.items()
    }
    values["report"] = {"headline": "mind_video"}
    path.write_text(yaml.safe_dump(values))
    targets = [f"results/scores/{name}/sub-1.{end}" for name in OPTIONS for end in ("tsv", "decoded.parquet")]
    done = snakemake(folder, "--quiet", "rules", "--", *targets)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize("name", list(OPTIONS))
def test_a_whole_run_scores_each_method(finished, name):
    scores = read_table(finished / f"results/scores/{name}/sub-1.tsv", ("clip", "ssim"))
    assert len(scores) == 20 and np.isfinite(scores["ssim"]).all()
    frames = read_arrays(finished / f"results/reconstructions/{name}/sub-1/clips-00000.h5", ["frames"])[1][
        "frames"
    ]
    assert frames.shape == (20, 8, 64, 64, 3)
    assert all((own != own[:1]).any() for own in frames)  # frames differ
