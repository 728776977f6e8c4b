"""Pinning against a hub on the loopback: a real client, a real server, no connection to the outside."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
NAME = "someone/net"
ROLES = ("blip2", "clip", "stable_diffusion", "vit", "videomae")


class _Hub(BaseHTTPRequestHandler):
    """The endpoints that the hub's client calls: model info, tree, and files by revision."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def log_message(self, *_):
        pass

    def _answer(self, body):
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        files = self.server.files
        if path in (f"/api/models/{NAME}", f"/api/models/{NAME}/revision/{COMMIT}"):
            self._json({"id": NAME, "sha": COMMIT, "siblings": [self._sibling(name) for name in files]})
        elif path == f"/api/models/{NAME}/tree/{COMMIT}":
            self._json([{"type": "file", "path": name, **self._oid(name)} for name in files])
        elif path.startswith(f"/{NAME}/resolve/{COMMIT}/"):
            content = files[path.removeprefix(f"/{NAME}/resolve/{COMMIT}/")]
            self._send(200, content if body else b"", len(content), hashlib.sha256(content).hexdigest())
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _sibling(self, name):
        content = self.server.files[name]
        lfs = {"sha256": self._announced(name), "size": len(content), "pointerSize": 100}
        return {"rfilename": name, "size": len(content), "blobId": "0" * 40} | (
            {"lfs": lfs} if self._is_lfs(name) else {}
        )

    def _oid(self, name):
        content = self.server.files[name]
        lfs = {"oid": self._announced(name), "size": len(content), "pointerSize": 100}
        return {"oid": "0" * 40, "size": len(content)} | ({"lfs": lfs} if self._is_lfs(name) else {})

    def _is_lfs(self, name):
        return name.endswith(".safetensors")

    def _announced(self, name):
        return self.server.announced or hashlib.sha256(self.server.files[name]).hexdigest()

    def _json(self, value):
        content = json.dumps(value).encode()
        self._send(200, content, len(content), "0")

    def _send(self, status, content, length, etag):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.files = {
        "README.md": b"# a net",
        "config.json": b"{}",
        "model.safetensors": b"weights" * 1000,
        "model.fp16.safetensors": b"half",
        "pytorch_model.bin": b"pickle",
    }
    for part in ("vae", "unet", "text_encoder"):
        server.files |= {f"{part}/config.json": b"{}", f"{part}/model.safetensors": part.encode()}
    server.files |= {"tokenizer/vocab.json": b"{}", "scheduler/scheduler_config.json": b"{}"}
    server.asked, server.announced = [], None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def _pin(hub, tmp_path, **change):
    models = {role: NAME for role in ROLES} | {
        "vificlip": str(tmp_path / "published.pth"),
        "lock": str(tmp_path / "lock.json"),
    }
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")} | {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": "",
    }
    command = [sys.executable, "-m", "workflow_scripts.pin_models", "--models", json.dumps(models | change)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_pins_what_arrives_once_and_verifies_ever_after(hub, tmp_path, monkeypatch):
    from mind_animator.errors import InputError
    from mind_animator.models.hub import locate

    (tmp_path / "published.pth").write_bytes(b"checkpoint")
    done = _pin(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    lock = json.loads((tmp_path / "lock.json").read_text())
    assert sorted(lock) == ["published.pth", NAME]
    assert lock[NAME]["revision"] == COMMIT
    # every folder that one of the roles needs, no variant, one form of the weights
    expected = {"config.json", "model.safetensors"}
    expected |= {
        f"{part}/{file}"
        for part in ("vae", "unet", "text_encoder")
        for file in ("config.json", "model.safetensors")
    }
    expected |= {"tokenizer/vocab.json", "scheduler/scheduler_config.json"}
    assert lock[NAME]["files"] == {name: hashlib.sha256(hub.files[name]).hexdigest() for name in expected}
    fetched = {path.rsplit(f"{COMMIT}/", 1)[1] for path in hub.asked if "/resolve/" in path}
    assert fetched == expected

    # a job: the cache alone, no server
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    hub.asked.clear()
    found = locate(NAME, tmp_path / "lock.json", "vae")
    assert (found.sub("vae").folder / "model.safetensors").read_bytes() == b"vae"
    assert hub.asked == []

    # a second run keeps the revision and finds a file that changed on the way
    blob = (found.folder / "vae" / "model.safetensors").resolve()
    blob.write_bytes(b"VAE")
    done = _pin(hub, tmp_path)
    assert done.returncode == 2
    assert "error: Expected sha256" in done.stderr and "vae/model.safetensors" in done.stderr
    with pytest.raises(InputError, match="Expected sha256"):
        locate(NAME, tmp_path / "lock.json", "vae")
    assert json.loads((tmp_path / "lock.json").read_text()) == lock


def test_models_that_methods_add_are_pinned(hub, tmp_path):
    """Of a further key of ``models``: the weights at the top, or, in a pipeline, those of every folder."""
    from mind_animator.models.hub import required_files

    shutil.copytree(ROOT / "mind_animator/assets/models/vit", tmp_path / "vit")
    here = dict.fromkeys(ROLES, str(tmp_path / "vit"))
    (tmp_path / "published.pth").write_bytes(b"checkpoint")
    (tmp_path / "depth.pth").write_bytes(b"of a method")
    done = _pin(hub, tmp_path, **here, depth=str(tmp_path / "depth.pth"), video_prior=NAME)
    assert done.returncode == 0, done.stderr
    lock = json.loads((tmp_path / "lock.json").read_text())
    assert sorted(lock) == ["depth.pth", "published.pth", NAME]
    assert sorted(lock[NAME]["files"]) == ["config.json", "model.safetensors"]
    parts = [name for name in hub.files if "/" in name]
    assert sorted(required_files(["model_index.json", "README.md", *parts], None)) == sorted(
        ["model_index.json", *parts]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blip2": "someone/unknown"}, "error: Expected model 'someone/unknown' on the hub, found none"),
        (
            {"vificlip": "/nowhere/published.pth"},
            "error: Expected checkpoint /nowhere/published.pth, found none",
        ),
    ],
)
def test_mistakes_are_reported_in_one_line(hub, tmp_path, change, message):
    (tmp_path / "published.pth").write_bytes(b"checkpoint")
    done = _pin(hub, tmp_path, **change)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_weights_that_differ_from_what_the_hub_announces(hub, tmp_path):
    (tmp_path / "published.pth").write_bytes(b"checkpoint")
    hub.announced = "a" * 64
    done = _pin(hub, tmp_path)
    assert done.returncode == 2
    assert f"error: Expected sha256 {'a' * 64}" in done.stderr
    assert not (tmp_path / "lock.json").exists()
