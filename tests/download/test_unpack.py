"""Zips, zips in zips, and zips that mean harm."""

import contextlib
import io
import stat
import struct
import zipfile

import numpy as np
import pytest

from mind_animator.datasets.download import read_manifest, unpack
from mind_animator.datasets.download.engine import _zip_fault
from mind_animator.datasets.download.zips import suffix_chooser
from mind_animator.errors import InputError

BODY = np.random.default_rng(2).integers(0, 8, 70_000, dtype=np.uint8).tobytes()


def packed(members, compression=zipfile.ZIP_DEFLATED, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, body in members.items():
            with archive.open(zipfile.ZipInfo(name) if options else name, "w", **options) as member:
                member.write(body)
    return buffer.getvalue()


def double(tmp_path, outer, **options):
    inner = packed(
        {f"data/run{i}.bin": BODY + bytes([i]) for i in range(4)} | {"data/raw/skip.bin": b"x"}, **options
    )
    path = tmp_path / "10_4231.zip"
    with zipfile.ZipFile(path, "w", outer) as archive:
        archive.writestr("10_4231/readme.txt", "hello")
        archive.writestr("10_4231/bundle.zip", inner)
    return path


@pytest.mark.parametrize("outer", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("options", [{}, {"force_zip64": True}])
@pytest.mark.parametrize("tail", [1 << 26, 200])
def test_a_double_zip_is_unpacked_in_place(tmp_path, outer, options, tail, monkeypatch):
    monkeypatch.setattr("mind_animator.datasets.download.zips.TAIL", tail)
    path = double(tmp_path, outer, **options)
    expected = [f"run{i}.bin" for i in range(4)]
    entries = unpack(path, tmp_path / "out", suffix_chooser(expected))
    assert [e.file for e in entries] == expected
    for i, name in enumerate(expected):
        assert (tmp_path / "out" / name).read_bytes() == BODY + bytes([i])
    # nothing else was ever written: no second copy of the inner zip, no member that was not asked for
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".manifest.tsv.lock",
        "manifest.tsv",
        *expected,
    ]
    assert {e.checked_by for e in read_manifest(tmp_path / "out").values()} == {"zip crc"}


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/../../evil", "C:/evil", "..\\evil", "a/..\\..\\evil"]
)
def test_a_path_outside_the_target_is_refused_even_if_not_asked_for(tmp_path, name):
    path = tmp_path / "a.zip"
    path.write_bytes(packed({"good.bin": b"1"}) and _with_name(name))
    with pytest.raises(InputError, match="Expected members inside the target folder"):
        unpack(path, tmp_path / "out", suffix_chooser(["good.bin"]))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil").exists()


def _with_name(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("good.bin", b"1")
        info = zipfile.ZipInfo("x")
        info.filename = name  # the constructor would correct it
        archive.writestr(info, b"evil")
    return buffer.getvalue()


def test_a_place_outside_the_target_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(packed({"a": b"1"}))
    with pytest.raises(InputError, match=r"Expected places inside .*, got '\.\./a'"):
        unpack(path, tmp_path / "out", lambda member: "../a")


def test_a_link_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="got the link 'link'"):
        unpack(path, tmp_path / "out", lambda member: member)


def test_two_members_for_one_place_are_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(packed({"x/run.bin": b"1", "y/run.bin": b"2"}))
    with pytest.raises(
        InputError, match=r"Expected one member for run\.bin in .*, got 'x/run\.bin' and 'y/run\.bin'"
    ):
        unpack(path, tmp_path / "out", suffix_chooser(["run.bin"]))


def test_a_member_under_a_password_is_refused(tmp_path):
    body = bytearray(packed({"a.bin": b"1"}))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        offset = body.index(signature) + at
        body[offset : offset + 2] = struct.pack("<H", struct.unpack("<H", body[offset : offset + 2])[0] | 1)
    (tmp_path / "a.zip").write_bytes(body)
    with pytest.raises(InputError, match=r"without a password in .*, got 'a\.bin'"):
        unpack(tmp_path / "a.zip", tmp_path / "out", lambda member: member)


@pytest.mark.parametrize("outer", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_flipped_byte_is_caught(tmp_path, outer):
    """40 places over the file: an error, or (bytes that carry nothing, such as dates) the right files."""
    path = double(tmp_path, outer)
    body = path.read_bytes()
    expected = {f"run{i}.bin": BODY + bytes([i]) for i in range(4)}
    for number, at in enumerate(np.linspace(0, len(body) - 1, 40).astype(int)):
        path.write_bytes(body[:at] + bytes([body[at] ^ 0x55]) + body[at + 1 :])
        out = tmp_path / f"out{number}"
        with contextlib.suppress(InputError):
            unpack(path, out, suffix_chooser(expected))
        for file in out.rglob("*.bin"):
            assert file.read_bytes() == expected[file.name]


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_wrong_bytes_in_a_member_are_reported_however_it_was_packed(tmp_path, compression):
    body = bytearray(packed({"a.bin": BODY}, compression))
    body[100:2000] = bytes(1900)
    (tmp_path / "a.zip").write_bytes(body)
    with pytest.raises(InputError, match=r"^Expected 'a\.bin' whole in .*a\.zip, got: "):
        unpack(tmp_path / "a.zip", tmp_path / "out", lambda member: member)
    assert _zip_fault(tmp_path / "a.zip") is not None


def test_too_small_a_disk_is_reported_before_anything_is_written(tmp_path, monkeypatch):
    import collections

    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr("mind_animator.datasets.download.zips.shutil.disk_usage", lambda path: usage(1000))
    path = double(tmp_path, zipfile.ZIP_STORED)
    with pytest.raises(InputError, match=r"Expected 0\.0 GB free to unpack"):
        unpack(path, tmp_path / "out", suffix_chooser(["run0.bin"]))
    assert not (tmp_path / "out").exists()


def test_a_changed_member_is_not_taken_for_the_first_one(tmp_path):
    for body, fault in ((b"1", None), (b"2", r"Expected sha256 .* of a\.bin as at the first unpacking")):
        (tmp_path / "a.zip").write_bytes(packed({"a.bin": body}))
        if fault is None:
            unpack(tmp_path / "a.zip", tmp_path / "out", lambda member: member)
        else:
            with pytest.raises(InputError, match=fault):
                unpack(tmp_path / "a.zip", tmp_path / "out", lambda member: member)
    assert (tmp_path / "out/a.bin").read_bytes() == b"1"


def test_what_is_no_zip_is_reported(tmp_path):
    (tmp_path / "a.zip").write_bytes(BODY)
    with pytest.raises(InputError, match=r"Expected a whole zip at .*a\.zip, got: File is not a zip file"):
        unpack(tmp_path / "a.zip", tmp_path / "out", lambda member: member)
    with pytest.raises(InputError, match="found none"):
        unpack(tmp_path / "b.zip", tmp_path / "out", lambda member: member)
