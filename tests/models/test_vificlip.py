"""The image side of ViFi-CLIP under the published checkpoint's keys."""

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from mind_animator.errors import InputError
from mind_animator.models.load import load_vificlip
from mind_animator.models.vificlip import PREFIX, ViFiClipImageEncoder, build_encoder, read_checkpoint


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = ViFiClipImageEncoder(size=32, patch=8, width=128, layers=3, dim=24)
    with torch.no_grad():
        for value in encoder.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return encoder.eval()


def _published(encoder):
    """The keys of a training checkpoint, with the parts that are dropped."""
    model = {PREFIX + name: value for name, value in encoder.state_dict().items()}
    model |= {
        "module.text_encoder.ln_final.weight": torch.ones(4),
        "module.prompt_learner.token_prefix": torch.zeros(1, 1, 4),
        "module.prompt_learner.token_suffix": torch.zeros(1, 76, 4),
        "module.prompt_learner.complete_text_embeddings": torch.zeros(1, 77, 4),
        "module.logit_scale": torch.tensor(4.6),
    }
    return {key: value.clone() for key, value in model.items()}


def test_equals_the_transformer_of_another_library(encoder):
    config = CLIPVisionConfig(
        hidden_size=128, intermediate_size=512, projection_dim=24, num_hidden_layers=3, num_attention_heads=2,
        image_size=32, patch_size=8, hidden_act="quick_gelu",
    )  # fmt: skip
    other = CLIPVisionModelWithProjection(config).eval()
    ours = encoder.state_dict()
    theirs = {
        "embeddings.class_embedding": ours["class_embedding"],
        "embeddings.patch_embedding.weight": ours["conv1.weight"],
        "embeddings.position_embedding.weight": ours["positional_embedding"],
        "pre_layrnorm.weight": ours["ln_pre.weight"],
        "pre_layrnorm.bias": ours["ln_pre.bias"],
        "post_layernorm.weight": ours["ln_post.weight"],
        "post_layernorm.bias": ours["ln_post.bias"],
    }
    for layer in range(3):
        here, there = f"transformer.resblocks.{layer}.", f"encoder.layers.{layer}."
        for kind in ("weight", "bias"):
            parts = ours[f"{here}attn.in_proj_{kind}"].chunk(3)
            for name, part in zip("qkv", parts, strict=True):
                theirs[f"{there}self_attn.{name}_proj.{kind}"] = part
            theirs[f"{there}self_attn.out_proj.{kind}"] = ours[f"{here}attn.out_proj.{kind}"]
            theirs[f"{there}layer_norm1.{kind}"] = ours[f"{here}ln_1.{kind}"]
            theirs[f"{there}layer_norm2.{kind}"] = ours[f"{here}ln_2.{kind}"]
            theirs[f"{there}mlp.fc1.{kind}"] = ours[f"{here}mlp.c_fc.{kind}"]
            theirs[f"{there}mlp.fc2.{kind}"] = ours[f"{here}mlp.c_proj.{kind}"]
    renamed = {f"vision_model.{key}": value for key, value in theirs.items()}
    renamed["visual_projection.weight"] = ours["proj"].T
    missing, unexpected = other.load_state_dict(renamed, strict=False)
    assert not unexpected and all(key.endswith("position_ids") for key in missing)
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(encoder(images), other(images).image_embeds, atol=1e-5)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_both_forms_load_strictly(encoder, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    if suffix == ".pth":
        torch.save({"model": _published(encoder), "epoch": 9, "max_accuracy": 81.5}, path)
    else:
        save_file(_published(encoder), path)
    loaded, recipe = load_vificlip(tmp_path)
    assert (recipe.height, recipe.crop, recipe.filter) == (32, (32, 32), "bicubic")
    assert set(loaded.state_dict()) == set(encoder.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(images), encoder(images))


def test_half_precision_weights_become_single(encoder, tmp_path):
    save_file(
        {key: value.half() for key, value in _published(encoder).items()}, tmp_path / "model.safetensors"
    )
    loaded, _ = load_vificlip(tmp_path)
    assert loaded.proj.dtype == torch.float32


def test_lost_added_and_misshapen_weights_are_refused(encoder, tmp_path):
    weights = encoder.state_dict()
    without = {key: value for key, value in weights.items() if key != "ln_post.bias"}
    with pytest.raises(InputError, match=r"Missing key\(s\) in state_dict: \"ln_post.bias\""):
        build_encoder(without, "x.pth")
    with pytest.raises(InputError, match=r"Unexpected key\(s\) in state_dict: \"VPT\""):
        build_encoder(weights | {"VPT": torch.zeros(2)}, "x.pth")
    with pytest.raises(InputError, match=r"size mismatch for ln_pre.weight"):
        build_encoder(weights | {"ln_pre.weight": torch.zeros(2)}, "x.pth")
    with pytest.raises(InputError, match=r"Expected a square grid of positions in x.pth, got 15 patches"):
        build_encoder(weights | {"positional_embedding": torch.zeros(16, 128)}, "x.pth")
    with pytest.raises(InputError, match="Expected an OpenAI-CLIP image encoder"):
        build_encoder({"proj": torch.zeros(2, 2)}, "x.pth")


class _Other:
    pass


def test_a_checkpoint_is_read_as_data_only(encoder, tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"model": _published(encoder), "config": _Other()}, path)
    with pytest.raises(InputError, match=f"Expected a checkpoint of tensors in {path}"):
        read_checkpoint(path)
    path.write_bytes(b"torn")
    with pytest.raises(InputError, match=f"Expected a checkpoint of tensors in {path}"):
        read_checkpoint(path)
    torch.save({"state": {}}, path)
    with pytest.raises(InputError, match=f"Expected an entry 'model' in the checkpoint {path}, found none"):
        read_checkpoint(path)
    torch.save({"model": {"visual.proj": torch.zeros(2)}}, path)
    with pytest.raises(
        InputError, match=rf"Expected keys 'module.image_encoder.\*' in {path}, got \['visual.proj'\]"
    ):
        read_checkpoint(path)


def test_the_settings_of_the_training_code_do_no_harm(encoder, tmp_path, monkeypatch):
    """A node of the settings library, as its training code keeps it beside the weights."""
    import sys
    import types

    node = type("CfgNode", (dict,), {"__module__": "yacs.config"})
    module = types.ModuleType("yacs.config")
    module.CfgNode = node
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    settings = node({"MODEL": node({"ARCH": "ViT-B/16"})})
    settings.__dict__["__immutable__"] = True
    path = tmp_path / "model.pth"
    torch.save({"model": _published(encoder), "config": settings}, path)
    monkeypatch.undo()
    assert set(read_checkpoint(path)) == set(encoder.state_dict())
