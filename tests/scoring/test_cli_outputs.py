"""Figures, frame values, videos and further inputs of `mind-animator score`."""

import argparse

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.tables import read_table
from mind_animator.artefacts.video import read_video
from mind_animator.cli import _main
from mind_animator.cli.options import Formatter
from mind_animator.errors import InputError
from mind_animator.report.score_figures import ranked_clips

FRAMES, SIZE = 4, 16


def run(ground_truth, out, *more):
    _main(
        ["score", "--ground-truth", str(ground_truth), "--out", str(out), "--no-models", "--permutations", "99",
         "--videos", "0", *map(str, more)]
    )  # fmt: skip
    return pd.read_csv(out / "clips.csv")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Five ground truths as gifs without palette error, and predictions that are better and better."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    (folder / "gt").mkdir()
    levels = np.linspace(0, 255, 6).astype(np.uint8)
    ground_truth = levels[rng.integers(0, 6, (5, FRAMES, SIZE, SIZE, 3))]
    noise = rng.integers(0, 256, ground_truth.shape)
    amount = np.array([1, 0.8, 0.5, 0.3, 0.1])[:, None, None, None, None]
    predictions = np.rint((1 - amount) * ground_truth + amount * noise).astype(np.uint8)
    for number, frames in enumerate(ground_truth):
        images = [Image.fromarray(frame) for frame in frames]
        images[0].save(
            folder / "gt" / f"{number}.webp",
            save_all=True,
            append_images=images[1:],
            duration=250,
            lossless=True,
        )
    return folder, ground_truth, predictions


@pytest.fixture(scope="module")
def scored(clips):
    """One method as an array of all clips, another with two subjects as HDF5; every output asked for."""
    folder, ground_truth, predictions = clips
    np.save(folder / "stack.npy", predictions)
    flipped = torch.from_numpy(predictions[:, :, ::-1].copy()).permute(0, 1, 4, 2, 3) / 255
    torch.save(flipped, folder / "flipped.pt")
    names = [str(number) for number in range(5)]
    write_arrays(folder / "one.h5", {"frames": predictions[:3]}, names[:3])
    write_arrays(folder / "two.h5", {"frames": ground_truth}, names)
    table = run(
        folder / "gt", folder / "out", "--pred", f"stack={folder / 'stack.npy'}", "--pred",
        f"flipped={folder / 'flipped.pt'}", "--pred", f"h5/1={folder / 'one.h5'}", "--pred",
        f"h5/2={folder / 'two.h5'}",
        "--per-frame", "--figures", "--sheets", "ssim", "epe", "--side-by-side", "2",
    )  # fmt: skip
    return folder / "out", table


def test_one_array_of_all_clips(clips, scored):
    """Clip i of the array is the i-th ground truth; a tensor (clip, frame, channel, ...) of floats is read, too."""
    _, ground_truth, predictions = clips
    ssim = scored[1].query("metric == 'psnr'").set_index(["method", "subject", "clip"])["value"]
    for number in range(5):
        error = np.mean((ground_truth[number].astype(float) - predictions[number]) ** 2, axis=(1, 2, 3))
        expected = np.mean(20 * np.log10(255 / np.sqrt(error)))
        assert ssim["stack", "all", number] == pytest.approx(expected, abs=1e-4)
    notes = read_table(scored[0] / "clips.tsv").set_index(["method", "subject", "clip"])["note"].fillna("")
    assert notes["stack", "all", "0"] == ""
    assert "values 0 to 1 scaled to 0 to 255" in notes["flipped", "all", "0"]


def test_subjects_are_scored_and_pooled(scored):
    out, table = scored
    summary = read_table(out / "summary.tsv").set_index(["method", "subject", "metric"])
    assert summary.loc[("h5", "1", "psnr"), ["n_clips", "n_expected"]].tolist() == [3, 5]
    assert summary.loc[("h5", "2", "ssim"), "mean"] == pytest.approx(1)
    pooled = table.query("method == 'h5' and metric == 'ssim'").groupby("clip")["value"]
    both = pooled.mean()[pooled.count() == 3]  # subjects 1, 2 and pooled
    assert summary.loc[("h5", "pooled", "ssim"), "mean"] == pytest.approx(both.mean(), rel=1e-6)
    assert summary.loc[("h5_frozen", "pooled", "ssim"), "n_clips"] == 3
    assert (out / "h5.1.pairs.h5").is_file()


def test_frame_values_average_to_the_clips(scored):
    out, table = scored
    frames = pd.read_csv(out / "frames.csv")
    assert set(frames["frame"]) == {0, 1, 2, 3}
    np.testing.assert_allclose(sorted(frames["time"].unique()), [0, 0.25, 0.5, 0.75])
    means = frames.groupby(["method", "subject", "clip", "metric"])["value"].mean()
    clips = table.set_index(["method", "subject", "clip", "metric"])["value"]
    np.testing.assert_allclose(means, clips.reindex(means.index), rtol=1e-6)
    assert {"ssim", "psnr"} <= set(frames["metric"])


def test_figures_and_sheets_are_images_of_their_content(scored):
    out, _ = scored
    for path in (
        out / "figures" / "ssim.png",
        out / "sheets" / "stack.epe.png",
        out / "sheets" / "h5.1.ssim.png",
    ):
        image = np.asarray(Image.open(path).convert("RGB"))
        assert min(image.shape[:2]) > 150
        assert (image < 128).any() and (image == 255).all(axis=-1).mean() > 0.1
    assert not (out / "figures" / "vifi_score.png").exists()  # nothing was computed


def test_side_by_side_videos(scored, clips):
    """Ground truth, then every method, of clips that all have."""
    out, _ = scored
    videos = sorted((out / "side_by_side").glob("*.mp4"))
    assert [path.stem for path in videos] == ["0", "2"]
    frames, times = read_video(videos[0])
    assert frames.shape == (FRAMES, SIZE, 5 * SIZE + 4 * 6, 3)
    np.testing.assert_allclose(times, [0, 0.25, 0.5, 0.75], atol=1e-6)
    shown = frames[:, 4:-4, -SIZE + 4 : -4].astype(int)  # subject 2 of h5 is the ground truth itself
    assert np.abs(shown - frames[:, 4:-4, 4 : SIZE - 4]).mean() < 12


def test_best_median_and_worst_clips():
    rows = pd.DataFrame({"clip": list("abcdefg"), "value": [3, np.nan, 1, 2, 7, 5, 4], "direction": "lower"})
    assert ranked_clips(rows, 2) == {
        "best": [("c", 1), ("d", 2)], "median": [("a", 3), ("g", 4)], "worst": [("e", 7), ("f", 5)],
    }  # fmt: skip
    assert ranked_clips(rows.assign(direction="higher"), 1)["best"] == [("e", 7)]
    assert ranked_clips(rows[:3], 3) == {"best": [("c", 1)], "worst": [("a", 3)]}
    assert ranked_clips(rows[1:2]) == {}


def test_a_wrong_array_or_name_is_one_line_before_anything_is_read(clips, tmp_path):
    folder, _, predictions = clips
    np.save(tmp_path / "four.npy", predictions[:4])
    write_arrays(tmp_path / "other.h5", {"frames": predictions[:1]}, ["x"])
    write_arrays(tmp_path / "none.h5", {"responses": predictions[:1]}, ["0"])
    for more, message in (
        (["--pred", tmp_path / "four.npy"], r"of 5 clips in .*four.npy, got \(4, 4, 16, 16, 3\)"),
        (
            ["--pred", tmp_path / "other.h5"],
            r"Expected a ground truth for every prediction, got x without one",
        ),
        (["--pred", tmp_path / "none.h5"], r"Expected an array 'frames' in .*none.h5"),
        (["--pred", "a="], r"Expected a path after '=' in --pred, got 'a='"),
        (["--pred", f"a/b/c={folder / 'gt'}"], r"Expected --pred NAME or NAME/SUBJECT .*got 'a/b/c'"),
        (["--pred", f".a={folder / 'gt'}"], r"not starting with '\.' or '-', got '\.a'"),
        (["--pred", folder / "gt", "--sheets", "beauty"], r"--sheets to name a metric, .*got 'beauty'"),
    ):
        with pytest.raises(InputError, match=message):
            run(folder / "gt", tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()


def test_every_option_has_a_help_text_and_a_default(monkeypatch):
    """Of every command: what is not required and no switch states its default."""
    made = []
    add = argparse.ArgumentParser.__init__
    monkeypatch.setattr(
        argparse.ArgumentParser, "__init__", lambda self, *a, **k: (add(self, *a, **k), made.append(self))[0]
    )
    with pytest.raises(SystemExit):
        _main(["--help"])
    commands = [parser for parser in made if parser.prog != "mind-animator"]
    assert len(commands) >= 6
    for parser in commands:
        assert "exit status:" in parser.epilog and "examples:" in parser.epilog, parser.prog
        assert parser.formatter_class is Formatter
        for action in parser._actions:
            if action.dest in ("help", "step"):
                continue
            text = Formatter("x")._get_help_string(action)
            assert text, (parser.prog, action.dest)
            if action.option_strings and not action.required:
                assert "default" in text, (parser.prog, action.dest)


def test_progress_is_quiet_in_a_log(scored, clips, tmp_path, capfd):
    folder, *_ = clips
    run(folder / "gt", tmp_path / "out", "--pred", folder / "two.h5", "--no-baselines")
    assert "it/s" not in capfd.readouterr().err
