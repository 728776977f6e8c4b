"""Video files: writing by PyAV with exact frame counts and times, and reading in presentation order by one
set of rules."""

import atexit
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import av
import numpy as np

from mind_animator.artefacts.decoding import SharedMemory, Transform, serve
from mind_animator.artefacts.files import atomic
from mind_animator.errors import InputError
from mind_animator.provenance import ROOT

# A decoder without progress for this time (seconds) is terminated; decord is allowed additional time for indexing a
# file, at this number of bytes per second.
STALL_SECONDS = 60.0
_SLOW_DISK = 2e7
# In shorter movies, confirming decord's frames takes longer than reading all of them by PyAV.
DECORD_FRAMES = 1000
_START_SECONDS = 180.0  # starting Python on a busy machine is no decoder's stall


def write_mp4(
    path: Path | str,
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    *,
    crf: int = 18,
    lossless: bool = False,
) -> int:
    """Write H.264 in MP4 with frame k at time k / fps; the same frames give the same bytes on any machine.

    Parameters
    ----------
    path : path
        Output file, written atomically.
    frames : iterable of arrays of shape (height, width, 3), uint8
        RGB; an array (frame, height, width, 3) or a generator, so that a long movie need not be in memory.
        Height and width must be even unless ``lossless``.
    fps : float or Fraction
        Frames per second, > 0; 29.97 means 30000/1001.
    crf : int
        Quality, 0 (best) to 51; 18 is visually close to the original.
    lossless : bool
        Keep every value (RGB without chroma subsampling); few browsers can play such files.

    Returns
    -------
    int
        Number of frames written.

    Raises
    ------
    ValueError
        If there is no frame, or a frame has another shape or type.
    """
    rate = _exact_rate(fps)
    written = 0
    with atomic(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        # One thread: the output of x264 depends on the number of threads.
        options = {"threads": "1"} | ({"qp": "0"} if lossless else {"crf": str(crf)})
        stream = container.add_stream("libx264rgb" if lossless else "libx264", rate=rate, options=options)
        stream.pix_fmt = "rgb24" if lossless else "yuv420p"
        stream.codec_context.time_base = 1 / rate
        for frame in frames:
            if written == 0:
                _check_frame(frame, frame.shape, even=not lossless)
                shape = frame.shape
                stream.height, stream.width = shape[:2]
            _check_frame(frame, shape, even=False)
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            image.pts, image.time_base = written, 1 / rate
            container.mux(stream.encode(image))
            written += 1
        if not written:
            raise ValueError(f"Expected at least one frame for {path}, got none.")
        container.mux(stream.encode(None))
    return written


class Movie:
    """Presentation times of a video file, and its frames in one sequential pass.

    All parts of the project read movies through this class, so that they use the same stream, the same times and the
    same images (rules: `mind_animator.artefacts.decoding`). Decoding runs in a separate process, which is terminated
    with a one-line error if it makes no progress for `STALL_SECONDS`.

    Parameters
    ----------
    path : path
        Any file that FFmpeg reads.
    threads : int
        Decoder threads.
    reader : {"decord", "PyAV"}
        ``"decord"``: decord if its times and frames are confirmed for this file and the file has at least
        `DECORD_FRAMES` frames, otherwise PyAV. ``"PyAV"``: PyAV. Both give the same frames.
    square : bool
        Make pixels square. False keeps the stored pixels of anamorphic movies, for frames that are subsequently
        resized to a fixed size.

    Attributes
    ----------
    starts : array of shape (n_frames,), float64
        Presentation times of the displayed frames, seconds, ascending; the first is 0.
    end : float
        End of the last frame's presentation, seconds.
    size : tuple of int
        (height, width) of the frames, pixels.
    notes : tuple of str
        Conversions that were applied to the images or omitted (rotation, transparency, interlaced, HDR).
    reader : str
        ``"decord"`` or ``"PyAV"``: the library that reads this file; ``reason`` states why it is PyAV.

    Raises
    ------
    InputError
        If the file is absent, has no video, is truncated or corrupt, there is no decoder for it, or its decoder stalls.
    """

    def __init__(
        self, path: Path | str, threads: int = 1, reader: str = "decord", square: bool = True
    ) -> None:
        self.path, self._threads, self._square, self.reason = Path(path), threads, square, ""
        if not self.path.is_file():
            raise InputError(f"Expected a movie at {path}, found none.")
        facts = _ask("scan", self._arguments())
        if facts["header"]["lacking"]:
            raise InputError(
                f"Expected a whole video at {path}, got one that lacks {facts['header']['lacking']} bytes "
                "at its end."
            )
        self._pts = facts["pts"] if facts["exact"] else None
        self._seek, self.notes = facts["seek"], facts["notes"]
        if not facts["exact"]:  # the displayed frames and their times are known only after decoding
            facts |= _ask("frames", self._arguments(frame_indices=np.zeros(0, np.int64))) | {
                "size": facts["size"]
            }
            self.notes = facts["notes"]
        self.starts, self.end, self.size = facts["starts"], facts["end"], facts["size"]
        self.header = facts["header"]
        if reader == "decord":
            short = len(self.starts) < DECORD_FRAMES and f"it has fewer than {DECORD_FRAMES} frames"
            self.reason = short or facts["blocker"] or self._decord_fault()
        self.reader = "decord" if reader == "decord" and not self.reason else "PyAV"

    def frames(
        self, frame_indices: np.ndarray | None = None, transform: Transform | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index, frame) for ascending indices (default: all), decoding the movie once.

        Frames are RGB uint8 (height, width, 3). If an error of decord is detected during reading, all requested frames
        are yielded again, by PyAV, and replace the earlier ones. ``transform`` (a picklable function, e.g. a resize) is
        applied to every frame in the decoding process, so that less data is copied.

        Raises
        ------
        InputError
            If the decoder fails, stalls or conceals damage before the last requested frame.
        """
        frame_indices = (
            np.arange(len(self.starts)) if frame_indices is None else np.asarray(frame_indices, np.int64)
        )
        if frame_indices.size == 0:
            return
        falling = np.flatnonzero(np.diff(frame_indices) <= 0)
        if falling.size or frame_indices[0] < 0:
            raise ValueError(f"Expected ascending indices from 0, got {frame_indices[:10]}.")
        if self.reader == "decord":
            try:
                arguments = self._arguments(frame_indices=frame_indices, pts=self._pts, seek=self._seek)
                for indices, batch in _stream("decord_frames", arguments, transform=transform):
                    yield from zip(indices, batch, strict=True)
                return
            except (_Stalled, _Mismatch) as error:
                self.reader, self.reason = "PyAV", str(error)
                print(f"{self.path}: read once more, by PyAV ({error})", file=sys.stderr)
        arguments = self._arguments(frame_indices=frame_indices, pts=self._pts)
        try:
            for indices, batch in _stream("frames", arguments, transform=transform):
                yield from zip(indices, batch, strict=True)
        except (_Stalled, _Mismatch) as error:
            raise InputError(f"Expected a whole video at {self.path}, got: {error}.") from None

    def describe(self) -> str:
        """One line for a log: file, frames, reader with the reason, notes."""
        why = f" ({self.reason})" if self.reason else ""
        notes = "".join(f"; {note}" for note in self.notes)
        return f"{self.path}: {len(self.starts)} frames, {self.end:.3f} s, read by {self.reader}{why}{notes}"

    def _decord_fault(self) -> str:
        patience = (
            STALL_SECONDS + self.path.stat().st_size / _SLOW_DISK
        )  # decord indexes the file in one call, without reporting progress
        try:
            return _ask("prove_decord", self._arguments(starts=self.starts), patience)["fault"]
        except InputError as error:
            return f"decord cannot read it: {error}"

    def _arguments(self, **more: Any) -> dict[str, Any]:
        return {"path": str(self.path), "threads": self._threads, "square": self._square, **more}


def movie_header(path: Path | str) -> dict[str, Any]:
    """Properties of a movie from its container and packets; at most one frame is decoded.

    Returns
    -------
    dict
        ``codec``, ``container``, ``rate``, ``average_rate`` (Hz); ``frames`` (stated number; 0 if not stated),
        ``packets``, ``hidden`` (packets that an edit list hides), ``slots`` (filled and empty slots of an AVI clock),
        ``clock`` (``pts``, ``dts``, ``guess``, ``rate``: source of the times), ``seconds`` (stated length of
        the video), ``container_seconds``, ``span`` (start and end of the packets, seconds), ``audio`` (start and
        length of each sound track, seconds), ``lacking`` (bytes missing at the end).

    Raises
    ------
    InputError
        If the file has no video, cannot be decoded, or its decoder stalls.
    """
    return _ask("scan", {"path": str(path), "threads": 1, "square": False})["header"]


def read_frames(
    path: Path | str, max_bytes: int | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """All frames of a video file, decoded once by PyAV, by the rules of `Movie`.

    Parameters
    ----------
    path : path
        Any file that FFmpeg reads.
    max_bytes : int, optional
        Maximum memory of the frames.

    Returns
    -------
    frames : array of shape (frame, height, width, 3), uint8
        RGB, as a player displays them.
    times : array of shape (frame + 1,), float64
        Start of every frame and the end of the last, seconds from the first frame.
    notes : tuple of str
        See `Movie`.

    Raises
    ------
    InputError
        If the file is absent, has no video, is truncated, corrupt or larger than allowed, or if its decoder stalls.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"Expected a video at {path}, found none.")
    arguments = {
        "path": str(path),
        "threads": 1,
        "square": True,
        "frame_indices": None,
        "max_bytes": max_bytes,
    }
    facts: dict[str, Any] = {}
    try:
        ((_, frames),) = _stream("frames", arguments, facts=facts, whole=True)
    except _Stalled as error:
        raise InputError(f"Expected a whole video at {path}, got: {error}.") from None
    return frames, np.append(facts["starts"], facts["end"]), facts["notes"]


def read_video(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Frames (frame, height, width, 3) uint8 and their start times (frame,) in seconds; see `read_frames`."""
    frames, times, _ = read_frames(path)
    return frames, times[:-1]


class _Stalled(Exception):
    """The decoding process made no progress and was terminated, or it crashed."""


class _Mismatch(Exception):
    """The decoded frames do not match the times stated by the container."""


class _Process:
    """A decoding process and its connection."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self.shared = SharedMemory()
        memory = self.shared.file.fileno()
        code = f"from {serve.__module__} import serve; serve({theirs.fileno()}, {memory}, {os.getpid()})"
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[theirs.fileno(), memory],
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        theirs.close()
        try:
            started = self.connection.poll(_START_SECONDS) and self.connection.recv() == ("ready",)
        except (EOFError, OSError):
            started = False
        if not started:
            self.kill()
            raise RuntimeError(f"Expected a decoding process within {_START_SECONDS:.0f} s, got none.")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.connection.close()


_idle: list[_Process] = []


os.register_at_fork(after_in_child=_idle.clear)  # a connection belongs to one process


@atexit.register
def end_processes() -> None:
    """Terminate the idle decoding processes; the next read starts a new one."""
    while _idle:
        _idle.pop().kill()


def _stream(
    name: str,
    arguments: dict[str, Any],
    patience: float | None = None,
    facts: dict[str, Any] | None = None,
    transform: Transform | None = None,
    whole: bool = False,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yield (indices, frames) of a request in batches (``whole``: in one); its return value is added to ``facts``."""
    process = _idle.pop() if _idle else _Process()
    patience = STALL_SECONDS if patience is None else patience
    finished = False
    try:
        process.connection.send((name, arguments, transform, whole))
        while True:
            if not process.connection.poll(patience):
                raise _Stalled(f"the decoder made no progress for {patience:.0f} s and was ended")
            message = process.connection.recv()
            if message[0] == "frames":
                shape = (len(message[1]), *message[2])
                frames = process.shared.up_to(math.prod(shape)).reshape(shape).copy()
                process.connection.send(None)  # copied
                yield message[1], frames
            elif message[0] != "alive":
                break
        finished = True
    except (EOFError, OSError):
        raise _Stalled("the decoder crashed") from None
    finally:
        if finished:
            process.shared.trim()
            _idle.append(process)
        else:
            process.kill()
    if message[0] == "error":
        raise InputError(message[1])
    if message[0] == "mismatch":
        raise _Mismatch(message[1])
    if facts is not None:
        facts.update(message[1])


def _ask(name: str, arguments: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
    """The return value of a request that yields no frames."""
    value: dict[str, Any] = {}
    try:
        for _ in _stream(name, arguments, patience, value):
            raise ValueError(f"Expected no frames of request '{name}'.")
    except _Stalled as error:
        raise InputError(f"Expected a whole video at {arguments['path']}, got: {error}.") from None
    return value


def _exact_rate(fps: float | Fraction) -> Fraction:
    """Exact frame rate: NTSC rates such as 29.97 are multiples of 1/1001; other values are used unchanged."""
    if not fps > 0:
        raise ValueError(f"Expected fps > 0, got {fps}.")
    ntsc = Fraction(round(fps) * 1000, 1001)
    if isinstance(fps, float) and not fps.is_integer() and abs(fps - ntsc) < 5e-3:
        return ntsc
    return Fraction(fps).limit_denominator(1000)


def _check_frame(frame: np.ndarray, shape: tuple[int, ...], *, even: bool) -> None:
    good = frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == np.uint8 and frame.shape == shape
    if not good:
        expected = shape if len(shape) == 3 and shape[2] == 3 else ("height", "width", 3)
        raise ValueError(f"Expected uint8 frames {expected}, got {frame.dtype} {frame.shape}.")
    if even and (frame.shape[0] % 2 or frame.shape[1] % 2):
        raise ValueError(f"Expected even height and width (H.264 4:2:0), got {frame.shape[:2]}.")
