"""Video files: exact counts, times and values, and one clear error for a broken file."""

from fractions import Fraction

import imageio.v3 as iio
import numpy as np
import pytest

from mind_animator.artefacts.video import read_frames, read_video, write_mp4
from mind_animator.errors import InputError


@pytest.fixture
def frames():
    """A bright disc that moves over a gradient, 13 frames of 48 x 64."""
    rows, columns = np.mgrid[:48, :64]
    clip = np.empty((13, 48, 64, 3), np.uint8)
    for index in range(13):
        disc = (rows - 24) ** 2 + (columns - 8 - 4 * index) ** 2 < 64
        clip[index] = np.stack([3 * columns, 4 * rows, np.where(disc, 230, 60)], axis=-1)
    return clip


def test_count_and_times_are_exact(tmp_path, frames):
    path = tmp_path / "movie.mp4"
    before = frames.copy()
    assert write_mp4(path, frames, 30) == 13
    read, times = read_video(path)
    assert read.shape == frames.shape
    assert read.dtype == np.uint8
    np.testing.assert_allclose(times, np.arange(13) / 30, atol=1e-4)  # the container's clock has 1/15360 s
    np.testing.assert_array_equal(frames, before)
    # 4:2:0 and crf 18 blur colour edges by a few levels; each frame must still be nearest to itself.
    distance = np.abs(read[:, None].astype(int) - frames[None]).mean(axis=(2, 3, 4))
    np.testing.assert_array_equal(distance.argmin(axis=1), np.arange(13))
    assert distance.diagonal().max() < 4


def test_lossless_keeps_every_value(tmp_path, frames):
    odd = frames[:, :47, :61]
    write_mp4(tmp_path / "movie.mp4", odd, 4, lossless=True)
    read, times = read_video(tmp_path / "movie.mp4")
    np.testing.assert_array_equal(read, odd)
    np.testing.assert_allclose(times, np.arange(13) / 4, atol=1e-4)


def test_a_generator_gives_the_same_bytes_as_an_array(tmp_path, frames):
    write_mp4(tmp_path / "array.mp4", frames, 25)
    write_mp4(tmp_path / "generator.mp4", (frame for frame in frames), 25)
    assert (tmp_path / "array.mp4").read_bytes() == (tmp_path / "generator.mp4").read_bytes()


@pytest.mark.parametrize("fps", [29.97, 23.976, 7.5, Fraction(30000, 1001)])
def test_rates_that_are_not_whole(tmp_path, frames, fps):
    write_mp4(tmp_path / "movie.mp4", frames, fps)
    _, times = read_video(tmp_path / "movie.mp4")
    np.testing.assert_allclose(times, np.arange(13) / float(fps), atol=6e-4)  # 29.97 stands for 30000/1001


def test_frames_with_their_end_and_notes_within_bounded_memory(tmp_path, frames):
    write_mp4(tmp_path / "movie.mp4", frames, 30)
    read, times, notes = read_frames(tmp_path / "movie.mp4", max_bytes=frames.nbytes)
    np.testing.assert_array_equal(read, read_video(tmp_path / "movie.mp4")[0])
    np.testing.assert_allclose(times, np.arange(14) / 30, atol=1e-4)
    assert notes == ()
    with pytest.raises(
        InputError, match=r"Expected at most 0.000112 GiB of pixels in .*movie.mp4, got 13 frame"
    ):
        read_frames(tmp_path / "movie.mp4", max_bytes=frames.nbytes - 1)


def test_gif_is_read(published_data):
    gif = sorted((published_data / "reconstructions" / "mind_animator").glob("*.gif"))[0]
    frames, times = read_video(gif)
    assert len(frames) == len(times) == 8
    assert (np.diff(times) > 0).all()


def test_decord_sees_the_same_frames(tmp_path, frames):
    decord = pytest.importorskip("decord")
    write_mp4(tmp_path / "movie.mp4", frames, 30)
    reader = decord.VideoReader(str(tmp_path / "movie.mp4"))
    read, times = read_video(tmp_path / "movie.mp4")
    np.testing.assert_array_equal(reader.get_batch(range(13)).asnumpy(), read)
    stamps = reader.get_frame_timestamp(range(13))[:, 0]
    np.testing.assert_allclose(stamps - stamps[0], times, atol=1e-4)


def test_wrong_frames_leave_nothing_behind(tmp_path, frames):
    path = tmp_path / "movie.mp4"
    with pytest.raises(ValueError, match=r"Expected at least one frame for .*movie.mp4, got none."):
        write_mp4(path, [], 30)
    with pytest.raises(ValueError, match=r"Expected uint8 frames \(48, 64, 3\), got uint8 \(24, 64, 3\)."):
        write_mp4(path, [frames[0], frames[1, ::2]], 30)
    with pytest.raises(ValueError, match=r"Expected uint8 frames .*, got float64"):
        write_mp4(path, frames / 255, 30)
    with pytest.raises(ValueError, match=r"Expected even height and width \(H.264 4:2:0\), got \(47, 64\)."):
        write_mp4(path, frames[:, :47], 30)
    with pytest.raises(ValueError, match=r"Expected fps > 0, got 0\."):
        write_mp4(path, frames, 0)
    assert list(tmp_path.iterdir()) == []


def test_broken_files_are_named(tmp_path, frames):
    path = tmp_path / "movie.mp4"
    with pytest.raises(InputError, match=r"Expected a video at .*movie.mp4, found none."):
        read_video(path)
    path.write_bytes(b"not a video")
    with pytest.raises(InputError, match=r"Expected a whole video at .*movie.mp4"):
        read_video(path)
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), np.uint8)
    write_mp4(path, noise, 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"movie\.mp4"):
        read_video(path)


@pytest.mark.parametrize("container", ["webm", "mkv", "avi"])
def test_truncated_files_of_other_containers(tmp_path, container):
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), np.uint8)
    path = tmp_path / f"movie.{container}"
    codec = {"webm": "libvpx-vp9", "mkv": "libx264", "avi": "mpeg4"}[container]
    iio.imwrite(path, noise, plugin="pyav", codec=codec, fps=30)
    assert read_video(path)[0].shape == noise.shape
    whole = path.read_bytes()
    for part in (0.5, 0.9):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(InputError, match=rf"movie\.{container}"):
            read_video(path)
