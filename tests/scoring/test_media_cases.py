"""Folders that went wrong once (shared cases/media/score): right frames, or one row with the reason."""

import pytest

from mind_animator.artefacts.tables import read_table
from mind_animator.cli import _main


def run(folder, prediction, out, *more):
    """Rows of clips.tsv by clip."""
    if not folder.is_dir():
        pytest.skip("the examples of downloaded folders are absent")
    _main(
        ["score", "--ground-truth", str(folder / "truth"), "--pred", f"x={folder / prediction}", "--no-models",
         "--no-baselines", "--videos", "0", "--permutations", "99", "--out", str(out), *more]
    )  # fmt: skip
    rows = read_table(out / "clips.tsv").set_index("clip")
    return rows.assign(note=rows["note"].fillna(""))


@pytest.fixture
def score(published_data, tmp_path):
    return lambda case, prediction="pred", *more: run(
        published_data / "cases" / "media" / "score" / case, prediction, tmp_path / "out", *more
    )


def test_rotated_videos_equal_their_unrotated_twins(score):
    rows = score("rotation")
    assert rows["ssim"].min() > 0.99  # .29 without the rotation; re-encoding costs .003
    assert set(rows["note"]) == {"prediction: display rotation applied"}


def test_an_edit_list_is_followed(score):
    """The videos show the clip after a cut at its start; by their time stamps the frames are those of the clip."""
    assert score("edit_list", "pred", "--clock")["ssim"].min() > 0.99
    assert (score("edit_list")["status"] == "ok").all()


def test_transparency_is_composited_in_one_way(score):
    """The same frames as png and as mov."""
    tables = [score("alpha", prediction) for prediction in ("pred", "pred_png")]
    assert tables[0]["ssim"].tolist() == tables[1]["ssim"].tolist()
    for rows in tables:
        assert set(rows["note"]) == {"prediction: transparent pixels composited on black"}


def test_a_bomb_is_one_row(score, capsys):
    rows = score("bomb")
    assert (rows["status"] == "ok").tolist() == [True, False, True, True]
    assert "c1.gif, got: Image size (4364696535 pixels)" in rows.loc["c1", "status"]
    assert "3/4" in capsys.readouterr().out


def test_a_gif_beyond_its_canvas_is_scored(score):
    rows = score("extents")
    assert (rows["status"] == "ok").all()
    assert rows.loc["c1", "note"].endswith("parts of frames beyond the canvas cropped")


def test_system_files_are_no_frames(score, capsys):
    rows = score("appledouble")
    assert rows.index.tolist() == ["c0", "c1", "c2"]
    assert (rows["status"] == "ok").all() and set(rows["note"]) == {""}
    assert "pred: 1 system file (.DS_Store) ignored." in capsys.readouterr().err


def test_ground_truths_of_one_frame(score, tmp_path, capsys):
    """Metrics of images alone."""
    rows = score("one_frame")
    assert rows["ssim"].notna().all() and rows["epe"].isna().all()
    summary = read_table(tmp_path / "out" / "summary.tsv").set_index("metric")
    assert (
        summary.loc["epe", "status"] == "4 clips: not computed: optical flow needs at least 2 frames, got 1"
    )
    assert "One frame per clip: metrics of motion and of videos are not computed." in capsys.readouterr().err


def test_a_gif_per_folder(score):
    rows = score("nested")
    assert rows.index.tolist() == ["test0", "test1", "test2"]
    assert (rows["status"] == "ok").all()


def test_zero_durations_change_a_frame_not_the_clip(score):
    """One frame of three without a duration: the others keep theirs."""
    plain, zero = score("gif_zero_duration"), score("gif_zero_duration", "predz")
    assert (plain["ssim"] - zero["ssim"]).between(0, 0.03).all()


def test_clips_of_further_suffixes_are_expected_of_the_prediction(score):
    rows = score("suffixes_passed_over", "pred", "--size", "64", "--frames", "8")
    assert rows.index.tolist() == [f"c{number}" for number in range(9)]
    assert (rows["status"] == "ok").tolist() == [True] * 4 + [False] * 5
    assert set(rows["status"][4:]) == {"Expected a file for every clip, found none for this one (missing)."}
