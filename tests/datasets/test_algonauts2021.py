"""Algonauts 2021 and its sibling BOLD Moments: layouts, order, splits, repeats."""

import pickle
import zipfile

import numpy as np
import pytest
from simulate import simulate_algonauts

from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.algonauts2021 import N_VIDEOS, ROIS, VIDEOS
from mind_animator.datasets.check import plan_downloads
from mind_animator.datasets.download.zips import list_members, unpack
from mind_animator.errors import InputError


def opened(root, **options):
    config = DatasetConfig(name="algonauts2021", data_root=str(root), subjects=("01",), options=options)
    return open_dataset(config)


@pytest.fixture(scope="module", params=[True, False], ids=["with track level", "without"])
def simulated(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("algonauts")
    features = simulate_algonauts(root, ["01"], rng=np.random.default_rng(0), level=request.param, movies=2)
    return root, features, request.param


def test_the_devkits_split_in_packs(tmp_path):
    segments = opened(tmp_path).segments
    assert [segment.n_clips for segment in segments] == [100] * 10
    assert [segment.split for segment in segments] == ["train"] * 9 + ["test"]
    assert segments[-1].id == "videos0901"


@pytest.mark.parametrize("track", ["mini", "full"])
def test_every_repeat_of_every_pack_gives_the_features_back(simulated, track):
    root, features, level = simulated
    track = track if level else "mini"  # without the level, both tracks cannot be there
    dataset = opened(root, track=track)
    for segment in (dataset.segments[0], dataset.segments[-1]):
        start = int(segment.id.removeprefix("videos")) - 1
        shown = features[start : start + segment.n_clips]
        repeats = list(dataset.responses("01", segment.id, FmriConfig()))
        assert len(repeats) == 3
        for values in repeats:
            assert values.shape == (100, 20 * (len(ROIS) if track == "mini" else 1))
            fit = np.linalg.lstsq(shown, values, rcond=None)[0]
            assert 1 - np.var(values - shown @ fit) / np.var(values) > 0.7  # 8 / (8 + 1) is planted
            # other clips' features explain no more than 8 regressors of noise do
            wrong = features[1000:1100]
            fit = np.linalg.lstsq(wrong, values, rcond=None)[0]
            assert 1 - np.var(values - wrong @ fit) / np.var(values) < 0.25


def test_rois_follow_the_voxels_of_the_mini_track(simulated):
    root = simulated[0]
    names = opened(root, track="mini").roi_names("01")
    assert names == [roi for roi in ROIS for _ in range(20)]


def test_videos_are_numbered_by_their_sorted_names_and_sampled_whole(simulated):
    root = simulated[0]
    dataset = opened(root, track="mini")
    table = dataset.clip_table("videos0901")
    assert table["file"].iloc[0].split("/")[-1].startswith("0901_")
    assert (table["duration"] == 3.0).all() and (table["onset"] == 0).all()
    assert list(table["movie"])[:2] == ["video0901", "video0902"]
    from mind_animator.config.stimuli import StimuliConfig
    from mind_animator.video.segment import plan_segment

    first = dataset.clip_table("videos0001").iloc[:1]
    movies = {path.name: path for path in dataset.stimulus_files("videos0001")[:1]}
    ((_, indices),) = plan_segment(first, movies, StimuliConfig(rate=8 / 3)).values()
    # 8 frames at 8/3 Hz of 45 frames: the last is at 2.625 s of 3, not at .25 s
    assert (
        indices[0].tolist() == [round(k * 15 * 3 / 8 - 0.5 + 1e-9) for k in range(8)] or indices[0][-1] == 39
    )


def test_names_are_known_without_the_data_and_the_zip_gives_them(simulated, tmp_path):
    root = simulated[0]
    path = tmp_path / "participants_data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, f"participants_data/{file.relative_to(root)}")
    fresh = opened(tmp_path / "fresh", track="mini", terms_accepted=True)
    before = [str(path) for path in fresh.sources()]
    (zipped, expected), = plan_downloads(fresh).zips.items()  # fmt: skip
    assert len(expected) == 1000 + 9
    paths = fresh.member_paths(zipped, list_members(path))
    unpack(path, fresh.root, paths.get)
    after = opened(tmp_path / "fresh", track="mini")
    assert [str(path) for path in after.sources()] == before  # the DAG stays the same once the data are there
    assert not plan_downloads(after).zips and not plan_downloads(after).by_hand
    original = sorted((root / VIDEOS).iterdir())
    assert (after.root / VIDEOS / "0002.mp4").read_bytes() == original[1].read_bytes()
    assert len(list((after.root / VIDEOS).iterdir())) == N_VIDEOS


def test_a_folder_with_videos_missing_is_reported(simulated, tmp_path):
    (tmp_path / VIDEOS).mkdir()
    (tmp_path / VIDEOS / "0001_0-0.mp4").touch()
    with pytest.raises(InputError, match=rf"^Expected 1102 videos in {tmp_path}/{VIDEOS}, got 1\.$"):
        opened(tmp_path).stimulus_files("videos0001")


def test_terms_come_first(tmp_path):
    with pytest.raises(
        InputError, match=r"terms of Algonauts 2021 .* accepted before 1009 files .*forms\.gle"
    ):
        opened(tmp_path, track="mini").check_before_work()
    opened(tmp_path, terms_accepted=True).check_before_work()


def test_the_published_captions_load(published_data, tmp_path):
    from mind_animator.captions.tables import read_ready_captions

    dataset = opened(tmp_path)
    captions = read_ready_captions(
        [published_data / "captions/Algonauts2021_captions.h5"], dataset.caption_order()
    )
    assert len(captions) == 1000
    assert captions["videos0001-00000"] == "a duck swimming in a lake"


def test_a_pickle_of_another_shape_is_reported(tmp_path):
    path = tmp_path / "participants_data_v2021/full_track/sub01/WB.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps({"train": np.zeros((900, 3, 4))}, 2))
    with pytest.raises(
        InputError, match=r"Expected 'train' of shape \(1000, repeat, voxel\) in .*, got \(900, 3, 4\)"
    ):
        list(opened(tmp_path).responses("01", "videos0001", FmriConfig()))


def test_bold_moments_has_ten_repeats_of_the_test_videos(tmp_path):
    dataset = opened(tmp_path, release="bold_moments")
    assert [segment.n_clips for segment in dataset.segments] == [100] * 10 + [102]
    assert [segment.split for segment in dataset.segments] == ["train"] * 10 + ["test"]
    names = [f"vid{number:04d}" for number in range(1001, 1103)]
    betas = np.zeros((102, 2, 91_282), np.float32)
    betas[:, :, 7] = np.arange(102)[:, None]
    shuffled = np.random.default_rng(0).permutation(102)  # rows are found by their names
    path = dataset.response_files("01", "videos1001")[0]
    path.parent.mkdir(parents=True)
    with open(path, "wb") as stream:
        pickle.dump((betas[shuffled], [names[row] for row in shuffled]), stream, pickle.HIGHEST_PROTOCOL)
    repeats = list(dataset.responses("01", "videos1001", FmriConfig()))
    assert len(repeats) == 2 and repeats[0].shape == (102, 59_412)
    assert np.array_equal(repeats[0][:, 7], np.arange(102))
    urls = [archive.urls[0] for archive in dataset.archives()]
    assert urls[1] == f"s3://openneuro.org/ds005165/{path.relative_to(tmp_path)}"
    assert all(archive.anonymous for archive in dataset.archives())
