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
    embeddings = 3 + rng.standard_normal((len(RUNS), CLIPS, DIM))
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
            drive = np.where((shown >= 0)[:, None], embeddings[index][np.maximum(shown, 0)], 3)
            noise = 8 * rng.standard_normal((volumes[run], VOXELS))
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
        "scoring": {"permutations": 999, "bootstraps": 100, "block_seconds": 18.0},
    }
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--configfile", str(root / "config.yaml"), "--nolock"]
    ran = subprocess.run(
        [*command, "--cores", "2"], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4000:]
    return root / "results", ran.stdout + ran.stderr


def test_the_lag_is_seen_in_the_volumes(study):
    """The planted 4.5 s, to the volume, although clips last up to 6 s."""
    results, _ = study
    for subject in ("x", "y"):
        table = read_table(results / "fmri" / f"sub-{subject}" / "lag.tsv", ("feature", "peak", "note"))
        assert table["feature"].nunique() == 3
        assert (table["peak"] == LAG).all() and table["note"].str.startswith("peak at 4.5 s").all()


def test_a_page_reports_retrieval_tests_and_what_was_left_out(study):
    results, output = study
    assert "Features computed elsewhere: text; computed here: none." in output
    page = (results / "report" / "retrieval.html").read_text()
    for text in (
        "two-way identification",
        "Centred: the mean embedding",
        "0 of 108",
        "0 of 36",
        "least 0.001",
        "left out",
    ):
        assert text in page, text


def test_a_target_that_cannot_exist_ends_with_one_line_in_a_dry_run_too(study):
    results, _ = study
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--configfile",
        str(results.parent / "config.yaml"),
        "--nolock",
    ]
    ran = subprocess.run([*command, "-n", "reconstruct"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode != 0
    output = ran.stdout + ran.stderr
    assert "Rule decode_latents requires movies or frames, but data set arrays has none" in output
    assert "Traceback" not in output and "Error in rule" not in output


def test_embeddings_alone_give_the_semantic_decoder_and_retrieval(study):
    results, _ = study
    found = [path.name for path in results.glob("decoders/*/sub-x/*.safetensors")]
    assert found == ["semantic.safetensors"]
    tests = read_table(results / "scores" / "tests.tsv", ("test", "metric", "subject", "p"))
    ranks = tests[tests["metric"] == "retrieval_text_centred_rank"].set_index("subject")["p"]
    assert set(ranks.index) == {"x", "y", "pooled"} and (ranks < 0.01).all()
    table = read_table(results / "scores" / "retrieval.tsv", ("subject", "similarity", "metric", "value"))
    medians = table[(table["metric"] == "median_rank") & (table["similarity"] == "centred")]
    medians = medians.set_index("subject")["value"]
    assert set(medians.index) == {"x", "y", "pooled"} and medians["pooled"] < 18
    values = table.groupby(["similarity", "metric"])["value"].mean()
    assert values["centred", "two_way"] > 0.7
    assert values["centred", "median_rank"] < values["published", "median_rank"]
    assert not tests["metric"].str.contains("prompt_embedding").any()
