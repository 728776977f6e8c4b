"""A BIDS study: every space, recovery of known lags, confounds, and the messages for its faults."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulate import simulate_fmriprep

from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.errors import InputError

EXCERPTS = {"a movie.mp4": 40.0, "b.mp4": 40.0, "c.mp4": 30.0}
REPEATS = [
    [("a movie.mp4", 6.0), ("b.mp4", 52.0)],
    [("b.mp4", 6.0), ("a movie.mp4", 52.0)],
    [("c.mp4", 6.0), ("c.mp4", 42.0)],
]
SPACES = ["fsLR", "fsaverage5", "MNI152NLin2009cAsym"]


def opened(root, space, tr=2.0, clip_seconds=2.0, **options):
    options = {
        "task": "movie",
        "space": space,
        "tr": tr,
        "clip_seconds": clip_seconds,
        "test": ["c.mp4"],
        "offset": "start",
    } | options
    return open_dataset(DatasetConfig(name="bids", data_root=str(root), options=options))


def simulated(root, space, **options):
    settings = {
        "lag": 4.0,
        "repetition_time": 2.0,
        "clip_seconds": 2.0,
        "movies": EXCERPTS,
        "repeats": REPEATS,
    }
    return simulate_fmriprep(
        root, ["01", "02"], space=space, rng=np.random.default_rng(0), **settings | options
    )


@pytest.fixture(scope="module", params=SPACES)
def study(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return root, request.param, simulated(root, request.param, session="A")


def explained(features, values):
    """Fraction of the variance of responsive voxels explained by the features, minus that explained by as
    many random features."""
    live = values[:, values.any(axis=0)] - values[:, values.any(axis=0)].mean(axis=0)
    design = features - features.mean(axis=0)
    fit = np.linalg.lstsq(design, live, rcond=None)[0]
    return 1 - np.var(live - design @ fit) / np.var(live) - design.shape[1] / len(design)


def test_segments_come_from_the_events(study):
    root, space, _ = study
    dataset = opened(root, space)
    assert dataset.subjects == ("01", "02")
    found = [(segment.id, segment.split, segment.n_clips) for segment in dataset.segments]
    assert found == [("a_movie", "train", 20), ("b", "train", 20), ("c", "test", 15)]
    assert dataset.rois_of == ("fs_LR_32k" if space == "fsLR" else "none")
    table = dataset.clip_table("a_movie")
    assert table["file"].iloc[0] == str(root / "stimuli/a movie.mp4")
    assert table["onset"].tolist() == [2.0 * k for k in range(20)]


def test_the_planted_lag_is_recovered_to_the_volume(study):
    root, space, features = study
    dataset = opened(root, space)
    by_lag = {}
    for lag in (2.0, 4.0, 6.0):
        runs = dataset.runs("01", "b", FmriConfig(lag=lag, detrend_order=2))
        by_lag[lag] = explained(
            np.concatenate([features["b.mp4"]] * 2), np.concatenate([run.values for run in runs])
        )
    assert by_lag[4.0] > 0.5 > 0.25 > max(by_lag[2.0], by_lag[6.0])


def test_a_movie_that_is_shown_twice_in_a_run_has_two_repeats(study):
    root, space, features = study
    runs = list(opened(root, space).runs("02", "c", FmriConfig(detrend_order=2)))
    assert [run.name.split(" at ")[1] for run in runs] == ["6 s", "42 s"]
    assert all(run.values.shape[0] == 15 for run in runs)
    mean = (runs[0].values + runs[1].values) / 2
    assert explained(features["c.mp4"], mean) > 0.3


def test_any_repetition_time_and_clip_length(tmp_path):
    """TR 1.2 s, clips of 3 s, movies that start between two volumes: the clip's own volumes explain most."""
    shown = [
        [("a movie.mp4", 6.5), ("b.mp4", 52.3)],
        [("b.mp4", 7.1), ("a movie.mp4", 51.9)],
        [("c.mp4", 6.2)],
    ]
    features = simulated(
        tmp_path, "MNI152NLin2009cAsym", repetition_time=1.2, clip_seconds=3.0, lag=4.8, repeats=shown
    )
    dataset = opened(tmp_path, "MNI152NLin2009cAsym", tr=1.2, clip_seconds=3.0)
    assert [segment.n_clips for segment in dataset.segments] == [13, 13, 10]
    by_lag = {}
    for lag in (1.8, 4.8, 7.8):
        stacked = [
            run.values for seg in ("a_movie", "b") for run in dataset.runs("01", seg, FmriConfig(lag=lag))
        ]
        shown_of = [features[movie] for movie in ("a movie.mp4", "b.mp4") for _ in range(2)]
        by_lag[lag] = explained(np.concatenate(shown_of), np.concatenate(stacked))
    assert by_lag[4.8] > 0.45 > 0.2 > max(by_lag[1.8], by_lag[7.8])


def test_confounds_are_regressed_out(tmp_path):
    features = simulated(tmp_path, "MNI152NLin2009cAsym", motion=3.0)
    by_choice = {}
    for confounds in ((), ("motion",)):
        dataset = opened(tmp_path, "MNI152NLin2009cAsym", confounds=confounds)
        runs = [
            run.values
            for seg in ("a_movie", "b")
            for run in dataset.runs("01", seg, FmriConfig(detrend_order=2))
        ]
        shown = [features[movie] for movie in ("a movie.mp4", "b.mp4") for _ in range(2)]
        by_choice[confounds] = explained(np.concatenate(shown), np.concatenate(runs))
    assert by_choice["motion",] > 0.5 > by_choice[()] + 0.2


def test_six_lines_and_the_docs_example_are_enough(tmp_path):
    """The example of docs/your_data.md: events as shipped, movies and responses simulated beside them."""
    example = Path(__file__).resolve().parents[2] / "docs/examples/bids"
    shipped = sorted(path.relative_to(example).as_posix() for path in example.rglob("*_events.tsv"))
    movies, repeats = {}, []
    for name in shipped[:3]:
        events = pd.read_csv(example / name, sep="\t", na_values="n/a").dropna(subset="stim_file")
        movies |= dict(zip(events["stim_file"], events["duration"], strict=True))
        repeats.append(list(zip(events["stim_file"], events["onset"], strict=True)))
    features = simulate_fmriprep(
        tmp_path,
        ["01", "02"],
        space="fsaverage5",
        lag=4.5,
        repetition_time=1.5,
        clip_seconds=2.0,
        movies=movies,
        repeats=repeats,
        rng=np.random.default_rng(1),
    )
    for name in shipped:
        shutil.copy(example / name, tmp_path / name)
    options = {"task": "movie", "space": "fsaverage5", "tr": 1.5, "clip_seconds": 2.0, "test": ["forest.mp4"]}
    options["offset"] = "start"
    dataset = open_dataset(DatasetConfig(name="bids", data_root=str(tmp_path), options=options))
    assert all(path.exists() for path in dataset.sources())
    values = np.concatenate([run.values for run in dataset.runs("02", "forest", FmriConfig(lag=4.5))])
    assert explained(np.concatenate([features["forest.mp4"]] * 3), values) > 0.4


def test_censored_volumes_are_missing_not_invented(tmp_path):
    simulated(tmp_path, "MNI152NLin2009cAsym")
    name = "derivatives/fmriprep/sub-01/func/sub-01_task-movie_run-3_desc-confounds_timeseries.tsv"
    table = pd.read_csv(tmp_path / name, sep="\t", na_values="n/a")
    table["framewise_displacement"] = 0.0
    table["std_dvars"] = 0.0
    table.loc[10:14, "framewise_displacement"] = 9.0
    table.to_csv(tmp_path / name, sep="\t", index=False, na_rep="n/a")
    dataset = opened(tmp_path, "MNI152NLin2009cAsym", confounds=("motion", "scrub"))
    run = next(dataset.runs("01", "c", FmriConfig(detrend_order=1, lag=4.0)))
    # clip k is volume k + 5 at this lag
    missing = np.isnan(run.values).all(axis=1)
    assert missing[5:10].all() and np.isfinite(run.values[~missing]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tr": 1.0},
            r"Expected a repetition time of 1 s \(dataset\.options\.tr\), got 2 s in .*_bold\.json",
        ),
        (
            {"test": ["d.mp4"]},
            r"Expected dataset\.options\.test to name movies of \['a movie\.mp4', .*\] or sections of .*, got 'd\.mp4'",
        ),
        ({"test": list(EXCERPTS)}, "Expected movies to train on that sub-01 saw, got none"),
        (
            {"task": "rest"},
            r"Expected runs of task \['rest'\] with events .* found none \(tasks there: \['movie'\]\)",
        ),
        ({"clip_seconds": 60.0}, "to last at least one clip of 60 s, got 40 s"),
        ({"mask": "absent.nii.gz"}, r"Expected a mask at .*absent\.nii\.gz, found none"),
    ],
)
def test_faults_of_the_config_are_reported(tmp_path, options, message):
    simulated(tmp_path, "MNI152NLin2009cAsym")
    with pytest.raises(InputError, match=message):
        next(opened(tmp_path, "MNI152NLin2009cAsym", **options).runs("01", "a_movie", FmriConfig()))


def test_faults_of_the_study_are_reported(tmp_path):
    simulated(tmp_path, "fsaverage5")
    dataset = opened(tmp_path, "fsaverage5")
    with pytest.raises(
        InputError,
        match=r"Expected volumes for the 15 clips of 'c\.mp4' in .*, but none has any: the run has",
    ):
        list(dataset.runs("01", "c", FmriConfig(lag=80.0)))
    dataset.response_files("01", "c")[1].unlink()
    with pytest.raises(
        InputError, match=r"Expected a run at .*hemi-R_space-fsaverage5_bold\.func\.gii, found none"
    ):
        list(dataset.runs("01", "c", FmriConfig()))
    events = tmp_path / "sub-02/func/sub-02_task-movie_run-1_events.tsv"
    events.write_text("onset\tduration\tstim_file\n6.0\t30.0\tb.mp4\n")
    with pytest.raises(
        InputError,
        match=r"Expected 'b\.mp4' to last equally long in all runs, got 40 s \(line .*\) and 30 s \(line 2 of",
    ):
        opened(tmp_path, "fsaverage5")
    events.write_text("onset\tduration\n6.0\t40.0\n")
    with pytest.raises(InputError, match=r"Expected column 'stim_file' in .*run-1_events\.tsv"):
        opened(tmp_path, "fsaverage5")
    events.write_text("onset\tduration\tstim_file\nsoon\t40.0\tb.mp4\n")
    with pytest.raises(InputError, match=r"Expected seconds in column 'onset', line 2 of .*, got 'soon'"):
        opened(tmp_path, "fsaverage5")
    for run in (1, 2):
        (tmp_path / f"sub-02/func/sub-02_task-movie_run-{run}_events.tsv").unlink()
    with pytest.raises(InputError, match=r"Expected movies to train on that sub-02 saw, got none"):
        opened(tmp_path, "fsaverage5")
