"""Location of models: local folders, checkpoint files, and their entries in the lock file."""

import json

import pytest

from mind_animator.errors import InputError
from mind_animator.models.hub import content_digest, identity, locate, read_lock, required_files
from mind_animator.provenance import file_sha256

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A cache as the hub's client lays it out, with one model of two files."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--someone--net" / "snapshots" / COMMIT
    (snapshot / "vae").mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "vae" / "model.safetensors").write_bytes(b"weights")
    return snapshot


def _lock(path, snapshot, **change):
    files = {name: file_sha256(snapshot / name) for name in ("config.json", "vae/model.safetensors")}
    path.write_text(json.dumps({"someone/net": {"revision": COMMIT, "files": files | change}}))
    return path


def test_a_pinned_model_is_found_and_verified(hub_cache, tmp_path):
    lock = _lock(tmp_path / "lock.json", hub_cache)
    found = locate("someone/net", lock)
    assert found.folder == hub_cache
    assert found.revision == COMMIT == content_digest(found) == identity("someone/net", lock)
    assert found.files == ("config.json", "vae/model.safetensors")
    part = locate("someone/net", lock, "vae")
    assert part.files == ("vae/model.safetensors",)
    assert part.sub("vae").weights == ("model.safetensors",)


def test_a_changed_file_is_refused_with_both_sums(hub_cache, tmp_path):
    lock = _lock(tmp_path / "lock.json", hub_cache)
    expected = file_sha256(hub_cache / "vae/model.safetensors")
    (hub_cache / "vae" / "model.safetensors").write_bytes(b"Weights")
    got = file_sha256(hub_cache / "vae/model.safetensors")
    message = rf"Expected sha256 {expected} \({lock}\) of {hub_cache}/vae/model.safetensors, got {got}"
    with pytest.raises(InputError, match=message):
        locate("someone/net", lock)


def test_absent_entries_files_and_revisions(hub_cache, tmp_path):
    lock = tmp_path / "lock.json"
    assert identity("someone/net", lock) == "unpinned"
    message = f"Expected model 'someone/net' in the lock file {lock}, found none: run 'snakemake pin_models'"
    with pytest.raises(InputError, match=message):
        locate("someone/net", lock)
    _lock(lock, hub_cache)
    with pytest.raises(InputError, match="Expected model 'someone/other' in the lock file"):
        locate("someone/other", lock)
    (hub_cache / "config.json").unlink()
    with pytest.raises(InputError, match=r"Expected file 'config.json' of a pinned model"):
        locate("someone/net", lock)
    entries = json.loads(lock.read_text())
    entries["someone/net"]["revision"] = "f" * 40
    lock.write_text(json.dumps(entries))
    with pytest.raises(InputError, match=f"Expected 'someone/net' at revision {'f' * 40} in the local cache"):
        locate("someone/net", lock)


@pytest.mark.parametrize(
    "entry",
    [
        {"revision": "main", "files": {"a": "0" * 64}},
        {"revision": COMMIT, "files": {"a": "0" * 63}},
        {"revision": COMMIT, "files": {}},
        {"revision": COMMIT},
        "main",
    ],
)
def test_a_lock_file_that_pins_nothing_is_refused(tmp_path, entry):
    lock = tmp_path / "lock.json"
    lock.write_text(json.dumps({"someone/net": entry}))
    with pytest.raises(
        InputError, match="Expected a 40-digit revision and 64-digit sha256 sums for 'someone/net'"
    ):
        read_lock(lock)


def test_local_folders_need_weights_and_no_lock(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(InputError, match=rf"Expected weights .* in the model folder {folder}, found none"):
        locate(folder, None)
    (folder / "model.safetensors").write_bytes(b"one")
    first = content_digest(locate(folder, None))
    assert identity(folder, None) == "folder"
    (folder / "model.safetensors").write_bytes(b"two")
    assert content_digest(locate(folder, None)) != first
    with pytest.raises(InputError, match=f"Expected a folder 'unet' with files in {folder}, found none"):
        locate(folder, None).sub("unet")
    with pytest.raises(InputError, match="found nothing at '/nowhere/model'"):
        locate("/nowhere/model", None)


def test_a_checkpoint_file_is_pinned_by_its_name(tmp_path):
    path, lock = tmp_path / "published.pth", tmp_path / "lock.json"
    path.write_bytes(b"weights")
    with pytest.raises(
        InputError, match=r"Expected checkpoint 'published.pth' in the lock file .*lock.json, found none"
    ):
        locate(path, lock)
    lock.write_text(json.dumps({"published.pth": {"files": {"published.pth": file_sha256(path)}}}))
    assert locate(path, lock).weights == ("published.pth",)
    assert identity(path, lock) == file_sha256(path)
    path.write_bytes(b"other")
    with pytest.raises(InputError, match="Expected sha256"):
        locate(path, lock)


def test_which_files_are_wanted():
    names = [
        "README.md", ".gitattributes", "model_index.json", "v1-5-pruned.safetensors", "tokenizer/vocab.json",
        "tokenizer/merges.txt", "unet/config.json", "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors", "safety_checker/model.safetensors",
        "vae/config.json", "vae/diffusion_pytorch_model.bin", "vae/diffusion_pytorch_model.fp16.bin",
    ]  # fmt: skip
    assert required_files(names, ("unet", "vae", "tokenizer")) == [
        "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json", "vae/diffusion_pytorch_model.bin",
        "tokenizer/merges.txt", "tokenizer/vocab.json",
    ]  # fmt: skip
    sharded = ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
               "model.safetensors.index.json", "pytorch_model-00001-of-00001.bin",
               "pytorch_model.bin.index.json",
               "tf_model.h5", "flax_model.msgpack", "spiece.model"]  # fmt: skip
    assert required_files(sharded, ("",)) == [
        "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "spiece.model",
    ]  # fmt: skip
