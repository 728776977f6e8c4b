"""CC2017: every trap of the published files, on files of true size made here."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mind_animator.artefacts.cifti import read_cortex, write_series
from mind_animator.artefacts.cortex import N_CORTEX, cortex_axis
from mind_animator.captions.joining import JOINT
from mind_animator.captions.tables import read_ready_captions
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.cc2017 import CC2017, n_volumes
from mind_animator.errors import InputError

SETTINGS = FmriConfig()


def opened(root: Path | str = "data", **more) -> CC2017:
    dataset = open_dataset(DatasetConfig(name="cc2017", data_root=str(root), **more))
    assert isinstance(dataset, CC2017)
    return dataset


def response(seconds: np.ndarray) -> np.ndarray:
    """A timeline (time, vertex) that is independent of the runs: white noise on a 2-s grid of the movie."""
    values = np.random.default_rng(9).normal(1000, 50, (300, 8)).astype(np.float32)
    return values[np.rint(np.asarray(seconds) / 2).astype(int) + 20]


def write_run(path: Path, n_volumes: int, first: float) -> None:
    """A run whose volume i holds the timeline at ``first + 2 i``, in its first 8 and last 8 vertices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    series = np.zeros((N_CORTEX, n_volumes), np.float32)
    series[:8] = series[-8:] = response(first + 2 * np.arange(n_volumes)).T
    write_series(path, series, cortex_axis(), 2.0)


def cleaned(values: np.ndarray) -> np.ndarray:
    positions = np.linspace(-1, 1, len(values))
    rest = values - np.stack(
        [np.polyval(np.polyfit(positions, v, 4), positions) for v in values.T.astype(float)], axis=1
    )
    return rest / rest.std(axis=0)


def test_segments_and_clips():
    dataset = opened()
    assert [s.id for s in dataset.segments] == [f"seg{i}" for i in range(1, 19)] + [
        f"test{i}" for i in range(1, 6)
    ]
    clips = [clip for segment in dataset.segments for clip in segment.clips]
    assert len(set(clips)) == 4320 + 1200
    assert sum(s.n_clips for s in dataset.segments if s.split == "train") == 4320
    assert dataset.subjects == ("1", "2", "3")
    assert opened(subjects=["2"]).subjects == ("2",)


def test_needs_no_data_and_no_torch_to_be_opened():
    table = opened("/nowhere").clip_table("test2")
    assert table["clip"].tolist() == [f"test2-{index:05d}" for index in range(240)]
    assert table["onset"].tolist() == [2.0 * index for index in range(240)]
    assert set(table["duration"]) == {2.0}
    assert set(table["split"]) == {"test"}
    assert set(table["movie"]) == {"test2"}
    assert set(table["file"]) == {"/nowhere/video_fmri_dataset/stimuli/test2.mp4"}


def test_runs_of_a_segment():
    dataset = opened()
    assert len(dataset.response_files("1", "seg4")) == 2
    assert len(dataset.response_files("1", "test2")) == 10
    assert dataset.response_files("2", "seg18")[1] == Path(
        "data/video_fmri_dataset/subject2/fmri/seg18/cifti/seg18_2_Atlas.dtseries.nii"
    )


def test_the_delayed_run_is_left_out_unless_asked_for():
    names = [path.name for path in opened().response_files("3", "test2")]
    assert len(names) == 9
    assert "test2_9_Atlas.dtseries.nii" not in names
    assert len(opened().response_files("2", "test2")) == 10
    assert len(opened().response_files("3", "test3")) == 10
    assert len(opened(options={"skip_delayed_run": False}).response_files("3", "test2")) == 10


def test_the_odd_spelling_of_one_volume_file(tmp_path):
    folder = tmp_path / "video_fmri_dataset" / "subject1" / "fmri" / "test1" / "mni"
    folder.mkdir(parents=True)
    for repeat in range(1, 11):
        (folder / f"test1_{repeat}{'.' if repeat == 9 else '_'}mni.nii.gz").touch()
    files = opened(tmp_path).run_files("1", "test1", "mni")
    assert all(path.exists() for path in files)
    assert files[8].name == "test1_9.mni.nii.gz"
    assert files[7].name == "test1_8_mni.nii.gz"
    assert opened(tmp_path).run_files("1", "test1", "raw")[0].name == "test1_1.nii.gz"
    with pytest.raises(ValueError, match=r"^Expected a kind of \['cifti', 'mni', 'raw'\], got 'surf'\.$"):
        opened(tmp_path).run_files("1", "test1", "surf")


@pytest.mark.parametrize("prefix", ["video_fmri_dataset", "Subject02/video_fmri_dataset", ""])
def test_either_layout_of_folders(tmp_path, prefix):
    run = tmp_path / prefix / "subject2" / "fmri" / "seg1" / "cifti" / "seg1_1_Atlas.dtseries.nii"
    run.parent.mkdir(parents=True)
    run.touch()
    movie = tmp_path / prefix.replace("Subject02", "Stimuli") / "stimuli" / "seg1.mp4"
    movie.parent.mkdir(parents=True)
    movie.touch()
    assert opened(tmp_path).response_files("2", "seg1")[0] == run
    assert opened(tmp_path).stimulus_files("seg1") == [movie]


def test_the_volumes_of_a_published_run():
    assert {name: n_volumes(name) for name in ("seg1", "seg18", "test1")} == {
        "seg1": 245,
        "seg18": 245,
        "test1": 245,
    }
    assert {n_volumes(f"test{index}") for index in range(2, 6)} == {246}


@pytest.mark.parametrize(("segment", "count", "first"), [("seg1", 245, 2.0), ("test2", 246, 0.0)])
def test_the_lag_is_the_choice_of_volumes_and_is_applied_once(tmp_path, segment, count, first):
    """Clip k receives the timeline at 2 k + 4 s, regardless of the start of the run."""
    dataset = opened(tmp_path)
    for path in dataset.response_files("1", segment):
        write_run(path, count, first)
        break
    run = next(dataset.runs("1", segment, SETTINGS))
    values = run.values.whole()
    assert values.shape == run.values.shape == (240, N_CORTEX)
    expected = cleaned(response(2 * np.arange(240) + 4))
    np.testing.assert_allclose(values[:, :8], expected, atol=1e-4)
    np.testing.assert_allclose(values[:, -8:], expected, atol=1e-4)
    assert (values[:, 8:-8] == 0).all()  # constant vertices
    assert run.name.startswith(f"{segment}_1")
    assert run.tsnr is not None


@pytest.mark.parametrize("t_r", [0.0, 0.72, 1.0])
def test_the_repetition_time_of_a_header_is_not_believed(tmp_path, t_r):
    path = opened(tmp_path).response_files("1", "seg1")[0]
    write_run(path, 245, 2.0)
    before = next(opened(tmp_path).responses("1", "seg1", SETTINGS))
    write_series(path, read_cortex(path).T, cortex_axis(), t_r)
    assert nib.load(path).header.get_axis(0).step == t_r
    np.testing.assert_array_equal(next(opened(tmp_path).responses("1", "seg1", SETTINGS)), before)


def test_captions_that_join_two_scenes_are_as_many_as_published(published_data):
    """17 % of the training captions and over half of those of test2 to test5 describe two scenes."""
    order = opened().caption_order()
    files = [published_data / f"captions/CC2017_{split}_captions.h5" for split in ("Train", "Test")]
    fractions: dict[str, list[bool]] = {}
    for clip, text in read_ready_captions(files, order).items():
        fractions.setdefault("train" if clip.startswith("seg") else clip[:5], []).append(
            JOINT.strip(", ") in text
        )
    assert np.mean(fractions["train"]) == pytest.approx(0.17, abs=0.005)
    assert np.mean([fractions[f"test{n}"] for n in range(2, 6)]) > 0.5


@pytest.mark.parametrize(
    ("segment", "count", "step", "message"),
    [
        ("seg1", 20, 2.0, "Expected 245 volumes of seg1 in {path}, as published, got 20: were volumes removed"),
        ("seg1", 246, 2.0, "Expected 245 volumes of seg1 in {path}, as published, got 246: "),
        ("test2", 245, 2.0, "Expected 246 volumes of test2 in {path}, as published, got 245: "),
        ("seg1", 245, 2.5, "Expected volumes of 2 s from 0 s on in {path}, as published, got volumes of 2.5 s from "
                           "0 s on"),
    ],
)  # fmt: skip
def test_a_run_without_the_published_times_is_refused_by_its_header(tmp_path, segment, count, step, message):
    dataset = opened(tmp_path)
    path = dataset.response_files("1", segment)[0]
    write_series(path, np.zeros((1, count), np.float32), cortex_axis(), step, np.arange(1))
    with pytest.raises(InputError) as error:
        next(dataset.runs("1", segment, SETTINGS))
    assert str(error.value).startswith(message.format(path=path))
    assert dataset.fault(path, {"volumes": count}) == str(error.value)


def test_a_run_that_starts_later_than_published_is_refused(tmp_path):
    path = opened(tmp_path).response_files("1", "seg1")[0]
    path.parent.mkdir(parents=True)
    axes = nib.cifti2.SeriesAxis(20.0, 2.0, 245), cortex_axis()[:4]
    nib.save(nib.Cifti2Image(np.zeros((245, 4), np.float32), axes), path)
    with pytest.raises(InputError, match=r"got volumes of 2 s from 20 s on: was the run cut or resampled\?$"):
        next(opened(tmp_path).runs("1", "seg1", SETTINGS))


def test_lags_that_a_run_does_not_allow():
    dataset, run = opened(), Path("seg1_1.nii")
    with pytest.raises(
        InputError, match=r"^Expected fmri\.lag to be a multiple of 2 s \(the TR\), got 5 s\.$"
    ):
        dataset._kept_volumes(run, "seg1", 5.0)
    with pytest.raises(
        InputError, match=r"at a lag of 14 s, got volume 245 for clip 239.*seg1_1.*fmri\.lag\)$"
    ):
        dataset._kept_volumes(run, "seg1", 14.0)


@pytest.mark.parametrize("lag", [2.0, 4.0, 6.0, 8.0, 10.0, 12.0])
def test_a_swept_lag_moves_whole_volumes(lag):
    dataset, later = opened(), int(lag - 4) // 2
    assert dataset._kept_volumes(Path("a"), "seg1", lag) == slice(1 + later, 241 + later)
    assert dataset._kept_volumes(Path("a"), "test2", lag) == slice(2 + later, 242 + later)


def test_unknown_names():
    with pytest.raises(
        InputError, match=r"^config\.dataset\.subjects = '4': must be one of \['1', '2', '3'\]"
    ):
        opened(subjects=["4"])
    with pytest.raises(InputError, match="got 'seg19'"):
        opened().stimulus_files("seg19")
    with pytest.raises(InputError, match="got '7'"):
        opened().response_files("7", "seg1")
    with pytest.raises(InputError, match=r"dataset\.options\.delayed"):
        opened(options={"delayed": True})


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(InputError, match=r"^Expected a run at .*seg1_1_Atlas\.dtseries\.nii, found none\.$"):
        next(opened(tmp_path).runs("1", "seg1", SETTINGS))


def test_rois_are_those_of_the_cortex():
    names = opened().roi_names("1")
    assert len(names) == N_CORTEX
    assert {"L_V1", "R_MT"} < set(names)
