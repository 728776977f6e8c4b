"""Every format of a downloaded folder against an independent decoder, and every oddity with its decision."""

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mind_animator.artefacts import clipfolder
from mind_animator.artefacts.clipfolder import natural_order, read_clip, scan_clips
from mind_animator.config.clipfolder import PRESETS, LayoutConfig
from mind_animator.errors import InputError

ANY = LayoutConfig()


@pytest.fixture
def frames(rng):
    return rng.integers(0, 256, (5, 20, 24, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def cases(published_data):
    folder = published_data / "cases" / "media" / "score"
    if not folder.is_dir():
        pytest.skip("the examples of downloaded folders are absent")
    return folder


def save(path, frames, mode="RGB", **options):
    images = [Image.fromarray(frame).convert(mode) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


def by_ffmpeg(path, pixels="rgb24"):
    """Frames and their times by FFmpeg."""
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    return np.stack([f.to_ndarray(format=pixels) for f in decoded]), np.array([f.time for f in decoded])


@pytest.mark.parametrize("name", ["neuroclips", "mind_animator"])
def test_published_gifs_equal_ffmpegs(published_data, name):
    """Frame by frame, disposal and times included."""
    for path in sorted((published_data / "reconstructions" / name).glob("*.gif"))[::7]:
        video = read_clip(path, ANY)
        expected, times = by_ffmpeg(path)
        np.testing.assert_array_equal(video.frames, expected)
        np.testing.assert_allclose(video.times[:-1], times, atol=1e-9)


@pytest.mark.parametrize(
    "name", ["plain.mp4", "frag.mp4", "edit.mp4", "d_x264.ts", "hevc.mp4", "pt_mpeg4.avi"]
)
def test_videos_equal_a_plain_pass_of_pyav(published_data, name):
    path = published_data / "cases" / "media" / "film" / name
    if not path.is_file():
        pytest.skip("the examples of movies are absent")
    expected, times = by_ffmpeg(path)
    video = read_clip(path, ANY)
    np.testing.assert_array_equal(video.frames, expected)
    np.testing.assert_allclose(video.times[:-1], times - times[0], atol=2e-3)  # time bases of 1 ms


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [
        ("png", {}, 0),
        ("bmp", {}, 0),
        ("tif", {"compression": "tiff_lzw"}, 0),
        ("webp", {"lossless": True}, 0),
        # two roundings of the inverse transform and of the conversion from YCbCr, each of half a level per channel
        ("jpg", {"quality": 95, "subsampling": 0}, 3),
    ],
)
def test_still_images_equal_ffmpegs(tmp_path, rng, suffix, options, tolerance):
    image = cv2.resize(
        rng.integers(0, 256, (4, 5, 3), dtype=np.uint8), (40, 32), interpolation=cv2.INTER_CUBIC
    )
    Image.fromarray(image).save(tmp_path / f"a.{suffix}", **options)
    found = read_clip(tmp_path / f"a.{suffix}", ANY).frames.astype(int)
    assert np.abs(found - by_ffmpeg(tmp_path / f"a.{suffix}")[0]).max() <= tolerance


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_gif_disposal_equals_ffmpegs(tmp_path, rng, disposal):
    """Frames that change a part of the canvas, transparent pixels included."""
    frames = np.zeros((6, 32, 40, 4), np.uint8)
    for index in range(6):
        top, left = rng.integers(0, 20, 2)
        frames[index, top : top + 10, left : left + 12] = (*rng.integers(0, 256, 3), 255)
    path = save(tmp_path / "a.gif", frames, "RGBA", disposal=disposal, duration=40)
    video = read_clip(path, ANY)
    rgba, times = by_ffmpeg(path, "rgba")
    expected = np.where(rgba[..., 3:] == 255, rgba[..., :3], 0)
    assert len(video.frames) == 6
    np.testing.assert_array_equal(video.frames, expected)
    np.testing.assert_allclose(video.times[:-1], times, atol=1e-9)


@pytest.mark.parametrize(("suffix", "options"), [("apng", {"format": "PNG"}), ("webp", {"lossless": True})])
def test_animated_png_and_webp(tmp_path, frames, suffix, options):
    video = read_clip(
        save(tmp_path / f"a.{suffix}", frames, duration=[250, 100, 500, 250, 250], **options), ANY
    )
    np.testing.assert_array_equal(video.frames, frames)
    np.testing.assert_allclose(video.times, [0, 0.25, 0.35, 0.85, 1.1, 1.35], atol=1e-9)
    assert video.notes == ()


def test_apng_default_image_is_no_frame(tmp_path, frames):
    """The image for viewers that cannot animate."""
    path = save(tmp_path / "a.apng", frames, format="PNG", duration=100, default_image=True)
    np.testing.assert_array_equal(read_clip(path, ANY).frames, frames[1:])


def test_zero_durations_follow_browsers_and_ffmpeg(cases):
    for path in sorted((cases / "gif_zero_duration" / "predz").glob("*.gif")):
        video = read_clip(path, ANY)
        np.testing.assert_allclose(video.times, [0, 0.1, 1.35, 1.6], atol=1e-9)
        np.testing.assert_allclose(video.times[:-1], by_ffmpeg(path)[1], atol=1e-9)
        assert video.notes == ("frames of 0 or 10 ms shown for 100 ms, as in browsers",)


def test_gif_frames_beyond_the_canvas_are_cropped(cases):
    video = read_clip(cases / "extents" / "pred" / "c1.gif", ANY)
    assert video.frames.shape == (2, 100, 100, 3)
    # the second frame covers 50..150 of a canvas of 100
    np.testing.assert_array_equal(video.frames[0][:50], video.frames[1][:50])
    assert "parts of frames beyond the canvas cropped" in video.notes


def test_a_decompression_bomb_is_one_files_fault(cases):
    with pytest.raises(InputError, match=r"c1.gif, got: Image size \(4364696535 pixels\) exceeds limit"):
        read_clip(cases / "bomb" / "pred" / "c1.gif", ANY)


def test_memory_of_a_file_is_bounded(tmp_path, frames, monkeypatch):
    from mind_animator.artefacts.video import write_mp4

    save(tmp_path / "a.gif", frames)
    write_mp4(tmp_path / "a.mp4", frames, 4)
    np.save(tmp_path / "a.npy", frames)
    (tmp_path / "folder").mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "folder" / f"{index}.png")
    monkeypatch.setattr(clipfolder, "LIMIT", frames.nbytes)
    for name in ("a.gif", "a.mp4", "a.npy", "folder"):
        assert len(read_clip(tmp_path / name, ANY).frames) == 5
    monkeypatch.setattr(clipfolder, "LIMIT", frames.nbytes - 1)
    for name in ("a.gif", "a.mp4", "a.npy", "folder"):
        with pytest.raises(InputError, match=rf"GiB of pixels in .*{name}, got 5 frame\(s\) of 24 x 20"):
            read_clip(tmp_path / name, ANY)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff", "jpg", "npy", "pt"])
def test_damaged_files_never_raise_anything_else(tmp_path, rng, frames, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, frames)
    elif suffix == "pt":
        torch.save(torch.from_numpy(frames), path)
    elif suffix in ("png", "jpg"):
        Image.fromarray(frames[0]).save(path)
    else:
        save(path, frames)
    whole = path.read_bytes()
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for index in rng.integers(0, min(len(whole), 400), 3):
            damaged[index] = rng.integers(0, 256)
        path.write_bytes(damaged[: rng.integers(1, len(damaged) + 1)])
        try:
            assert read_clip(path, ANY).frames.dtype == np.uint8
        except InputError as error:
            assert path.name in str(error)
            refused += 1
    assert refused


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    image = np.zeros((16, 32, 3), np.uint8)
    image[:8, :16], image[:8, 16:], image[8:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a").mkdir()
    Image.fromarray(image).save(tmp_path / "a" / "0.png", exif=exif)
    turned = {  # what the EXIF standard says of row 0 and column 0
        1: image, 2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1],
        5: image.transpose(1, 0, 2), 6: np.rot90(image, -1), 7: image[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(image),
    }  # fmt: skip
    video = read_clip(tmp_path / "a", ANY)
    np.testing.assert_array_equal(video.frames[0], turned[orientation])
    assert bool(video.notes) == (orientation != 1)


def test_system_files_are_ignored_with_a_count(cases, tmp_path):
    scan = scan_clips(cases / "appledouble" / "pred", ANY)
    assert list(scan.files) == ["c0", "c1", "c2"]
    assert scan.notes == (f"{cases / 'appledouble' / 'pred'}: 1 system file (.DS_Store) ignored.",)
    assert len(read_clip(scan.files["c1"], ANY).frames) == 8
    (tmp_path / "__MACOSX").mkdir()
    for name in ("Thumbs.db", "._0.gif", "desktop.ini", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    save(tmp_path / "0.gif", np.zeros((2, 8, 8, 3), np.uint8))
    scan = scan_clips(tmp_path, ANY)
    assert list(scan.files) == ["0"]
    assert [note.removeprefix(f"{tmp_path}: ") for note in scan.notes] == [
        "4 system files (._0.gif, Thumbs.db, __MACOSX, ...) ignored.",
        "1 file (notes.txt) passed over: not of a kind that is read as a clip here.",
    ]


def test_further_suffixes_are_read(cases):
    scan = scan_clips(cases / "suffixes_passed_over" / "truth", ANY)
    assert list(scan.files) == [f"c{number}" for number in range(9)]
    for path in scan.files.values():
        assert len(read_clip(path, ANY).frames) > 1


def test_nested_folders(cases, tmp_path, frames):
    scan = scan_clips(cases / "nested" / "pred", LayoutConfig(name="test{number}"))
    assert {key: read_clip(path, ANY).frames.shape for key, path in scan.files.items()} == {
        str(number): (8, 64, 64, 3) for number in range(3)
    }
    deep = tmp_path / "clip" / "frames" / "png"
    deep.mkdir(parents=True)
    (tmp_path / "clip" / ".DS_Store").write_bytes(b"")
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(deep / f"{index}.png")
    np.testing.assert_array_equal(read_clip(tmp_path / "clip", ANY).frames, frames)
    save(deep / "x.gif", frames)
    with pytest.raises(InputError, match=r"or one video in .*, got 5 image\(s\) and 1 video"):
        read_clip(tmp_path / "clip", ANY)


def test_flat_folder_of_images_is_one_clip_per_image(tmp_path, frames):
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    scan = scan_clips(tmp_path, ANY)
    assert list(scan.files) == list("01234")
    assert scan.notes == (f"{tmp_path}: 5 images (0.png, 1.png, 2.png, ...), each a clip of one frame.",)
    np.testing.assert_array_equal(read_clip(scan.files["3"], ANY).frames, frames[3:4])
    save(tmp_path / "movie.gif", frames)  # beside videos, images are something else (thumbnails, figures)
    scan = scan_clips(tmp_path, ANY)
    assert list(scan.files) == ["movie"]
    assert "5 files (0.png, 1.png, 2.png, ...) passed over" in scan.notes[0]


def test_twins_are_refused_or_chosen_by_the_layout(tmp_path, frames):
    save(tmp_path / "0.gif", frames)
    save(tmp_path / "0.webp", frames[:2])
    with pytest.raises(InputError, match=r"got 0.gif and 0.webp in .*set the layout's suffix"):
        scan_clips(tmp_path, ANY)
    assert scan_clips(tmp_path, LayoutConfig(suffix=".webp")).files == {"0": tmp_path / "0.webp"}
    (tmp_path / "clip").mkdir()
    for suffix in ("png", "jpg"):
        Image.fromarray(frames[0]).save(tmp_path / "clip" / f"0.{suffix}")
    with pytest.raises(InputError, match=r"Expected one image per frame in .*, got two of '0'"):
        read_clip(tmp_path / "clip", ANY)


def test_gaps_in_numbers(tmp_path, frames):
    for number in (1, 2, 4):
        save(tmp_path / f"{number}.gif", frames)
    scan = scan_clips(tmp_path, LayoutConfig(name="{number}", first=1))
    assert scan.notes == (f"{tmp_path}: 1 of the numbers 1 to 4 absent: 3.",)
    (tmp_path / "clip").mkdir()
    for number, frame in zip((0, 5, 10, 20, 25), frames, strict=True):
        Image.fromarray(frame).save(tmp_path / "clip" / f"f{number}_x2.png")
    video = read_clip(tmp_path / "clip", ANY)
    np.testing.assert_array_equal(video.frames, frames)
    np.testing.assert_array_equal(video.times, [0, 1, 2, 4, 5, 6])
    assert video.notes == ("gaps in the numbers of frames (10 lasts until 20, 5 being one frame)",)


def test_pages_of_a_tiff_are_frames(tmp_path, frames):
    video = read_clip(save(tmp_path / "a.tiff", frames), ANY)
    np.testing.assert_array_equal(video.frames, frames)
    assert video.notes == ("5 pages taken as frames",)
    (tmp_path / "clip").mkdir()
    for name in ("0", "1"):
        save(tmp_path / "clip" / f"{name}.tif", frames[:2])
    with pytest.raises(InputError, match=r"Expected one frame per image in .*, got 2 in 0.tif"):
        read_clip(tmp_path / "clip", ANY)


def test_order_of_decimal_numbers():
    names = ["t10", "t0.5", "t0.25", "t2", "t0.125"]
    assert sorted(names, key=natural_order) == ["t0.125", "t0.25", "t0.5", "t2", "t10"]
    assert sorted(["1.2.10", "1.2.9"], key=natural_order) == ["1.2.9", "1.2.10"]  # no decimal number
    assert natural_order("a٣") == [(1, "a٣")]


@pytest.mark.parametrize("kind", ["npy", "pt"])
def test_arrays_and_tensors(tmp_path, frames, kind):
    def write(array):
        if kind == "npy":
            np.save(tmp_path / "a.npy", array)
        else:
            torch.save(torch.from_numpy(np.ascontiguousarray(array)), tmp_path / "a.pt")
        return read_clip(tmp_path / f"a.{kind}", ANY)

    assert write(frames).notes == ()
    np.testing.assert_array_equal(write(frames).frames, frames)
    for axes, axis in (((0, 3, 1, 2), 1), ((3, 0, 1, 2), 0)):
        video = write(frames.transpose(axes).astype(np.float32) / 255)
        np.testing.assert_array_equal(video.frames, frames)
        assert video.notes == (
            f"axis {axis} of the array taken as the channel",
            "values 0 to 1 scaled to 0 to 255",
        )
    np.testing.assert_array_equal(write(frames[0]).frames, frames[:1])
    np.testing.assert_array_equal(write(frames[0].transpose(2, 0, 1)).frames, frames[:1])
    np.testing.assert_array_equal(write(frames[:3]).frames, frames[:3])  # three frames are no channels
    for wrong, message in (
        (frames.astype(np.float32), "Expected uint8, or floats from 0 to 1, in .*, got float32 0 to 255"),
        (frames / 127.5 - 1, "got float64 -1 to 1"),
        (np.full((2, 8, 8, 3), np.nan), "got float64 nan to nan"),
        (frames.astype(np.int64), "got int64"),
        (frames[..., :2], r"Expected one axis of length 3 .* got shape \(5, 20, 24, 2\)"),
        (frames[:3, :, :, :1].transpose(0, 3, 1, 2).repeat(3, 1), r"got shape \(3, 3, 20, 24\): ambiguous"),
        (frames[None], r"Expected one clip .*got \(1, 5, 20, 24, 3\)"),
        (frames[:0], r"got \(0, 20, 24, 3\)"),
    ):
        with pytest.raises(InputError, match=message):
            write(wrong)


def test_a_torch_file_with_code_is_refused(tmp_path):
    torch.save({"frames": slice(3), "make": Image.new}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a.pt"):
        read_clip(tmp_path / "a.pt", ANY)


@pytest.mark.parametrize("suffix", ["png", "gif", "webp", "apng", "mov", "webm"])
def test_transparency_is_composited_on_black_in_every_format(tmp_path, suffix):
    """Left half opaque, right half transparent over a bright colour."""
    rgba = np.full((4, 32, 32, 4), 255, np.uint8)
    rgba[..., :3] = (200, 100, 50)
    rgba[:, :, 16:, 3] = 0
    path = tmp_path / f"a.{suffix}"
    images = [Image.fromarray(frame) for frame in rgba]
    if suffix == "png":
        images[0].save(path)
    elif suffix in ("mov", "webm"):
        codec, pixels = ("png", "rgba") if suffix == "mov" else ("libvpx-vp9", "yuva420p")
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=4)
            stream.width = stream.height = 32
            stream.pix_fmt = pixels
            for frame in rgba:
                container.mux(
                    stream.encode(av.VideoFrame.from_ndarray(frame, format="rgba").reformat(format=pixels))
                )
            container.mux(stream.encode(None))
    else:
        for index, image in enumerate(images):  # equal frames would be merged
            image.putpixel((0, 0), (index * 60, 0, 0, 255))
        options = {"format": "PNG"} if suffix == "apng" else {"lossless": True} if suffix == "webp" else {}
        images[0].save(path, save_all=True, append_images=images[1:], duration=250, **options)
    video = read_clip(path, ANY)
    assert len(video.frames) == (1 if suffix == "png" else 4)
    assert np.abs(video.frames[:, 2:30, 2:14].astype(int) - (200, 100, 50)).max() <= 4  # lossy chroma in webm
    assert video.frames[:, 2:30, 18:30].max() <= 4
    assert "transparent pixels composited on black" in video.notes


def test_neurons_layout(tmp_path, frames):
    """number-caption.gif: ground truth on the left, reconstruction on the right."""
    row = np.zeros((5, 24, 54, 3), np.uint8)
    row[:, 2:22, 2:26], row[:, 2:22, 28:52] = (255, 0, 0), (0, 0, 255)
    row[:, 5, 5, 1] = row[:, 5, 35, 1] = np.arange(5) * 50
    save(tmp_path / "10-a-man-is-walking.gif", row, duration=250)
    save(tmp_path / "2-a-dog.gif", row, duration=250)
    for layout, colour in zip(PRESETS["neurons"], ((255, 0, 0), (0, 0, 255)), strict=True):
        files = scan_clips(tmp_path, layout).files
        assert list(files) == ["2", "10"]
        video = read_clip(files["10"], layout)
        assert video.frames.shape == (5, 20, 24, 3)
        assert (video.frames[:, 0, 0] == colour).all()
