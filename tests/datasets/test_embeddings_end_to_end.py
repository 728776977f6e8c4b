"""A movie study with embeddings of its annotations and nothing else: whole runs, long clips, from one command."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.provenance import ROOT

T_R, LAG, DIM, VOXELS = 1.5, 4.5, 12, 30
RUNS = {"a": "train", "b": "train", "c": "train", "d": "test"}
CLIPS = 36  # per run


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two subjects; a volume responds to the embedding of the clip that was on 4.5 s before. Clips of 3 to 6 s."""
    root, rng = tmp_path_factory.mktemp("study"), np.random.default_rng(3)
    lengths = rng.choice([3.0, 4.5, 6.0], size=(len(RUNS), CLIPS))
    embeddings = 2 + rng.standard_normal((len(RUNS), CLIPS, DIM))
    rows, volumes = [], {}
    for index, (run, split) in enumerate(RUNS.items()):
        onsets = 6 + np.cumsum(lengths[index]) - lengths[index]
        rows += [
            {"split": split, "movie": run, "run": run, "onset": onset, "duration": length}
            for onset, length in zip(onsets, lengths[index], strict=True)
        ]
        volumes[run] = int((onsets[-1] + 16) / T_R)
    table = pd.DataFrame(rows)
    write_table(root / "data" / "clips.tsv", table)
    for subject in ("x", "y"):
        weights = rng.standard_normal((DIM, VOXELS))
        for index, run in enumerate(RUNS):
            own = table[table["run"] == run]
            moments = (np.arange(volumes[run]) + 0.5) * T_R - LAG
            shown = np.searchsorted(own["onset"].to_numpy(), moments, side="right") - 1
            drive = np.where((shown >= 0)[:, None], embeddings[index][np.maximum(shown, 0)], 2)
            noise = 2 * rng.standard_normal((volumes[run], VOXELS))
            np.save(root / "data" / f"sub-{subject}_{run}.npy", 1000 + drive @ weights + noise)
    np.save(root / "data" / "text.npy", embeddings.reshape(-1, DIM))
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    options = {
        "clips": "clips.tsv",
        "responses": "sub-{subject}_{run}.npy",
        "axes": "volume voxel",
        "tr": T_R,
    }
    config = {
        "results": str(root / "results"),
        "seed": 1,
        "dataset": {
            "name": "arrays",
            "data_root": str(root / "data"),
            "subjects": ["x", "y"],
            "options": options,
        },
        "models": shipped["models"],
        "fmri": {"lag": LAG, "detrend_order": 1, "voxels": {"all": True}},
        "features": {"ready": {"text": str(root / "data" / "text.npy")}},
        "methods": {"ridge": {"kind": "ridge"}},
        "scoring": {"permutations": 999, "bootstraps": 100, "block": 4},
    }
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--configfile", str(root / "config.yaml"), "--nolock"]
    ran = subprocess.run(
        [*command, "--cores", "2"], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4000:]
    return root / "results", ran.stdout + ran.stderr


def test_embeddings_alone_give_the_semantic_decoder_and_retrieval(study):
    results, _ = study
    found = [path.name for path in results.glob("decoders/*/sub-x/*.safetensors")]
    assert found == ["semantic.safetensors"]
    tests = read_table(results / "scores" / "tests.tsv", ("test", "metric", "subject", "p"))
    ranks = tests[tests["metric"] == "retrieval_text_rank"].set_index("subject")["p"]
    assert (ranks < 0.01).all()
    assert not tests["metric"].str.contains("prompt_embedding").any()
