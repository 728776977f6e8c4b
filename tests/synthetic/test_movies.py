"""Movies and their ground truth: real H.264, the same bytes for the same seed, frames where the ground truth says."""

import json

import decord
import numpy as np
import pytest

from mind_animator.errors import InputError
from mind_animator.synthetic import ground_truth, movies, scenes
from workflow_scripts import make_movie


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    folder = tmp_path_factory.mktemp("movie")
    shots = movies.movie_shots("test1", 11, 12.0)
    movies.write_movie(folder / "test1.mp4", shots)
    ground_truth.write_ground_truth(folder / "test1.json", shots)
    return folder, shots


def test_decord_reads_every_frame_at_30_fps(movie):
    folder, shots = movie
    reader = decord.VideoReader(str(folder / "test1.mp4"))
    assert len(reader) == 360 and reader.get_avg_fps() == pytest.approx(30)
    assert reader[0].shape == (128, 128, 3)
    for index in (0, 100, 359):
        shot = scenes.shot_at(shots, index / 30)
        drawn = scenes.render_frame(shot, index / 30 - shot.onset, 128)
        assert np.abs(reader[index].asnumpy().astype(int) - drawn).mean() < 6  # chroma is stored at half size


def test_the_same_shots_give_the_same_bytes(movie, tmp_path):
    folder, shots = movie
    movies.write_movie(tmp_path / "again.mp4", shots)
    assert (tmp_path / "again.mp4").read_bytes() == (folder / "test1.mp4").read_bytes()


def test_names_choose_split_and_seed():
    assert movies.movie_shots("seg1", 1, 20.0) != movies.movie_shots("seg2", 1, 20.0)
    for name, test in (("seg1", False), ("test1", True)):
        shots = movies.movie_shots(name, 1, 60.0)
        assert all(
            scenes.held_out(shot.noun, shot.scene, scenes.octant(shot.direction)) == test for shot in shots
        )


@pytest.mark.parametrize("name", ["seg", "movie1", "1", "seg1a", ""])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="Expected a movie named 'seg<number>' or 'test<number>', got"):
        movies.movie_shots(name, 1)


def test_bad_sizes_are_refused_and_leave_nothing(tmp_path):
    shots = scenes.sample_movie(1, 2.0)
    with pytest.raises(ValueError, match="Expected an even size of at least 16 pixels, got 65"):
        movies.write_movie(tmp_path / "odd.mp4", shots, size=65)
    with pytest.raises(ValueError, match="Expected at least one shot, got none"):
        movies.write_movie(tmp_path / "none.mp4", [])
    assert not list(tmp_path.iterdir())


def test_ground_truth_is_read_back_as_written(movie):
    folder, shots = movie
    assert ground_truth.read_ground_truth(folder / "test1.json") == shots


def test_layout_follows_the_shots(movie):
    _, shots = movie
    times = np.arange(0, 12, 0.25)
    table = ground_truth.layout(shots, times)
    for index, time in enumerate(times):
        shot = scenes.shot_at(shots, time)
        assert (
            scenes.NOUNS[table["noun"][index]] == shot.noun
            and scenes.SCENES[table["scene"][index]] == shot.scene
        )
        assert (table["x"][index], table["y"][index]) == scenes.position(shot, time - shot.onset)


def test_broken_ground_truth_is_refused(tmp_path):
    path = tmp_path / "ground_truth.json"
    path.write_text(json.dumps({"shots": [{"noun": "horse"}]}))
    with pytest.raises(InputError, match="Expected the shots of a movie"):
        ground_truth.read_ground_truth(path)
    path.write_text("{")
    with pytest.raises(InputError, match="Expected JSON"):
        ground_truth.read_ground_truth(path)


def test_the_command_writes_movie_and_ground_truth(tmp_path):
    paths = tmp_path / "seg1.mp4", tmp_path / "ground_truth" / "seg1.json"
    common = [
        "--segment",
        "seg1",
        "--seed",
        "3",
        "--size",
        "64",
        "--movie",
        str(paths[0]),
        "--ground-truth",
        str(paths[1]),
    ]
    make_movie.main([*common, "--seconds", "4"])
    assert len(decord.VideoReader(str(paths[0]))) == 120
    assert ground_truth.read_ground_truth(paths[1]) == movies.movie_shots("seg1", 3, 4.0)
    with pytest.raises(InputError, match=r"Expected a duration of whole 2-s clips, got 5\.0"):
        make_movie.main([*common, "--seconds", "5"])
