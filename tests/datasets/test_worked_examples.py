"""The examples of docs/your_data.md, built small beside the shipped tables and run by the workflow's own command."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from simulate import N_FEATURES, draw_features, simulate_fmriprep

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.tables import read_table
from mind_animator.artefacts.video import write_mp4
from mind_animator.config.base import merged
from mind_animator.provenance import ROOT

EXAMPLES = ROOT / "docs" / "examples"
VOXELS = 60
# what makes a run small: these sections of the tiny demo; everything else is the shipped config of the data set
SMALL = ("device", "stimuli", "methods", "reconstruction", "scoring")


def run(folder: Path, name: str, *arguments: str, voxels: dict, **dataset) -> str:
    """Run the workflow on an example in a folder; returns its output."""
    config = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())
    tiny = yaml.safe_load((ROOT / "tests" / "tiny_demo.yaml").read_text())
    models = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]
    config |= {key: tiny[key] for key in SMALL} | {"models": models, "results": str(folder / "results")}
    config["dataset"] = merged(config["dataset"], {"data_root": str(folder / "data")} | dataset)
    config["fmri"] = config.get("fmri", {}) | {"voxels": voxels}
    del config["features"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--configfile", str(folder / "config.yaml"), "--nolock"]
    ran = subprocess.run(
        [*command, "--cores", "1", *arguments], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4000:]
    return ran.stdout + ran.stderr


def moving(features: np.ndarray) -> Iterator[np.ndarray]:
    """Two seconds at 4 Hz for each clip: bars that its first feature shades and its second one moves."""
    bars = 60 * np.sin(np.arange(64) / 4)
    for shade, speed, *_ in features:
        for number in range(8):
            row = np.clip(128 + 20 * shade + np.roll(bars, round(2 * speed * number)), 0, 255)
            yield np.broadcast_to(row.astype(np.uint8)[None, :, None], (64, 64, 3))


@pytest.fixture
def arrays(tmp_path):
    """The docs' table of clips with its movies and one subject's responses, which mix what the movies show."""
    rng = np.random.default_rng(2)
    data = tmp_path / "data"
    shutil.copytree(EXAMPLES / "arrays", data)
    table = read_table(data / "clips.tsv", ("split", "movie", "file", "onset", "duration", "caption"))
    features = draw_features(len(table), rng)
    for movie, rows in table.groupby("file"):
        write_mp4(data / "stimuli" / movie, moving(features[rows.index]), 4)
    responses = features @ rng.standard_normal((N_FEATURES, VOXELS)) + rng.standard_normal(
        (len(table), VOXELS)
    )
    np.save(data / "sub-01.npy", responses.astype(np.float32))
    return tmp_path, table, responses


def test_arrays_from_the_docs_table_to_videos(arrays):
    """Movies and captions: all that the table names is used, and every decoder has its part."""
    folder, table, responses = arrays
    output = run(folder, "arrays", "reconstruct", subjects=["01"], voxels={"all": True})
    results = folder / "results"
    assert "left out" not in output and "caption_clips" not in output
    clips, read = read_arrays(results / "fmri/sub-01/responses.h5", ["responses"])
    order = [*np.flatnonzero(table["split"] == "train"), *np.flatnonzero(table["split"] == "test")]
    train = responses[order[:60]]
    np.testing.assert_allclose(
        read["responses"], (responses[order] - train.mean(0)) / train.std(0), atol=1e-4
    )
    assert clips[0] == "train000-00000" and clips[-1] == "test000-00019"
    captions = read_table(next(results.glob("captions/*.tsv")), ("caption",))
    assert captions["caption"].tolist() == table["caption"].iloc[order].tolist()
    for decoder in ("semantic", "structure", "motion"):
        assert (results / f"decoders/mind_animator/sub-01/{decoder}.safetensors").is_file()
    reconstructed = sorted(results.glob("reconstructions/mind_animator/sub-01/*.h5"))
    assert sum(len(read_arrays(path, ["frames"])[0]) for path in reconstructed) == 20


def test_frames_alone_are_captioned_and_train_structure_and_motion(arrays):
    """Ready frames, neither movies nor captions: BLIP-2 writes the captions."""
    folder, table, _ = arrays
    data = folder / "data"
    table.drop(columns=["caption", "file", "onset", "duration"]).to_csv(
        data / "clips.tsv", sep="\t", index=False
    )
    shutil.rmtree(data / "stimuli")
    frames = np.random.default_rng(0).integers(0, 255, (len(table), 8, 3, 32, 32), dtype=np.uint8)
    np.save(data / "frames.npy", frames)
    options = {"frames": "frames.npy", "frame_axes": "clip frame channel height width"}
    results = folder / "results"
    captions, decoders = results / "captions/clips-00000.tsv", results / "decoders/mind_animator/sub-01"
    targets = [captions, *(decoders / f"{name}.safetensors" for name in ("structure", "motion"))]
    output = run(folder, "arrays", *map(str, targets), subjects=["01"], options=options, voxels={"all": True})
    assert "caption_clips" in output and "left out" not in output
    assert len(read_table(captions, ("caption", "similarity_first"))) == len(table)
    assert all(path.is_file() for path in targets)
    clips, read = read_arrays(results / "features/clips-00000.image.h5", ["latents"])
    assert len(clips) == len(table) and read["latents"].shape[1] == 8


def test_bids_from_the_docs_events_to_a_decoder(tmp_path):
    """The docs' events of two subjects: movies and fMRIPrep's files simulated beside them, TR 1.5 s."""
    data = tmp_path / "data"
    events = sorted(path.relative_to(EXAMPLES / "bids") for path in (EXAMPLES / "bids").rglob("*_events.tsv"))
    movies, repeats = {}, []
    for name in events[:3]:
        table = pd.read_csv(EXAMPLES / "bids" / name, sep="\t", na_values="n/a").dropna(subset="stim_file")
        movies |= dict(zip(table["stim_file"], table["duration"], strict=True))
        repeats.append(list(zip(table["stim_file"], table["onset"], strict=True)))
    simulate_fmriprep(
        data, ["01", "02"], space="fsLR", lag=4.0, repetition_time=1.5, clip_seconds=2.0, movies=movies,
        repeats=repeats, rng=np.random.default_rng(1),
    )  # fmt: skip
    shutil.copytree(EXAMPLES / "bids", data, dirs_exist_ok=True)  # the shipped events, not simulated ones
    captions = tmp_path / "captions.tsv"
    clips = [
        f"{Path(movie).stem}-{k:05d}" for movie, length in movies.items() for k in range(int(length // 2))
    ]
    texts = [f"a {('horse', 'dog', 'car', 'boat')[k % 4]} on a beach" for k in range(len(clips))]
    pd.DataFrame({"clip": clips, "caption": texts}).to_csv(captions, sep="\t", index=False)
    ready = ["--config", f"captions={{ready: [{captions}]}}"]
    decoder = tmp_path / "results/decoders/mind_animator/sub-02/semantic.safetensors"
    lag = tmp_path / "results/fmri/sub-02/lag.tsv"
    run(tmp_path, "bids", str(decoder), str(lag), *ready, subjects=["02"], voxels={"rois": ["V1", "MT"]})
    quality = read_table(tmp_path / "results/fmri/sub-02/quality.tsv", ("run", "reliability_selected"))
    assert quality.groupby("segment").size().to_dict() == {"beach": 2, "city": 2, "forest": 3}
    names, _ = read_arrays(tmp_path / "results/fmri/sub-02/responses.h5", ["responses"])
    assert sorted(names) == sorted(clips) and names[-1].startswith("forest")  # the test movie comes last
    assert decoder.is_file() and len(read_table(lag, ("feature", "lag", "correlation")))


@pytest.mark.parametrize("name", ["arrays", "bids"])
def test_the_whole_plan_of_an_example_needs_neither_data_nor_models(name, tmp_path):
    command = [sys.executable, "-m", "snakemake", "--configfile", f"config/{name}.yaml", "-n", "--nolock"]
    ran = subprocess.run(
        [*command, "--quiet", "rules", "--config", f"results={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    plan = ran.stdout + ran.stderr
    for rule in ("request_files", "segment_movie", "preprocess_subject", "train_part", "make_report"):
        assert rule in plan, rule
