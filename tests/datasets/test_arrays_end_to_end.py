"""What is missing is left out, and the rest runs: a study of responses and captions, from one command."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.provenance import ROOT

TRAIN, TEST, VOXELS = 160, 40, 40
NOUNS = ("horse", "dog", "car", "boat", "bird", "tree", "house", "ball")
SCENES = ("a beach", "a street", "a field", "a lake", "snow")


@pytest.fixture
def study(tmp_path):
    """Responses that mix what the captions say, voxels without variance and a missing clip among them."""
    rng = np.random.default_rng(3)
    noun = rng.integers(len(NOUNS), size=TRAIN + TEST)
    scene = rng.integers(len(SCENES), size=TRAIN + TEST)
    table = pd.DataFrame(
        {
            "split": ["train"] * TRAIN + ["test"] * TEST,
            "movie": [f"movie{k // 20}" for k in range(TRAIN + TEST)],
            "caption": [f"a {NOUNS[n]} on {SCENES[p]}" for n, p in zip(noun, scene, strict=True)],
        }
    )
    described = np.hstack([np.eye(len(NOUNS))[noun], np.eye(len(SCENES))[scene]])
    weights = rng.standard_normal((described.shape[1], VOXELS))
    responses = described @ weights + 0.5 * rng.standard_normal((TRAIN + TEST, VOXELS))
    responses[:, 3] = 1.0
    responses[17] = np.nan
    write_table(tmp_path / "data" / "clips.tsv", table)
    np.save(tmp_path / "data" / "sub-a.npy", responses.astype(np.float32))
    return tmp_path


def run(study, *arguments, **options):
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    config = {
        "results": str(study / "results"),
        "seed": 1,
        "dataset": {
            "name": "arrays",
            "data_root": str(study / "data"),
            "subjects": ["a"],
            "options": {"clips": "clips.tsv"} | options,
        },
        "models": shipped["models"],
        "fmri": {"voxels": {"all": True}},
        "methods": {"mind_animator": shipped["methods"]["mind_animator"], "flat_mean": {"kind": "flat_mean"}},
        "scoring": {"permutations": 999, "bootstraps": 100, "block": 5},
    }
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--configfile", str(study / "config.yaml"), "--nolock"]
    return subprocess.run(
        [*command, "--cores", "1", *arguments], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True,
    )  # fmt: skip


def test_captions_alone_give_the_semantic_decoder_and_retrieval(study):
    ran = run(study)
    output = ran.stdout + ran.stderr
    assert ran.returncode == 0, output[-3000:]
    assert "no movies and no frames. Left out: all parts of methods that need frames" in output
    results = study / "results"
    assert [path.name for path in results.glob("decoders/*/*/*.safetensors")] == ["semantic.safetensors"]
    assert not (results / "reconstructions").exists()
    assert not (results / "report" / "index.html").exists()
    page = (results / "report" / "retrieval.html").read_text()
    assert "captions truncated for the prompt embedding" in page
    table = read_table(results / "scores" / "retrieval.tsv", ("embedding", "metric", "value", "chance"))
    assert set(table["embedding"]) == {"text"}
    tests = read_table(results / "scores" / "tests.tsv", ("test", "metric", "p"))
    ranks = tests[tests["metric"] == "retrieval_text_rank"]
    assert len(ranks) and (ranks["p"] < 0.01).all()
    quality = read_table(results / "fmri" / "sub-a" / "quality.tsv", ("missing_volumes", "constant_voxels"))
    assert quality["missing_volumes"].tolist() == [1, 0]
    assert quality["constant_voxels"].tolist() == [1, 1]
