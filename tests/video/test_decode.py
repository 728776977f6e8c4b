"""One sequential pass over a movie: the right frames, exactly, or one clear error."""

import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mind_animator.errors import InputError
from mind_animator.provenance import ROOT
from mind_animator.video.decode import Movie, read_clips, resize_frame


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


def _all_frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_wanted_frames_equal_another_decoder_frame_by_frame(movie_file, rng):
    reference = _all_frames(movie_file)
    movie = Movie(movie_file)
    assert np.allclose(movie.starts, np.arange(120) / 30, atol=1e-5)
    assert movie.end == pytest.approx(4.0, abs=1e-5)
    wanted = np.sort(rng.choice(120, 30, replace=False))
    got = dict(movie.frames(wanted))
    assert list(got) == wanted.tolist()
    for index in wanted:
        assert np.array_equal(got[index], reference[index])


def test_the_decoder_waits_for_the_last_frames_as_long_as_it_takes(tmp_path, rng):
    """decord gives a movie up after so many looks for its last frames: few on purpose are one line, ours enough."""
    still = rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)  # takes longer to decode than to ask for
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        for index in range(120):
            frame = av.VideoFrame.from_ndarray(np.roll(still, index, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    code = (
        "import os, sys, numpy as np; from mind_animator.video.decode import Movie; movie = Movie(sys.argv[1]);"
        "print(len(list(movie.frames(np.arange(120)))), os.environ['DECORD_EOF_RETRY_MAX'])"
    )
    given = {key: value for key, value in os.environ.items() if key != "DECORD_EOF_RETRY_MAX"}
    for limit in (None, "0"):
        ran = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "a.mp4")], cwd=ROOT, capture_output=True, text=True,
            env=given if limit is None else given | {"DECORD_EOF_RETRY_MAX": limit},
        )  # fmt: skip
        if limit is None:
            assert ran.stdout.split() == ["120", "1000000"], ran.stderr
        else:  # what somebody set is kept, and decord goes by it
            assert "Expected a whole movie in" in ran.stderr and ran.returncode


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


def test_frames_are_used_once_and_ascending(movie_file):
    movie = Movie(movie_file)
    list(movie.frames(np.array([1])))
    with pytest.raises(ValueError, match="Expected one pass"):
        list(movie.frames(np.array([1])))
    with pytest.raises(ValueError, match="Expected ascending indices, got 3 after 7"):
        list(Movie(movie_file).frames(np.array([7, 3])))


def test_missing_empty_and_foreign_files_are_named(tmp_path):
    with pytest.raises(InputError, match=f"Expected a movie at {tmp_path}/none.mp4, found none"):
        Movie(tmp_path / "none.mp4")
    for name, content in {"empty.mp4": b"", "text.mp4": b"no movie at all" * 99}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"Expected a whole movie in {tmp_path}/{name}"):
            Movie(tmp_path / name)


def test_a_truncated_movie_is_named(movie_file, tmp_path):
    content = movie_file.read_bytes()
    path = tmp_path / "truncated.mp4"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=f"Expected a whole movie in {path}"):
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
        for place in rng.integers(middle, len(content) - 100, 60):
            content[place] ^= 1 << rng.integers(8)
    path = tmp_path / "corrupt.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"Expected a whole movie in {path}"):
        list(Movie(path).frames(np.arange(0, 120, 7)))


def test_stderr_is_passed_on_while_listening(movie_file, capfd):
    import sys

    for index, _ in Movie(movie_file).frames(np.array([3, 9])):
        print(f"progress {index}", file=sys.stderr)
    assert capfd.readouterr().err.splitlines() == ["progress 3", "progress 9"]
