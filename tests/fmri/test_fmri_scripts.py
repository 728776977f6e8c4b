"""Simulated CIFTI runs through the very scripts that read real ones: planted signal, planted lag, no leak."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mind_animator.artefacts.arrays import open_arrays, read_arrays, read_attrs, read_whole, write_arrays
from mind_animator.artefacts.cifti import read_cortex, write_series
from mind_animator.artefacts.cortex import N_CORTEX, cortex_axis, roi_names
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.averages import SegmentAverage, write_average
from mind_animator.datasets.base import Segment
from mind_animator.errors import InputError
from mind_animator.fmri.quality import clip_features
from mind_animator.synthetic import scenes, subjects
from mind_animator.synthetic.movies import movie_shots
from workflow_scripts import (
    average_runs,
    draw_lag,
    draw_quality,
    measure_stimuli,
    preprocess_subject,
    simulate_runs,
)

MOVIES = ("seg1", "seg2", "test2")
SEED, NOISE = 5, 2.5


def config(root: Path, **options) -> str:
    options = {"train_movies": 2, "repeats_test": 2, "seed": SEED, "noise": NOISE} | options
    return DatasetConfig(name="demo", data_root=str(root), options=options).model_dump_json()


def simulate(root: Path, movie: str, subject: str = "1", **options) -> None:
    dataset = open_dataset(DatasetConfig.model_validate_json(config(root, **options)))
    runs = [str(path) for path in dataset.response_files(subject, movie)]
    arguments = ["--number", subject, "--segment", movie, "--seed", str(SEED), "--noise", str(NOISE)]
    simulate_runs.main([*arguments, "--signal", dataset.options.signal, "--runs", *runs])


def average(root: Path, movie: str, output: Path, **settings) -> None:
    arguments = ["--dataset", config(root), "--subject", "1", "--segment", movie]
    average_runs.main([*arguments, "--settings", json.dumps(settings), "--average", str(output)])


def preprocess(root: Path, averages: list[Path], out: Path, **settings) -> None:
    arguments = ["--dataset", config(root), "--subject", "1", "--settings", json.dumps(settings)]
    arguments += ["--averages", *map(str, averages), "--responses", str(out / "responses.h5")]
    arguments += ["--maps", str(out / "maps.h5"), "--voxels", str(out / "voxels.tsv")]
    preprocess_subject.main([*arguments, "--quality", str(out / "quality.tsv")])


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A subject of the synthetic data set from runs to responses; the runs are deleted as they are used."""
    root = tmp_path_factory.mktemp("study")
    for movie in MOVIES:
        simulate(root, movie)
        average(root, movie, root / f"{movie}.h5")
        if movie != "seg2":  # its runs are kept, its average is not
            for path in (root / "full").rglob(f"{movie}_*.nii"):
                path.unlink()
    preprocess(root, [root / "test2.h5", root / "seg1.h5"], root, voxels={"count": 1500})
    return root


def test_averages(study):
    clips, arrays = read_arrays(study / "test2.h5", ["mean", "half_1", "half_2"])
    assert clips == [f"test2-{index:05d}" for index in range(240)]
    np.testing.assert_allclose(arrays["mean"], (arrays["half_1"] + arrays["half_2"]) / 2, atol=1e-6)
    by_hand = [
        np.corrcoef(arrays["half_1"][:, v], arrays["half_2"][:, v])[0, 1] for v in range(0, N_CORTEX, 4001)
    ]
    reliability = read_whole(study / "test2.h5", ["reliability"])["reliability"]
    np.testing.assert_allclose(reliability[::4001], by_hand, atol=1e-5)
    attributes = read_attrs(study / "test2.h5")
    assert (attributes["segment"], attributes["n_repeats"], attributes["n_missing"]) == ("test2", 2, 0)
    assert "half_1" not in open_arrays(study / "seg1.h5")


def test_planted_vertices_are_reliable_and_others_not(study):
    maps = read_whole(study / "maps.h5", ["reliability", "roi", "selected", "noise_ceiling", "tsnr"])
    bare = np.strings.slice(maps["roi"], 2, None)
    planted = np.isin(bare, [roi for rois in subjects.PLANTED.values() for roi in rois])
    assert maps["reliability"][planted].mean() > 0.1
    # 52,000 vertices, two segments of 240 clips: standard error of the mean 2e-4
    assert abs(maps["reliability"][~planted].mean()) < 0.002
    assert maps["noise_ceiling"][planted].mean() > 1.5 * maps["noise_ceiling"][~planted].mean()
    assert maps["selected"][planted].mean() > 4 * maps["selected"][~planted].mean()
    assert maps["selected"].sum() == 1500
    assert (maps["tsnr"] > 20).all()


def test_responses(study):
    clips, arrays = read_arrays(study / "responses.h5", ["responses", "half_1", "half_2"])
    assert clips == [f"{movie}-{index:05d}" for movie in MOVIES for index in range(240)]
    np.testing.assert_allclose(arrays["responses"][:480].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(arrays["responses"][:480].std(axis=0), 1, atol=1e-5)
    assert np.isnan(arrays["half_1"][:480]).all()
    halves = (arrays["half_1"][480:] + arrays["half_2"][480:]) / 2
    np.testing.assert_allclose(halves, arrays["responses"][480:], atol=1e-5)
    voxels = read_whole(study / "responses.h5", ["voxel_index", "roi", "noise_ceiling", "t"])
    assert (np.diff(voxels["voxel_index"]) > 0).all()
    np.testing.assert_array_equal(voxels["roi"], roi_names()[voxels["voxel_index"]])
    table = read_table(study / "voxels.tsv", ("roi", "voxels", "selected"))
    assert (table["voxels"].sum(), table["selected"].sum(), len(table)) == (N_CORTEX, 1500, 360)
    chosen = voxels["voxel_index"]
    # the runs of seg2 were read again for the chosen voxels alone: they are those of its average, scaled
    _, kept = read_arrays(study / "seg2.h5", ["mean"])
    pairs = [kept["mean"][:, chosen], arrays["responses"][240:480]]
    units = [(part - part.mean(axis=0)) / np.linalg.norm(part - part.mean(axis=0), axis=0) for part in pairs]
    np.testing.assert_allclose((units[0] * units[1]).sum(axis=0), 1, atol=1e-5)
    maps = read_whole(study / "maps.h5", ["reliability", "noise_ceiling", "tsnr"])
    for name, values in maps.items():
        by_hand = pd.Series(values).groupby(roi_names()).mean()
        np.testing.assert_allclose(table.set_index("roi")[name], by_hand, rtol=1e-5)
    quality = read_table(study / "quality.tsv", ("run", "median_tsnr", "reliability_selected"))
    reliability = read_whole(study / "test2.h5", ["reliability"])["reliability"][chosen]
    of_test = quality[quality["segment"] == "test2"]
    np.testing.assert_allclose(of_test["reliability_selected"], reliability.mean(), rtol=1e-5)
    ceiling = np.sqrt(np.maximum(reliability, 0)).mean()
    np.testing.assert_allclose(of_test["noise_ceiling_selected"], ceiling, rtol=1e-5)
    assert quality["run"].tolist() == [f"{m}_{r}_Atlas.dtseries.nii" for m in MOVIES for r in (1, 2)]


def test_the_planted_lag_is_recovered_and_a_wrong_one_warned_of(study, capsys):
    rows, frames_at = [], 0.25 * np.arange(8)
    for movie in MOVIES:
        shots = movie_shots(movie, SEED)
        clips = []
        for onset in 2.0 * np.arange(240):
            shown = [scenes.shot_at(shots, onset + t) for t in frames_at]
            clips.append(
                [
                    scenes.render_frame(s, onset + t - s.onset, 16)
                    for s, t in zip(shown, frames_at, strict=True)
                ]
            )
        frames = np.array(clips)
        names = [f"{movie}-{index:05d}" for index in range(240)]
        write_arrays(study / f"{movie}.frames.h5", {"frames": frames}, names)
        table = {
            "clip": names,
            "segment": movie,
            "movie": movie,
            "onset": 2.0 * np.arange(240),
            "duration": 2.0,
            "split": "test" if movie == "test2" else "train",
        }
        write_table(study / f"{movie}.tsv", pd.DataFrame(table))
        rows.append(clip_features(frames[0])["luminance"])
    measure_stimuli.main(
        [
            "--frames",
            *(str(study / f"{m}.frames.h5") for m in MOVIES),
            "--features",
            str(study / "features.tsv"),
        ]
    )
    measured = read_table(study / "features.tsv", ("luminance",)).set_index("clip")["luminance"]
    np.testing.assert_allclose(measured[[f"{m}-00000" for m in MOVIES]], rows, rtol=1e-6)
    arguments = ["--dataset", config(study), "--settings", '{"lag": 4}', "--subject", "1"]
    arguments += ["--responses", str(study / "responses.h5"), "--features", str(study / "features.tsv")]
    arguments += ["--clips", *(str(study / f"{m}.tsv") for m in MOVIES)]
    arguments += ["--table", str(study / "lag.tsv"), "--figure", str(study / "lag.png")]
    capsys.readouterr()
    draw_lag.main(arguments)
    lag = read_table(study / "lag.tsv", ("feature", "lag", "correlation", "peak", "note"))
    assert (lag.loc[lag["feature"] == "luminance", "peak"] == 4).all()
    assert not lag["note"].str.startswith("warning").any()
    assert capsys.readouterr().err == ""
    assert (study / "lag.png").read_bytes().startswith(b"\x89PNG")
    # the same clips in movies of their own that follow each other: their lengths are the steps
    table = pd.concat([read_table(study / f"{m}.tsv", ("clip",)) for m in MOVIES])
    write_table(study / "single.tsv", table.assign(onset=0.0))
    single = [*arguments]
    single[single.index("--clips") + 1 : single.index("--table")] = [str(study / "single.tsv")]
    draw_lag.main(single)
    again = read_table(study / "lag.tsv", ("feature", "lag", "correlation", "peak"))
    pd.testing.assert_frame_equal(again, lag)
    # responses that come a volume too early, as if the lag had been taken for 6 s
    clips, arrays = read_arrays(study / "responses.h5", ["responses"])
    early = np.concatenate([np.roll(part, -1, axis=0) for part in np.split(arrays["responses"], 3)])
    write_arrays(study / "early.h5", {"responses": early}, clips)
    arguments[arguments.index("--responses") + 1] = str(study / "early.h5")
    draw_lag.main(arguments)
    assert "subject 1, luminance: warning: the peak is at 2 s, but fmri.lag is 4 s" in capsys.readouterr().err


def test_clips_that_do_not_follow_each_other_show_no_lag(tmp_path, capsys):
    names = [f"a-{k:05d}" for k in range(50)]
    table = {
        "clip": names,
        "segment": "a",
        "movie": [f"movie{k}" for k in range(50)],
        "onset": 0.0,
        "duration": 3.0,
        "split": "train",
    }
    write_table(tmp_path / "a.tsv", pd.DataFrame(table))
    features = pd.DataFrame({"clip": names} | dict.fromkeys(draw_lag.FEATURES, 0.5))
    write_table(tmp_path / "features.tsv", features)
    write_arrays(tmp_path / "responses.h5", {"responses": np.ones((50, 4), np.float32)}, names)
    arguments = ["--subject", "1", "--responses", str(tmp_path / "responses.h5"), "--settings", '{"lag": 0}']
    arguments += ["--dataset", config(tmp_path)]
    arguments += ["--features", str(tmp_path / "features.tsv"), "--clips", str(tmp_path / "a.tsv")]
    draw_lag.main([*arguments, "--table", str(tmp_path / "lag.tsv"), "--figure", str(tmp_path / "lag.png")])
    assert "no lag can be seen" in capsys.readouterr().err
    assert read_table(tmp_path / "lag.tsv", ("note",))["note"].str.contains("no lag can be seen").all()
    assert (tmp_path / "lag.png").read_bytes().startswith(b"\x89PNG")


def test_quality_figure(study):
    draw_quality.main(
        [
            "--subject",
            "1",
            "--maps",
            str(study / "maps.h5"),
            "--voxels",
            str(study / "voxels.tsv"),
            "--quality",
            str(study / "quality.tsv"),
            "--figure",
            str(study / "quality.png"),
        ]
    )
    assert (study / "quality.png").stat().st_size > 20_000


def test_runs_repeat_exactly_and_the_delayed_one_is_late(tmp_path):
    dataset = open_dataset(
        DatasetConfig.model_validate_json(config(tmp_path, skip_delayed_run=False, repeats_test=9))
    )
    late = dataset._run_file("3", "test2", 9, "cifti")
    usual = dataset._run_file("3", "test2", 8, "cifti")
    arguments = [
        "--number",
        "3",
        "--segment",
        "test2",
        "--seed",
        str(SEED),
        "--signal",
        "full",
        "--noise",
        "0.3",
    ]
    simulate_runs.main([*arguments, "--runs", str(late), str(usual)])
    driven = np.flatnonzero(np.strings.slice(roi_names(), 2, None) == "MT")
    first, second = read_cortex(late)[:, driven], read_cortex(usual)[:, driven]
    together = [
        np.mean([np.corrcoef(first[s : s + 200, v], second[: 200, v])[0, 1] for v in range(len(driven))])
        for s in range(10)
    ]  # fmt: skip
    assert int(np.argmax(together)) == 5  # 10 s
    content = usual.read_bytes()
    usual.unlink()
    simulate_runs.main([*arguments, "--runs", str(usual)])
    assert usual.read_bytes() == content


def test_a_run_that_does_not_agree_is_distinguished_from_the_others(tmp_path):
    """One of three repeats is of another movie: the table identifies it, and it halves the agreement of the others."""
    options = {"repeats_test": 3}
    for movie in MOVIES:
        simulate(tmp_path, movie, **options)
    dataset = open_dataset(DatasetConfig.model_validate_json(config(tmp_path, **options)))
    # test3 has as many volumes as test2
    bad, other = dataset.response_files("1", "test2")[1], tmp_path / "test3_1_Atlas.dtseries.nii"
    simulate_runs.main([
        "--number", "1", "--segment", "test3", "--seed", str(SEED), "--noise", str(NOISE), "--signal", "full",
        "--runs", str(other),
    ])  # fmt: skip
    bad.write_bytes(other.read_bytes())
    arguments = ["--dataset", config(tmp_path, **options), "--subject", "1"]
    outputs = {"responses": "h5", "maps": "h5", "voxels": "tsv", "quality": "tsv"}
    arguments += [
        word for key, kind in outputs.items() for word in (f"--{key}", str(tmp_path / f"{key}.{kind}"))
    ]
    preprocess_subject.main([*arguments, "--settings", json.dumps({"voxels": {"rois": ["MT"]}})])
    quality = read_table(tmp_path / "quality.tsv", ("reliability_selected", "noise_ceiling_selected"))
    first, second, third = quality["reliability_selected"][4:]
    assert abs(second) < 0.02 < 0.05 < min(first, third)
    assert quality["noise_ceiling_selected"][5] < quality["noise_ceiling_selected"][[4, 6]].min()


def small_segment(path: Path, split: str, seed: int, n_repeats: int = 2) -> None:
    """What average_runs writes."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(240, N_CORTEX)).astype(np.float32)
    mean[:, 11] = 0
    reliability = rng.uniform(-0.2, 0.9, N_CORTEX).astype(np.float32)
    reliability[11] = np.nan
    arrays = {"mean": mean}
    if split == "test":
        arrays |= {"half_1": mean + 0.1, "half_2": mean - 0.1}
    segment = Segment(path.stem, split, 240)
    write_average(
        path, SegmentAverage(segment, arrays, None, reliability, None, None, [{"run": "a"}], n_repeats, 0)
    )


@pytest.fixture
def segments(tmp_path) -> list[Path]:
    paths = [tmp_path / f"{name}.h5" for name in ("seg1", "seg2", "test2")]
    for seed, path in enumerate(paths):
        small_segment(path, "test" if path.stem == "test2" else "train", seed)
    return paths


def test_test_segments_decide_nothing(tmp_path, segments):
    """A leak planted on purpose: a test segment of other content must not move what is trained on."""
    preprocess(tmp_path, segments, tmp_path / "a", voxels={"count": 50})
    small_segment(segments[-1], "test", 99)
    preprocess(tmp_path, segments, tmp_path / "b", voxels={"count": 50})
    one, other = (read_arrays(tmp_path / run / "responses.h5", ["responses"])[1]["responses"] for run in "ab")
    np.testing.assert_array_equal(one[:480], other[:480])
    assert not np.allclose(one[480:], other[480:])
    index = [read_whole(tmp_path / run / "responses.h5", ["voxel_index"])["voxel_index"] for run in "ab"]
    np.testing.assert_array_equal(*index)
    preprocess(tmp_path, segments, tmp_path / "c", voxels={"count": 50}, scaling="released_code")
    own = read_arrays(tmp_path / "c" / "responses.h5", ["responses"])[1]["responses"]
    np.testing.assert_array_equal(own[:480], one[:480])
    np.testing.assert_allclose(own[480:].mean(axis=0), 0, atol=1e-6)


def test_a_training_segment_decides(tmp_path, segments):
    preprocess(tmp_path, segments, tmp_path / "a", voxels={"count": 50})
    small_segment(segments[1], "train", 98)
    preprocess(tmp_path, segments, tmp_path / "b", voxels={"count": 50})
    index = [read_whole(tmp_path / run / "responses.h5", ["voxel_index"])["voxel_index"] for run in "ab"]
    assert not np.array_equal(*index)


def test_every_way_of_choosing(tmp_path, segments):
    np.save(tmp_path / "mask.npy", np.array([7, 5, 11]))
    for settings, expected in (
        ({"mask": str(tmp_path / "mask.npy")}, [5, 7, 11]),
        ({"rois": ["MT", "L_V1"]}, np.flatnonzero(np.isin(roi_names(), ["L_MT", "R_MT", "L_V1"]))),
    ):
        preprocess(tmp_path, segments, tmp_path / "a", voxels=settings)
        index = read_whole(tmp_path / "a" / "responses.h5", ["voxel_index"])["voxel_index"]
        np.testing.assert_array_equal(index, expected)
    responses = read_arrays(tmp_path / "a" / "responses.h5", ["responses"])[1]["responses"]
    assert np.isfinite(responses).all()


def test_constant_voxels_are_counted_and_zero(tmp_path, segments):
    np.save(tmp_path / "mask.npy", np.array([7, 11]))
    preprocess(tmp_path, segments, tmp_path, voxels={"mask": str(tmp_path / "mask.npy")})
    _, arrays = read_arrays(tmp_path / "responses.h5", ["responses"])
    assert (arrays["responses"][:, 1] == 0).all()
    assert read_attrs(tmp_path / "responses.h5")["constant_voxels"] == 1


def test_bad_choices(tmp_path, segments):
    for settings, text in (
        ({"count": 60_000}, r"^Expected 1 to 59411 voxels .*got count=60000\. \(subject 1; fmri\.voxels\)$"),
        ({"threshold": 1e-12}, r"^Expected voxels with a corrected p below 1e-12, got none"),
        ({"rois": ["V99"]}, r"got \['V99'\]\. \(subject 1; fmri\.voxels\)$"),
        ({"mask": "/no/mask.npy"}, r"^Expected a \.npy file at /no/mask\.npy"),
        ({"count": 5, "rois": ["V1"]}, "exactly one of count, threshold, rois, mask"),
    ):
        with pytest.raises(InputError, match=text):
            preprocess(tmp_path, segments, tmp_path, voxels=settings)
    small_segment(segments[1], "train", 1, n_repeats=1)
    with pytest.raises(InputError, match=r"^Expected at least 2 training segments with repeats .*got 1: use"):
        preprocess(tmp_path, segments, tmp_path, voxels={"count": 5})
    assert not (tmp_path / "responses.h5").exists()


def test_a_broken_run_stops_the_segment_and_leaves_nothing(tmp_path):
    dataset = open_dataset(DatasetConfig.model_validate_json(config(tmp_path)))
    paths = dataset.response_files("1", "seg1")
    for path, n_volumes in zip(paths, (245, 244), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_series(path, np.ones((N_CORTEX, n_volumes), np.float32), cortex_axis(), 2.0)
    output = tmp_path / "out" / "seg1.h5"
    message = rf"^Expected 245 volumes of seg1 in {paths[1]}, as published, got 244: were volumes removed"
    with pytest.raises(InputError, match=message):
        average(tmp_path, "seg1", output)
    assert not list(tmp_path.glob("out/*"))
    for arguments, text in (
        (["--subject", "9", "--segment", "seg1"], "'9'"),
        (["--subject", "1", "--segment", "seg9"], "'seg9'"),
    ):
        with pytest.raises(InputError, match=text):
            average_runs.main(
                ["--dataset", config(tmp_path), *arguments, "--settings", "{}", "--average", str(output)]
            )


def test_bad_simulations(tmp_path):
    arguments = [
        "--seed",
        "0",
        "--signal",
        "full",
        "--noise",
        "1",
        "--runs",
        str(tmp_path / "seg1_1_Atlas.dtseries.nii"),
    ]
    with pytest.raises(InputError, match=r"^--number = 'a': must be a number\.$"):
        simulate_runs.main(["--number", "a", "--segment", "seg1", *arguments])
    with pytest.raises(
        InputError, match=r"^Expected --runs to be named seg2_<run>_\*, got seg1_1_Atlas\.dtseries\.nii\.$"
    ):
        simulate_runs.main(["--number", "1", "--segment", "seg2", *arguments])
