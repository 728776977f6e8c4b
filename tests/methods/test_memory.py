"""The memory that a training requests covers what it takes."""

import pytest

from mind_animator.config.methods import MethodConfig
from mind_animator.methods import open_methods
from mind_animator.methods.base import Size


# clips, side of the latents, voxels, peak in MB of `train_part` of ridge's motion part (8 frames, one CPU thread)
@pytest.mark.parametrize(
    ("clips", "side", "voxels", "peak"),
    [(400, 16, 500, 546), (1200, 32, 500, 1124), (2400, 32, 500, 1849), (1200, 48, 500, 1748), (1200, 32, 3000, 1128)],
)  # fmt: skip
def test_the_request_of_ridge_follows_the_measurements(clips, side, voxels, peak):
    method = open_methods({"ridge": MethodConfig(kind="ridge")})["ridge"]
    request = method.training_memory_mb("motion", Size(clips, 8 * 4 * side**2, voxels, 1, 8))
    assert peak < request < 1.35 * peak


def test_ridge_fits_into_ten_gigabytes_at_full_size():
    method = open_methods({"ridge": MethodConfig(kind="ridge")})["ridge"]
    assert method.training_memory_mb("motion", Size(4320, 8 * 4 * 64**2, 4500, 1, 8)) < 11_000
