"""Video files by PyAV: written frame by frame with exact counts and times, read in presentation order."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mind_animator.artefacts.files import atomic
from mind_animator.errors import InputError


def write_mp4(
    path: Path | str,
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    *,
    crf: int = 18,
    lossless: bool = False,
) -> int:
    """Write H.264 in MP4, frame k shown at k / fps; the same frames give the same bytes on any machine.

    Parameters
    ----------
    path : path
        Target, written atomically.
    frames : iterable of arrays of shape (height, width, 3), uint8
        RGB; an array (frame, height, width, 3) or a generator, so that a long movie need not be held.
        Height and width must be even unless ``lossless``.
    fps : float or Fraction
        Frames a second, > 0; 29.97 means 30000/1001.
    crf : int
        Quality, 0 (best) to 51; 18 cannot be told from the original by eye.
    lossless : bool
        Keep every value (RGB without chroma subsampling); few browsers show such files.

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
        # One thread: x264's choices depend on the number of threads, and so would the bytes.
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


def read_video(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """All frames of a video (MP4, AVI, GIF, ...) in presentation order.

    Returns
    -------
    frames : array of shape (frame, height, width, 3), uint8
        RGB at the file's own size.
    times : array of shape (frame,), float64
        Presentation times, seconds, counted from the first frame.

    Raises
    ------
    InputError
        If the file is absent, holds no video, is truncated or corrupt.
    """
    pairs = list(iterate_video(path))
    return np.stack([frame for frame, _ in pairs]), np.array([time for _, time in pairs])


def iterate_video(path: Path | str) -> Iterator[tuple[np.ndarray, float]]:
    """Yield (frame, time) as `read_video` returns them, one at a time: memory does not grow with length."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"Expected a video at {path}, found none.")
    count, start, shape = 0, None, None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"Expected a video stream in {path}, found none.")
            stream = container.streams.video[0]
            # A damaged frame is an error, never a guess.
            stream.codec_context.options = {"err_detect": "explode"}
            declared = stream.frames  # 0 where the container does not say
            for image in container.decode(stream):
                if image.is_corrupt:
                    raise InputError(f"Expected whole frames in {path}, frame {count} is corrupt.")
                frame = image.to_ndarray(format="rgb24")
                start = image.time if start is None else start
                shape = frame.shape if shape is None else shape
                if frame.shape != shape:
                    raise InputError(f"Expected frames of {shape} in {path}, got {frame.shape} at {count}.")
                count += 1
                yield frame, float(image.time - start)
    except av.FFmpegError as error:
        raise InputError(f"Expected a whole video at {path}, got: {error} (after {count} frames).") from None
    if not count or count < declared:
        raise InputError(f"Expected {declared or 'some'} frames in {path}, got {count}: is it truncated?")
    if not declared and (lacking := _bytes_lacking(path)):
        raise InputError(f"Expected a whole video at {path}, got one that lacks {lacking} bytes at its end.")


def _bytes_lacking(path: Path) -> int:
    """Bytes that a Matroska file (webm, mkv) lacks by its own account, which counts no frames; 0 for others.

    An EBML header, then one Segment, each an id, a size of 1 to 8 bytes and that many bytes; a size of all
    ones says that nobody knew (live recordings).
    """
    with path.open("rb") as file:
        for identity in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):
            if file.read(4) != identity:
                return 0
            first = file.read(1)[0]
            extra = 8 - first.bit_length()  # as many bytes follow as zeros lead
            bits = 7 * (extra + 1)
            size = int.from_bytes(bytes([first]) + file.read(extra)) & ((1 << bits) - 1)
            if size == (1 << bits) - 1:
                return 0
            start = file.tell()
            file.seek(size, 1)
    return max(0, start + size - path.stat().st_size)


def _exact_rate(fps: float | Fraction) -> Fraction:
    """29.97 and its kin are multiples of 1/1001 by definition; anything else is what it says."""
    if not fps > 0:
        raise ValueError(f"Expected fps > 0, got {fps}.")
    ntsc = Fraction(round(fps) * 1000, 1001)
    if isinstance(fps, float) and not fps.is_integer() and abs(fps - ntsc) < 5e-3:
        return ntsc
    return Fraction(fps).limit_denominator(1000)


def _check_frame(frame: np.ndarray, shape: tuple[int, ...], *, even: bool) -> None:
    good = frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == np.uint8 and frame.shape == shape
    if not good:
        wanted = shape if len(shape) == 3 and shape[2] == 3 else ("height", "width", 3)
        raise ValueError(f"Expected uint8 frames {wanted}, got {frame.dtype} {frame.shape}.")
    if even and (frame.shape[0] % 2 or frame.shape[1] % 2):
        raise ValueError(f"Expected even height and width (H.264 4:2:0), got {frame.shape[:2]}.")
