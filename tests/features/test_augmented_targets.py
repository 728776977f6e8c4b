"""Augmented captions and crops: seeded, each change alone, inputs untouched; the table of synonyms."""

import numpy as np
import pytest

from mind_animator.errors import InputError
from mind_animator.features.augment import augment_caption, random_crop, read_synonyms


def test_captions_are_changed_by_their_own_generator():
    synonyms = {"horse": ["pony"], "beach": ["shore"]}
    caption = "a horse on a beach"
    first = augment_caption(caption, np.random.default_rng(3), synonyms)
    assert first == augment_caption(caption, np.random.default_rng(3), synonyms)
    words = {"a", "horse", "pony", "on", "beach", "shore"}
    outcomes = {augment_caption(caption, np.random.default_rng(seed), synonyms) for seed in range(50)}
    assert len(outcomes) > 20 and all(set(text.split()) <= words for text in outcomes)


def test_each_change_alone():
    rng = np.random.default_rng
    none = {"synonym": 0.0, "insert": 0.0, "swap": 0.0, "delete": 0.0}
    synonyms = {"horse": ["pony"]}
    assert augment_caption("a horse runs", rng(0), synonyms, **none) == "a horse runs"
    assert augment_caption("a Horse, runs", rng(0), synonyms, **{**none, "synonym": 1.0}) == "a pony runs"
    assert sorted(augment_caption("b a c", rng(0), {}, **{**none, "swap": 1.0}).split()) == ["a", "b", "c"]
    assert augment_caption("one two three", rng(0), {}, **{**none, "delete": 1.0}) in ("one", "two", "three")
    inserted = augment_caption("a horse", rng(0), synonyms, **{**none, "insert": 1.0}).split()
    assert sorted(inserted) == ["a", "horse", "pony"]
    assert augment_caption("", rng(0), synonyms) == ""


def test_the_shipped_table_knows_words_of_captions():
    synonyms = read_synonyms()
    assert len(synonyms) > 150 and "automobile" in synonyms["car"]
    assert all(word not in others and others for word, others in synonyms.items())
    draws = [np.random.default_rng(seed) for seed in range(20)]
    assert any("automobile" in augment_caption("a man drives a car", rng, synonyms) for rng in draws)


def test_a_table_of_the_users_own(tmp_path):
    (tmp_path / "own.tsv").write_text("# mine\nZebra\tequid, striped horse\n\nzebra\thorse\n")
    assert read_synonyms(tmp_path / "own.tsv") == {"zebra": ["equid", "striped horse", "horse"]}
    (tmp_path / "bad.tsv").write_text("zebra horse\n")
    with pytest.raises(InputError, match=r"Expected a word, a tab and its synonyms .*bad.tsv, line 1"):
        read_synonyms(tmp_path / "bad.tsv")
    with pytest.raises(InputError, match=r"Expected a table of synonyms at .*none.tsv, found none"):
        read_synonyms(tmp_path / "none.tsv")


def test_a_crop_is_a_part_of_the_frame():
    """On a ramp the crop's values stay inside the frame's, cover its fraction, and follow the generator."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 3, (48, 64, 3))
    before = ramp.copy()
    spans = []
    for seed in range(200):
        crop = random_crop(ramp, np.random.default_rng(seed))
        assert crop.shape == ramp.shape and crop.dtype == np.uint8
        np.testing.assert_array_equal(crop, random_crop(ramp, np.random.default_rng(seed)))
        spans.append((int(crop.max()) - int(crop.min())) / 189)
    np.testing.assert_array_equal(ramp, before)
    assert np.sqrt(0.6) - 0.03 < min(spans) < 0.8 and 0.97 < max(spans) <= 1
    whole = random_crop(ramp, np.random.default_rng(0), least=1.0)
    np.testing.assert_array_equal(whole, ramp)
