"""One caption out of two."""

import numpy as np
import pytest

from mind_animator.captions.joining import cosine, join_captions

RULE = {"agreement": 0.05, "seed": 3}


def test_captions_that_differ_are_joined():
    assert join_captions("c", "a bee", "a sea otter", 0.30, 0.20, **RULE) == (
        "a bee, and then a sea otter",
        True,
    )
    assert join_captions("c", "a bee", "a sea otter", 0.20, 0.30, **RULE) == (
        "a bee, and then a sea otter",
        True,
    )


def test_captions_that_agree_leave_one_chosen_by_seed_and_name():
    kept = [join_captions(f"clip-{i:05d}", "first", "last", 0.25, 0.2, **RULE) for i in range(400)]
    assert {joined for _, joined in kept} == {False}
    fraction = np.mean([caption == "first" for caption, _ in kept])
    assert abs(fraction - 0.5) < 4 * 0.5 / np.sqrt(400)
    assert kept == [join_captions(f"clip-{i:05d}", "first", "last", 0.25, 0.2, **RULE) for i in range(400)]
    other = [
        join_captions(f"clip-{i:05d}", "first", "last", 0.25, 0.2, agreement=0.05, seed=4) for i in range(400)
    ]
    assert kept != other


def test_the_limit_itself_agrees():
    assert not join_captions("c", "a", "b", 0.5, 0.25, agreement=0.25, seed=0)[1]
    assert join_captions("c", "a", "b", 0.5, 0.25, agreement=0.2499, seed=0)[1]


def test_cosine_by_its_definition(rng):
    first, second = rng.normal(size=(2, 5, 7)).astype(np.float32)
    slow = [float(a @ b / np.sqrt((a @ a) * (b @ b))) for a, b in zip(first, second, strict=True)]
    assert cosine(first, second) == pytest.approx(slow, abs=1e-6)
    assert cosine(first * 0, second).tolist() == [0] * 5
