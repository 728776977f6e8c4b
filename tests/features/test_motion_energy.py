"""Motion energy: the published pyramid, independence of clips, direction of movement, aliasing."""

import numpy as np
import pytest

from mind_animator.config.features import FeaturesConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.errors import InputError
from mind_animator.features.base import open_provider
from mind_animator.features.motion_energy import Options, motion_energy

SMALL = Options(size=24, spatial_frequencies=(0, 2, 4))


def drifting(direction, frames=8, side=48):
    """A grating of 4 cycles per image that moves by a quarter of a cycle per frame."""
    x = np.arange(side) / side
    wave = np.stack([np.sin(2 * np.pi * (4 * x - direction * 0.25 * t)) for t in range(frames)])
    grey = (127 + 100 * wave).astype(np.uint8)
    return np.repeat(np.repeat(grey[:, None, :, None], side, 1), 3, 3)


def test_default_options_are_the_published_filters():
    from moten.pyramids import MotionEnergyPyramid

    default = Options()
    pyramid = MotionEnergyPyramid(
        stimulus_vhsize=(default.size,) * 2, stimulus_fps=1, filter_temporal_width=default.width,
        temporal_frequencies=list(default.temporal_frequencies),
        spatial_frequencies=list(default.spatial_frequencies),
    )  # fmt: skip
    assert pyramid.nfilters == 6555
    found = motion_energy(drifting(1)[None], default)
    assert found.shape == (1, 6555) and found.dtype == np.float32 and np.isfinite(found).all()


def test_opposite_directions_excite_opposite_filters():
    from moten.pyramids import MotionEnergyPyramid

    right, left = (motion_energy(drifting(d)[None], SMALL)[0] for d in (1, -1))
    parameters = MotionEnergyPyramid(
        stimulus_vhsize=(24, 24), stimulus_fps=1, filter_temporal_width=4,
        temporal_frequencies=[0, 0.125, 0.25], spatial_frequencies=[0, 2, 4],
    ).parameters  # fmt: skip
    tuned = (parameters.spatial_freq == 4) & (parameters.temporal_freq == 0.25)
    opposite = [parameters.direction == angle for angle in (0, 180)]
    one, other = (np.subtract(*[found[tuned & own].mean() for own in opposite]) for found in (right, left))
    assert abs(one) > 1 and abs(one + other) < 0.2 * abs(one)
    # a still image has no preferred direction
    still = motion_energy(np.repeat(drifting(1)[:1], 8, 0)[None], SMALL)[0]
    assert abs(np.subtract(*[still[tuned & own].mean() for own in opposite])) < 0.05 * abs(one)


def test_a_clip_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (3, 5, 32, 32, 3), np.uint8)
    together = motion_energy(frames, SMALL)
    for row, own in enumerate(frames):
        np.testing.assert_allclose(motion_energy(own[None], SMALL)[0], together[row], rtol=1e-4, atol=1e-4)
    provider = open_provider("motion_energy", FeaturesConfig(options={"motion_energy": SMALL.model_dump()}))
    given = ((str(row), own) for row, own in enumerate(frames))
    made = dict(provider.compute(provider.settings(), given, ModelsConfig(), seed=0, device="cpu", notes={}))
    np.testing.assert_array_equal(np.stack([made[str(row)]["motion_energy"] for row in range(3)]), together)


def test_frequencies_that_would_alias_are_refused():
    with pytest.raises(InputError, match=r"config\.features\.options\.motion_energy.*less than 0\.5"):
        open_provider(
            "motion_energy", FeaturesConfig(options={"motion_energy": {"temporal_frequencies": [0, 0.5]}})
        )
