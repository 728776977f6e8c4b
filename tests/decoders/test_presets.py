"""Presets of the decoders: the published sizes, the quirks by name, and what a wrong setting says."""

from pathlib import Path

import pytest
import torch
import yaml

from mind_animator.config import load_config, reconstruction
from mind_animator.config.decoders import PRESETS, decoder_settings
from mind_animator.decoders.train import DECODERS
from mind_animator.errors import InputError

ROOT = Path(__file__).parents[2]
FULL = {"voxels": [4500], "embedding": 512, "prompt_embedding": (19, 768), "latent": (8, 4, 64, 64)}


@pytest.mark.parametrize(
    ("decoder", "count"), [("semantic", 72_336_641), ("structure", 23_503_872), ("motion", 335_758_336)]
)
def test_released_code_has_the_published_number_of_parameters(decoder, count):
    with torch.device("meta"):
        network = DECODERS[decoder].build(decoder_settings(decoder, "released_code", {}), FULL)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("decoder", ["semantic", "structure", "motion"])
def test_every_preset_builds_at_full_size(preset, decoder):
    settings = decoder_settings(decoder, preset, {})
    sizes = None
    if settings.linear:
        widths = {"text": 512, "image": 512, "prompt_embedding": 14592}
        if decoder != "semantic":
            widths = {"first": 16384} | (
                {"change": 7 * 16384, "flow": 2, "mask": 4096} if decoder == "motion" else {}
            )
        sizes = {name: (min(1024, width), width) for name, width in widths.items()}
    with torch.device("meta"):
        network = DECODERS[decoder].build(settings, FULL | {"sizes": sizes})
    assert sum(parameter.numel() for parameter in network.parameters()) > 0


# What the released code does otherwise than the paper, by option; each has a test of its effect beside its code.
QUIRKS = {
    "semantic": {"sparsification.accumulates", "validation.how", "validation.fraction", "optimisation.keep"},
    "structure": {
        "sparsification.accumulates", "validation.how", "validation.fraction", "optimisation.keep",
        "optimisation.l1_compounding", "optimisation.l1", "optimisation.learning_rate", "optimisation.patience",
    },
    "motion": {
        "network", "norm", "output", "guidance", "mask_drawn", "mask_own", "inference_mask", "first_loss_frame",
        "validation.how",
        "validation.fraction", "optimisation.schedule", "optimisation.l1_compounding", "optimisation.keep",
        "optimisation.betas", "optimisation.epsilon", "dropout_encoder", "dropout_attention", "dropout_positions",
    },
}  # fmt: skip


@pytest.mark.parametrize("decoder", QUIRKS)
def test_released_code_is_the_paper_with_its_quirks(decoder):
    paper, released = (
        _flat(decoder_settings(decoder, preset, {}).model_dump()) for preset in ("paper", "released_code")
    )
    assert {key for key in paper if paper[key] != released[key]} == QUIRKS[decoder]


def test_the_configuration_of_the_released_code_runs_the_whole_preset():
    """config/released_code.yaml: decoders, and each key of the generator's preset."""
    config = load_config(yaml.safe_load((ROOT / "config/released_code.yaml").read_text()))
    assert config.dataset.name == "cc2017"
    assert (config.features.latents, config.fmri.scaling) == ("sample", "released_code")
    assert config.stimuli.sampling == "released_code"
    assert config.methods["mind_animator"].options == {"preset": "released_code"}
    for key, value in reconstruction.PRESETS["released_code"].items():
        assert getattr(config.reconstruction, key) == value, key


def _flat(settings, prefix=""):
    flat = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def test_each_quirk_is_an_option_of_its_own():
    """Any quirk of the released code can be set in another preset without the others."""
    for decoder, quirk in (
        ("semantic", {"sparsification": {"accumulates": True}}),
        ("semantic", {"validation": {"how": "tail"}}),
        ("motion", {"optimisation": {"schedule": "noam"}}),
        ("motion", {"mask_drawn": "once"}),
        ("motion", {"mask_own": True}),
        ("motion", {"norm": "pre"}),
        ("motion", {"output": "change"}),
        ("motion", {"dropout_attention": 0.15}),
        ("motion", {"optimisation": {"l1_compounding": 1e-3}}),
        ("motion", {"inference_mask": "kept_none"}),
        ("motion", {"guidance": "single_token"}),
    ):
        changed = decoder_settings(decoder, "paper", quirk).model_dump()
        plain = decoder_settings(decoder, "paper", {}).model_dump()
        assert _differences(plain, changed) == 1, quirk


def _differences(one, other):
    if isinstance(one, dict):
        return sum(_differences(one[key], other[key]) for key in one)
    return int(one != other)


@pytest.mark.parametrize(
    ("decoder", "overrides", "text"),
    [
        ("semantic", {"widht": 3}, "semantic.widht: is not a known key."),
        (
            "structure",
            {"optimisation": {"epochs": -1}},
            "structure.optimisation.epochs = -1: must be at least 0.",
        ),
        (
            "motion",
            {"network": "frame_tokens"},
            "options.motion.linear: must be null with network: frame_tokens",
        ),
        (
            "semantic",
            {"sparsification": {"fraction": 0.1}},
            "options.semantic.sparsification.fraction = 0.1: must be 0 unless linear is null",
        ),
    ],
)
def test_wrong_settings_are_named(decoder, overrides, text):
    with pytest.raises(InputError, match=text):
        decoder_settings(decoder, "ridge_residual", overrides)
