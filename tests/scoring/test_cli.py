"""The command that needs no workflow: folders of anyone's videos in, tables and a page out."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mind_animator.artefacts.clipfolder import find_clips
from mind_animator.artefacts.tables import read_table
from mind_animator.cli import _main
from mind_animator.config.clipfolder import PRESETS
from mind_animator.errors import InputError
from mind_animator.scoring.folders import is_floor
from mind_animator.scoring.score import compare_pixels
from mind_animator.scoring.sources import FolderSource

# SSIM, PSNR and published hue of the 15 clips by an independent script (scikit-image 0.26, OpenCV 5.0)
REFERENCE = {
    "1-1": (0.68185, 13.5298, 0.59627),
    "1-2": (0.53996, 10.9012, 0.83756),
    "1-3": (0.22332, 10.1579, 0.88561),
    "1-4": (0.23804, 9.3360, 0.72541),
    "1-5": (0.23992, 9.3865, 0.83549),
    "2-1": (0.43198, 13.1491, 0.82394),
    "2-2": (0.24063, 8.1268, 0.88920),
    "2-3": (0.58559, 11.5020, 0.94538),
    "2-4": (0.28943, 10.7286, 0.74771),
    "2-5": (0.57208, 12.2894, 0.44953),
    "3-1": (0.48711, 10.9507, 0.52811),
    "3-2": (0.16599, 10.2314, 0.86350),
    "3-3": (0.10389, 9.5806, 0.91614),
    "3-4": (0.17805, 8.7442, 0.71927),
    "3-5": (0.40885, 10.0943, 0.65369),
}


def gif(path, rng, count=4, size=24):
    frames = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=250)


@pytest.fixture
def folders(tmp_path, rng):
    """Five truths (0..4), predictions numbered from 1: one missing, one corrupt, one grey and longer."""
    for name in ("truth", "made"):
        (tmp_path / name).mkdir()
    for number in range(5):
        gif(tmp_path / "truth" / f"{number}.gif", rng)
    for number in (1, 2, 3):
        gif(tmp_path / "made" / f"{number}.gif", rng)
    (tmp_path / "made" / "3.gif").write_bytes(b"GIF89a and no more")
    (tmp_path / "made" / "5").mkdir()
    for frame in range(7):
        Image.fromarray(rng.integers(0, 256, (40, 30), dtype=np.uint8)).save(
            tmp_path / "made" / "5" / f"{frame}.png"
        )
    return tmp_path


def score(folder, *more):
    _main(
        [
            "score",
            "--truth",
            str(folder / "truth"),
            "--pred",
            f"made={folder / 'made'}",
            "--no-models",
            "--truth-layout",
            json.dumps({"name": "{number}"}),
            "--out",
            str(folder / "out"),
            "--permutations",
            "99",
            "--pred-layout",
            json.dumps({"name": "{number}", "first": 1}),
            "--videos",
            "1",
            *more,
        ]
    )


def test_every_fault_has_a_row_and_the_rest_is_scored(folders, capsys):
    score(folders)
    out = folders / "out"
    rows = read_table(out / "clips.tsv", ("clip", "ssim", "status"))
    own = rows[rows["method"] == "made"].set_index("clip")
    assert own.index.tolist() == ["0", "1", "2", "3", "4"]
    assert own["ssim"].notna().tolist() == [True, True, False, False, True]
    assert "3.gif" in own.loc["2", "status"]
    assert "missing" in own.loc["3", "status"]
    summary = read_table(out / "summary.tsv").set_index(["method", "metric"])
    row = summary.loc[("made", "ssim")]
    assert (row["n_clips"], row["n_expected"]) == (3, 5)
    assert row["mean"] == pytest.approx(own["ssim"].mean(), rel=1e-6)
    assert row["status"].count("1 clips") == 2
    assert "not computed: --no-models" in summary.loc[("made", "vifi_score"), "status"]
    methods = list(dict.fromkeys(rows["method"]))
    assert methods == ["made", "made_frozen", "made_shuffled_frames", "made_mismatched", "flat_mean"]
    assert [is_floor(method) for method in methods] == [False, True, True, True, True]
    # a mismatched clip is missing where its donor is; a flat picture never is
    assert rows[rows["method"] == "made_mismatched"]["ssim"].notna().sum() == 3
    assert rows[rows["method"] == "flat_mean"]["ssim"].notna().all()
    tests = read_table(out / "tests.tsv", ("test", "method", "other", "p", "p_holm", "p_published"))
    assert set(tests["test"]) >= {"paired", "above_chance", "motion_pairing"}
    assert json.loads((out / "settings.json").read_text())["size"] == 24
    page = (out / "index.html").read_text()
    assert "data:video/mp4" in page
    shown = capsys.readouterr()
    assert "Comparing 4 frames of 24 x 24 at 4 Hz." in shown.err
    assert "3/5" in shown.out


def test_wrong_numbering_is_an_error(folders):
    shutil.copy(folders / "truth" / "0.gif", folders / "made" / "6.gif")
    with pytest.raises(InputError, match="do both sides count from the same number"):
        score(folders)


def test_truths_of_several_sizes_need_a_stated_one(folders, rng):
    gif(folders / "truth" / "4.gif", rng, count=6, size=32)
    with pytest.raises(InputError, match="state --size and --frames"):
        score(folders)
    score(folders, "--size", "16", "--frames", "3", "--no-floors")
    settings = json.loads((folders / "out" / "settings.json").read_text())
    assert (settings["size"], settings["frames"]) == (16, 3)


def test_bad_options(folders):
    with pytest.raises(InputError, match="--truth-layout"):
        score(folders, "--truth-layout", '{"nmae": "x"}')
    with pytest.raises(InputError, match="Expected different names of predictions, got 'made' twice"):
        score(folders, "--pred", f"made={folders / 'made'}")
    with pytest.raises(InputError, match="Expected a folder of videos"):
        score(folders, "--truth", str(folders / "nowhere"))


def test_published_pixel_scores(published_data):
    folder = published_data / "reconstructions" / "mind_animator"
    truth, prediction = (
        FolderSource(find_clips(folder, layout), layout, size=512, count=8)
        for layout in PRESETS["mind_animator"]
    )
    assert set(truth.clips) == set(REFERENCE)
    for clip, expected in REFERENCE.items():
        found = compare_pixels(truth.read(clip), prediction.read(clip))
        values = [found[name] for name in ("ssim", "psnr", "hue_cos_published")]
        np.testing.assert_allclose(values, expected, atol=1e-4)


@pytest.mark.parametrize(("preset", "count"), [("neuroclips", 22), ("mind_animator", 15)])
def test_published_folders_are_scored_whole(published_data, tmp_path, preset, count):
    folder = published_data / "reconstructions" / preset
    _main(
        [
            "score",
            "--truth",
            str(folder),
            "--pred",
            f"{preset}={folder}",
            "--preset",
            preset,
            "--no-models",
            "--no-floors",
            "--videos",
            "0",
            "--size",
            "64",
            "--frames",
            "4",
            "--permutations",
            "99",
            "--out",
            str(tmp_path / "out"),
        ]
    )
    summary = read_table(tmp_path / "out" / "summary.tsv").set_index("metric")
    for name in (
        "ssim",
        "psnr",
        "hue_cos_published",
        "hue_circular_corr",
        "epe_published",
        "epe",
        "flow_cosine",
    ):
        assert summary.loc[name, "n_clips"] == count
        assert summary.loc[name, "status"] == "ok"


def test_ratings_from_folders_to_scores(folders, rng, tmp_path):
    page, key = tmp_path / "study.html", tmp_path / "key.json"
    for number in (3, 4):
        gif(folders / "made" / f"{number}.gif", rng)
    _main(
        [
            "ratings",
            "make",
            "--truth",
            str(folders / "truth"),
            "--pred",
            f"made={folders / 'made'}",
            "--clips",
            "3",
            "--truth-layout",
            json.dumps({"name": "{number}"}),
            "--pred-layout",
            json.dumps({"name": "{number}", "first": 1}),
            "--checks",
            "2",
            "--block",
            "1",
            "--size",
            "32",
            "--seed",
            "1",
            "--page",
            str(page),
            "--key",
            str(key),
        ]
    )
    questions = json.loads(key.read_text())["questions"]
    assert len(questions) == 5
    answers = [{"id": question["id"], "chosen": question["right"]} for question in questions]
    (tmp_path / "a.json").write_text(json.dumps({"page": "study", "rater": "a", "answers": answers}))
    _main(
        [
            "ratings",
            "score",
            "--key",
            str(key),
            "--answers",
            str(tmp_path / "a.json"),
            "--scores",
            str(tmp_path / "scores.tsv"),
            "--raters",
            str(tmp_path / "raters.tsv"),
        ]
    )
    scores = read_table(tmp_path / "scores.tsv")
    assert scores["right"].tolist() == [1.0]
    assert scores["answers"].tolist() == [3]
