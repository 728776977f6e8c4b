"""Reading of external reconstructions: types of files, grids, numbering, and their possible faults."""

import numpy as np
import pytest
from PIL import Image

from mind_animator.artefacts.clipfolder import find_clips, match_clips, natural_order, read_clip
from mind_animator.artefacts.video import write_mp4
from mind_animator.config.clipfolder import PRESETS, GridConfig, LayoutConfig
from mind_animator.errors import InputError

ANY = LayoutConfig()


def colours(count: int = 4, height: int = 16, width: int = 16) -> np.ndarray:
    """Flat frames of different pure colours, which a gif's palette keeps exactly."""
    values = np.array(
        [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255], [255, 0, 255]], np.uint8
    )
    return np.broadcast_to(values[np.arange(count) % 6, None, None], (count, height, width, 3)).copy()


def write_gif(path, frames, milliseconds=250):
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=milliseconds, loop=0, disposal=2)
    return path


def test_gif_frames_and_times(tmp_path):
    video = read_clip(write_gif(tmp_path / "a.gif", colours(), 330), ANY)
    np.testing.assert_array_equal(video.frames, colours())
    np.testing.assert_allclose(video.times, [0, 0.33, 0.66, 0.99, 1.32], atol=1e-12)
    assert video.notes == ()


def test_gif_without_durations_gets_equal_ones(tmp_path):
    video = read_clip(write_gif(tmp_path / "a.gif", colours(3), 0), ANY)
    assert np.ptp(np.diff(video.times)) < 1e-12


@pytest.mark.parametrize("suffix", ["mp4", "avi", "webm", "mov", "mkv"])
def test_video_containers(tmp_path, suffix):
    import av

    frames = np.full((6, 32, 48, 3), 60, np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None, None] * 30
    path = tmp_path / f"clip.{suffix}"
    codec = {"avi": "mpeg4", "webm": "libvpx-vp9"}.get(suffix, "libx264")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=4)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    video = read_clip(path, ANY)
    assert video.frames.shape == frames.shape
    # lossy, but flat grey steps of 30 stay within the quantiser's few levels
    assert np.abs(video.frames.astype(int).mean((1, 2, 3)) - frames.mean((1, 2, 3))).max() < 6
    np.testing.assert_allclose(np.diff(video.times), 0.25, atol=1e-3)


def test_folder_of_images_in_natural_order(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    (tmp_path / "clip7").mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "clip7" / f"frame_{index}.png")
    layout = LayoutConfig(name="clip{number}")
    (path,) = find_clips(tmp_path, layout).values()
    np.testing.assert_array_equal(read_clip(path, layout).frames, frames)
    assert sorted(["f10", "f9", "f1"], key=natural_order) == ["f1", "f9", "f10"]


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_grey_and_transparent_images(tmp_path, mode):
    (tmp_path / "a").mkdir()
    Image.new("L", (9, 8), 255).convert(mode).save(tmp_path / "a" / "0.png")
    video = read_clip(tmp_path / "a", ANY)
    assert video.frames.shape == (1, 8, 9, 3)
    assert (video.frames == 255).all()
    assert bool(video.notes) == (mode in ("L", "LA", "1"))


def test_transparency_is_laid_on_black_and_said(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGBA", (4, 4), (200, 100, 50, 128)).save(tmp_path / "a" / "0.png")
    video = read_clip(tmp_path / "a", ANY)
    expected = np.floor(np.array([200, 100, 50]) * 128 / 255 + 0.5)
    assert np.abs(video.frames[0, 0, 0] - expected).max() <= 1
    assert video.notes == ("transparent pixels composited on black",)


def test_sixteen_bits_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "a" / "0.png")
    with pytest.raises(InputError, match="8-bit grey, RGB or RGBA"):
        read_clip(tmp_path / "a", ANY)


@pytest.mark.parametrize("padding", [0, 2, 5])
def test_grid_cells(tmp_path, padding):
    cells = [colours(3, 10, 12), colours(5, 10, 12)[2:]]
    row = np.zeros((3, 10 + 2 * padding, 2 * 12 + 3 * padding, 3), np.uint8)
    for column, cell in enumerate(cells):
        left = padding + column * (12 + padding)
        row[:, padding : padding + 10, left : left + 12] = cell
    path = write_gif(tmp_path / "a.gif", row)
    for column, cell in enumerate(cells):
        layout = LayoutConfig(grid=GridConfig(columns=2, column=column, padding=padding))
        np.testing.assert_array_equal(read_clip(path, layout).frames, cell)


def test_wrong_grid_is_an_error_not_a_crop(tmp_path):
    path = write_gif(tmp_path / "a.gif", colours(2, 20, 46))
    with pytest.raises(InputError, match="Expected even padding of 2 pixels"):
        read_clip(path, LayoutConfig(grid=GridConfig(padding=2)))
    with pytest.raises(InputError, match="Expected a row of 2 images with 1 pixels of padding"):
        read_clip(path, LayoutConfig(grid=GridConfig(padding=1)))


def test_swapped_channels(tmp_path):
    path = write_gif(tmp_path / "a.gif", colours())
    video = read_clip(path, LayoutConfig(channels="bgr"))
    np.testing.assert_array_equal(video.frames, colours()[..., ::-1])


def test_corrupt_and_truncated_files(tmp_path):
    whole = write_gif(
        tmp_path / "whole.gif", np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    )
    data = whole.read_bytes()
    for name, content in {
        "empty": b"",
        "noise": b"no gif at all",
        "cut": data[: len(data) // 2],
        "end": data[:-1],
    }.items():
        path = tmp_path / f"{name}.gif"
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{name}.gif"):
            read_clip(path, ANY)
    (tmp_path / "noise.mp4").write_bytes(b"no video at all")
    with pytest.raises(InputError, match=r"noise\.mp4"):
        read_clip(tmp_path / "noise.mp4", ANY)
    write_mp4(
        tmp_path / "long.mp4", np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8), 30
    )
    data = (tmp_path / "long.mp4").read_bytes()
    (tmp_path / "short.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"short\.mp4"):
        read_clip(tmp_path / "short.mp4", ANY)
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match="Expected images"):
        read_clip(tmp_path / "void", ANY)


def test_numbers_count_from_where_the_layout_says(tmp_path):
    for number in (1, 2, 10):
        write_gif(tmp_path / f"test{number}.gif", colours(2))
    (tmp_path / "notes.txt").write_text("not a clip")
    one = LayoutConfig(name="test{number}", first=1)
    assert list(find_clips(tmp_path, one)) == ["0", "1", "9"]
    assert list(find_clips(tmp_path, LayoutConfig(name="test{number}"))) == ["1", "2", "10"]
    clips = [f"t-{index:05d}" for index in range(10)]
    placed = match_clips(find_clips(tmp_path, one), clips, one, "here")
    assert {clip: path.name for clip, path in placed.items()} == {
        "t-00000": "test1.gif", "t-00001": "test2.gif", "t-00009": "test10.gif",
    }  # fmt: skip
    zero = LayoutConfig(name="test{number}")
    with pytest.raises(InputError, match=r"do the numbers start at 1\? set 'first'"):
        match_clips(find_clips(tmp_path, zero), clips, zero, "here")
    write_gif(tmp_path / "test0.gif", colours(2))
    with pytest.raises(InputError, match="Expected clip numbers from 1"):
        find_clips(tmp_path, one)


def test_two_files_for_one_clip_and_none(tmp_path):
    with pytest.raises(InputError, match="Expected a folder of videos"):
        find_clips(tmp_path / "absent", ANY)
    with pytest.raises(InputError, match="an empty folder"):
        find_clips(tmp_path, ANY)
    write_gif(tmp_path / "7.gif", colours(2))
    write_gif(tmp_path / "07.gif", colours(2))
    with pytest.raises(InputError, match="Expected one file for clip '7'"):
        find_clips(tmp_path, LayoutConfig(name="{number}"))


def test_presets_find_and_cut_the_published_files(published_data):
    folder = published_data / "reconstructions"
    for preset, count, size, lengths in (
        ("neuroclips", 22, 256, (6, 14)),
        ("mind_animator", 15, 512, (8, 8)),
    ):
        sides = [find_clips(folder / preset, layout) for layout in PRESETS[preset]]
        assert list(sides[0]) == list(sides[1])
        assert len(sides[0]) == count
        key = next(iter(sides[0]))
        for layout, files, length in zip(PRESETS[preset], sides, lengths, strict=True):
            assert read_clip(files[key], layout).frames.shape == (length, size, size, 3)


def test_mind_video_layout(tmp_path):
    """Its files are rows of two 256-pixel images with 2 pixels of padding, numbered from 1."""
    row = np.zeros((2, 260, 518, 3), np.uint8)
    row[:, 2:258, 2:258] = [255, 0, 0]
    row[:, 2:258, 260:516] = [0, 0, 255]
    row[1, 100, 100], row[1, 100, 400] = [0, 255, 0], [0, 255, 0]  # equal frames would be written as one
    write_gif(tmp_path / "test1.gif", row, 330)
    for layout, colour in zip(PRESETS["mind_video"], ([255, 0, 0], [0, 0, 255]), strict=True):
        files = find_clips(tmp_path, layout)
        assert list(files) == ["0"]
        frames = read_clip(files["0"], layout).frames
        assert frames.shape == (2, 256, 256, 3)
        assert (frames[0] == colour).all()
