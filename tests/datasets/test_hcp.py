"""HCP: the clip table, the retest movie, the lag, the areas and the published captions."""

import re
from itertools import islice

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from nibabel.cifti2 import BrainModelAxis, LabelAxis
from simulate import axis_59k, simulate_hcp

from mind_animator.artefacts.cifti import read_rois, write_series
from mind_animator.artefacts.cortex import grayordinate_axis, roi_names
from mind_animator.artefacts.pickles import read_pickled_npy
from mind_animator.config import load_config
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.check import check_files
from mind_animator.datasets.hcp import EXCERPTS, RETEST, RUNS
from mind_animator.errors import InputError
from mind_animator.fmri.reliability import average_repeats, in_rois
from mind_animator.provenance import ROOT
from mind_animator.video.conform import resize_frame

LAG = 5.0


def opened(root, **options):
    return open_dataset(DatasetConfig(name="hcp", data_root=str(root), subjects=("100610",), options=options))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """One subject whose responses lag 5 s behind, at true size."""
    root = tmp_path_factory.mktemp("hcp")
    return root, simulate_hcp(root, ["100610"], lag=LAG, rng=np.random.default_rng(0), movies=False)


def test_the_clip_table_is_the_published_one(published_data):
    published = read_pickled_npy(published_data / "clip_times_24.npy")
    assert {int(run): tuple(map(tuple, times // 24)) for run, times in published.items()} == EXCERPTS
    assert all((times % 24 == 0).all() for times in published.values())
    seconds = {run: sum(stop - start for start, stop in spans) for run, spans in EXCERPTS.items()}
    assert seconds == {1: 728, 2: 792, 3: 745, 4: 775}
    assert sum(seconds.values()) == 3040


def test_phase_encoding_is_ap_pa_pa_ap():
    assert [name[-2:] for name in RUNS.values()] == ["AP", "PA", "PA", "AP"]


def test_movies_have_their_published_names_and_lose_their_letterbox(tmp_path):
    dataset = opened(tmp_path)
    names = [dataset.stimulus_files(f"run{run}")[0].name for run in EXCERPTS]
    assert names == [f"7T_MOVIE{n}_{movie}_v2.mp4" for n, movie in enumerate(("CC1", "HO1", "CC2", "HO2"), 1)]
    stimuli = load_config(yaml.safe_load((ROOT / "config/hcp.yaml").read_text())).stimuli
    assert (stimuli.rate, stimuli.size, round(stimuli.crop * 512)) == (
        8,
        512,
        420,
    )  # every third of 24
    wide = np.zeros((1024, 1024, 3), np.uint8)
    wide[92:-92] = 200  # bars of 9 % above and below, as 420 of 512 cuts off
    assert (resize_frame(wide, 512, stimuli.crop) == 200).all()


def test_second_k_is_volume_k_plus_4(tmp_path):
    """A run whose volumes contain their own index, except for the trend that cleaning removes; ranks identify them."""
    dataset = opened(tmp_path)
    file = dataset.response_files("100610", "run3")[0]
    spikes = np.zeros((8, 915), np.float32)
    spikes[np.arange(8), 30 + np.arange(8)] = 1000  # row k has its spike at volume 30 + k
    write_series(file, spikes, grayordinate_axis(), 1.0, np.arange(8))
    (values,) = dataset.responses("100610", "run3", FmriConfig(lag=4.0))
    assert dataset.clip_table("run3")["onset"].iloc[:8].tolist() == [26.0 + k for k in range(8)]
    assert values[:, :8].argmax(axis=0).tolist() == list(range(8))


@pytest.mark.parametrize(
    ("volumes", "step", "start"),
    [(911, 1.0, 0.0), (911, 1.0, 10.0), (905, 1.0, 0.0), (903, 1.0, 0.0), (1200, 0.72, 0.0), (921, 2.0, 0.0)],
)
def test_runs_without_the_published_times_are_refused(tmp_path, volumes, step, start):
    """Volumes removed at the front or the end, or resampled: they would be shifted by seconds, silently."""
    dataset = opened(tmp_path)
    file = dataset.response_files("100610", "run1")[0]
    write_series(file, np.zeros((1, volumes), np.float32), grayordinate_axis(), step, np.arange(1))
    if start:
        file.write_bytes(file.read_bytes().replace(b'SeriesStart="0', b'SeriesStart="9', 1))
    message = f"Expected 921 volumes of 1 s from 0 s on in {file}, as published, got {volumes} of {step:g} s"
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        next(dataset.runs("100610", "run1", FmriConfig()))
    table = check_files(dataset)
    assert table.loc[table["file"].str.endswith(file.name), "state"].tolist() == ["wrong"]


@pytest.mark.parametrize("held_out", [1, 2, 3, 4])
def test_the_retest_movie_is_never_in_training(tmp_path, held_out):
    dataset = opened(tmp_path, held_out_run=held_out)
    tables = pd.concat([dataset.clip_table(segment.id) for segment in dataset.segments])
    assert len(tables) == 3040 - 3 * 76
    assert list(tables["clip"]) == [clip for segment in dataset.segments for clip in segment.clips]
    train = tables[tables["split"] == "train"]
    for run, spans in EXCERPTS.items():
        shown = train[train["segment"] == f"run{run}"]
        assert not shown["onset"].between(*spans[-1]).any()
    assert not set(train["movie"]) & set(tables[tables["split"] == "test"]["movie"])
    assert set(tables.loc[tables["split"] == "test", "segment"]) == {f"run{held_out}", RETEST}
    assert [segment.split for segment in dataset.segments] == ["train"] * 3 + ["test"] * 2


def test_the_retest_movie_has_four_repeats(simulated):
    root, _ = simulated
    runs = list(opened(root).runs("100610", RETEST, FmriConfig(lag=LAG)))
    assert [run.name.split("_")[1] for run in runs] == ["MOVIE1", "MOVIE2", "MOVIE3", "MOVIE4"]
    values = [run.values.whole() for run in runs]
    voxel = int(np.argmax(np.abs(values[0]).sum(axis=0)))
    together = np.corrcoef([run[:, voxel] for run in values])
    assert values[0].shape == (76, 59_412)
    assert together[np.triu_indices(4, 1)].min() > 0.5


def test_the_planted_lag_is_recovered_to_the_volume(simulated):
    """Multiple correlation of each voxel with the features, swept over lags: highest where it was planted."""
    root, features = simulated
    dataset = opened(root)
    explained = []
    for lag in (4, 5, 6):
        values = next(dataset.responses("100610", RETEST, FmriConfig(lag=float(lag))))
        live = values[:, values.any(axis=0)]
        fit = np.linalg.lstsq(features[RETEST], live, rcond=None)[0]
        explained.append(1 - np.var(live - features[RETEST] @ fit) / np.var(live))
    assert explained[1] > 0.7 and max(explained[0], explained[2]) < 0.3


def test_too_long_a_lag_is_reported(simulated):
    root, _ = simulated
    with pytest.raises(
        InputError, match=r"Expected volumes 0\.\.920 for 76 clips at a lag of 30 s, .*MOVIE1.*fmri\.lag"
    ):
        list(opened(root).responses("100610", RETEST, FmriConfig(lag=30.0)))


def test_twelve_rois_by_name_are_5820_vertices(published_data, tmp_path):
    import nibabel as nib

    rois = ("V1", "MST", "V2", "V3", "V4", "V3A", "V3B", "LO1", "LO2", "MT", "TPOJ1", "TPOJ2")
    mine = np.array(opened(tmp_path).roi_names("100610"))
    assert (
        sum((np.isin(mine, [f"L_{a}" for a in rois]), np.isin(mine, [f"R_{a}" for a in rois]))).sum() == 5820
    )
    image = nib.load(published_data / "mmp.32k_fs_LR.dlabel.nii")
    label = image.header.get_axis(0).label[0]
    theirs = np.array([label[int(key)][0].removesuffix("_ROI") for key in image.get_fdata()[0]])
    # there the numbers distinguish hemispheres in reverse order; names do not
    assert (theirs == mine).all()
    assert label[1][0] == "R_V1_ROI" and label[181][0] == "L_V1_ROI"


def test_rois_of_another_mesh_come_from_a_parcellation_by_name(published_data, tmp_path):
    """The real 32k parcellation stands for a 59k one: its labels reach the rows of a series by vertex."""
    labels = published_data / "mmp.32k_fs_LR.dlabel.nii"
    series = tmp_path / "a.dtseries.nii"
    write_series(series, np.zeros((91_282, 2), np.float32), grayordinate_axis(), 1.0)
    assert read_rois(labels, series) == roi_names().tolist()
    with pytest.raises(
        InputError, match=r"^Expected labels in .*a\.dtseries\.nii, got an axis of SeriesAxis"
    ):
        read_rois(series, series)
    with pytest.raises(InputError, match=r"^Expected a CIFTI file at .*none\.dlabel\.nii, got: "):
        read_rois(tmp_path / "none.dlabel.nii", series)
    far = BrainModelAxis.from_surface(np.arange(5), 59_292, "CortexLeft")
    write_series(tmp_path / "b.dtseries.nii", np.zeros((5, 2), np.float32), far, 1.0)
    with pytest.raises(
        InputError, match=r"^Expected CIFTI_STRUCTURE_CORTEX_LEFT of 59292 vertices .*got 32492"
    ):
        read_rois(labels, tmp_path / "b.dtseries.nii")
    assert not opened(tmp_path, variant="59k").has_rois
    assert opened(tmp_path, variant="59k", parcellation=str(labels)).has_rois
    with pytest.raises(InputError, match=r"options\.parcellation = .*: must be null unless variant is 59k"):
        opened(tmp_path, parcellation=str(labels))


@pytest.fixture
def parcellation_59k(tmp_path):
    """A .dlabel.nii on the 59k mesh as the real one is on the 32k mesh: 1-180 right, 181-360 left, by name."""
    order = sorted({name[2:] for name in roi_names()})
    names = [f"R_{roi}_ROI" for roi in order] + [f"L_{roi}_ROI" for roi in order]
    table = {0: ("???", (1.0, 1.0, 1.0, 0.0))}
    table |= {key: (name, (0.5, 0.5, 0.5, 1.0)) for key, name in enumerate(names, 1)}
    meshes = {
        side: BrainModelAxis.from_surface(np.arange(59_292), 59_292, f"Cortex{side}")
        for side in ("Left", "Right")
    }
    keys = np.concatenate([180 + np.arange(59_292) // 330 + 1, np.arange(59_292) // 330 + 1])
    image = nib.Cifti2Image(
        keys[None].astype(np.float32), (LabelAxis(["rois"], [table]), meshes["Left"] + meshes["Right"])
    )
    image.nifti_header.set_intent("NIFTI_INTENT_CONNECTIVITY_DENSE_LABELS")
    image.to_filename(tmp_path / "rois.59k_fs_LR.dlabel.nii")
    return tmp_path / "rois.59k_fs_LR.dlabel.nii", order


def test_the_59k_variant_at_its_true_size(tmp_path, parcellation_59k):
    """170,494 rows of which 108,441 are cortex: the lag, the movies, and areas by name regardless of their numbers."""
    labels, order = parcellation_59k
    axis = axis_59k()
    assert len(axis) == 170_494
    index = order.index("V1")
    cortex = ["CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"]
    roi = np.where(np.isin(axis.name, cortex), axis.vertex // 330, -1)
    rows = np.flatnonzero(roi == index)  # all of V1, on both sides
    features = simulate_hcp(
        tmp_path,
        ["100610"],
        lag=LAG,
        rng=np.random.default_rng(3),
        variant="59k",
        movies=False,
        mesh=(axis, rows),
    )
    dataset = opened(tmp_path, variant="59k", parcellation=str(labels))
    assert dataset.has_rois and dataset.rois_of == "none"
    names = dataset.roi_names("100610")
    assert len(names) == 108_441
    chosen = in_rois(names, ["V1"])
    np.testing.assert_array_equal(chosen, rows)
    assert {names[row] for row in rows} == {"L_V1", "R_V1"}
    explained = {}
    for lag, repeats in ((4.0, 1), (5.0, 4), (6.0, 1)):
        runs = islice(dataset.runs("100610", RETEST, FmriConfig(lag=lag)), repeats)
        average = average_repeats((run.values for run in runs), voxels=chosen)
        assert (average.n_repeats, *average.constant) == (repeats, *[108_441 - len(rows)] * repeats)
        fit = np.linalg.lstsq(features[RETEST], average.mean, rcond=None)[0]
        explained[lag] = 1 - np.var(average.mean - features[RETEST] @ fit) / np.var(average.mean)
    assert explained[5.0] > 0.8 and max(explained[4.0], explained[6.0]) < 0.4
    # no parcellation, no names; the rows of another file are refused
    assert opened(tmp_path, variant="59k").roi_names("100610") is None
    file = dataset.response_files("100610", "run1")[0]
    write_series(file, np.zeros((1, 921), np.float32), grayordinate_axis(), 1.0, np.array([0]))
    with pytest.raises(InputError, match=r"^Expected 170494 grayordinates in .*MOVIE1.*, got 91282"):
        next(dataset.runs("100610", "run1", FmriConfig()))


def test_the_published_captions_come_in_the_order_of_the_runs(published_data, tmp_path):
    from mind_animator.captions.tables import _read_hdf5

    order = opened(tmp_path).caption_order()
    assert len(order["train"]) == 3040
    captions = _read_hdf5(published_data / "captions/HCP_captions.h5", order)
    assert set(captions) == {clip for segment in opened(tmp_path).segments for clip in segment.clips}
    import h5py

    with h5py.File(published_data / "captions/HCP_captions.h5") as file:
        texts = np.array(file["Captions"].asstr()[:])
    ends = np.cumsum([728, 792, 745, 775])
    repeats = [texts[end - 76 : end] for end in ends]
    # the same movie: captions of its repeats agree far more often than chance (.003)
    assert all(np.mean(repeats[0] == other) > 0.7 for other in repeats[1:])


@pytest.mark.parametrize(("variant", "end"), [
    ("msmsulc", "_Atlas.dtseries.nii"),
    ("msmall_clean", "_Atlas_MSMAll_hp2000_clean.dtseries.nii"),
    ("59k", "_Atlas_1.6mm_MSMAll_hp2000_clean.dtseries.nii"),
])  # fmt: skip
def test_variants_and_places_of_files(tmp_path, variant, end):
    dataset = opened(tmp_path, variant=variant)
    files = dataset.response_files("100610", "run2")
    inside = f"100610/MNINonLinear/Results/{RUNS[2]}/{RUNS[2]}{end}"
    assert files == [tmp_path / "HCP_1200" / inside]
    (tmp_path / inside).parent.mkdir(parents=True)
    (tmp_path / inside).touch()
    assert dataset.response_files("100610", "run2") == [tmp_path / inside]
    urls = {archive.file: archive.urls for archive in dataset.archives()}
    assert urls[f"HCP_1200/{inside}"] == (f"s3://hcp-openaccess/HCP_1200/{inside}",)
    assert (dataset.roi_names("100610") is None) == (variant == "59k")


def test_missing_credentials_are_reported_with_the_page(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(
        InputError,
        match=r"Expected AWS credentials to fetch 4 files .*db\.humanconnectome\.org.*AWS_ACCESS_KEY_ID",
    ):
        opened(tmp_path).check_before_work()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    opened(tmp_path).check_before_work()


def test_a_subject_that_cannot_be_is_reported(tmp_path):
    with pytest.raises(
        InputError, match=r"^Expected dataset\.subjects to be six-digit HCP numbers, got '1'\.$"
    ):
        open_dataset(DatasetConfig(name="hcp", data_root=str(tmp_path), subjects=("1",)))
