"""Downloads over HTTP from a real server that misbehaves: the right bytes or a clear error."""

import hashlib
import io
import zipfile

import numpy as np
import pytest
from download.servers import Fault, http_site

from mind_animator.datasets.download import Policy, fetch, read_manifest
from mind_animator.errors import InputError

QUICK = Policy(tries=4, first_wait=0.01, longest_wait=0.02, stall=0.3)
BODY = np.random.default_rng(0).integers(0, 256, 200_003, dtype=np.uint8).tobytes()
SHA = hashlib.sha256(BODY).hexdigest()


def test_whole_file_gets_its_name_and_its_line_in_the_manifest(tmp_path):
    with http_site(files={"/a.bin": BODY}) as site:
        entry = fetch([f"{site.url}/a.bin"], tmp_path, "deep/a.bin", size=len(BODY), sha256=SHA)
    assert (tmp_path / "deep/a.bin").read_bytes() == BODY
    assert entry == read_manifest(tmp_path)["deep/a.bin"]
    assert (entry.size, entry.sha256, entry.checked_by) == (len(BODY), SHA, "sha256")
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["a.bin"]


def test_a_file_that_nothing_could_check_is_marked(tmp_path):
    with http_site(files={"/a.bin": BODY}) as site:
        entry = fetch([f"{site.url}/a.bin"], tmp_path, "a.bin")
    assert entry.checked_by == "unverified"


@pytest.mark.parametrize("etag", ['"v1"', None, 'W/"weak"'])
def test_a_cut_is_resumed_from_where_it_was(tmp_path, etag):
    with http_site(files={"/a.bin": BODY}, etag=etag, faults=[Fault("cut", at=150_000)]) as site:
        fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", policy=QUICK)
        first, second = site.asked
    assert (tmp_path / "a.bin").read_bytes() == BODY
    overlap = 0 if etag == '"v1"' else 1 << 16  # without a validator, the last bytes are compared
    assert (first, second) == ("", f"bytes={150_000 - overlap}-")


@pytest.mark.parametrize("etag", [True, False])
def test_a_file_that_changed_is_never_spliced(tmp_path, etag):
    other = BODY[::-1]
    options = {"files": {"/a.bin": BODY}, "etag": '"v1"' if etag else None}
    with http_site(**options, faults=[Fault("cut", at=150_000), *[Fault("status", value="503")] * 9]) as site:
        with pytest.raises(InputError, match="503"):
            fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", policy=QUICK)
        assert (tmp_path / "a.bin.part").stat().st_size == 150_000
        site.files["/a.bin"], site.etag = other, '"v2"' if etag else None
        site.faults.clear()
        fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", policy=QUICK)
    assert (tmp_path / "a.bin").read_bytes() == other


def test_a_server_without_ranges_is_asked_from_the_start(tmp_path):
    with http_site(files={"/a.bin": BODY}, ranges=False, faults=[Fault("cut", at=90_000)]) as site:
        fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", policy=QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_killed_after_the_last_byte_costs_no_second_download(tmp_path):
    """The part is whole but not renamed: a request for the rest returns status 416."""
    with http_site(files={"/a.bin": BODY}) as site:
        (tmp_path / "a.bin.part").write_bytes(BODY)
        (tmp_path / "a.bin.part.json").write_text(
            f'{{"url": "{site.url}/a.bin", "version": "\\"v1\\"", "total": null}}'
        )
        fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", sha256=SHA, policy=QUICK)
        assert site.asked == [f"bytes={len(BODY)}-"]
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_flipped_bytes_are_caught_by_sha256_and_fetched_again(tmp_path, capsys):
    with http_site(files={"/a.bin": BODY}, faults=[Fault("flip", at=100_000)]) as site:
        fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", sha256=SHA, policy=QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert f"expected sha256 {SHA}, got" in capsys.readouterr().err


def test_flipped_bytes_every_time_end_in_an_error_and_no_file(tmp_path):
    with (
        http_site(files={"/a.bin": BODY}, faults=[Fault("flip", at=7)] * 3) as site,
        pytest.raises(
            InputError,
            match=rf"^Expected to fetch a\.bin, but {site.url}/a\.bin: expected sha256 .* 3 times\.$",
        ),
    ):
        fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", sha256=SHA, policy=QUICK)
    assert not (tmp_path / "a.bin").exists()


def test_flipped_bytes_in_a_zip_are_caught_by_its_crc(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x.bin", BODY)
    body = packed.getvalue()
    with http_site(files={"/a.zip": body}, faults=[Fault("flip", at=100_000)]) as site:
        entry = fetch([f"{site.url}/a.zip"], tmp_path, "a.zip", policy=QUICK)
    assert (tmp_path / "a.zip").read_bytes() == body
    assert entry.checked_by == "zip crc"


def test_a_hub_states_the_sha256_before_it_redirects(tmp_path):
    with http_site(
        files={"/cdn": BODY}, headers={"X-Linked-Etag": f'"{SHA}"'}, faults=[Fault("flip", at=5)]
    ) as site:
        entry = fetch([f"{site.url}/cdn"], tmp_path, "a.pt", policy=QUICK)
    assert (tmp_path / "a.pt").read_bytes() == BODY
    assert entry.checked_by == "sha256"


def test_the_manifest_is_enforced_ever_after(tmp_path):
    with http_site(files={"/a.bin": BODY}) as site:
        fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", policy=QUICK)
        (tmp_path / "a.bin").unlink()
        site.files["/a.bin"] = BODY[::-1]
        with pytest.raises(
            InputError, match=f"expected sha256 {SHA} as at the first download, got .* delete the line"
        ):
            fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", policy=QUICK)
        assert not (tmp_path / "a.bin").exists()
        site.files["/a.bin"] = BODY
        fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", policy=QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY


@pytest.mark.parametrize(
    ("options", "size", "message"),
    [
        ({}, 5, "expected 5 bytes, the server has 200003"),
        ({"files": {}}, None, "HTTP 404 Not Found"),
        (
            {"headers": {"Content-Type": "text/html"}},
            None,
            r"got a web page \(does the server require a login",
        ),
        ({"headers": {"Content-Encoding": "gzip"}}, None, "got it encoded as gzip"),
        ({"length": False}, None, "does not state the length of the file"),
        (
            {"faults": [Fault("status", value="503")] * 4},
            None,
            r"HTTP 503 .*4 attempts in a row without a new byte",
        ),
        ({"faults": [Fault("status", value="403")]}, None, "HTTP 403 Forbidden"),
        ({"faults": [Fault("stall", at=0)] * 4}, None, r"timed out.*4 attempts in a row"),
    ],
)
def test_what_cannot_be_fetched_is_reported_and_leaves_no_file(tmp_path, options, size, message):
    with (
        http_site(**{"files": {"/a.bin": BODY}, **options}) as site,
        pytest.raises(InputError, match=message),
    ):
        fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", size=size, policy=QUICK)
    assert not (tmp_path / "a.bin").exists()


def test_retry_after_is_heeded_up_to_the_longest_wait(tmp_path, capsys):
    with http_site(files={"/a.bin": BODY}, faults=[Fault("status", value="503 9")]) as site:
        fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", policy=QUICK)
    assert "HTTP 503 Service Unavailable; trying again in 0.0 s" in capsys.readouterr().err
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_the_next_mirror_takes_over_what_is_there(tmp_path):
    with (
        http_site(
            files={"/a.bin": BODY}, faults=[Fault("cut", at=150_000), *[Fault("status", value="503")] * 4]
        ) as first,
        http_site(files={"/b": BODY}) as second,
    ):
        fetch([f"{first.url}/a.bin", f"{second.url}/b"], tmp_path, "a.bin", policy=QUICK)
        assert second.asked == [f"bytes={150_000 - (1 << 16)}-"]
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_mirror_with_other_bytes_is_not_spliced(tmp_path):
    with (
        http_site(
            files={"/a.bin": BODY}, faults=[Fault("cut", at=150_000), *[Fault("status", value="503")] * 4]
        ) as first,
        http_site(files={"/b": BODY[::-1]}) as second,
    ):
        fetch([f"{first.url}/a.bin", f"{second.url}/b"], tmp_path, "a.bin", policy=QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY[::-1]


def test_too_small_a_disk_is_reported_before_the_first_byte(tmp_path, monkeypatch):
    import collections

    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr("mind_animator.datasets.download.engine.shutil.disk_usage", lambda path: usage(1000))
    with (
        http_site(files={"/a.bin": BODY}) as site,
        pytest.raises(InputError, match=r"Expected 0\.0 GB free for a\.bin in"),
    ):
        fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", policy=QUICK)
    assert not (tmp_path / "a.bin.part").exists()


def test_a_file_of_the_lab_is_left_as_it_is_and_a_wrong_one_is_reported(tmp_path):
    (tmp_path / "a.bin").write_bytes(BODY)
    entry = fetch([], tmp_path, "a.bin")
    assert (entry.sha256, entry.checked_by) == (SHA, "unverified")
    (tmp_path / "a.bin").write_bytes(BODY[:-1])
    with pytest.raises(
        InputError,
        match=rf"^Expected 200003 bytes in {tmp_path}/a\.bin, got 200002; delete or replace the file\.$",
    ):
        fetch([], tmp_path, "a.bin")


def test_chunked_answers_end_where_they_should(tmp_path):
    with http_site(files={"/a.bin": BODY}, chunked=True, faults=[Fault("cut", at=81_920)]) as site:
        fetch([f"{site.url}/a.bin"], tmp_path, "a.bin", policy=QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY
