"""Presets of the decoders: the published sizes, the quirks by name, and what a wrong setting says."""

import pytest
import torch

from mind_animator.config.decoders import PRESETS, decoder_settings
from mind_animator.decoders.train import DECODERS
from mind_animator.errors import InputError

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
    "structure": {"sparsification.accumulates", "validation.how", "validation.fraction", "optimisation.keep"},
    "motion": {
        "network", "guidance", "mask_drawn", "inference_mask", "first_loss_frame", "validation.how",
        "validation.fraction", "optimisation.schedule", "optimisation.l1_decay", "optimisation.keep",
    },
}  # fmt: skip


@pytest.mark.parametrize("decoder", QUIRKS)
def test_released_code_is_the_paper_with_its_quirks(decoder):
    paper, released = (
        _flat(decoder_settings(decoder, preset, {}).model_dump()) for preset in ("paper", "released_code")
    )
    assert {key for key in paper if paper[key] != released[key]} == QUIRKS[decoder]


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
        ("motion", {"network": "frame_tokens"}, "linear requires network: patch_tokens"),
        ("semantic", {"sparsification": {"fraction": 0.1}}, "sparsification requires linear: null"),
    ],
)
def test_wrong_settings_are_named(decoder, overrides, text):
    with pytest.raises(InputError, match=text):
        decoder_settings(decoder, "ridge_residual", overrides)
