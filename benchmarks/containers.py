"""Containers and codecs: movies whose frames encode their number, read by the reader of the segmentation stage.

    python -m benchmarks.containers

Each movie is encoded here by PyAV (4 s of 24 Hz, unless stated); the expected numbers follow from what was given
to the encoder, not from any decoder. Three clips (onsets 0, 1 and 2 s; 8 frames at 4 Hz) are read by the reader of
segmentation, and the whole movie by the reader of scores. The table is part of docs/media.md.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import numpy as np

from mind_animator.artefacts import video
from mind_animator.artefacts.video import Movie, read_frames
from mind_animator.errors import InputError, run_command
from mind_animator.video.decode import read_clips
from mind_animator.video.sampling import sample_indices

HEIGHT, WIDTH, BITS, RATE, COUNT = 64, 160, 10, 24, 96
ONSETS = (0.0, 1.0, 2.0)


def planted(number: int) -> np.ndarray:
    """A frame (64, 160, 3) uint8: ten vertical bars in the upper half, bit b bright where the number has 2**b."""
    frame = np.full((HEIGHT, WIDTH, 3), 96, np.uint8)
    for bit in range(BITS):
        side = WIDTH // BITS
        frame[: HEIGHT // 2, bit * side : (bit + 1) * side] = 220 if number >> bit & 1 else 30
    frame[HEIGHT // 2 :, (number * 5) % WIDTH :] = (60, 120, 180)
    return frame


def number_of(frame: np.ndarray) -> int:
    """The number encoded in a frame of any size."""
    height, width = frame.shape[:2]
    row = frame[height // 4].mean(axis=-1)
    return sum(1 << bit for bit in range(BITS) if row[int((bit + 0.5) * width / BITS)] > 125)


@dataclass(frozen=True)
class Made:
    """Encoded content: numbers of the displayed frames, and the time in seconds at which each appears."""

    numbers: list[int]
    times: list[float]
    notes: str = ""
    onsets: tuple[float, ...] = ONSETS

    def on_show(self, second: float) -> int:
        """The number displayed at a time counted from the first frame."""
        shown = [
            n for n, t in zip(self.numbers, self.times, strict=True) if t - self.times[0] <= second + 1e-3
        ]
        return shown[-1]


@dataclass(frozen=True)
class Case:
    """One file: name, description, and the function that creates it."""

    name: str
    what: str
    make: Callable[[Path], Made]
    notes: tuple[str, ...] = field(default=())


def encode(
    path: Path,
    codec: str,
    options: dict[str, str] | None = None,
    *,
    pix_fmt: str = "yuv420p",
    ticks: Iterable[int] = range(COUNT),
    rate: int = RATE,
    muxer: dict[str, str] | None = None,
    image: Callable[[int], np.ndarray] = planted,
    adapt: Callable[[Any, Any], None] = lambda container, stream: None,
    sound: float = 0.0,
) -> Made:
    """Encode frame k, with number k, to be shown at ``ticks[k] / rate`` seconds."""
    ticks = list(ticks)
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        shape = image(0).shape
        stream.height, stream.width, stream.pix_fmt = shape[0], shape[1], pix_fmt
        stream.options = options or {}
        stream.codec_context.time_base = Fraction(1, rate)
        adapt(container, stream)
        tone = container.add_stream("aac" if path.suffix != ".avi" else "mp3", rate=48000) if sound else None
        for number, tick in enumerate(ticks):
            array = np.ascontiguousarray(image(number))
            frame = av.VideoFrame.from_ndarray(array, format="rgba" if array.shape[2] == 4 else "rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            for start in range(0, int(sound * 48000), 1024):
                block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                block.sample_rate, block.pts, block.time_base = 48000, start, Fraction(1, 48000)
                container.mux(tone.encode(block))
            container.mux(tone.encode(None))
    return Made(list(range(len(ticks))), [tick / rate for tick in ticks])


def copy(
    source: Path, path: Path, keep: Callable[[int, Any], bool], shift: float = 0.0, **muxer: str
) -> None:
    """Copy the selected packets without decoding, with times shifted by ``shift`` seconds."""
    with av.open(str(source)) as given, av.open(str(path), "w", options=muxer) as container:
        origin = given.streams.video[0]
        stream = container.add_stream_from_template(origin)
        for index, packet in enumerate(given.demux(origin)):
            if packet.dts is None or not keep(index, packet):
                continue
            moved = round(shift / origin.time_base)
            packet.pts, packet.dts = packet.pts + moved, packet.dts + moved
            packet.stream = stream
            container.mux(packet)


def simple(name: str, what: str, codec: str, options: dict[str, str] | None = None, **more: Any) -> Case:
    """A case of one call of `encode`."""
    notes = more.pop("notes", ())
    return Case(name, what, lambda path: encode(path, codec, options, **more), notes)


X264 = {"bf": "2", "g": "24"}
QUIET = "log-level=none"


def _cut_mp4(path: Path) -> Made:
    """From 1.25 s on by stream copy: packets from the key frame at 1 s, an edit list hides six frames."""
    whole = path.with_name("whole.mp4")
    encode(whole, "libx264", X264 | {"keyint_min": "24", "sc_threshold": "0"})
    copy(whole, path, lambda _, packet: packet.pts >= packet.time_base.denominator, shift=-1.25)
    return Made(list(range(30, COUNT)), [k / RATE for k in range(30, COUNT)], onsets=(0.0, 0.5, 0.75))


def _cut_open(path: Path) -> Made:
    """From a key frame of an open GOP: its leading frames refer to frames that were cut off."""
    whole = path.with_name("whole.mkv")
    options = "open-gop=1:keyint=24:min-keyint=24:bframes=2:scenecut=0:" + QUIET
    encode(whole, "libx265", {"x265-params": options})
    with av.open(str(whole)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    first = [i for i, p in enumerate(packets) if p.is_keyframe][1]
    start = round(packets[first].pts * packets[first].time_base * RATE)
    copy(whole, path, lambda index, _: index >= first)
    return Made(list(range(start, COUNT)), [k / RATE for k in range(start, COUNT)], onsets=(0.0, 0.5, 1.0))


def _cut_ts(path: Path) -> Made:
    """From the middle of a GOP: displayed from the next key frame."""
    whole = path.with_name("whole.ts")
    encode(whole, "libx264", {"bf": "0", "g": "24", "keyint_min": "24", "sc_threshold": "0"})
    copy(whole, path, lambda index, _: index >= 10)
    return Made(list(range(24, COUNT)), [k / RATE for k in range(24, COUNT)], onsets=(0.0, 0.5, 1.0))


def _start(path: Path, shift: float) -> Made:
    whole = path.with_name("whole.mp4")
    made = encode(whole, "libx264", X264)
    copy(whole, path, lambda *_: True, shift=shift)
    return made


def _negative(path: Path) -> Made:
    return encode(path, "libx264", X264, muxer={"movflags": "negative_cts_offsets"})


def _rotated(path: Path, degrees: int, turns: int) -> Made:
    """Stored rotated clockwise, with a display matrix that reverses the rotation."""
    return encode(
        path, "libx264", X264,
        image=lambda number: np.rot90(planted(number), -turns),
        adapt=lambda _, stream: stream.set_display_rotation(degrees),
    )  # fmt: skip


def _anamorphic(path: Path) -> Made:
    return encode(
        path, "libx264", X264,
        image=lambda number: planted(number)[:, ::2],
        adapt=lambda _, stream: setattr(stream.codec_context, "sample_aspect_ratio", Fraction(2, 1)),
    )  # fmt: skip


def _dropped(path: Path, codec: str, options: dict[str, str]) -> Made:
    """Every fifth slot of the AVI clock is empty: the previous frame stays displayed."""
    return encode(path, codec, options, ticks=[k for k in range(COUNT) if k % 5 != 4])


def _two_streams(path: Path) -> Made:
    """Two video streams; the second is marked as default."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=RATE) for _ in range(2)]
        for stream, height in zip(streams, (128, HEIGHT), strict=True):
            stream.height, stream.width, stream.pix_fmt = height, WIDTH, "yuv420p"
        streams[0].disposition = 0
        streams[1].disposition = av.stream.Disposition.default
        for number in range(COUNT):
            other = np.zeros((128, WIDTH, 3), np.uint8)
            for stream, image in zip(streams, (other, planted(number)), strict=True):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode(None))
    return Made(list(range(COUNT)), [k / RATE for k in range(COUNT)])


def _transparent(number: int) -> np.ndarray:
    """The number, with a transparent lower half whose colour is red."""
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[HEIGHT // 2 :] = 0
    image = np.concatenate([planted(number), alpha], axis=2)
    image[HEIGHT // 2 :, :, :3] = (255, 0, 0)
    return image


def _range(full: bool) -> Callable[[Any, Any], None]:
    def adapt(_: Any, stream: Any) -> None:
        stream.codec_context.color_range = 2 if full else 1

    return adapt


def _hdr(_: Any, stream: Any) -> None:
    context = stream.codec_context
    context.color_trc, context.color_primaries, context.colorspace = 16, 9, 9


UNEVEN = [0, 3, 4, 5, 11, 12, 20, 21, 27, 40, 41, 55, 60, 61, 70, 71, 72, 80, 90, 95]
FAST = {"deadline": "realtime", "cpu-used": "8"}
INTERLACED = {"flags": "+ilme+ildct", "g": "12"}

CASES = [
    simple("plain.mp4", "H.264, mp4", "libx264", X264),
    simple("opengop.mkv", "H.264 open GOP, mkv", "libx264", X264 | {"x264-params": "open-gop=1"}),
    simple("fragmented.mp4", "H.264, fragmented mp4", "libx264", X264, muxer={"movflags": "frag_keyframe+empty_moov"}),
    simple("intra_refresh.mp4", "H.264 intra refresh, mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=24"}),
    simple("plain.mov", "H.264, mov", "libx264", X264),
    simple("plain.flv", "H.264, flv", "libx264", X264),
    simple("plain.ts", "H.264, MPEG-TS", "libx264", X264),
    simple("plain.avi", "H.264 with B-frames, avi", "libx264", X264),
    simple("plain.mkv", "H.264, mkv", "libx264", X264),
    simple("x265.mp4", "HEVC (x265 default), mp4", "libx265", {"x265-params": QUIET}),
    simple("x265.mkv", "HEVC 10 bit, mkv", "libx265", {"x265-params": QUIET}, pix_fmt="yuv420p10le"),
    simple("av1.mp4", "AV1, mp4", "libsvtav1", {"preset": "10", "crf": "20"}),
    simple("vp8.webm", "VP8, webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "realtime",
    "b": "500k"}),
    simple("vp9.webm", "VP9, webm", "libvpx-vp9", FAST | {"g": "24"}),
    simple("mpeg4.m4v", "MPEG-4 with B-frames, m4v", "mpeg4", {"bf": "2", "g": "24"}),
    simple("mpeg4.avi", "MPEG-4 with B-frames, avi", "mpeg4", {"bf": "2", "g": "24"}),
    simple("mpeg2.mkv", "MPEG-2 with B-frames, mkv", "mpeg2video", {"bf": "2", "g": "12"}),
    simple("mpeg2.ts", "MPEG-2 with B-frames, MPEG-TS", "mpeg2video", {"bf": "2", "g": "12"}),
    simple("mpeg2.mpg", "MPEG-2 with B-frames, MPEG-PS", "mpeg2video", {"bf": "2", "g": "12"}),
    simple("wmv2.wmv", "Windows Media 8, wmv", "wmv2", {"g": "24"}),
    simple("mjpeg.avi", "Motion JPEG, avi", "mjpeg", pix_fmt="yuvj420p"),
    simple("prores.mov", "ProRes, mov", "prores_ks", pix_fmt="yuv422p10le"),
    simple("ffv1.mkv", "FFV1, mkv", "ffv1"),
    simple("ten_bit.mp4", "H.264 10 bit, mp4", "libx264", X264, pix_fmt="yuv420p10le"),
    simple("full_range.mp4", "H.264 full range, mp4", "libx264", X264, pix_fmt="yuvj420p", adapt=_range(True)),
    simple("interlaced.mp4", "H.264 interlaced, mp4", "libx264", X264 | INTERLACED | {"x264-params": "tff=1"},
    notes=("interlaced",)),
    simple("interlaced.ts", "MPEG-2 interlaced, MPEG-TS", "mpeg2video", INTERLACED | {"bf": "2"},
    notes=("interlaced",)),
    simple("hdr.mp4", "HEVC HDR10 (PQ), mp4", "libx265", {"x265-params": QUIET}, pix_fmt="yuv420p10le", adapt=_hdr,
    notes=("HDR (PQ)",)),
    simple("uneven.mp4", "H.264 variable frame rate, mp4", "libx264", X264, ticks=UNEVEN),
    simple("uneven.mkv", "VP9 variable frame rate, mkv", "libvpx-vp9", FAST, ticks=UNEVEN),
    Case("late.mp4", "H.264 starting at 1.5 s, mp4", lambda path: _start(path, 1.5)),
    Case("late.mkv", "H.264 starting at 1.5 s, mkv", lambda path: _start(path, 1.5)),
    Case("negative.mp4", "H.264 with negative composition offsets, mp4", _negative),
    simple("sound.mp4", "H.264, sound 2 s longer, mp4", "libx264", X264, sound=6.0),
    Case("edit_list.mp4", "H.264 cut by stream copy (edit list), mp4", _cut_mp4),
    Case("cut_open.mkv", "HEVC cut by stream copy (open GOP), mkv", _cut_open),
    Case("cut.ts", "H.264 cut within a GOP, MPEG-TS", _cut_ts),
    Case("dropped.avi", "MPEG-4 with dropped frames, avi", lambda path: _dropped(path, "mpeg4", {"g": "24"})),
    Case("dropped_b.avi", "H.264 with dropped and B-frames, avi", lambda path: _dropped(path, "libx264", X264)),
    Case("dropped_b4.avi", "MPEG-4 with dropped and B-frames, avi", lambda path: _dropped(path, "mpeg4", {"bf": "2",
    "g": "24"})),
    Case("rotated_90.mp4", "H.264 display rotation 90, mp4", lambda path: _rotated(path, 90, 1), ("display rotation",)),
    Case("rotated_180.mov", "H.264 display rotation 180, mov", lambda path: _rotated(path, 180, 2), ("display "
                                                                                                     "rotation",)),
    Case("rotated_270.mkv", "H.264 display rotation 270, mkv", lambda path: _rotated(path, 270, 3), ("display "
                                                                                                     "rotation",)),
    Case("anamorphic.mp4", "H.264 anamorphic 2:1, mp4", _anamorphic, ("anamorphic",)),
    Case("two.mkv", "two video streams, the second default, mkv", _two_streams, ("2 video streams",)),
    simple("alpha.mov", "QuickTime Animation with transparency, mov", "qtrle", pix_fmt="argb", image=_transparent,
    notes=("transparent",)),
    simple("alpha.webm", "VP9 with transparency, webm", "libvpx-vp9", FAST | {"auto-alt-ref": "0", "g": "24"},
           pix_fmt="yuva420p", image=_transparent, notes=("transparent",)),
]  # fmt: skip


def read(path: Path, made: Made) -> tuple[Movie, np.ndarray, np.ndarray]:
    """The movie, and the numbers read and expected (clip, frame). decord is tried although the movie is short."""
    with patch.object(video, "DECORD_FRAMES", 0):
        movie = Movie(path, square=False)
    indices = sample_indices(
        movie.starts, movie.end, np.array(made.onsets), np.full(len(made.onsets), 2.0),
        frames=8, rate=4.0, sampling="true_rate", where=str(path),
    )  # fmt: skip
    clips = dict(read_clips(movie, indices, size=160))
    got = np.array([[number_of(frame) for frame in clips[row]] for row in range(len(indices))])
    expected = np.array([[made.on_show(onset + k / 4) for k in range(8)] for onset in made.onsets])
    return movie, got, expected


def main() -> None:
    print(
        "| movie | reader of segmentation | wrong frames | read whole for scores: frames (expected), wrong | stated |"
    )
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            path = Path(folder) / case.name
            with open("/dev/null", "w") as nowhere, contextlib.redirect_stderr(nowhere):
                made = case.make(path)
            try:
                movie, got, expected = read(path, made)
                frames, _, notes = read_frames(path)
                whole = [number_of(frame) for frame in frames]
                wrong = sum(a != b for a, b in zip(whole, made.numbers, strict=False))
                reader = f"{movie.reader}: {movie.reason}" if movie.reason else movie.reader
                counts = f"{len(whole)} ({len(made.numbers)}), {wrong}"
                row = f"{reader} | {(got != expected).sum()} of {got.size} | {counts} | {'; '.join(notes)}"
            except InputError as error:
                row = f"refused: {str(error).replace(str(path), case.name)} | | |"
            print(f"| {case.what} | {row} |", flush=True)


if __name__ == "__main__":
    run_command(main)
