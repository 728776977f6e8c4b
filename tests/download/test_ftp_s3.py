"""Downloads over FTP (REST) and S3 (ranges, credentials) from real servers on loopback."""

import hashlib

import boto3
import numpy as np
import pytest
from download.servers import Wire, ftp_site, http_site
from moto.server import ThreadedMotoServer

from mind_animator.datasets.download import Policy, fetch
from mind_animator.datasets.download.listings import list_osf, list_s3
from mind_animator.errors import InputError

QUICK = Policy(tries=4, first_wait=0.01, longest_wait=0.02, stall=0.5)
BODY = np.random.default_rng(1).integers(0, 256, 300_007, dtype=np.uint8).tobytes()


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "served"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a.bin").write_bytes(BODY)
    return folder


@pytest.mark.parametrize("options", [{}, {"size": False}])
def test_ftp_whole(tmp_path, served, options):
    with ftp_site(served, **options) as port:
        fetch([f"ftp://127.0.0.1:{port}/sub/a.bin"], tmp_path, "a.bin", policy=QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY


@pytest.mark.parametrize("options", [{}, {"rest": False}, {"size": False}])
def test_ftp_resumes_by_rest_or_starts_again_where_there_is_none(tmp_path, served, options):
    """A part from an earlier, killed run: without SIZE and MDTM its last bytes are compared."""
    (tmp_path / "a.bin.part").write_bytes(BODY[:200_000])
    with ftp_site(served, **options) as port:
        fetch([f"ftp://127.0.0.1:{port}/sub/a.bin"], tmp_path, "a.bin", policy=QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_ftp_does_not_splice_a_changed_file(tmp_path, served):
    (tmp_path / "a.bin.part").write_bytes(BODY[:200_000][::-1])
    with ftp_site(served) as port:
        fetch([f"ftp://127.0.0.1:{port}/sub/a.bin"], tmp_path, "a.bin", policy=QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_ftp_says_what_is_absent(tmp_path, served):
    with ftp_site(served) as port, pytest.raises(InputError, match="FTP 550"):
        fetch([f"ftp://127.0.0.1:{port}/sub/b.bin"], tmp_path, "b.bin", policy=QUICK)


def test_nobody_listens(tmp_path):
    with pytest.raises(InputError, match=r"FTP .*refused.*4 attempts in a row without a new byte"):
        fetch(["ftp://127.0.0.1:1/a.bin"], tmp_path, "a.bin", policy=QUICK)


@pytest.fixture(scope="module")
def s3():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    yield server._server.server_port  # the port that the system chose
    server.stop()


@pytest.fixture
def bucket(s3, monkeypatch):
    """A bucket with one object; credentials come from the environment, as they do for a user."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="open")
    client.put_object(Bucket="open", Key="HCP/a.bin", Body=BODY)
    client.put_object(Bucket="open", Key="free.bin", Body=BODY, ACL="public-read")
    return client


def test_s3_whole_is_checked_by_its_md5(tmp_path, bucket):
    entry = fetch(["s3://open/HCP/a.bin"], tmp_path, "a.bin", policy=QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert entry.checked_by == "md5"


def test_s3_without_credentials_gets_what_is_public_only(tmp_path, bucket):
    fetch(["s3://open/free.bin"], tmp_path, "a.bin", anonymous=True, policy=QUICK)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    with pytest.raises(InputError, match="S3 403: Forbidden"):
        fetch(["s3://open/HCP/a.bin"], tmp_path, "b.bin", anonymous=True, policy=QUICK)


def test_s3_resumes_after_cuts(tmp_path, bucket, s3, monkeypatch):
    wire = Wire(s3)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{wire.port}")
    wire.budgets = [100_000, 100_000]
    fetch(["s3://open/HCP/a.bin"], tmp_path, "a.bin", policy=QUICK)
    wire.close()
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_s3_does_not_splice_a_changed_object(tmp_path, bucket, s3, monkeypatch):
    wire = Wire(s3)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{wire.port}")
    wire.budgets = [100_000, 0, 0, 0, 0]
    with pytest.raises(InputError, match="4 attempts in a row"):
        fetch(["s3://open/HCP/a.bin"], tmp_path, "a.bin", policy=QUICK)
    assert (tmp_path / "a.bin.part").stat().st_size > 0
    bucket.put_object(Bucket="open", Key="HCP/a.bin", Body=BODY[::-1])
    wire.budgets.clear()
    fetch(["s3://open/HCP/a.bin"], tmp_path, "a.bin", policy=QUICK)
    wire.close()
    assert (tmp_path / "a.bin").read_bytes() == BODY[::-1]


def test_s3_says_that_credentials_are_missing(tmp_path, bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"Unable to locate credentials: set up AWS credentials"):
        fetch(["s3://open/HCP/a.bin"], tmp_path, "a.bin", policy=QUICK)


def test_s3_says_what_is_absent(tmp_path, bucket):
    with pytest.raises(InputError, match="S3 NoSuchKey"):
        fetch(["s3://open/HCP/b.bin"], tmp_path, "b.bin", policy=QUICK)


def test_s3_lists_what_is_below_a_prefix(bucket):
    bucket.put_object(Bucket="open", Key="HCP/deep/b c.bin", Body=b"12345")
    found = list_s3("s3://open/HCP/")
    assert [(f.path, f.size) for f in found] == [("a.bin", len(BODY)), ("deep/b c.bin", 5)]
    assert found[1].url == "s3://open/HCP/deep/b%20c.bin"


def test_osf_lists_files_in_folders_and_over_pages_with_their_sha256(tmp_path):
    """A site with replies in the format of the OSF API: two pages, one folder."""
    import json

    def item(site, name, body):
        attributes = {
            "kind": "file", "name": name, "materialized_path": f"/{name}", "size": len(body),
            "extra": {"hashes": {"sha256": hashlib.sha256(body).hexdigest()}},
        }  # fmt: skip
        return {"attributes": attributes, "links": {"download": f"{site.url}/download/{name}"}}

    with http_site(files={"/download/b.bin": BODY}) as site:
        folder = {
            "attributes": {"kind": "folder", "name": "deep"},
            "relationships": {"files": {"links": {"related": {"href": f"{site.url}/deep"}}}},
        }
        pages = {
            "/nodes": {"data": [item(site, "b.bin", BODY), folder], "links": {"next": f"{site.url}/more"}},
            "/more": {"data": [item(site, "c.bin", b"c")], "links": {"next": None}},
            "/deep": {"data": [item(site, "deep/a.bin", b"a")], "links": {"next": None}},
        }
        site.files |= {name: json.dumps(page).encode() for name, page in pages.items()}
        found = list_osf(f"{site.url}/nodes")
        assert [f.path for f in found] == ["b.bin", "c.bin", "deep/a.bin"]
        entry = fetch([found[0].url], tmp_path, "b.bin", size=found[0].size, sha256=found[0].sha256)
    assert entry.checked_by == "sha256"
