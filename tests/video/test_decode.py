"""One sequential pass over a movie: the right frames, exactly, or one clear error."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mind_animator.artefacts.video import Movie
from mind_animator.errors import InputError
from mind_animator.video.conform import resize_frame
from mind_animator.video.decode import read_clips


@pytest.fixture(scope="session")
def movie_file(tmp_path_factory):
    """Four seconds at 30 fps, 96 x 64, with B-frames, three key frames and its index at the front."""
    path = tmp_path_factory.mktemp("movie") / "movie.mp4"
    rng = np.random.default_rng(5)
    still = rng.integers(0, 255, (8, 12, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.options = {"g": "48", "bf": "3"}
        for index in range(120):
            frame = np.roll(still, index, axis=1)
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def test_a_short_movie_is_read_by_pyav(movie_file, monkeypatch):
    """Confirming decord's frames would take longer than reading all of them."""
    monkeypatch.undo()
    movie = Movie(movie_file)
    assert (movie.reader, movie.reason) == ("PyAV", "it has fewer than 1000 frames")


def _all_frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_requested_frames_equal_another_decoder_frame_by_frame(movie_file, rng):
    reference = _all_frames(movie_file)
    movie = Movie(movie_file)
    assert np.allclose(movie.starts, np.arange(120) / 30, atol=1e-5)
    assert movie.end == pytest.approx(4.0, abs=1e-5)
    indices = np.sort(rng.choice(120, 30, replace=False))
    got = dict(movie.frames(indices))
    assert list(got) == indices.tolist()
    for index in indices:
        assert np.array_equal(got[index], reference[index])


def test_clips_may_overlap_and_come_in_any_order(movie_file):
    reference = [resize_frame(frame, 32) for frame in _all_frames(movie_file)]
    indices = np.array([[60, 70, 119], [0, 10, 20], [15, 20, 60]])
    kept = indices.copy()
    got = dict(read_clips(Movie(movie_file), indices, size=32))
    assert np.array_equal(indices, kept)
    assert sorted(got) == [0, 1, 2]
    for row, clip in enumerate(indices):
        assert np.array_equal(got[row], np.stack([reference[index] for index in clip]))


def test_a_frame_that_several_times_show_is_taken_several_times(movie_file):
    clips = dict(read_clips(Movie(movie_file), np.array([[4, 4, 5]]), size=16))
    assert np.array_equal(clips[0][0], clips[0][1])


def test_resize_is_area_interpolation_of_the_centre(rng):
    frame = rng.integers(0, 255, (60, 90, 3), dtype=np.uint8)
    # an exact third in each direction: area interpolation is the mean of blocks
    blocks = frame.reshape(20, 3, 30, 3, 3).mean(axis=(1, 3))
    small = cv2.resize(frame, (30, 20), interpolation=cv2.INTER_AREA)
    assert np.abs(small - blocks).max() <= 0.5
    whole = resize_frame(frame, 24)
    assert np.array_equal(whole, cv2.resize(frame, (24, 24), interpolation=cv2.INTER_AREA))
    centre = resize_frame(frame, 24, crop=0.5)
    assert np.array_equal(centre, resize_frame(frame[15:45, 22:67], 24))


def test_indices_ascend(movie_file):
    with pytest.raises(ValueError, match="Expected ascending indices from 0, got"):
        list(Movie(movie_file).frames(np.array([7, 3])))
    with pytest.raises(InputError, match=f"Expected frame 500 in {movie_file}, got 120 frames"):
        list(Movie(movie_file, reader="PyAV").frames(np.array([3, 500])))


def test_missing_empty_and_foreign_files_are_named(tmp_path):
    with pytest.raises(InputError, match=f"Expected a movie at {tmp_path}/none.mp4, found none"):
        Movie(tmp_path / "none.mp4")
    for name, content in {"empty.mp4": b"", "text.mp4": b"no movie at all" * 99}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"Expected a whole video at {tmp_path}/{name}"):
            Movie(tmp_path / name)


def test_a_truncated_movie_is_named(movie_file, tmp_path):
    content = movie_file.read_bytes()
    path = tmp_path / "truncated.mp4"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=rf"Expected a whole video at {path}"):
        list(Movie(path).frames(np.arange(120)))


@pytest.mark.parametrize("damage", ["zeros", "noise", "bits"])
def test_a_corrupt_movie_is_named(movie_file, tmp_path, damage):
    content = bytearray(movie_file.read_bytes())
    rng = np.random.default_rng(8)
    middle = len(content) // 2
    if damage == "zeros":
        content[middle : middle + 2000] = bytes(2000)
    elif damage == "noise":
        content[middle : middle + 2000] = rng.integers(0, 256, 2000, dtype=np.uint8).tobytes()
    else:  # bits inside the coded images: the container stays whole, the decoder conceals
        for index in rng.integers(middle, len(content) - 100, 60):
            content[index] ^= 1 << rng.integers(8)
    path = tmp_path / "corrupt.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"Expected a whole video at {path}"):
        list(Movie(path).frames(np.arange(0, 120, 7)))
