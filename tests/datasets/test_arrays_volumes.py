"""Responses per volume, and the file layouts of public data sets: the right value of every clip."""

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
from safetensors.torch import save_file

from mind_animator.artefacts.foreign import foreign_shape, read_foreign
from mind_animator.config import load_config
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.check import check_config, check_files, resolved
from mind_animator.errors import InputError

PLAIN = FmriConfig(detrend_order=0, lag=4.5)


def opened(root, table, subjects=("01",), **options):
    pd.DataFrame(table).to_csv(root / "clips.tsv", sep="\t", index=False)
    options = {"clips": "clips.tsv"} | options
    return open_dataset(DatasetConfig(name="arrays", data_root=str(root), subjects=subjects, options=options))


def mean_by_the_millisecond(series, t_r, begin, length):
    """Slow definition: the seconds of the span (of at least a volume) that each volume covers, times a straight
    line in time, so that constant and linear responses are reproduced."""
    middle, span = begin + length / 2, max(length, t_r)
    moments = middle - span / 2 + (np.arange(round(span * 1000)) + 0.5) / 1000
    volumes = np.floor(moments / t_r).astype(int)
    inside = (volumes >= 0) & (volumes < len(series))
    if inside.mean() < 0.5:
        return np.full(series.shape[1], np.nan)
    weights = np.bincount(volumes[inside], minlength=len(series)) / inside.sum()
    times = (np.arange(len(series)) + 0.5) * t_r - middle
    if inside.all() and (weights > 0).sum() > 1:
        moments = [[(weights * times ** (i + j)).sum() for j in range(2)] for i in range(2)]
        weights = weights * (np.linalg.solve(moments, [1, 0]) @ [np.ones_like(times), times])
    return weights @ series


def z_scored(series):
    return (series - series.mean(0)) / series.std(0)


@pytest.mark.parametrize("t_r", [1.0, 1.5, 3.0])
def test_a_clip_is_the_mean_of_its_volumes_at_the_lag(tmp_path, rng, t_r):
    """Clips of 1 to 15 s in two runs, one after another in one file; the second starts 2.2 s late."""
    lengths = {"a": 40, "b": 30}
    series = {run: rng.standard_normal((n, 4)) + 100 for run, n in lengths.items()}
    onsets, durations = [0.0, 3.3, 5.0, 11.7], [1.0, 1.7, 6.7, 15.0]
    table = [
        {"split": split, "movie": run, "caption": "x", "run": run, "onset": onset, "duration": duration}
        for run, split in (("a", "train"), ("b", "test"))
        for onset, duration in zip(onsets, durations, strict=True)
    ]
    table.append(table[0] | {"onset": 40 * t_r, "duration": 2.0})  # after the last volume of run a
    runs = [{"run": "a", "volumes": 40, "start": 0}, {"run": "b", "volumes": 30, "start": 2.2}]
    pd.DataFrame(runs).to_csv(tmp_path / "runs.tsv", sep="\t", index=False)
    np.save(tmp_path / "sub-01.npy", np.concatenate(list(series.values())))
    dataset = opened(tmp_path, table, axes="volume voxel", runs="runs.tsv", tr=t_r)
    for segment, run, start in (("train000", "a", 0.0), ("test000", "b", 2.2)):
        (found,) = dataset.runs("01", segment, PLAIN)
        rows = [row for row in table if row["run"] == run]
        expected = [
            mean_by_the_millisecond(z_scored(series[run]), t_r, row["onset"] + 4.5 - start, row["duration"])
            for row in rows
        ]
        np.testing.assert_allclose(found.values, expected, atol=2e-3)
        assert np.isnan(expected[-1]).all() == (run == "a")
    assert dataset.applies_lag
    assert dataset.clip_table("test000")["duration"].tolist() == durations


def test_the_keys_of_algonauts_2025_are_runs_and_repeats(tmp_path, rng):
    """Keys of the published HDF5 files name session, task and, for a movie shown twice, the run."""
    keys = ["ses-001_task-s01e01a", "ses-004_task-life01_run-1", "ses-005_task-life01_run-2"]
    series = {key: rng.standard_normal((20, 3)) for key in keys}
    with h5py.File(tmp_path / "sub-01_bold.h5", "w") as file:
        for key, values in series.items():
            file[key] = values
    rows = [("train", "s01e01a"), ("train", "s01e01a"), ("test", "life01"), ("test", "life01")]
    table = [
        {"split": s, "movie": run, "caption": "x", "run": run, "onset": 1.49 * 5 * (k % 2), "duration": 1.49}
        for k, (s, run) in enumerate(rows)
    ]
    dataset = opened(
        tmp_path, table, axes="volume voxel", responses="sub-{subject}_bold.h5::*_task-{run}*", tr=1.49
    )
    settings = FmriConfig(detrend_order=0, lag=1.49 * 3)
    (train,) = dataset.runs("01", "train000", settings)
    np.testing.assert_allclose(train.values, z_scored(series[keys[0]])[[3, 8]], atol=1e-5)
    repeats = list(dataset.runs("01", "test000", settings))
    for repeat, key in zip(repeats, keys[1:], strict=True):
        np.testing.assert_allclose(repeat.values, z_scored(series[key])[[3, 8]], atol=1e-5)


def test_the_hemispheres_of_algonauts_2023_are_joined(tmp_path, rng):
    left, right = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    np.save(tmp_path / "lh_training_fmri.npy", left)
    np.save(tmp_path / "rh_training_fmri.npy", right)
    table = [
        {"split": "test" if k in (1, 4) else "train", "movie": f"m{k}", "caption": "x"} for k in range(6)
    ]
    dataset = opened(tmp_path, table, responses=["lh_training_fmri.npy", "rh_training_fmri.npy"])
    (run,) = dataset.runs("01", "test000", FmriConfig())
    assert np.array_equal(run.values, np.hstack([left, right])[[1, 4]].astype(np.float32))
    assert len(dataset.response_files("01", "test000")) == 2


def test_the_trials_of_glmsingle_are_repeats(tmp_path, rng):
    """A pickled dictionary of volumes (x, y, z, trial); the table names each clip's trials."""
    betas = rng.standard_normal((2, 3, 1, 7)).astype(np.float32)
    np.save(tmp_path / "TYPED.npy", {"betasmd": betas, "R2": betas[..., 0], "note": "x"}, allow_pickle=True)
    trials = {"train": ["0,5", "2"], "test": ["6,1,3", "4"]}
    table = [
        {"split": split, "movie": f"{split}{k}", "caption": "x", "trials": own}
        for split, every in trials.items()
        for k, own in enumerate(every)
    ]
    dataset = opened(tmp_path, table, responses="TYPED.npy::betasmd", axes="x y z clip")
    flat = betas.reshape(6, 7).T
    first, second, third = (run.values for run in dataset.runs("01", "test000", FmriConfig()))
    assert np.array_equal(first, flat[[6, 4]])
    assert np.array_equal(second[0], flat[1]) and np.isnan(second[1]).all()
    assert np.array_equal(third[0], flat[3]) and np.isnan(third[1]).all()
    table[0]["trials"] = "7"
    with pytest.raises(InputError, match=r"at least 8 trials .*got 1 and 7"):
        list(
            opened(tmp_path, table, responses="TYPED.npy::betasmd", axes="x y z clip").runs(
                "01", "train000", FmriConfig()
            )
        )


def test_bfloat16_is_read_as_the_same_numbers(tmp_path):
    values = torch.tensor([[1.5, -2.25e20], [float("nan"), 3e-5]]).bfloat16()
    save_file({"x": values, "y": values.int()}, tmp_path / "a.safetensors")
    found = read_foreign(tmp_path / "a.safetensors::x")
    assert found.dtype == np.float32 and np.array_equal(found, values.float().numpy(), equal_nan=True)
    assert foreign_shape(tmp_path / "a.safetensors::x") == (2, 2)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-4])
    with pytest.raises(InputError, match="one that is cut short"):
        read_foreign(tmp_path / "cut.safetensors::x")


def matlab_5(path, array, texts):
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = array, 2 * array
    named = np.empty((1, 2), object)
    named[0, 0], named[0, 1] = np.array(texts[0]), np.array(texts[1])
    scipy.io.savemat(path, {"s": {"data": {"responses": array}, "runs": cells, "texts": named}})


def matlab_73(path, array, texts):
    """As Matlab writes version 7.3: axes reversed, cells as references, texts as numbers."""
    with h5py.File(path, "w") as file:
        file["s/data/responses"] = array.T
        for name, items in (("runs", [array.T, 2 * array.T]), ("texts", texts)):
            cells = file.create_dataset(f"s/{name}", (2, 1), h5py.ref_dtype)
            for k, item in enumerate(items):
                is_text = isinstance(item, str)
                stored = np.array([[ord(c)] for c in item], np.uint16) if is_text else item
                file[f"#refs#/{name}{k}"] = stored
                if is_text:
                    file[f"#refs#/{name}{k}"].attrs["MATLAB_class"] = np.bytes_("char")
                cells[k, 0] = file[f"#refs#/{name}{k}"].ref


@pytest.mark.parametrize("write", [matlab_5, matlab_73])
def test_structs_and_cells_of_matlab(tmp_path, rng, write):
    array = rng.standard_normal((4, 3))
    write(tmp_path / "a.mat", array, ["a dog", "two cats"])
    assert np.array_equal(read_foreign(tmp_path / "a.mat::s.data.responses"), array)
    assert np.array_equal(read_foreign(tmp_path / "a.mat::s.runs(2)"), 2 * array)
    assert np.array_equal(read_foreign(tmp_path / "a.mat::s.runs"), np.stack([array, 2 * array]))
    assert read_foreign(tmp_path / "a.mat::s.texts") == ["a dog", "two cats"]
    with pytest.raises(InputError, match=r"got a struct 's.data': write one of s\.data\.responses"):
        read_foreign(tmp_path / "a.mat::s.data")
    with pytest.raises(InputError, match="no field 'beta'"):
        read_foreign(tmp_path / "a.mat::s.beta")
    with pytest.raises(InputError, match=r"'s\.runs\(3\)' in .*count from 1"):
        read_foreign(tmp_path / "a.mat::s.runs(3)")


def test_a_pickled_npy_is_refused_with_the_remedy(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{1, 2}], object), allow_pickle=True)
    with pytest.raises(
        InputError, match=r"Cannot read .*a\.npy: it was saved with Python objects .*np\.save\("
    ):
        read_foreign(tmp_path / "a.npy")


TABLE = [{"split": "test" if k > 6 else "train", "movie": f"m{k}", "caption": "x"} for k in range(10)]


def test_transposed_arrays_are_found_from_the_header(tmp_path, rng):
    np.save(tmp_path / "sub-01.npy", rng.standard_normal((30, 10)))
    np.save(tmp_path / "sub-02.npy", rng.standard_normal((10, 30)))
    dataset = opened(tmp_path, TABLE, subjects=("01", "02"))
    remedy = r"got 30 \(shape \(30, 10\)\)\. The array seems to be transposed: set .* to 'voxel clip'"
    found = check_files(dataset).set_index("file")
    assert found["state"].to_dict() == {"sub-01.npy": "wrong", "sub-02.npy": "here"}
    assert pd.Series([found.loc["sub-01.npy"].iloc[-1]]).str.contains(remedy).all()
    with pytest.raises(InputError, match=remedy):
        next(dataset.runs("01", "train000", FmriConfig()))


def test_a_lag_that_cannot_be_applied_is_refused(tmp_path):
    config = {"results": "r", "seed": 1, "dataset": {"name": "arrays", "data_root": "."}, "methods": {}}
    aligned = opened(tmp_path, TABLE)
    default = load_config(config)
    check_config(aligned, default)  # the default is no request
    again = load_config(resolved(default, aligned).model_dump())
    check_config(aligned, again)
    assert again.fmri.lag == 0
    with pytest.raises(InputError, match=r"config\.fmri\.lag = 4: must be 0 or left out"):
        check_config(aligned, load_config(config | {"fmri": {"lag": 4.0}}))


def test_a_block_in_seconds_follows_the_length_of_the_test_clips(tmp_path):
    table = [row | {"file": "a.mp4", "onset": 15.0 * k, "duration": 15.0} for k, row in enumerate(TABLE)]
    config = {"results": "r", "seed": 1, "dataset": {"name": "arrays", "data_root": "."}, "methods": {}}
    dataset = opened(tmp_path, table)
    assert resolved(load_config(config), dataset).scoring.block == 10
    config["scoring"] = {"block_seconds": 40.0}
    assert resolved(load_config(config), dataset).scoring.block == 3


def test_folds_over_blocks_of_time(tmp_path):
    """One movie in both splits: blocks of 60 s take the place of movies, and the splits keep their distance."""
    table = [
        {
            "split": "train" if k < 20 else "test",
            "movie": "m",
            "caption": "x",
            "onset": 10.0 * k,
            "duration": 10,
        }
        for k in (*range(20), *range(21, 30))
    ]
    dataset = opened(tmp_path, table, time_blocks=60.0)
    movies = dataset.clip_table(dataset.segments[0].id)["movie"]
    assert movies.nunique() == 4 and movies.value_counts().max() == 6
    table[20]["onset"] = 205.0
    with pytest.raises(InputError, match=r"at least 10 s .*got 5 s between lines 22 and 21"):
        opened(tmp_path, table, time_blocks=60.0)


@pytest.mark.parametrize(
    ("options", "columns", "message"),
    [
        ({}, {}, "the borders of the runs are unknown"),
        ({"runs": "runs.tsv"}, {"file": "a.mp4"}, "Expected column 'run_onset'"),
        ({"runs": "runs.tsv"}, {"onset": "soon"}, "Expected seconds in column 'onset' in line 2 of"),
        ({"runs": "runs.tsv"}, {"run": "z"}, "Expected run 'z' of the table of clips in"),
        ({"runs": "runs.tsv"}, {}, r"Expected 9 volumes in .*got 5 \(shape \(5, 9\)\).*'voxel volume'"),
    ],
)
def test_faults_of_runs_are_reported(tmp_path, options, columns, message):
    pd.DataFrame([{"run": "a", "volumes": 9}]).to_csv(tmp_path / "runs.tsv", sep="\t", index=False)
    np.save(tmp_path / "sub-01.npy", np.ones((5, 9)))
    table = [
        {"split": s, "movie": s, "caption": "x", "run": "a", "onset": 2, "duration": 2} | columns
        for s in ("train", "test")
    ]
    with pytest.raises(InputError, match=message):
        list(opened(tmp_path, table, axes="volume voxel", **options).runs("01", "train000", PLAIN))


def test_subjects_are_aligned_in_a_shared_space_fitted_to_training_clips(tmp_path, rng):
    """Two subjects with other voxels: in the shared space the same test clip evokes the same response."""
    signal = rng.standard_normal((60, 4))
    for subject, voxels in (("01", 30), ("02", 20)):
        weights = rng.standard_normal((4, voxels))
        values = 100 + signal @ weights + 0.3 * rng.standard_normal((60, voxels))
        values[3] = np.nan if subject == "01" else values[3]
        np.save(tmp_path / f"sub-{subject}.npy", values)
    table = [
        {"split": "test" if k >= 40 else "train", "movie": f"m{k // 10}", "caption": "x"} for k in range(60)
    ]
    dataset = opened(tmp_path, table, subjects=("01", "02"), srm_components=4)
    train, test = ([s.id for s in dataset.segments if s.split == split] for split in ("train", "test"))
    one, two = (next(dataset.runs(who, test[0], FmriConfig())).values for who in ("01", "02"))
    assert one.shape == two.shape == (20, 4)
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.95
    assert np.isnan(next(dataset.runs("01", train[0], FmriConfig())).values[3]).all()
    assert len(dataset.response_files("01", test[0])) == 2
    # the map does not depend on test clips
    whole = np.load(tmp_path / "sub-02.npy")
    whole[40:] = 0
    np.save(tmp_path / "sub-02.npy", whole)
    again = opened(tmp_path, table, subjects=("01", "02"), srm_components=4)
    assert np.array_equal(next(again.runs("01", test[0], FmriConfig())).values, one)
    with pytest.raises(InputError, match="requires at least 2 subjects"):
        opened(tmp_path, table, srm_components=4)
