"""The campaign: every fault on every protocol ends with the right bytes or a clear error.

Never is a wrong file under the right name. ``docs/datasets.md`` quotes the number of faults; the last test
keeps it true.
"""

import contextlib
import hashlib
import io
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import boto3
import numpy as np
import pytest
from download.servers import Fault, Wire, ftp_site, http_site
from moto.server import ThreadedMotoServer

from mind_animator.datasets.download import Policy, fetch
from mind_animator.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
QUICK = Policy(tries=3, first_wait=0.005, longest_wait=0.01, stall=0.25)
RAW = np.random.default_rng(3).integers(0, 256, 150_000, dtype=np.uint8).tobytes()
_packed = io.BytesIO()
with zipfile.ZipFile(_packed, "w") as _archive:
    _archive.writestr(zipfile.ZipInfo("x.bin"), RAW)
BODY = _packed.getvalue()  # a zip, stored: its CRC covers the content
SHA = hashlib.sha256(BODY).hexdigest()
TENTHS = [len(BODY) * k // 10 for k in range(10)]

SERVERS = {
    "http": {},
    "http without validators": {"etag": None},
    "http without ranges": {"ranges": False},
    "http chunked": {"chunked": True},
}
# (server, fault, place, what the client knows, how it must end)
CAMPAIGN = [
    *((server, "cut", at, "nothing", "bytes") for server in [*SERVERS, "ftp", "s3"] for at in TENTHS),
    *((server, "stall", at, "nothing", "bytes") for server in ["http", "ftp", "s3"] for at in TENTHS[::3]),
    *(("http", "flip", at, knows, "bytes") for knows in ("sha256", "zip", "hub") for at in TENTHS),
    *(
        ("http", "flip always", at, knows, "error")
        for knows in ("sha256", "zip", "hub")
        for at in TENTHS[1::4]
    ),
    *(("http", "length", -1000, knows, "error") for knows in ("size", "sha256", "zip")),
    # too great a length is corrected by a request for the rest: the server replies that there is none
    *(
        ("http", "length", 1000, knows, end)
        for knows, end in (("size", "error"), ("sha256", "bytes"), ("zip", "bytes"))
    ),
    *(("http", f"status {code}", 0, "nothing", "bytes") for code in (408, 429, 500, 502, 503, 504)),
    *(("http", f"status {code}", 0, "nothing", "error") for code in (400, 401, 403, 404, 410)),
    *(("http", f"status {code} always", 0, "nothing", "error") for code in (500, 503)),
    *(("http", "cut, then status 503", at, "nothing", "bytes") for at in TENTHS[::3]),
    *(("http", "cut, then another file", at, "nothing", "another") for at in TENTHS[1:]),
    *(("http without validators", "cut, then another file", at, "nothing", "another") for at in TENTHS[1:]),
    ("http", "web page", 0, "nothing", "error"),
    ("http", "encoded", 0, "nothing", "error"),
    *(("http", "SIGKILL", at, "nothing", "bytes") for at in TENTHS),
    ("http chunked", "full disk", 0, "nothing", "bytes after error"),
    ("http chunked", "file size limit", 0, "nothing", "bytes after error"),
]
IDS = [f"{server}: {fault} at {position}, knows {knows}" for server, fault, position, knows, _ in CAMPAIGN]
HELD = Counter()


@pytest.fixture(scope="module")
def s3_port():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    yield server._server.server_port
    server.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("server", "fault", "position", "knows", "end"), CAMPAIGN, ids=IDS)
def test_fault(tmp_path, monkeypatch, s3_port, server, fault, position, knows, end):
    name = "a.zip"
    known = {"sha256": {"sha256": SHA}, "size": {"size": len(BODY)}}.get(knows, {})
    with contextlib.ExitStack() as stack:
        if server == "ftp":
            served = tmp_path / "served"
            served.mkdir()
            (served / name).write_bytes(BODY)
            url, again = _ftp(stack, served, fault, position, monkeypatch), None
        elif server == "s3":
            url, again = _s3(stack, s3_port, fault, position, monkeypatch), None
        else:
            site = stack.enter_context(http_site(files={f"/{name}": BODY}, **SERVERS[server]))
            url = f"{site.url}/{name}"
            again = _http(site, fault, position, knows)
        right = BODY
        if fault == "SIGKILL":
            site.pause = 0.004
            _kill_at(url, tmp_path, name, position)
            site.pause = 0
        elif fault in ("full disk", "file size limit"):
            _fill(url, tmp_path, name, fault, stack)
        if end == "error":
            with pytest.raises(InputError, match=r"^Expected to fetch"):
                fetch([url], tmp_path, name, policy=QUICK, **known)
            assert not (tmp_path / name).exists()
        else:
            if again is not None:
                with pytest.raises(InputError):
                    fetch([url], tmp_path, name, policy=QUICK, **known)
                assert not (tmp_path / name).exists()
                right = again()
            fetch([url], tmp_path, name, policy=QUICK, **known)
            assert (tmp_path / name).read_bytes() == right
    HELD[end == "error"] += 1


def _http(site, fault, position, knows):
    """Set up the faults; returns what puts another file in its place, where that is the fault."""
    if fault in ("cut", "stall", "flip"):
        site.faults = [Fault(fault, at=position)]
    elif fault == "flip always":
        site.faults = [Fault("flip", at=position)] * 3
    elif fault == "length":
        site.faults = [Fault("length", value=str(position))] * 20
    elif fault.startswith("status"):
        _, code, *always = fault.split()
        site.faults = [Fault("status", value=code)] * (9 if always else 1)
    elif fault == "cut, then status 503":
        site.faults = [Fault("cut", at=position), Fault("status", value="503")]
    elif fault == "web page":
        site.headers = {"Content-Type": "text/html; charset=utf-8"}
    elif fault == "encoded":
        site.headers = {"Content-Encoding": "gzip"}
    elif fault == "cut, then another file":
        site.faults = [Fault("cut", at=position), *[Fault("status", value="503")] * 3]
        other = io.BytesIO()
        with zipfile.ZipFile(other, "w") as archive:
            archive.writestr(zipfile.ZipInfo("x.bin"), RAW[::-1])

        def replace():
            site.files = {path: other.getvalue() for path in site.files}
            site.etag = site.etag and '"v2"'
            site.faults.clear()
            return other.getvalue()

        return replace
    if knows == "hub":
        site.headers = {"X-Linked-Etag": f'"{SHA}"'}
    return None


def _ftp(stack, served, fault, position, monkeypatch):
    """FTP answers over two connections: the wire is laid into the data connection."""
    import ftplib

    port = stack.enter_context(ftp_site(served))
    wires = []
    plain = ftplib.FTP.makepasv

    def through_a_wire(self):
        host, data_port = plain(self)
        wire = Wire(data_port)
        wire.budgets, wire.stall = ([position] if not wires else []), fault == "stall"
        wires.append(wire)
        return host, wire.port

    monkeypatch.setattr(ftplib.FTP, "makepasv", through_a_wire)
    stack.callback(lambda: [wire.close() for wire in wires])
    return f"ftp://127.0.0.1:{port}/a.zip"


def _s3(stack, port, fault, position, monkeypatch):
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    client = boto3.Session().client("s3", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{port}")
    client.create_bucket(Bucket="bucket")
    client.put_object(Bucket="bucket", Key="a.zip", Body=BODY)
    wire = Wire(port)
    stack.callback(wire.close)
    wire.budgets, wire.stall = [position], fault == "stall"
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{wire.port}")
    return "s3://bucket/a.zip"


_FETCH = """
import sys
from mind_animator.datasets.download import Policy, fetch
from mind_animator.errors import run_command
policy = Policy(tries=2, first_wait=0.01)
run_command(lambda: fetch([sys.argv[1]], sys.argv[2], sys.argv[3], policy=policy) and None)
"""


def _command(url, folder, name):
    return [sys.executable, "-c", _FETCH, url, str(folder), name]


def _kill_at(url, folder, name, position):
    """Kill a fetching process as soon as it has written ``position`` bytes."""
    part = folder / f"{name}.part"
    process = subprocess.Popen(_command(url, folder, name), cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 25
        while not (part.exists() and part.stat().st_size >= position):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert part.exists() and not (folder / name).exists()


def _fill(url, folder, name, fault, stack):
    """Fetch onto a file system of 64 KiB (root), or with files limited to 64 KiB; then make room."""
    small = 1 << 16
    mounted = fault == "full disk" and os.geteuid() == 0
    if mounted:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={small}", "tmpfs", str(folder)], check=True)
        stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
        limit = None
    else:
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (small, small))  # noqa: E731
    ran = subprocess.run(
        _command(url, folder, name), cwd=ROOT, capture_output=True, text=True, preexec_fn=limit
    )
    assert ran.returncode == 2
    reason = "No space left on device" if mounted else "File too large"
    assert f"error: Expected to write {folder}/{name}.part, got '{reason}' after " in ran.stderr
    assert not (folder / name).exists()
    if mounted:
        subprocess.run(["mount", "-o", "remount,size=1m", str(folder)], check=True)


def test_the_docs_quote_the_campaign(request):
    if sum(HELD.values()) < len(CAMPAIGN):
        return  # only a part of the campaign was asked for
    print(
        f"{len(CAMPAIGN)} faults: {HELD[False]} ended with the right bytes, {HELD[True]} with a clear error"
    )
    summary = (
        f"{len(CAMPAIGN)} faults tried, {len(CAMPAIGN)} survived: {HELD[False]} ended with the right bytes"
    )
    assert summary in " ".join((ROOT / "docs/datasets.md").read_text().split())
