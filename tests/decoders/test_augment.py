"""Augmentation: fractions, nested zeros, augmented targets in training alone."""

import numpy as np
import pytest
import torch

from mind_animator.config.decoders import decoder_settings
from mind_animator.decoders.augment import pick_copies, sparsify, sparsify_accumulated
from mind_animator.decoders.semantic import SemanticDecoder
from mind_animator.decoders.structure import StructureDecoder

SHAPES = {"voxels": [3], "embedding": 4, "prompt_embedding": (2, 3)}


def test_sparsification_zeroes_its_fraction_independently_each_time():
    responses = torch.ones(200, 500)
    generator = torch.Generator().manual_seed(0)
    first, second = sparsify(responses, 0.1, generator), sparsify(responses, 0.1, generator)
    error = 4 * np.sqrt(0.09 / responses.numel())  # four standard errors
    assert abs(float((first == 0).float().mean()) - 0.1) < error
    assert abs(float(((first == 0) & (second == 0)).float().mean()) - 0.01) < error
    assert bool((responses == 1).all())


@pytest.mark.parametrize(("epoch", "fraction"), [(30, 0.1), (75, 0.2)])
def test_accumulated_sparsification_leaves_what_the_released_code_leaves(epoch, fraction):
    """About 4 % of the values at the semantic decoder's epoch 30, none at the structure decoder's 75."""
    responses = torch.ones(300, 1000)
    lifetimes = torch.rand(responses.shape, generator=torch.Generator().manual_seed(1))
    left = float(sparsify_accumulated(responses, lifetimes, fraction, epoch).mean())
    expected = (1 - fraction) ** epoch
    assert abs(left - expected) < 4 * np.sqrt(expected / responses.numel()) + 1e-6
    earlier = sparsify_accumulated(responses, lifetimes, fraction, epoch - 1)
    assert bool((sparsify_accumulated(responses, lifetimes, fraction, epoch) <= earlier).all())


def test_accumulated_zeros_blind_the_decoder():
    """Late epochs of the released code train on nothing: the batch's inputs are the biases alone."""
    generator = torch.Generator().manual_seed(0)
    responses = torch.randn(6, 40, generator=generator)
    batch = {"responses/0": responses, "lifetimes/0": torch.rand(6, 40, generator=generator)}
    for accumulates in (True, False):
        settings = decoder_settings(
            "structure", "paper", {"sparsification": {"accumulates": accumulates}, "width": 8}
        )
        network = StructureDecoder(settings, {"voxels": [40], "latent": (1, 4, 1, 1)})
        late = network.batch_inputs(batch, generator, epoch=75)
        assert torch.equal(late, network.inputs(torch.zeros(6, 40))) == accumulates
        # validation sees the whole data
        torch.testing.assert_close(network.batch_inputs(batch, None, epoch=75), network.inputs(responses))


def test_a_copy_or_the_clips_own():
    own = torch.arange(4.0)[:, None]
    copies = own[:, None] + torch.tensor([10.0, 20.0])[:, None]
    picked = pick_copies(own, copies, torch.tensor([0, 1, 2, 0]))
    assert picked.flatten().tolist() == [0.0, 11.0, 22.0, 3.0]


def test_training_aims_at_augmented_targets_and_validation_at_the_own():
    """Captions and crops are drawn apart; a caption's two targets are of one copy; each is equally likely."""
    settings = decoder_settings("semantic", "paper", {})
    assert settings.augmented_captions and settings.cropped_images
    network = SemanticDecoder(settings.model_copy(update={"width": 4, "head": (4,)}), SHAPES)
    clips = 3000
    batch = {
        "clip_embedding_text": torch.zeros(clips, 4),
        "prompt_embedding": torch.zeros(clips, 6),
        "clip_embedding_image": torch.zeros(clips, 4),
    }
    ramp = torch.tensor([1.0, 2.0])[:, None]
    batch["clip_embedding_text_copies"] = ramp.expand(clips, 2, 4)
    batch["prompt_embedding_copies"] = ramp.expand(clips, 2, 6)
    batch["clip_embedding_image_crops"] = ramp[:1].expand(clips, 1, 4)
    found = network.targets(batch, torch.Generator().manual_seed(0))
    assert bool((found["clip_embedding_text"][:, 0] == found["prompt_embedding"][:, 0]).all())
    for name, count in (("clip_embedding_text", 3), ("clip_embedding_image", 2)):
        for copy in range(count):
            fraction = float((found[name][:, 0] == copy).float().mean())
            assert abs(fraction - 1 / count) < 4 * np.sqrt((1 / count) * (1 - 1 / count) / clips)
    assert not np.array_equal(found["clip_embedding_text"][:, 0] > 0, found["clip_embedding_image"][:, 0] > 0)
    assert not any(bool(target.any()) for target in network.targets(batch, None).values())
    plain = SemanticDecoder(
        decoder_settings(
            "semantic",
            "paper",
            {"augmented_captions": False, "cropped_images": False, "width": 4, "head": (4,)},
        ),
        SHAPES,
    )
    still = plain.targets(batch, torch.Generator().manual_seed(0))
    assert not any(bool(target.any()) for target in still.values())
