"""Loading: strict, frozen, offline, on the wanted type."""

import json
import shutil
import socket

import pytest
import torch
from safetensors.torch import load_file, save_file

from mind_animator.errors import InputError
from mind_animator.models import load

LOADERS = {
    "load_clip": "clip",
    "load_blip2": "blip2",
    "load_vae": "sd",
    "load_text_encoder": "sd",
    "load_unet_and_scheduler": "sd",
    "load_vit": "vit",
    "load_videomae": "videomae",
    "load_vificlip": "vificlip",
}


def _network(loaded):
    return loaded[0] if isinstance(loaded, tuple) else loaded


@pytest.mark.parametrize(("name", "folder"), LOADERS.items())
def test_networks_are_frozen_and_need_no_connection(name, folder, random_models, monkeypatch):
    def refuse(*_):
        raise AssertionError("a loader opened a network connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    network = _network(getattr(load, name)(random_models / folder))
    assert not network.training
    assert all(not value.requires_grad for value in network.parameters())
    assert {value.dtype for value in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["load_clip", "load_vae", "load_vificlip"])
def test_type_is_the_callers(name, random_models):
    network = _network(getattr(load, name)(random_models / LOADERS[name], dtype=torch.bfloat16))
    assert {value.dtype for value in network.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("name", "part"), [("load_clip", "clip"), ("load_vae", "sd/vae"), ("load_vit", "vit")]
)
def test_missing_and_misshapen_weights_are_refused(name, part, random_models, tmp_path):
    top = part.split("/")[0]
    shutil.copytree(random_models / top, tmp_path / top)
    path = next((tmp_path / part).glob("*.safetensors"))
    weights = load_file(path)
    lost = sorted(weights)[3]
    save_file({key: value for key, value in weights.items() if key != lost}, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"got missing keys .*{lost.split('.')[-1]}"):
        getattr(load, name)(tmp_path / top)
    save_file(weights | {lost: torch.zeros(3, 3, 3)}, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"{tmp_path / part}"):
        getattr(load, name)(tmp_path / top)


def test_unused_weights_are_reported(random_models, tmp_path, capsys):
    shutil.copytree(random_models / "vit", tmp_path / "vit")
    path = tmp_path / "vit" / "model.safetensors"
    save_file(load_file(path) | {"extra.weight": torch.zeros(2)}, path, metadata={"format": "pt"})
    load.load_vit(tmp_path / "vit")
    assert "1 weights are not used, e.g. ['extra.weight']" in capsys.readouterr().err


def test_folders_that_do_not_hold_the_model(random_models, tmp_path):
    shutil.copytree(random_models / "vit", tmp_path / "vit")
    (tmp_path / "vit" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match=f"Expected a model that loads from {tmp_path}/vit"):
        load.load_vit(tmp_path / "vit")
    (tmp_path / "vit" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"Expected weights .* in the model folder .*vit, found none"):
        load.load_vit(tmp_path / "vit")
    with pytest.raises(InputError, match=r"Expected a folder 'vae' with files in .*clip, found none"):
        load.load_vae(random_models / "clip")


def test_no_gpu_where_one_is_asked_for(monkeypatch):
    assert load.torch_device("cpu") == (torch.device("cpu"), torch.float32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"Expected a CUDA device \(device: cuda\), found none"):
        load.torch_device("cuda")


def test_the_text_encoder_reads_only_its_own_parts(random_models, tmp_path):
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(random_models / "sd" / part, tmp_path / "sd" / part)
    encoder = load.load_text_encoder(tmp_path / "sd")
    assert json.loads((tmp_path / "sd/text_encoder/config.json").read_text())["vocab_size"] == len(
        encoder.tokenizer
    )
