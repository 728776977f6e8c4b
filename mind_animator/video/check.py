"""Consistency checks of the duration, frame count and times of a movie file."""

from pathlib import Path

from mind_animator.artefacts.video import movie_header
from mind_animator.errors import InputError

TOLERANCE = 0.1  # seconds; containers round durations
SOUND = 0.5  # seconds


def check_movie(path: Path | str) -> tuple[dict[str, float], list[str]]:
    """Compare the properties stated by the container of a movie with its packets. One frame is decoded.

    Returns
    -------
    facts : dict
        ``seconds`` (from the first frame to the end of the last), ``frames`` and ``fps``; empty if the file
        cannot be read.
    findings : list of str
        Contradictions, one sentence each; empty if there are none. Frames hidden by an edit list are not a
        contradiction.
    """
    try:
        header = movie_header(path)
    except InputError as error:
        return {}, [f"no readable movie: {error}"]
    findings = []
    if header["lacking"]:
        findings.append(f"{header['lacking']} bytes are missing at its end")
    shown = header["packets"] - header["hidden"]
    slots = header["slots"] if header["clock"] == "dts" else header["packets"]
    if header["frames"] and header["frames"] != slots and not header["hidden"]:
        findings.append(f"its header counts {header['frames']} frames, its packets are {slots}")
    if header["clock"] in ("guess", "rate"):
        findings.append("some frames have no presentation time, or the same time as another")
    span = header["span"]
    video = header["seconds"] or 0.0
    if header["clock"] == "dts":
        video = slots / (header["average_rate"] or header["rate"])
    elif span is not None:
        video = span[1] - span[0]
    states = header["container"].startswith(
        ("mov", "matroska", "avi", "asf", "flv")
    )  # for other containers the duration is an estimate of FFmpeg
    stated = header["seconds"] if states else video
    if stated is None and not header["audio"]:
        stated = header["container_seconds"]
        if stated is not None and span is not None and "matroska" in header["container"]:
            stated -= span[0]  # Matroska counts from zero
    if stated is not None and abs(stated - video) > max(TOLERANCE, 2 / header["rate"]):
        findings.append(f"its header states {stated:.3f} s of video, its packets last {video:.3f} s")
    for start, length in header["audio"]:
        first = span[0] if span is not None else 0.0
        if abs(start - first) > SOUND or abs(start + length - first - video) > SOUND:
            findings.append(
                f"its sound runs from {start:.2f} to {start + length:.2f} s, "
                f"its video from {first:.2f} to {first + video:.2f} s"
            )
    facts = {"seconds": video, "frames": shown, "fps": header["average_rate"] or header["rate"]}
    return facts, findings
