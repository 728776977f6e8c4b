"""Augmentation: shares, nested zeros, seeded captions, inputs untouched."""

import numpy as np
import pytest
import torch

from mind_animator.decoders.augment import augment_caption, sparsify, sparsify_accumulated


def test_sparsification_zeroes_its_share_anew_each_time():
    responses = torch.ones(200, 500)
    draw = torch.Generator().manual_seed(0)
    first, second = sparsify(responses, 0.1, draw), sparsify(responses, 0.1, draw)
    error = 4 * np.sqrt(0.09 / responses.numel())  # four standard errors
    assert abs(float((first == 0).float().mean()) - 0.1) < error
    assert abs(float(((first == 0) & (second == 0)).float().mean()) - 0.01) < error
    assert bool((responses == 1).all())


@pytest.mark.parametrize(("epoch", "share"), [(30, 0.1), (75, 0.2)])
def test_accumulated_sparsification_leaves_what_the_released_code_leaves(epoch, share):
    """About 4 % of the values at the semantic decoder's epoch 30, none at the structure decoder's 75."""
    responses = torch.ones(300, 1000)
    lifetimes = torch.rand(responses.shape, generator=torch.Generator().manual_seed(1))
    left = float(sparsify_accumulated(responses, lifetimes, share, epoch).mean())
    expected = (1 - share) ** epoch
    assert abs(left - expected) < 4 * np.sqrt(expected / responses.numel()) + 1e-6
    earlier = sparsify_accumulated(responses, lifetimes, share, epoch - 1)
    assert bool((sparsify_accumulated(responses, lifetimes, share, epoch) <= earlier).all())


def test_captions_are_changed_by_their_own_generator():
    synonyms = {"horse": ["pony"], "beach": ["shore"]}
    caption = "a horse on a beach"
    first = augment_caption(caption, np.random.default_rng(3), synonyms)
    assert first == augment_caption(caption, np.random.default_rng(3), synonyms)
    words = {"a", "horse", "pony", "on", "beach", "shore"}
    outcomes = {augment_caption(caption, np.random.default_rng(seed), synonyms) for seed in range(50)}
    assert len(outcomes) > 20 and all(set(text.split()) <= words for text in outcomes)


def test_each_change_alone():
    draw = np.random.default_rng
    none = {"synonym": 0.0, "insert": 0.0, "swap": 0.0, "delete": 0.0}
    synonyms = {"horse": ["pony"]}
    assert augment_caption("a horse runs", draw(0), synonyms, **none) == "a horse runs"
    assert augment_caption("a Horse, runs", draw(0), synonyms, **{**none, "synonym": 1.0}) == "a pony runs"
    assert sorted(augment_caption("b a c", draw(0), {}, **{**none, "swap": 1.0}).split()) == ["a", "b", "c"]
    assert augment_caption("one two three", draw(0), {}, **{**none, "delete": 1.0}) in ("one", "two", "three")
    inserted = augment_caption("a horse", draw(0), synonyms, **{**none, "insert": 1.0}).split()
    assert sorted(inserted) == ["a", "horse", "pony"]
    assert augment_caption("", draw(0), synonyms) == ""
