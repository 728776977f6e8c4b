"""The shared response model against scipy's Procrustes, a planted signal and its own limits."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from mind_animator.fmri.shared_response import shared_response

CLIPS, VOXELS, RANK = 60, (30, 45, 25), 5


def planted(rng, noise):
    signal = rng.standard_normal((CLIPS, RANK))
    bases = [np.linalg.qr(rng.standard_normal((n, RANK)))[0] for n in VOXELS]
    data = [signal @ basis.T + noise * rng.standard_normal((CLIPS, len(basis))) for basis in bases]
    return data, bases, signal


def test_without_noise_the_shared_response_is_found_up_to_a_rotation(rng):
    data, true, signal = planted(rng, 0.0)
    bases, shared = shared_response(data, RANK, tolerance=0, n_iterations=300)
    for own, basis, planted_basis in zip(data, bases, true, strict=True):
        np.testing.assert_allclose(basis.T @ basis, np.eye(RANK), atol=1e-10)
        np.testing.assert_allclose(shared @ basis.T, own, atol=1e-6)
        np.testing.assert_allclose(basis @ basis.T, planted_basis @ planted_basis.T, atol=1e-6)
    rotation, _ = orthogonal_procrustes(shared, signal)
    np.testing.assert_allclose(shared @ rotation, signal, atol=1e-6)


def test_new_clips_of_two_subjects_agree_in_the_shared_space(rng):
    data, _, _ = planted(rng, 0.3)
    train = [own[:40] for own in data]
    bases, _ = shared_response(train, RANK)
    new = [own[40:] @ basis for own, basis in zip(data, bases, strict=True)]
    assert np.corrcoef(new[0].ravel(), new[1].ravel())[0, 1] > 0.8
    unrelated = data[0][40:] @ np.roll(bases[0], 1, axis=0)
    assert abs(np.corrcoef(unrelated.ravel(), new[1].ravel())[0, 1]) < 0.5


def test_the_solution_is_a_fixed_point_of_the_definition(rng):
    """Each basis is scipy's orthogonal Procrustes solution, the shared response is the mean; no step improves."""
    data, _, _ = planted(rng, 1.0)
    bases, shared = shared_response(data, RANK, tolerance=0, n_iterations=2000)
    np.testing.assert_allclose(shared, np.mean([x @ w for x, w in zip(data, bases, strict=True)], axis=0))
    for own, basis in zip(data, bases, strict=True):
        # scipy solves for square matrices: pad the shared response with zero columns
        padded = np.hstack([shared, np.zeros((CLIPS, own.shape[1] - RANK))])
        rotation, _ = orthogonal_procrustes(padded, own)
        np.testing.assert_allclose(rotation[:RANK].T, basis, atol=2e-4)
    errors = [
        sum(np.square(x - s @ w.T).sum() for x, w in zip(data, b, strict=True))
        for b, s in (shared_response(data, RANK, tolerance=0, n_iterations=n) for n in (1, 3, 10, 100))
    ]
    assert errors == sorted(errors, reverse=True)


def test_faults_are_reported(rng):
    data, _, _ = planted(rng, 1.0)
    cases = [
        (lambda: shared_response(data[:1], 2), "Expected two subjects or more"),
        (lambda: shared_response([data[0], data[1][1:]], 2), "with the same clips"),
        (lambda: shared_response(data, 26), "Expected 1 to 25 components .* got 26"),
        (lambda: shared_response([data[0], data[1] * np.nan], 2), "NaN or infinity"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
