"""The faults that give silently wrong responses, each found by `check_data` in one line, from headers and tables."""

import shutil

import cv2
import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
from bids_study import GRID, INSIDE, ROWS, SPACE, impulses, opened, write_run
from safetensors.numpy import save_file

from mind_animator.artefacts.cifti import write_series
from mind_animator.artefacts.cortex import cortex_axis
from mind_animator.artefacts.video import write_mp4
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.check import copies
from mind_animator.errors import InputError
from workflow_scripts import check_data

FUNC = "derivatives/fmriprep/sub-01/func"
RUN = f"{FUNC}/sub-01_task-movie_run-1_space-{SPACE}_desc-preproc_bold"


def sections(root):
    write_run(root, rows=[(10.0, 90.0, "a.mp4"), (110.0, 90.0, "a.mp4"), (210.0, 20.0, "t.mp4")])
    return opened(root)


def cut_run(root):
    """The first 10 volumes of a run of HCP were removed."""
    dataset = open_dataset(DatasetConfig(name="hcp", data_root=str(root), subjects=("100610",)))
    file = dataset.response_files("100610", "run3")[0]
    write_series(file, np.zeros((1, 905), np.float32), cortex_axis(), 1.0, np.arange(1))
    return dataset


def contradictory_times(root):
    write_run(root, start=20.0, sidecar={"RepetitionTime": 2.0, "StartTime": 5.0})
    return opened(root)


def scrubbed(root):
    moved = np.where(np.isin(np.arange(60), range(8, 13)), 3.0, 0.05)
    write_run(root, framewise_displacement=moved)
    return opened(root, confounds=["motion", "scrub"])


def logged_twice(root):
    write_run(root, rows=(*ROWS, ROWS[0]))
    return opened(root)


def copied(root):
    for run in (1, 2):
        stem = f"sub-01/func/sub-01_task-movie_run-{run}"
        write_run(root, stem=stem)
    first = root / f"{RUN}.nii.gz"
    shutil.copy(first, str(first).replace("run-1", "run-2"))
    return opened(root, offset="start")


def moving_texture(start, seconds):
    """Drifting textures, a new one every 3 s, 8 frames per second."""
    for k in range(int(seconds * 8)):
        shot = int((start + k / 8) // 3)
        texture = np.random.default_rng(shot).integers(0, 255, (6, 10, 3), np.uint8)
        wide = cv2.resize(texture, (160, 96), interpolation=cv2.INTER_CUBIC)
        yield wide[16:80, (x := int(20 * (start + k / 8 - 3 * shot))) : x + 64]


def overlapping(root):
    """The test movie starts with the last 10.4 s of the training movie; the events do not say so."""
    write_run(root, rows=[(10.0, 60.0, "a.mp4"), (80.0, 40.0, "t.mp4")])
    write_mp4(root / "stimuli/a.mp4", moving_texture(0, 60), 8)
    write_mp4(root / "stimuli/t.mp4", moving_texture(60 - 10.4, 40), 8)
    return opened(root)


def surface_without_sidecar(root):
    write_run(root)
    for side in "LR":
        arrays = [nib.gifti.GiftiDataArray(np.zeros(10_242, np.float32)) for _ in range(60)]
        name = f"sub-01_task-movie_run-1_hemi-{side}_space-fsaverage5_bold.func.gii"
        nib.save(nib.GiftiImage(darrays=arrays), root / FUNC / name)
    return opened(root, space="fsaverage5")


def movie_too_short(root):
    """Rows said to continue each other overlap: together they last longer than the movie."""
    rows = [(10.0, 40.0, "a.mp4"), (60.0, 40.0, "a.mp4"), (110.0, 10.0, "t.mp4")]
    write_run(root, rows=rows)
    write_mp4(root / "stimuli/a.mp4", moving_texture(0, 70), 8)
    return opened(root, offset="cumulative")


@pytest.mark.parametrize(
    ("study", "file", "message"),
    [
        (sections, None, "Expected dataset.options.offset, since sub-01 has several rows of 'a.mp4'"),
        (cut_run, "tfMRI_MOVIE3", "Expected 915 volumes of 1 s from 0 s on in"),
        (contradictory_times, f"{RUN}.nii.gz", "Expected StartTime in"),
        (scrubbed, f"{RUN}.nii.gz", "volumes 60, step 2, missing_clips 5"),
        (logged_twice, None, "Expected each presentation once in"),
        (copied, RUN.replace("run-1", "run-2"), f"same content as {RUN}.nii.gz: a run that is counted twice"),
        (overlapping, "(training and test movies)", "Expected movies to be in training or test, got the same images"),
        (surface_without_sidecar, "hemi-L", "Expected a repetition time of"),
        (movie_too_short, "stimuli/a.mp4", "expected a movie of at least 80 s (clip "),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_of_check_data(tmp_path, study, file, message):
    try:
        dataset = study(tmp_path)
    except InputError as error:
        assert file is None and str(error).startswith(message) and "\n" not in str(error)
        return
    table = tmp_path / "table.tsv"
    check_data.main(["--dataset", dataset.config.model_dump_json(), "--table", str(table)])
    found = pd.read_csv(table, sep="\t", keep_default_na=False)
    rows = found[found["note"].str.startswith(message)]
    assert len(rows) == 1 and file in rows["file"].iloc[0], found["note"].tolist()
    assert rows["state"].iloc[0] == ("here" if study is scrubbed else "wrong")
    assert set(found["state"]) <= {"here", "missing", "wrong"} and (found["state"] == "wrong").sum() <= 1


def test_the_same_study_without_faults_has_none(tmp_path):
    for run, rows in ((1, ROWS), (2, ROWS[:2])):
        write_run(
            tmp_path, stem=f"sub-01/func/sub-01_task-movie_run-{run}", series=impulses() + run, rows=rows
        )
    write_mp4(tmp_path / "stimuli/a.mp4", moving_texture(0, 40), 8)
    write_mp4(tmp_path / "stimuli/t.mp4", moving_texture(300, 40), 8)
    dataset = opened(tmp_path, offset="start")
    assert (
        check_data.main(["--dataset", dataset.config.model_dump_json(), "--table", str(tmp_path / "t.tsv")])
        == 0
    )


def test_files_of_one_size_are_copies_only_if_all_of_it_agrees(tmp_path, rng):
    """Blocks outside the brain are zero in every run; a difference anywhere else counts."""
    volumes = np.zeros((40, *GRID[::-1], 64), np.float32)
    for name, changed in (("a", None), ("b", 3), ("c", None), ("d", 4)):
        values = volumes.copy()
        if changed is not None:
            values[changed, 2, 2, 2, 0] = 1
        values.tofile(tmp_path / name)
    (tmp_path / "e").write_bytes(b"short")
    assert INSIDE.any() and copies(sorted(tmp_path.iterdir())) == {tmp_path / "c": tmp_path / "a"}


def test_a_trial_that_is_listed_twice_is_refused(tmp_path):
    rows = [["train", "a", "0,3"], ["train", "b", "1"], ["test", "c", "2,3"]]
    table = pd.DataFrame(rows, columns=["split", "movie", "trials"])
    table.to_csv(tmp_path / "clips.tsv", sep="\t", index=False)
    config = DatasetConfig(
        name="arrays", data_root=str(tmp_path), subjects=("x",), options={"clips": "clips.tsv"}
    )
    with pytest.raises(InputError, match=r"got 3 in lines 2 and 4 of .*clips\.tsv"):
        open_dataset(config)
    options = {"clips": "clips.tsv", "responses": "{split}.npy"}  # the numbers count within each file
    open_dataset(config.model_copy(update={"options": options}))


def write_hdf5(path, values):
    with h5py.File(path, "w") as file:
        file["responses"] = values


FORMATS = {
    "sub-x.npy": np.save,
    "sub-x.h5": write_hdf5,
    "sub-x.mat": lambda path, values: scipy.io.savemat(path, {"responses": values}),
    "sub-x.safetensors": lambda path, values: save_file({"responses": values}, path),
}


@pytest.mark.parametrize("name", FORMATS)
def test_missing_rows_are_counted(tmp_path, rng, name):
    values = rng.standard_normal((6, 50)).astype(np.float32)
    values[[1, 4]] = np.nan
    values[3, 0] = np.nan  # one voxel is no missing clip
    FORMATS[name](tmp_path / name, values)
    table = pd.DataFrame({"split": ["train"] * 4 + ["test"] * 2, "movie": list("aabbcc")})
    table.to_csv(tmp_path / "clips.tsv", sep="\t", index=False)
    config = DatasetConfig(
        name="arrays",
        data_root=str(tmp_path),
        subjects=("x",),
        options={"clips": "clips.tsv", "responses": name},
    )
    facts = {}
    assert open_dataset(config).fault(tmp_path / name, facts) is None and facts == {"empty_rows": 2}
