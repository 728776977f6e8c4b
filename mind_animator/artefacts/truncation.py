"""Detection of truncated video files from the sizes stated in their containers."""

from pathlib import Path
from typing import BinaryIO

_MP4_FIRST = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot")
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def bytes_lacking(path: Path) -> int:
    """Bytes missing at the end of an MP4, MOV, Matroska, WebM, AVI or ASF file; 0 if none are missing or it
    is unknown."""
    with path.open("rb") as file:
        start = file.read(16)
        file.seek(0)
        if start[4:8] in _MP4_FIRST:
            end = _mp4_end(file)
        elif start[:4] == b"\x1a\x45\xdf\xa3":
            end = _matroska_end(file)
        elif start[:4] == b"RIFF":
            end = _riff_end(file)
        elif start == _ASF:
            end = _asf_end(file)
        else:
            return 0
    return max(0, end - path.stat().st_size)


def _mp4_end(file: BinaryIO) -> int:
    """Boxes, each with a size of 4 bytes (1: 8 bytes follow the type; 0: to the end of the file) and a type."""
    end = 0
    while True:
        file.seek(end)
        head = file.read(16)
        size = int.from_bytes(head[:4])
        if size == 1:
            size = int.from_bytes(head[8:16])
        if len(head) < 8 or size < 8:
            return end
        end += size


def _riff_end(file: BinaryIO) -> int:
    """One or more RIFF chunks (several in large AVI files); the size is 0 if the recording program was killed."""
    end = 0
    while True:
        file.seek(end)
        head = file.read(8)
        size = int.from_bytes(head[4:], "little")
        if len(head) < 8 or head[:4] != b"RIFF" or size == 0:
            return end
        end += 8 + size


def _asf_end(file: BinaryIO) -> int:
    """The file size from the file properties object; live recordings contain none."""
    head = file.read(1 << 16)
    at = head.find(_ASF_FILE_PROPERTIES)
    if at < 0 or len(head) < at + 92 or head[at + 88] & 1:
        return 0
    return int.from_bytes(head[at + 40 : at + 48], "little")


def _matroska_end(file: BinaryIO) -> int:
    """An EBML header and a Segment, each with an id, a size of 1 to 8 bytes and that many bytes of content.

    A size whose bits are all 1 means that the size is unknown (live recordings).
    """
    for identity in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):
        if file.read(4) != identity or not (first := file.read(1)):
            return 0
        extra = 8 - first[0].bit_length()  # the number of leading zeros is the number of further bytes
        bits = 7 * (extra + 1)
        size = int.from_bytes(first + file.read(extra)) & ((1 << bits) - 1)
        if size == (1 << bits) - 1:
            return 0
        end = file.tell() + size
        file.seek(size, 1)
    return end
