"""Scene cuts between the samples of a clip."""

import json

import numpy as np
import pytest

from mind_animator.video.cuts import colour_distances, cut_positions, layout_distances


def _shot(rng, n_frames, speed):
    """A patchwork that drifts over a plain ground."""
    ground = np.broadcast_to(rng.integers(0, 255, 3), (64, 64, 3)).astype(np.uint8)
    patch = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    frames = np.repeat(ground[None], n_frames, axis=0)
    for index in range(n_frames):
        frames[index, 20:44, 4 + speed * index : 28 + speed * index] = patch
    return frames


def test_one_shot_has_no_cut_however_it_moves(rng):
    for speed in range(5):
        assert cut_positions(_shot(rng, 8, speed)).size == 0


def test_cuts_are_found_where_they_are(rng):
    for _ in range(20):
        index = int(rng.integers(1, 7))
        clip = np.concatenate([_shot(rng, index, 2), _shot(rng, 8 - index, 2)])
        assert cut_positions(clip).tolist() == [index - 1]
    three = np.concatenate([_shot(rng, 3, 1), _shot(rng, 3, 1), _shot(rng, 2, 1)])
    assert cut_positions(three).tolist() == [2, 5]


def test_distances_by_their_definitions(rng):
    frames = rng.integers(0, 255, (3, 16, 16, 3), dtype=np.uint8)
    kept = frames.copy()
    assert np.allclose(colour_distances(np.repeat(frames[:1], 4, axis=0)), 0)
    black_white = np.stack([np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)])
    assert colour_distances(black_white) == pytest.approx([1.0])
    assert np.all((colour_distances(frames) >= 0) & (colour_distances(frames) <= 1))

    grey = frames.astype(float) @ [0.299, 0.587, 0.114]
    best = max(
        np.corrcoef(
            grey[0][max(d, 0) : 16 + min(d, 0), max(r, 0) : 16 + min(r, 0)].ravel(),
            grey[1][max(-d, 0) : 16 + min(-d, 0), max(-r, 0) : 16 + min(-r, 0)].ravel(),
        )[0, 1]
        for d in range(-3, 4)
        for r in range(-3, 4)
    )
    # grey values are rounded to bytes: half a level in about 40
    assert layout_distances(frames)[0] == pytest.approx(1 - best, abs=0.01)
    assert layout_distances(black_white) == pytest.approx([1.0])
    assert np.array_equal(frames, kept)


def test_every_cut_of_an_embedded_movie_is_found_and_nothing_else(tmp_path):
    from mind_animator.artefacts.video import Movie
    from mind_animator.video.decode import read_clips
    from mind_animator.video.sampling import sample_indices
    from workflow_scripts.make_movie import main

    movie, ground_truth = tmp_path / "test1.mp4", tmp_path / "ground_truth.json"
    main(["--segment", "test1", "--seed", "3", "--seconds", "80", "--size", "64",
          "--movie", str(movie), "--ground-truth", str(ground_truth)])  # fmt: skip
    cuts = [shot["onset"] for shot in json.loads(ground_truth.read_text())["shots"]][1:]
    opened = Movie(movie)
    onsets = 2.0 * np.arange(40)
    rule = {"frames": 8, "rate": 4.0, "sampling": "true_rate", "where": "test1"}
    indices = sample_indices(opened.starts, opened.end, onsets, np.full(40, 2.0), **rule)
    found = {row: cut_positions(frames).tolist() for row, frames in read_clips(opened, indices, size=64)}
    times = opened.starts[indices]
    expected = {
        row: [k for k in range(7) if any(times[row, k] < cut - 1e-3 <= times[row, k + 1] for cut in cuts)]
        for row in range(40)
    }
    assert sum(map(len, expected.values())) >= 2
    assert found == expected
