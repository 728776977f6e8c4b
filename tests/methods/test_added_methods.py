"""Methods that are added as one file each run through the real workflow: parts, needs, own frames, scores."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_demo import ROOT, snakemake, write_tiny_demo

from mind_animator.artefacts.arrays import read_arrays, read_attrs
from mind_animator.artefacts.tables import read_table
from mind_animator.artefacts.video import write_mp4

ADDED = Path(__file__).parent / "added"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code to which the methods are added, one file each."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("rules", "envs", "workflow_scripts", "mind_animator"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    for path in ADDED.glob("*.py"):
        shutil.copy(path, folder / "mind_animator" / ("features" if path.stem == "brightness" else "methods"))
    return folder


@pytest.fixture(scope="module")
def run(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run: both methods, on the first of two subjects."""
    folder = tmp_path_factory.mktemp("run")
    videos = tmp_path_factory.mktemp("unpaired")
    frames = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), np.uint8)
    for name in ("b.mp4", "a.mp4"):
        write_mp4(videos / name, iter(frames), 8)
    _write_config(folder, repository, videos)
    targets = ("results/scores/newcomer/sub-1.tsv", "results/reconstructions/needy/sub-1/clips-00000.h5")
    done = snakemake(folder, "--quiet", "rules", "--", *targets, root=repository)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def _write_config(folder, repository, videos, **changes):
    path = write_tiny_demo(folder, repository, dataset={"subjects": ["1", "2"]}, **changes)
    import yaml

    values = yaml.safe_load(path.read_text())
    values["methods"] = {
        "newcomer": {"kind": "newcomer"}, "needy": {"kind": "needy", "options": {"videos": str(videos)}},
    }  # fmt: skip
    values["models"]["extra"] = values["models"]["vit"]
    values["report"] = {"headline": "newcomer"}
    path.write_text(yaml.safe_dump(values))


def test_own_frames_are_conformed_and_scored(run):
    """Five frames of 24 x 40 pixels become eight of 24 x 24, at the clip's own times."""
    path = run / "results/reconstructions/newcomer/sub-1/clips-00000.h5"
    frames = read_arrays(path, ["frames"])[1]["frames"]
    assert frames.shape == (20, 8, 24, 24, 3) and frames.dtype == np.uint8
    assert json.loads(read_attrs(path)["problems"]) == {}
    assert path.with_suffix(".mp4").stat().st_size > 1000
    assert read_arrays(run / "results/reconstructions/needy/sub-1/clips-00000.h5", ["frames"])[1]["frames"].shape == (
        20, 8, 16, 16, 3,
    )  # fmt: skip
    scores = read_table(run / "results/scores/newcomer/sub-1.tsv", ("clip", "ssim"))
    assert len(scores) == 20 and np.isfinite(scores["ssim"]).all()


def test_a_part_receives_what_it_declares(run):
    for subject, other in (("1", "2"),):
        folder = run / f"results/decoders/needy/sub-{subject}"
        record = json.loads((folder / "third_part.json").read_text())
        pooled = json.loads((run / f"results/decoders/needy/sub-without{subject}/others.json").read_text())
        assert (
            pooled["subjects"] == [other] and pooled["held_out"] == subject and pooled["subjects_seen"] == 1
        )
        assert record["subjects"] == [subject] and record["earlier"] == {"others": 300}
        assert record["window"] == [40, 4, 300] and record["same"] and record["next"]
        assert record["in_run"] == [38, 40, 38, 36]  # two runs of 20: one volume before, two after
        assert record["repeats"] == [40, 2, 300] and record["repeats_error"] < 1e-3
        assert record["rois"] == 300 and record["coordinates"] == [300, 3]
        assert record["frames"] == [8, 64, 64, 3] and record["readable"]
        assert record["clips"] == ["seg1-00000", "seg2-00019"]
        assert record["spans"] == [["seg1", 0.0, 40.0], ["seg2", 0.0, 40.0]]
        assert record["shifted"] == [16, 32, 32, 3] and record["videos"] == ["a.mp4", "b.mp4"]
        assert record["targets"] == {"latents": [40, 8, 4, 8, 8], "brightness": [40, 8]}
        assert record["models"]["extra"].endswith("vit")


def test_a_method_with_own_frames_may_have_scores_of_its_predictions(repository, run):
    """`needy` makes predictions, `newcomer` does not."""
    done = snakemake(run, "-n", "--forceall", "--printshellcmds", "--", "score", root=repository)
    assert done.returncode == 0, done.stderr[-3000:]
    text = done.stdout + done.stderr
    assert (
        "scores/needy/sub-1.decoded.parquet" in text and "scores/newcomer/sub-1.decoded.parquet" not in text
    )


def test_nothing_but_what_is_declared_is_an_input(repository, run):
    """`newcomer` needs frames alone: neither features nor repeats nor other subjects are inputs of its training."""
    done = snakemake(
        run, "-n", "--forceall", "--printshellcmds", "--", "decode", "reconstruct", root=repository
    )
    assert done.returncode == 0, done.stderr[-3000:]
    commands = [
        line for line in (done.stdout + done.stderr).splitlines() if "workflow_scripts.train_part" in line
    ]
    own = [command for command in commands if "--kind newcomer" in command]
    assert len(own) == 2
    for command in own:
        assert "/features/" not in command and "repeats.h5" not in command and "predictions" not in command
        assert command.count("responses.h5") == 1 and "stimuli/seg1.h5" in command and "test" not in command


def test_a_test_stimulus_is_no_unpaired_video(repository, run, tmp_path):
    (movie,) = (run / "data/video_fmri_dataset/stimuli").glob("test*.mp4")
    shutil.copy(movie, tmp_path / "harmless.mp4")
    folder = tmp_path / "folder"
    shutil.copytree(run, folder, symlinks=True)
    _write_config(folder, repository, tmp_path)
    done = snakemake(folder, "-n", "--", "reconstruct", root=repository)
    assert done.returncode != 0
    assert "Expected unpaired videos without test stimuli, got" in done.stderr + done.stdout
