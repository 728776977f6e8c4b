"""Movies of many containers and codecs with planted frame numbers: the frames that are on show, or one clear line."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.containers import CASES, FAST, QUIET, X264, Made, encode, number_of, planted, read
from mind_animator.artefacts import video
from mind_animator.artefacts.video import Movie, read_frames
from mind_animator.errors import InputError
from mind_animator.provenance import ROOT
from mind_animator.video.check import check_movie
from mind_animator.video.decode import read_clips
from mind_animator.video.sampling import sample_indices


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_frames_on_show(case, tmp_path):
    path = tmp_path / case.name
    made = case.make(path)
    movie, got, expected = read(path, made)
    np.testing.assert_array_equal(got, expected)
    stored = slice(
        -1 if case.name.startswith("dropped_b") else None
    )  # AVI: a gap before the last frame is not stored
    expected_times = np.array(made.times) - made.times[0]
    np.testing.assert_allclose(movie.starts[stored], expected_times[stored], atol=1.1e-3)
    frames, times, notes = read_frames(path)  # the reader of scores
    assert [number_of(frame) for frame in frames] == made.numbers
    assert frames.shape[1:] == (64, 160, 3)  # upright, square pixels
    np.testing.assert_allclose(times[:-1], movie.starts, atol=1e-9)
    assert [note.split(":")[0] for note in notes] == [
        note for note in notes if note.startswith(case.notes)
    ] or any(note.startswith(case.notes) for note in notes)
    assert bool(notes) == bool(case.notes)
    if "transparent" in case.notes:
        assert frames[5, 48:].max() <= 2  # red under full transparency


def test_decord_and_pyav_give_the_same_frames(tmp_path):
    """Skips over key frames, sparse and dense: wherever decord reads, its frames are PyAV's."""
    read_by_decord = 0
    for case in CASES:
        made = case.make(tmp_path / case.name)
        movie = Movie(tmp_path / case.name)
        if movie.reader != "decord" or case.name == "intra_refresh.mp4":
            continue  # a seek into an intra refresh gives other frames: decord's last one is never confirmed
        read_by_decord += 1
        for indices in ([0, 1, 2, 30, 31, 95], [23, 24, 25, 47, 48, 49], [71], [95]):
            one = dict(movie.frames(np.array(indices)))
            other = dict(Movie(tmp_path / case.name, reader="PyAV").frames(np.array(indices)))
            assert movie.reader == "decord", (case.name, movie.reason)
            assert [number_of(one[index]) for index in indices] == [made.numbers[index] for index in indices]
            assert all(np.abs(one[k].astype(int) - other[k]).max() <= 2 for k in indices)
    assert read_by_decord >= 8


def test_movies_that_once_gave_other_frames(pytestconfig):
    folder = Path(os.environ.get("MIND_ANIMATOR_TEST_DATA", "")) / "cases" / "media" / "film"
    if not folder.is_dir():
        pytest.skip("the folder of movies is absent")
    spec = importlib.util.spec_from_file_location("frame_index", folder / "frame_index.py")
    frame_index = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(frame_index)
    for path in sorted(folder.iterdir()):
        if path.suffix == ".py" or path.is_dir():
            continue
        onsets = [0.0, 4.0, 6.0 if path.name == "edit.mp4" else 8.0]  # the edit list leaves 8.67 s
        movie = Movie(path)
        indices = sample_indices(
            movie.starts, movie.end, np.array(onsets), np.full(3, 2.0),
            frames=8, rate=4.0, sampling="true_rate", where=path.name,
        )  # fmt: skip
        clips = dict(read_clips(movie, indices, size=64))
        got = [[frame_index.index(frame) for frame in clips[row]] for row in range(3)]
        assert got == [frame_index.expected(str(path), onset) for onset in onsets], path.name
        assert check_movie(path)[1] == []


KR_KB = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}


@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("codec", "bits"), [("libx264", 8), ("libx265", 10), ("libvpx-vp9", 8)])
def test_colours_follow_the_file_s_matrix_and_range(tmp_path, matrix, full, codec, bits):
    """A patch (Y, Cb, Cr) against the definition of the matrix (ITU-R BT.601, 709, 2020) in floats."""
    luma, blue, red = 120, 90, 180
    form = "yuv420p" if bits == 8 else "yuv420p10le"
    path = tmp_path / "patch.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.width = stream.height = 64
        stream.pix_fmt = form
        stream.options = {"libx264": {"qp": "0"}, "libx265": {"x265-params": "lossless=1:" + QUIET}}.get(
            codec, FAST | {"lossless": "1"}
        )
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
        for index in range(3):
            frame = av.VideoFrame(64, 64, form)
            for plane, value in zip(frame.planes, (luma, blue, red), strict=True):
                if bits == 8:
                    plane.update(bytes([value]) * plane.buffer_size)
                else:
                    plane.update(np.full(plane.buffer_size // 2, value * 4, "<u2").tobytes())
            frame.colorspace, frame.color_range, frame.pts = matrix, 2 if full else 1, index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    scale, most = 2 ** (bits - 8), 2**bits - 1
    luma, blue, red = luma * scale, blue * scale - 128 * scale, red * scale - 128 * scale
    limited = ((luma / scale - 16) / 219, blue / scale / 224, red / scale / 224)
    y, cb, cr = (luma / most, blue / most, red / most) if full else limited
    kr, kb = KR_KB[matrix]
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    expected = 255 * np.array([r, g, b])
    frames, _, _ = read_frames(path)
    assert np.abs(frames[1][32, 32] - expected).max() <= 2
    got = dict(Movie(path).frames(np.array([1])))[1]
    assert np.abs(got[32, 32] - expected).max() <= 2


def _children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_decoder_that_stalls_or_crashes_ends_in_one_line(tmp_path, monkeypatch, how):
    path = tmp_path / "movie.mp4"  # larger than what fits into the connection's buffers
    encode(
        path,
        "libx264",
        X264 | {"g": "12", "preset": "ultrafast"},
        image=lambda number: planted(number).repeat(3, 0).repeat(3, 1),
    )
    monkeypatch.setattr(video, "STALL_SECONDS", 4.0)
    movie = Movie(path)
    assert movie.reader == "decord"
    video.end_processes()
    seen = []
    for index, frame in movie.frames():
        seen.append(index)
        assert number_of(frame) == index
        if seen == [0]:
            (pid,) = _children()
            os.kill(pid, how)
    # PyAV took over, from the first frame on
    assert seen[-96:] == list(range(96)) and len(seen) > 96 and movie.reader == "PyAV"
    assert movie.reason == (
        "the decoder made no progress for 4 s and was ended"
        if how == signal.SIGSTOP
        else "the decoder crashed"
    )
    assert not Path(f"/proc/{pid}").exists()
    video.end_processes()
    clips = read_clips(movie, np.arange(96).reshape(12, 8), size=512)
    start = time.monotonic()
    with pytest.raises(InputError, match=rf"Expected a whole video at {path}, got: {movie.reason}\.$"):
        for _ in clips:
            (pid,) = _children()
            os.kill(pid, how)
    assert time.monotonic() - start < 60


def test_two_movies_are_read_side_by_side_and_a_movie_may_be_left_early(tmp_path):
    encode(tmp_path / "one.mp4", "libx264", X264)
    encode(tmp_path / "two.mp4", "libx264", X264, image=lambda number: planted(number + 100))
    movies = [Movie(tmp_path / "one.mp4"), Movie(tmp_path / "two.mp4", reader="PyAV")]
    for (index, one), (_, two) in zip(movies[0].frames(), movies[1].frames(), strict=True):
        assert (number_of(one), number_of(two)) == (index, index + 100)
    for index, _ in movies[0].frames():
        if index == 3:
            break
    assert number_of(next(movies[0].frames(np.array([7])))[1]) == 7


def test_a_segment_forked_after_reading_starts_its_own_decoder(tmp_path):
    code = (
        "import os, sys, numpy as np; from mind_animator.artefacts.video import read_frames;"
        "first = read_frames(sys.argv[1])[0]; pid = os.fork();"
        "ok = np.array_equal(read_frames(sys.argv[1])[0], first);"
        "os._exit(0 if ok else 1) if pid == 0 else sys.exit(os.waitpid(pid, 0)[1] or not ok)"
    )
    encode(tmp_path / "movie.mp4", "libx264", X264)
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "movie.mp4")], timeout=60, check=False)
    assert ran.returncode == 0


def test_contradictions_are_named(tmp_path):
    encode(tmp_path / "good.mp4", "libx264", X264)
    facts, findings = check_movie(tmp_path / "good.mp4")
    assert facts == {"seconds": pytest.approx(4.0), "frames": 96, "fps": 24.0} and findings == []
    encode(tmp_path / "sound.mp4", "libx264", X264, sound=6.0)
    (finding,) = check_movie(tmp_path / "sound.mp4")[1]
    assert finding.startswith("its sound runs from 0.00 to 6.0") and finding.endswith("from 0.00 to 4.00 s")
    content = bytearray((tmp_path / "good.mp4").read_bytes())
    at = content.index(b"mdhd") + 20  # duration of the track's media, in time base units
    content[at : at + 4] = (int.from_bytes(content[at : at + 4]) // 2).to_bytes(4)
    (tmp_path / "duration.mp4").write_bytes(content)
    (finding,) = check_movie(tmp_path / "duration.mp4")[1]
    assert finding == "its header states 2.021 s of video, its packets last 4.000 s"
    (tmp_path / "cut.mkv").write_bytes(b"")
    encode(tmp_path / "cut.mkv", "libx264", X264)
    (tmp_path / "cut.mkv").write_bytes((tmp_path / "cut.mkv").read_bytes()[:-2000])
    assert "bytes are missing at its end" in check_movie(tmp_path / "cut.mkv")[1][0]
    (tmp_path / "none.mp4").write_bytes(b"no movie at all" * 99)
    assert check_movie(tmp_path / "none.mp4")[1][0].startswith("no readable movie: Expected a whole video at")


def test_a_rotation_that_is_no_multiple_of_90_degrees_is_refused(tmp_path):
    path = tmp_path / "oblique.mp4"
    encode(path, "libx264", X264, adapt=lambda _, stream: stream.set_display_rotation(30))
    with pytest.raises(
        InputError, match=r"Expected a display rotation by a multiple of 90 degrees in .*, got"
    ):
        Movie(path)


def test_a_codec_without_a_decoder_is_one_line(tmp_path):
    path = tmp_path / "unknown.mkv"
    encode(path, "mpeg4", {"bf": "0"})
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/ASP", b"V_MPEG4/ISO/XYZ"))
    with pytest.raises(InputError, match=rf"{path}"):
        Movie(path)


def test_made_says_what_is_on_show():
    made = Made([0, 1, 2], [5.0, 5.5, 7.0])
    assert [made.on_show(second) for second in (0, 0.49, 0.5, 1.9, 2.0, 9)] == [0, 0, 1, 1, 2, 2]


def test_the_documentation_lists_every_case():
    page = (ROOT / "docs" / "media.md").read_text()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if " of 24 | " in line]
    assert rows == [case.what for case in CASES]
    assert page.count(" 0 of 24 | ") == len(CASES)
