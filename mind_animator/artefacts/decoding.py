"""Decoding of movies in a separate process, so that a stalled decoder can be stopped.

`mind_animator.artefacts.video` starts the process (`serve`) and sends it requests. Every request is a
generator in this module: it yields None while it makes progress and (index, frame) for every frame, and
returns a picklable value. PyAV reads every file; decord reads a file only if `prove_decord` confirms its output.

Rules (the same for every user of a movie):

- Stream: the first video stream marked as default, otherwise the first; cover images are not movies.
- Time: presentation times of the container with edit lists applied, zero at the first displayed frame. AVI files
  contain no presentation times: the k-th displayed frame takes the k-th filled slot of the frame clock of the file.
  Raw streams have no clock: their frames are spaced by the average rate, which is reported in a note.
- Image: display rotation and flips applied; pixels made square (width = stored width x sample aspect ratio),
  unless frames are subsequently resized to a fixed size, to avoid interpolating twice; YCbCr is converted to RGB by
  the matrix and range of the file; more than 8 bits are rounded to 8; transparent pixels are composited on black.
  Interlaced frames keep both fields and HDR is not tone mapped; both are reported in notes.
"""

import itertools
import mmap
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import av
import cv2
import numpy as np

from mind_animator.artefacts.truncation import bytes_lacking
from mind_animator.errors import InputError

# decord waits for its decoding thread by polling; on a busy machine 10240 polls are too few for a whole movie.
os.environ.setdefault("DECORD_EOF_RETRY_MAX", "1000000")

# Messages of FFmpeg when it conceals damage in a frame. Other messages also occur for intact files.
_DAMAGE = re.compile(r"error while decoding|concealing \d+|corrupt decoded frame|Invalid NAL unit size")
_HEARTBEAT = 0.5  # seconds
_BATCH_BYTES = 4 << 20
_KEPT_BYTES = 256 << 20  # shared memory that is kept for the next request
_COVER = av.stream.Disposition.attached_pic
_TRANSPARENT = ("transparent pixels composited on black",)  # the same note as for still images
_HDR = {16: "PQ", 18: "HLG"}
# decord 0.6 reads these containers correctly; for transport streams it hangs or returns other frames
_DECORD_CONTAINERS = ("mov", "matroska")
_DECORD_CODECS = ("h264", "hevc", "mpeg4", "mpeg2video", "vp9")
# The last frame is decoded a second time, from its preceding key frame: at most this fraction of the movie.
_PROOF_FRACTION = 0.25
_GREY_LEVELS = 2

Transform = Callable[[np.ndarray], np.ndarray]
_proved: dict[tuple[str, int], tuple[Any, np.ndarray]] = {}
_first: dict[str, np.ndarray] = {}  # first frame of the last file scanned, for `prove_decord`
# one for all frames: starting a scaler takes longer than converting a small frame
_scaler = av.video.reformatter.VideoReformatter()

Work = Generator["tuple[int, np.ndarray] | None", None, Any]


class Mismatch(Exception):
    """The decoder's frames do not match the expected times or frames."""


def serve(descriptor: int, memory: int, parent: int) -> None:
    """Process requests (name, arguments, transform, whether all frames form one batch) until the socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    connection, shared = Connection(descriptor), SharedMemory(os.fdopen(memory, "r+b"))
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    av.logging.restore_default_callback()
    messages = _Messages()
    connection.send(("ready",))
    while True:
        try:
            name, arguments, transform, whole = connection.recv()
            batches = _Batches(connection, shared, whole)
            try:
                answer = ("done", _send_frames(batches, REQUESTS[name](**arguments), transform))
            except InputError as error:
                answer = ("error", str(error))
            except Mismatch as error:
                answer = ("mismatch", str(error))
            except (av.FFmpegError, MemoryError, OSError, ValueError) as error:
                answer = ("error", f"Expected a whole video at {arguments['path']}, got: {brief(error)}.")
            damage = messages.forward()
            if damage and answer[0] == "done":
                answer = ("error", f"Expected a whole video at {arguments['path']}, got: {damage}.")
            batches.wait()
            connection.send(answer)
        except (EOFError, BrokenPipeError):  # the parent has ended
            return


def _send_frames(batches: "_Batches", work: Work, transform: Transform | None) -> Any:
    last = time.monotonic()
    while True:
        try:
            item = next(work)
        except StopIteration as end:
            batches.send()
            return end.value
        if item is not None:
            index, frame = item
            batches.add(index, frame if transform is None else transform(frame))
        if time.monotonic() - last > _HEARTBEAT:
            batches.connection.send(("alive",))
            last = time.monotonic()


class SharedMemory:
    """A file in memory that two processes map; it grows as needed."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        if file is None and hasattr(os, "memfd_create"):
            file = os.fdopen(os.memfd_create("frames"), "r+b")
        self.file = file or tempfile.TemporaryFile()  # noqa: SIM115
        self._mapped = np.zeros(0, np.uint8)

    def up_to(self, size: int) -> np.ndarray:
        """The first ``size`` bytes; they keep their values if the file grows."""
        stored = os.fstat(self.file.fileno()).st_size
        if min(len(self._mapped), stored) < size:
            if stored < size:
                stored = max(size, _BATCH_BYTES, min(2 * stored, stored + _KEPT_BYTES))
                os.ftruncate(self.file.fileno(), stored)
            self._mapped = np.frombuffer(mmap.mmap(self.file.fileno(), stored), np.uint8)
        return self._mapped[:size]

    def trim(self) -> None:
        """Release the memory if it is large."""
        if os.fstat(self.file.fileno()).st_size > _KEPT_BYTES:
            self._mapped = np.zeros(0, np.uint8)
            os.ftruncate(self.file.fileno(), 0)


class _Batches:
    """Frames of one request, written to memory shared with the parent, which confirms every batch after copying it."""

    def __init__(self, connection: Connection, shared: SharedMemory, whole: bool) -> None:
        self.connection, self._shared, self._whole = connection, shared, whole
        self._indices: list[int] = []
        self._shape, self._unconfirmed = (0,), False

    def add(self, index: int, frame: np.ndarray) -> None:
        self.wait()
        start = len(self._indices) * frame.nbytes
        self._shared.up_to(start + frame.nbytes)[start:].reshape(frame.shape)[...] = frame
        self._indices.append(index)
        self._shape = frame.shape
        if not self._whole and start + 2 * frame.nbytes > _BATCH_BYTES:
            self.send()

    def send(self) -> None:
        if self._indices:
            self.connection.send(("frames", self._indices, self._shape))
            self._indices, self._unconfirmed = [], True

    def wait(self) -> None:
        """Wait until the parent has copied the last batch."""
        if self._unconfirmed:
            self.connection.recv()
            self._unconfirmed = False


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


class _Messages:
    """All output to stderr, including that of C libraries; it is forwarded and searched for signs of damage."""

    def __init__(self) -> None:
        sys.stderr.flush()
        self._original = os.dup(2)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        os.dup2(self._file.fileno(), 2)

    def forward(self) -> str | None:
        """Forward the output since the last call; returns the first sign of damage in it, if any."""
        sys.stderr.flush()
        size = os.lseek(2, 0, os.SEEK_CUR)
        text = os.pread(2, size, 0)
        os.ftruncate(2, 0)
        os.lseek(2, 0, os.SEEK_SET)
        if text:
            os.write(self._original, text)
        found = _DAMAGE.search(text.decode(errors="replace"))
        return found[0] if found else None


def scan(path: str, threads: int, square: bool) -> Work:
    """Properties of a movie from its packets and its first frame, without decoding the rest.

    Returns
    -------
    dict
        ``pts`` (int64, time base units; of the displayed frames, ascending), ``starts`` and ``end`` (seconds),
        ``exact`` (whether the packets alone determine the displayed frames and their times; otherwise `frames` with no
        requested index does), ``size`` (height, width), ``notes``, ``blocker`` (why decord is not tried, or
        None), ``seek`` (per frame: pts of the key frame from which it can be decoded), ``header`` (what the
        container states, for `check_movie`).
    """
    packets: list[dict[str, Any]] = []
    with _opened(path) as container:
        stream = _choose(container, path)
        first = None
        for first in _decoded(path, threads, container, stream, packets):
            yield None
            if first is not None:
                break
        if first is None:
            raise InputError(f"Expected a video with frames in {path}, got none.")
        reorders = stream.codec_context.has_b_frames
        for packet in container.demux(stream):
            yield None
            if packet.size:
                packets.append(_fact(packet))
        header = _header(container, stream, packets)
        n_streams = len(container.streams.video)
        aspect = _aspect(stream)
        image, transparent = _shown(first, stream, path, square)
        notes = _notes(first, stream, container) + _TRANSPARENT * transparent
        clock = _clock(container, packets)
        base = float(stream.time_base)
        codec, kind = stream.codec_context.name.removeprefix("libdav1d") or "av1", container.format.name
        turned = _matrix(first) is not None
    shown = [p for p in packets if not p["discard"] and p["pts"] is not None]
    if clock == "pts" and first.pts is not None:
        shown = [p for p in shown if p["pts"] >= first.pts]
    exact = (
        clock == "pts"
        and kind.startswith(("mov", "matroska", "flv", "asf"))
        and codec != "vp8"  # its packets may contain frames that are never displayed
        and not first.interlaced_frame  # a packet may contain a single field
        and not (reorders and all(p["pts"] == p["dts"] for p in packets))  # times of the decoding order
        and bool(shown)
        and min(p["pts"] for p in shown) == first.pts
    )
    pts = np.sort(np.array([p["pts"] for p in shown], np.int64)) if exact else np.zeros(0, np.int64)
    blocker = None
    if not kind.startswith(_DECORD_CONTAINERS) or codec not in _DECORD_CODECS:
        blocker = f"decord is not used for {codec} in {kind.split(',')[0]}"
    elif first.interlaced_frame:
        blocker = "it is interlaced"
    elif _transparent(first):
        blocker = "it has an alpha channel"
    elif _bits(first) > 8:
        blocker = "it has more than 8 bits per channel"
    elif not exact:
        blocker = "the frames shown do not follow from its packets alone"
    elif any(p["discard"] for p in packets) or len(shown) < len(packets):
        blocker = "an edit list or a cut hides some of its frames"
    elif n_streams > 1:
        blocker = "it has several video streams"
    elif turned:
        blocker = "it is shown rotated or mirrored"
    elif square and aspect != 1:
        blocker = "its pixels are made square"
    seek = _seek_points(packets, pts) if exact else None
    if blocker is None:
        far = (np.arange(len(pts)) - np.searchsorted(pts, seek)).max()
        if far > _PROOF_FRACTION * len(pts):
            blocker = "its key frames are too far apart to check decord's frames"
        elif len(pts) > 1 and far == 0:
            blocker = "every frame is a key frame"  # decord would convert all of them
    facts = {
        "exact": exact, "pts": pts, "base": base, "size": image.shape[:2], "notes": notes, "blocker": blocker,
        "header": header, "seek": seek,
    }  # fmt: skip
    _first.clear()
    _first[path] = image
    if exact:
        longest = max((p["duration"] for p in shown if p["pts"] == pts[-1]), default=0)
        facts["starts"], facts["end"] = _seconds(pts * base, longest * base, header["rate"])
    return facts


def frames(
    path: str,
    threads: int,
    square: bool,
    frame_indices: np.ndarray | None,
    pts: np.ndarray | None = None,
    max_bytes: int | None = None,
) -> Work:
    """Yield the requested frames by PyAV in one pass; None requests every frame.

    Parameters
    ----------
    frame_indices : array of ascending indices, or None
        An empty array decodes everything and yields nothing, to obtain the times only.
    pts : array, optional
        Required presentation times of the frames (from `scan`); the pass ends after the last requested frame.
    max_bytes : int, optional
        Maximum memory of the frames.

    Returns
    -------
    dict
        ``starts``, ``end`` (seconds), ``size``, ``notes``; empty if the pass ended early or ``pts`` was given.
    """
    keep = None if frame_indices is None else iter(frame_indices.tolist())
    following = None if keep is None else next(keep, None)
    times: list[int | None] = []
    packets: list[dict[str, Any]] = []
    shape, notes, duration, transparent = None, (), 0, False
    with _opened(path) as container:
        stream = _choose(container, path)
        base, rate = float(stream.time_base), _rate(stream)
        for frame in _decoded(path, threads, container, stream, packets):
            yield None
            if frame is None:
                continue
            index = len(times)
            times.append(frame.pts)
            duration = frame.duration or 0
            if pts is not None and (index >= len(pts) or frame.pts != pts[index]):
                raise Mismatch(f"frame {index} has another time than its packet")
            if index == 0:
                notes = _notes(frame, stream, container)
            if keep is not None and index != following:
                continue
            image, seen = _shown(frame, stream, path, square)
            transparent |= seen
            if shape is not None and image.shape != shape:
                raise InputError(
                    f"Expected frames of one size in {path}, got {image.shape[:2]} after {shape[:2]} "
                    f"(height, width; frame {index})."
                )
            shape = image.shape
            if max_bytes is not None and image.nbytes * len(times) > max_bytes:
                raise InputError(
                    f"Expected at most {max_bytes / 2**30:.3g} GiB of pixels in {path}, got {len(times)} frame(s) "
                    f"of {shape[1]} x {shape[0]} (or more): shorten it, or make it smaller."
                )
            yield index, image
            if keep is not None:
                following = next(keep, None)
                if following is None:
                    return {}
        delay = stream.codec_context.reorder_depth
        clock = _clock(container, packets)
    if following is not None:
        raise InputError(f"Expected frame {following} in {path}, got {len(times)} frames.")
    if not times:
        raise InputError(f"Expected a video with frames in {path}, got none.")
    if lacking := bytes_lacking(Path(path)):
        raise InputError(f"Expected a whole video at {path}, got one that lacks {lacking} bytes at its end.")
    if pts is not None:
        return {}
    ticks, note = _frame_clock(times, packets, clock, base, rate, delay)
    starts, end = _seconds(ticks, duration * base, rate)
    return {
        "starts": starts,
        "end": end,
        "size": shape and shape[:2],
        "notes": notes + _TRANSPARENT * transparent + note,
    }


def prove_decord(path: str, threads: int, square: bool, starts: np.ndarray) -> Work:
    """Compare decord's times and first frame with PyAV's; ``fault`` states why decord must not read this movie."""
    yield None
    reader, first = _decord(path, threads)
    if isinstance(reader, str):
        return {"fault": reader}
    _proved.clear()
    _proved[path, threads] = reader, first  # opening indexes the file, so `decord_frames` reuses the reader
    times = np.asarray(reader.get_frame_timestamp(range(len(reader))), np.float64)[:, 0]
    yield None
    if len(times) != len(starts):
        return {"fault": f"decord counts {len(times)} frames, the file's packets {len(starts)}"}
    apart = np.abs(times - times[0] - starts)
    if apart.max() > 1e-3 + 1e-6 * starts[-1]:
        return {"fault": f"decord's times differ from the presentation times by {apart.max():.3g} s"}
    shown = _first.get(path)
    if shown is None:  # another process has scanned the file
        frame = next(frame for frame in _decoded(path, threads) if frame is not None)
        shown = _pixels(frame, "rgb24")
    return {"fault": "" if _alike(first, shown) else "decord's first frame differs from PyAV's"}


def decord_frames(
    path: str, threads: int, square: bool, frame_indices: np.ndarray, pts: np.ndarray, seek: np.ndarray
) -> Work:
    """Yield the requested frames by decord, sequentially, then compare the last one with PyAV's.

    decord's ``skip_frames`` seeks if a key frame lies in between, and may arrive at another frame. Skips therefore end
    before the frame that precedes a key frame, and that frame is read. A lost frame shifts all later ones, so that a
    correct last frame implies that all frames are correct.
    """
    reader, frame = _proved.pop((path, threads), None) or _decord(path, threads)
    if isinstance(reader, str):
        raise Mismatch(reader)
    import decord

    keys = iter(int(key) for key in reader.get_key_indices())
    key = next(keys, None)
    at = 1  # number of frames read
    try:
        for index in frame_indices.tolist():
            while key is not None and key <= at:
                key = next(keys, None)
            while key is not None and key <= index:
                yield from _skip(reader, key - 1 - at)
                reader.next()
                at = key
                key = next(keys, None)
            if index >= at:
                yield from _skip(reader, index - at)
                frame = reader.next().asnumpy()
                at = index + 1
            yield index, frame
        last = at - 1
        if key is not None and key - last < last - np.searchsorted(pts, seek[last]):
            if key > at:  # the next key frame is confirmed more quickly
                yield from _skip(reader, key - 1 - at)
                reader.next()
            frame, last = reader.next().asnumpy(), key
    except (RuntimeError, StopIteration, decord.DECORDError) as error:
        raise Mismatch(f"decord stopped: {brief(error)}") from None
    with _opened(path) as container:
        stream = _choose(container, path)
        container.seek(int(seek[last]), stream=stream, backward=True)
        for again in _decoded(path, threads, container, stream):
            yield None
            if again is not None and again.pts >= pts[last]:
                if again.pts == pts[last] and _alike(frame, _pixels(again, "rgb24")):
                    return {}
                break
    raise Mismatch(f"decord's frame {last} could not be confirmed")


REQUESTS: dict[str, Callable[..., Work]] = {
    "scan": scan,
    "frames": frames,
    "prove_decord": prove_decord,
    "decord_frames": decord_frames,
}


def brief(error: BaseException) -> str:
    """The last part of the first line of an exception's message, without the source path."""
    if isinstance(error, av.FFmpegError | OSError) and error.strerror:
        return error.strerror
    text = (str(error).strip().splitlines() or ["end of file"])[0]
    return text.rsplit(": ", 1)[-1].rstrip(". ") or type(error).__name__


def _decord(path: str, threads: int) -> tuple[Any, np.ndarray | None]:
    """An open decord reader and its first frame, or the reason why decord cannot be used."""
    try:
        import decord

        reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=threads)
        return reader, reader.next().asnumpy()
    except ImportError:
        return "decord is not installed", None
    except (RuntimeError, StopIteration, decord.DECORDError) as error:
        return f"decord cannot read it: {brief(error)}", None


def _skip(reader: Any, count: int) -> Iterator[None]:
    while count > 0:
        step = min(count, 64)
        reader.skip_frames(step)
        count -= step
        yield None


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and int(cv2.absdiff(one, other).max()) <= _GREY_LEVELS


def _opened(path: str) -> Any:
    try:
        return av.open(path, metadata_errors="replace")
    except av.FFmpegError as error:
        raise InputError(f"Expected a whole video at {path}, got: {brief(error)}.") from None


def _choose(container: Any, path: str) -> Any:
    """The stream that a player displays."""
    movies = [stream for stream in container.streams.video if not stream.disposition & _COVER]
    if not movies:
        raise InputError(f"Expected a video stream in {path}, found none.")
    default = [stream for stream in movies if stream.disposition & av.stream.Disposition.default]
    stream = (default or movies)[0]
    if stream.codec_context is None:
        raise InputError(
            f"Expected a codec that PyAV decodes in {path}, found no decoder for its video stream."
        )
    return stream


def _fact(packet: Any) -> dict[str, Any]:
    return {
        "pts": packet.pts, "dts": packet.dts, "duration": packet.duration or 0,
        "key": packet.is_keyframe, "discard": packet.is_discard,
    }  # fmt: skip


def _clock(container: Any, packets: list[dict[str, Any]]) -> str:
    """Source of the times: ``pts``, ``dts`` (AVI: filled slots of the frame clock) or ``rate``."""
    shown = [p["pts"] for p in packets if not p["discard"]]
    if container.format.name == "avi":
        return "rate" if any(p["dts"] is None for p in packets) else "dts"
    if None in shown or len(set(shown)) < len(shown):
        return "guess"
    return "pts"


def _frame_clock(
    times: list[int | None], packets: list[dict[str, Any]], clock: str, base: float, rate: float, delay: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Start of every decoded frame in seconds, and a note if the file contains no usable times."""
    slots = sorted(p["pts" if clock == "pts" else "dts"] for p in packets) if clock in ("pts", "dts") else []
    if clock == "dts" and len(slots) >= len(times):
        late = slots[delay:]  # the decoding clock precedes the presentation clock by the decoder's delay
        late += [slots[-1] + 1 + k for k in range(delay)]
        return np.array(late[: len(times)]) * base, ()
    if clock != "rate" and None not in times and all(a < b for a, b in itertools.pairwise(times)):
        return np.array(times) * base, ()
    if len(slots) >= len(times) and None not in times:
        return np.array(slots[: len(times)]) * base, (
            "time stamps in decoding order: taken in ascending order",
        )
    return np.arange(len(times)) / rate, (f"no usable time stamps: {rate:g} frames per second assumed",)


def _seconds(ticks: np.ndarray, last: float, rate: float) -> tuple[np.ndarray, float]:
    """Starts of the frames, counted from zero, and the end of the last frame."""
    starts = ticks - ticks[0]
    if last <= 0:
        last = float(np.median(np.diff(starts))) if len(starts) > 1 else 1 / rate
    return starts, float(starts[-1] + last)


def _seek_points(packets: list[dict[str, Any]], pts: np.ndarray) -> np.ndarray:
    """For each displayed frame, the pts of a key frame that precedes it in both decoding and presentation order."""
    points: dict[int, int] = {}
    keys = [packets[0]["pts"]]
    for packet in packets:
        if packet["key"]:
            keys = [keys[-1], packet["pts"]]
        if packet["pts"] is not None:
            points[packet["pts"]] = keys[-1] if packet["pts"] >= keys[-1] else keys[0]
    return np.array([points[time] for time in pts.tolist()], np.int64)


def _header(container: Any, stream: Any, packets: list[dict[str, Any]]) -> dict[str, Any]:
    """Properties that the container states."""
    audio = [sound for sound in container.streams.audio if sound.duration is not None]
    return {
        "container": container.format.name,
        "codec": stream.codec_context.name,
        "rate": _rate(stream),
        "average_rate": None if stream.average_rate is None else float(stream.average_rate),
        "clock": _clock(container, packets),
        "hidden": sum(p["discard"] for p in packets),
        "span": _span(packets, float(stream.time_base)),
        "frames": stream.frames,
        "packets": len(packets),
        "slots": max((p["dts"] + 1 for p in packets if p["dts"] is not None), default=0),
        "seconds": None if stream.duration is None else float(stream.duration * stream.time_base),
        "start": None if stream.start_time is None else float(stream.start_time * stream.time_base),
        "container_seconds": None if container.duration is None else container.duration / 1e6,
        "audio": [
            (float((sound.start_time or 0) * sound.time_base), float(sound.duration * sound.time_base))
            for sound in audio
        ],
        "lacking": bytes_lacking(Path(container.name)),
        "streams": len(container.streams.video),
    }


def _span(packets: list[dict[str, Any]], base: float) -> tuple[float, float] | None:
    """Start of the first packet's presentation and end of the last one's, in seconds; None if there are no times."""
    times = [
        (p["pts"], p["pts"] + p["duration"]) for p in packets if not p["discard"] and p["pts"] is not None
    ]
    if not times:
        return None
    return min(start for start, _ in times) * base, max(end for _, end in times) * base


def _rate(stream: Any) -> float:
    return float(stream.guessed_rate or stream.average_rate or 25)


def _decoded(
    path: str,
    threads: int,
    container: Any = None,
    stream: Any = None,
    packets: list[dict[str, Any]] | None = None,
) -> Iterator[Any]:
    """Decoded frames in presentation order, and None after every packet; packet properties are added to ``packets``."""
    if container is None:
        with _opened(path) as own:
            yield from _decoded(path, threads, own, _choose(own, path))
        return
    context = stream.codec_context
    clear = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(context.name)
    if clear and stream.metadata.get("alpha_mode") == "1":  # FFmpeg's built-in decoders drop transparency
        context = av.CodecContext.create(clear, "r")
    context.thread_count = threads
    if (
        context.name == "hevc"
    ):  # the only decoder that neither marks nor reports frames with missing references
        context.options = {"err_detect": "explode"}
    count = 0
    try:
        for packet in container.demux(stream):
            yield None
            if not packet.size and packet.dts is not None:
                continue  # an empty slot of an AVI file: the previous frame stays displayed
            if packets is not None and packet.size:
                packets.append(_fact(packet))
            if packet.is_corrupt and count:
                raise InputError(f"Expected a whole video at {path}, got a damaged packet (frame {count}).")
            try:
                images = context.decode(packet if packet.size else None)
            except av.error.EOFError:
                images = []
            except av.error.InvalidDataError:
                if count:
                    raise
                continue  # a cut file may begin with frames whose reference frames were removed
            for frame in images:
                if frame.is_corrupt:
                    raise InputError(f"Expected whole frames in {path}, frame {count} is corrupt.")
                count += 1
                yield frame
    except av.FFmpegError as error:
        raise InputError(
            f"Expected a whole video at {path}, got: {brief(error)} (after {count} frames)."
        ) from None


def _shown(frame: Any, stream: Any, path: str, square: bool) -> tuple[np.ndarray, bool]:
    """The displayed image (RGB, rotated, on black, with square pixels if requested), and whether it had
    transparency."""
    transparent = False
    if _transparent(frame):
        image, transparent = on_black(_pixels(frame, "rgba"))
    else:
        # FFmpeg's conversion of more than 8 bits to rgb24 is two levels too low; its conversion to planes is correct
        image = _pixels(frame, "gbrp" if _bits(frame) > 8 else "rgb24")
    aspect = _aspect(stream)
    if square and aspect != 1:
        height, width = image.shape[:2]
        method = cv2.INTER_AREA if aspect < 1 else cv2.INTER_CUBIC
        image = cv2.resize(image, (max(1, round(width * aspect)), height), interpolation=method)
    matrix = _matrix(frame)
    if matrix is not None:
        image = _turn(image, matrix, path)
    return image, transparent


def _pixels(frame: Any, layout: str) -> np.ndarray:
    """Pixels of a frame in an RGB format; ``rgb24`` is returned without a copy."""
    image = _scaler.reformat(frame, format=layout, threads=1)
    if layout != "rgb24":
        return image.to_ndarray()
    rows = np.frombuffer(image.planes[0], np.uint8).reshape(image.height, -1)
    return rows[:, : 3 * image.width].reshape(image.height, image.width, 3)


def on_black(rgba: np.ndarray) -> tuple[np.ndarray, bool]:
    """Composite an image (height, width, 4) uint8 on black; returns the RGB image and whether any pixel was
    transparent."""
    alpha = rgba[..., 3:]
    if (alpha == 255).all():
        return rgba[..., :3].copy(), False
    return ((rgba[..., :3].astype(np.uint16) * alpha + 127) // 255).astype(np.uint8), True


def _transparent(frame: Any) -> bool:
    return frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)


def _bits(frame: Any) -> int:
    return max(component.bits for component in frame.format.components)


def _aspect(stream: Any) -> float:
    aspect = stream.sample_aspect_ratio
    return float(aspect) if aspect else 1.0


def _matrix(frame: Any) -> np.ndarray | None:
    """Display matrix [[a, b], [c, d]], (x, y) -> (a x + c y, b x + d y); None if it is the identity."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5] / 65536
    matrix = np.array([[a, b], [c, d]])
    return None if np.allclose(matrix, np.eye(2)) else matrix


def _turn(image: np.ndarray, matrix: np.ndarray, path: str) -> np.ndarray:
    (a, b), (c, d) = np.round(matrix)
    if (
        not np.allclose(np.abs(matrix), [[abs(a), abs(b)], [abs(b), abs(a)]], atol=1e-2)
        or abs(a) + abs(b) != 1
    ):
        angle = np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0]))
        raise InputError(
            f"Expected a display rotation by a multiple of 90 degrees in {path}, got {angle:.1f}."
        )
    turned = image[:: int(d), :: int(a)] if a else image.transpose(1, 0, 2)[:: int(b), :: int(c)]
    return np.ascontiguousarray(turned)


def _notes(frame: Any, stream: Any, container: Any) -> tuple[str, ...]:
    """Properties of the images that matter for the interpretation of scores."""
    notes = []
    if frame.interlaced_frame:
        notes.append("interlaced: every frame is shown with both fields, not deinterlaced")
    if frame.color_trc in _HDR:
        notes.append(f"HDR ({_HDR[frame.color_trc]}): not tone mapped")
    if len(container.streams.video) > 1:
        notes.append(f"{len(container.streams.video)} video streams: stream {stream.index} is read")
    if "grey" in frame.format.name or frame.format.name.startswith("gray"):
        notes.append("grey repeated in three channels")
    if _matrix(frame) is not None:
        notes.append("display rotation applied")
    if _aspect(stream) != 1:
        notes.append(f"anamorphic: pixels have the aspect ratio {_aspect(stream):.4g}")
    return tuple(notes)
