"""The lag figure from whole runs: to the volume, regardless of the repetition time and the length of clips."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from workflow_scripts import draw_lag

GRID, VOXELS = (6, 5, 2), 60


def respond(t_r, n_volumes, onsets, length, features, lag, rng):
    """Volumes that follow the features of the clip shown ``lag`` seconds before their middle, with noise."""
    moments = (np.arange(n_volumes) + 0.5) * t_r - lag
    clip = np.searchsorted(onsets, moments, side="right") - 1
    inside = (clip >= 0) & (moments < onsets[-1] + length)
    drive = np.where(inside[:, None], features[np.clip(clip, 0, None)], 0.5)
    series = 1000 + drive @ rng.standard_normal((len(draw_lag.FEATURES), VOXELS))
    return (series + rng.standard_normal(series.shape)).astype(np.float32)


def write_arrays_study(root, t_r, length, lag, rng, features):
    rows = []
    for run, split in (("a", "train"), ("b", "test")):
        onsets = 10 + length * np.arange(40)
        series = respond(t_r, int((10 + 41 * length) / t_r), onsets, length, features[run], lag, rng)
        np.save(root / f"sub-01_{run}.npy", series)
        rows += [
            {"split": split, "movie": run, "run": run, "file": f"{run}.mp4", "onset": onset - 10, "run_onset": onset,
             "duration": length}
            for onset in onsets
        ]  # fmt: skip
    write_table(root / "clips.tsv", pd.DataFrame(rows))
    options = {
        "clips": "clips.tsv",
        "responses": "sub-{subject}_{run}.npy",
        "axes": "volume voxel",
        "tr": t_r,
    }
    return DatasetConfig(name="arrays", data_root=str(root), subjects=("01",), options=options)


def write_bids_study(root, t_r, length, lag, rng, features):
    for run in "ab":
        stem = f"sub-01_task-movie_run-{ord(run) - 96}"
        raw, derived = root / "sub-01/func", root / "derivatives/fmriprep/sub-01/func"
        for folder in (raw, derived):
            folder.mkdir(parents=True, exist_ok=True)
        write_table(raw / f"{stem}_events.tsv", pd.DataFrame(
            [{"onset": 10.0, "duration": 40 * length, "stim_file": f"{run}.mp4"}]))  # fmt: skip
        series = respond(
            t_r, int((10 + 41 * length) / t_r), 10 + length * np.arange(40), length, features[run], lag, rng
        )
        image = nib.Nifti1Image(series.T.reshape(*GRID, -1), np.eye(4))
        image.header.set_zooms((1, 1, 1, t_r))
        image.header.set_xyzt_units("mm", "sec")
        nib.save(image, derived / f"{stem}_space-T1w_desc-preproc_bold.nii.gz")
        nib.save(
            nib.Nifti1Image(np.ones(GRID, np.uint8), np.eye(4)),
            derived / f"{stem}_space-T1w_desc-brain_mask.nii.gz",
        )
    options = {
        "task": "movie",
        "space": "T1w",
        "tr": t_r,
        "clip_seconds": length,
        "test": "b.mp4",
        "confounds": (),
    }
    return DatasetConfig(name="bids", data_root=str(root), options=options)


@pytest.mark.parametrize(
    ("write_study", "t_r", "length", "lag"),
    [
        (write_arrays_study, 1.0, 8.0, 5.0),
        (write_arrays_study, 3.0, 15.0, 6.0),
        (write_bids_study, 2.0, 10.0, 4.0),
    ],
)
def test_a_planted_lag_is_recovered_with_long_clips(tmp_path, rng, write_study, t_r, length, lag):
    features = {run: rng.random((40, len(draw_lag.FEATURES))) for run in "ab"}
    config = write_study(tmp_path, t_r, length, lag, rng, features)
    dataset = open_dataset(config)
    tables = pd.concat([dataset.clip_table(segment.id) for segment in dataset.segments], ignore_index=True)
    write_table(tmp_path / "table.tsv", tables)
    values = np.concatenate([features[movie.removesuffix(".mp4")] for movie in tables["movie"].unique()])
    measured = pd.DataFrame(values, columns=list(draw_lag.FEATURES)).assign(clip=tables["clip"])
    write_table(tmp_path / "features.tsv", measured)
    clips = tables["clip"].tolist()
    write_arrays(
        tmp_path / "responses.h5", {"responses": np.zeros((len(clips), 50), np.float32)}, clips, {},
        {"voxel_index": np.arange(5, 55)},
    )  # fmt: skip
    settings = FmriConfig(lag=lag, detrend_order=1)
    draw_lag.main([
        "--dataset", config.model_dump_json(), "--settings", settings.model_dump_json(), "--subject", "01",
        "--responses", str(tmp_path / "responses.h5"), "--features", str(tmp_path / "features.tsv"),
        "--clips", str(tmp_path / "table.tsv"), "--table", str(tmp_path / "lag.tsv"),
        "--figure", str(tmp_path / "lag.png"),
    ])  # fmt: skip
    found = read_table(tmp_path / "lag.tsv", ("feature", "lag", "peak", "note"))
    assert set(found["feature"]) == set(draw_lag.FEATURES)
    assert (found["peak"] == lag).all() and found["note"].str.startswith("peak at").all()
    assert np.allclose(np.diff(found["lag"][: len(found) // 3]), t_r)
