"""Penalties of ridge: the border of the grid is reported, and a wider grid leaves interior optima as they are."""

import numpy as np
import pytest

from mind_animator.methods.base import Responses, TrainingData, TrainingJob
from mind_animator.methods.ridge import Options, Ridge, at_border, counts_of, kernel_ridge

ALPHAS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@pytest.fixture
def data(rng):
    """Two targets with signal, twelve that are noise: most of them are the better the more they are shrunk."""
    responses = rng.standard_normal((120, 40)).astype(np.float32)
    signal = responses @ rng.standard_normal((40, 2)) / 6 + rng.standard_normal((120, 2))
    targets = np.column_stack([signal, rng.standard_normal((120, 12))]).astype(np.float32)
    return responses, targets, np.repeat(list("abcdef"), 20)


def test_a_wider_grid_leaves_interior_optima_as_they_are(data):
    narrow = kernel_ridge(*data, Options(alphas=ALPHAS))
    wide = kernel_ridge(*data, Options())
    assert set(ALPHAS) < set(Options().alphas)
    interior = (narrow["alpha"] > 0.2) & (narrow["alpha"] < 500)
    ended = narrow["alpha"] > 500
    assert interior[:2].all() and ended[2:].sum() >= 3
    assert np.array_equal(narrow["alpha"][interior], wide["alpha"][interior])
    np.testing.assert_allclose(
        narrow["weights"][:, interior], wide["weights"][:, interior], rtol=1e-5, atol=1e-7
    )
    assert np.linalg.norm(wide["weights"][:, ended]) < 0.5 * np.linalg.norm(narrow["weights"][:, ended])


def test_targets_at_the_border_are_counted_and_reported(data, capsys):
    responses, targets, movies = data
    clips = [str(k) for k in range(120)]
    training = TrainingData(
        (Responses(responses, clips),),
        {"clip_embedding_text": targets, "prompt_embedding": targets[:, None, :1]},
        movies.tolist(),
        clips,
    )
    settings = Options(alphas=ALPHAS).model_dump_json()
    record = Ridge.train("semantic", settings, training, TrainingJob(1)).record
    ended = int((kernel_ridge(*data, Options(alphas=ALPHAS))["alpha"] > 500).sum())
    assert record["targets_at_border"]["clip_embedding_text"] == {"lowest": 0, "highest": ended}
    assert sum(record["targets_by_alpha"]["clip_embedding_text"].values()) == 14
    assert f"0 of 14 targets end at the lowest penalty and {ended} at the highest" in capsys.readouterr().err


def test_penalties_are_recognised_in_single_precision():
    picked = np.float32([0.1, 0.3, 0.1, 1000.0])
    assert counts_of(picked, ALPHAS).tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 1]
    assert at_border(picked, ALPHAS) == {"lowest": 2, "highest": 1}
