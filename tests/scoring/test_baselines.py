"""Baselines are methods like any other."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mind_animator.artefacts.arrays import read_arrays, write_arrays
from mind_animator.artefacts.streams import read_problems
from mind_animator.artefacts.tables import write_table
from mind_animator.config.methods import MethodConfig
from mind_animator.errors import InputError
from mind_animator.methods import open_methods
from mind_animator.methods.base import ReconstructionInputs
from mind_animator.methods.flat_mean import FlatMean
from mind_animator.methods.folder import Folder
from mind_animator.methods.frozen import Frozen
from mind_animator.methods.mismatched import Mismatched
from mind_animator.methods.shuffled_frames import ShuffledFrames
from mind_animator.scoring.sources import ArraySource
from mind_animator.statistics.exchange import exchanged
from workflow_scripts.derive_baseline import main

CLIPS = [f"t-{index:05d}" for index in range(25)]


@pytest.fixture
def shards(tmp_path):
    """25 clips in two shards, each frame a number of its own."""
    frames = np.zeros((25, 4, 8, 8, 3), np.uint8)
    frames[..., 0] = np.arange(25)[:, None, None, None] * 10
    frames[..., 1] = np.arange(4)[None, :, None, None] * 60
    files = []
    for start, end in ((0, 13), (13, 25)):
        files.append(tmp_path / f"clips-{start:05d}.h5")
        write_arrays(files[-1], {"frames": frames[start:end]}, CLIPS[start:end])
    return files, frames


def test_flat_mean_is_the_mean_colour_of_training(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, 4, 8, 8, 3), dtype=np.uint8)
    write_arrays(tmp_path / "seg1.h5", {"frames": frames}, [f"seg1-{i:05d}" for i in range(5)])
    made = dict(
        FlatMean.reconstruct("{}", CLIPS[:2], ReconstructionInputs(CLIPS, 0, files=[tmp_path / "seg1.h5"]))
    )
    assert list(made) == CLIPS[:2]
    expected = np.rint(frames.reshape(-1, 3).astype(float).mean(0))
    assert made[CLIPS[0]].shape == (4, 8, 8, 3)
    assert (made[CLIPS[0]] == expected).all()


def test_frozen_repeats_the_first_frame(shards):
    files, frames = shards
    made = dict(Frozen.reconstruct("{}", CLIPS[5:20], ReconstructionInputs(CLIPS, 0, files=files)))
    for row, clip in enumerate(CLIPS[5:20], start=5):
        np.testing.assert_array_equal(made[clip], np.repeat(frames[row, :1], 4, axis=0))


def test_shuffled_frames_never_keep_their_order_in_any_shard(shards):
    files, frames = shards
    whole = dict(ShuffledFrames.reconstruct("{}", CLIPS, ReconstructionInputs(CLIPS, 4, files=files)))
    part = dict(ShuffledFrames.reconstruct("{}", CLIPS[13:], ReconstructionInputs(CLIPS, 4, files=files)))
    for row, clip in enumerate(CLIPS):
        order = whole[clip][:, 0, 0, 1] // 60
        assert sorted(order) == [0, 1, 2, 3]
        assert list(order) != [0, 1, 2, 3]
        np.testing.assert_array_equal(whole[clip], frames[row, order])
    for clip, value in part.items():
        np.testing.assert_array_equal(value, whole[clip])


@pytest.mark.parametrize(
    ("count", "block"), [(240, 10), (25, 10), (102, 10), (7, 3), (2, 10), (5, 1), (15, 40)]
)
def test_mismatched_is_a_permutation_without_fixed_points(count, block):
    clips = [f"c-{index}" for index in range(count)]
    donors = exchanged(clips, block, 11)
    assert sorted(donors) == sorted(clips)
    assert all(donor != clip for donor, clip in zip(donors, clips, strict=True))
    assert donors == exchanged(clips, block, 11)
    if count == 240:
        assert exchanged(clips, block, 12) != donors
        indices = np.array([int(donor[2:]) for donor in donors])
        assert (np.diff(indices) == 1).sum() >= 240 - 24  # neighbours stay neighbours within blocks


def test_mismatched_needs_two_clips():
    with pytest.raises(InputError, match="Expected at least 2 test clips"):
        exchanged(["a"], 10, 0)


def test_mismatched_frames(shards):
    files, frames = shards
    settings = json.dumps({"of": "m", "block": 5})
    made = dict(Mismatched.reconstruct(settings, CLIPS[13:], ReconstructionInputs(CLIPS, 2, files=files)))
    donors = exchanged(CLIPS, 5, 2)
    for row in range(13, 25):
        np.testing.assert_array_equal(made[CLIPS[row]], frames[CLIPS.index(donors[row])])


def test_baselines_are_entries_of_the_config():
    configs = {
        "ridge": MethodConfig(kind="ridge"),
        "still": MethodConfig(kind="frozen", options={"of": "ridge"}),
        "flat_mean": MethodConfig(kind="flat_mean"),
        "theirs": MethodConfig(
            kind="folder", options={"path": "videos/sub-{subject}", "preset": "mind_video"}
        ),
    }
    methods = open_methods(configs)
    assert methods["still"].source == "ridge"
    assert methods["still"].predicts is False
    assert methods["theirs"].files("3") == ["videos/sub-3"]
    with pytest.raises(InputError, match=r"config\.methods\.still uses the method '\w+': must be one of"):
        open_methods({"still": configs["still"]})


def test_script_writes_a_shard_and_passes_problems_on(tmp_path):
    """A folder with a corrupt and a missing clip; a baseline of it knows both."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(4):
        images = [Image.new("RGB", (16, 16), (60 * number, 0, 20 * k)) for k in range(3)]
        images[0].save(videos / f"{number}.gif", save_all=True, append_images=images[1:], duration=500)
    (videos / "1.gif").write_bytes(b"GIF89a broken")
    (videos / "3.gif").unlink()
    clips = [f"t-{index:05d}" for index in range(4)]
    write_table(tmp_path / "t.tsv", pd.DataFrame({"clip": clips}))
    common = [
        "--tables",
        str(tmp_path / "t.tsv"),
        "--shard-size",
        "10",
        "--seed",
        "1",
        "--rate",
        "4",
    ]
    settings = json.dumps({"path": str(videos), "frames": 6})
    # a shard none of whose clips is there: its rows say so, and others are scored
    two = [str(tmp_path / name) for name in ("c.h5", "d.h5")]
    shown = [str(tmp_path / name) for name in ("c.mp4", "d.mp4")]
    halves = [*common[:3], "3", *common[4:], "--frames", *two, "--videos", *shown]
    main(["--kind", "folder", "--settings", settings, "--files", str(videos), *halves])
    assert list(read_problems([tmp_path / "d.h5"])) == [clips[3]]
    _, arrays = read_arrays(two, ["frames"])
    assert arrays["frames"].shape == (4, 6, 16, 16, 3)  # one shape for all shards
    assert not arrays["frames"][3].any()
    with pytest.raises(InputError, match="found none \\(missing\\)"):
        ArraySource([tmp_path / "d.h5"], size=16, count=2).read(clips[3])
    outputs = ["--frames", str(tmp_path / "a.h5"), "--videos", str(tmp_path / "a.mp4")]
    main(["--kind", "folder", "--settings", settings, "--files", str(videos), *common, *outputs])
    names, arrays = read_arrays(tmp_path / "a.h5", ["frames"])
    assert names == clips
    assert arrays["frames"].shape == (4, 6, 16, 16, 3)
    problems = read_problems([tmp_path / "a.h5"])
    assert list(problems) == [clips[1], clips[3]]
    assert "1.gif" in problems[clips[1]]
    assert "found none (missing)" in problems[clips[3]]
    outputs = ["--frames", str(tmp_path / "b.h5"), "--videos", str(tmp_path / "b.mp4")]
    main(["--kind", "frozen", "--settings", "{}", "--files", str(tmp_path / "a.h5"), *common, *outputs])
    assert read_problems([tmp_path / "b.h5"]) == problems


def test_folder_without_a_readable_clip(tmp_path):
    (tmp_path / "0.gif").write_bytes(b"broken")
    settings = json.dumps({"path": str(tmp_path)})
    with pytest.raises(InputError, match="Expected at least one readable video, got none of 1"):
        list(
            Folder.reconstruct(settings, ["t-00000"], ReconstructionInputs(["t-00000"], 0, files=[tmp_path]))
        )
