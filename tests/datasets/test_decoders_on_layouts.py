"""Each simulated layout, through its adapter and Mind-Animator's decoders: test clips are identified."""

import numpy as np
import pytest
from simulate import (
    simulate_algonauts,
    simulate_cc2017,
    simulate_fmriprep,
    simulate_hcp,
)

from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.decoders import decoder_settings
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.decoders.train import decode, restore, train_decoder
from mind_animator.fmri.reliability import average_repeats
from mind_animator.fmri.scale import scale_splits

SMALL = {
    "semantic": {"width": 32, "head": [32], "optimisation": {"epochs": 2}},
    "structure": {"width": 32, "optimisation": {"epochs": 2}},
    "motion": {
        "width": 32, "patch": 1, "token_width": 32, "heads": 2, "head_width": 16, "hidden": 32,
        "fmri_tokens": 2, "optimisation": {"epochs": 2},
    },
}  # fmt: skip


def cc2017(root, rng):
    features = simulate_cc2017(root, "3", {"seg1": 2, "seg2": 2, "test2": 1}, lag=4.0, rng=rng, fps=0.1)
    dataset = _opened("cc2017", root, "3")
    dataset._repeats = lambda segment: 2 if segment.startswith("seg") else 1
    return dataset, "3", 4.0, features, ["seg1", "seg2"], "test2"


def hcp(root, rng):
    features = simulate_hcp(root, ["102816"], lag=4.0, rng=rng, movies=False)
    return _opened("hcp", root, "102816"), "102816", 4.0, features, ["run1"], "run4"


def algonauts2021(root, rng):
    every = simulate_algonauts(root, ["07"], rng=rng)
    packs = {f"videos{start + 1:04d}": every[start : start + 100] for start in range(0, 1000, 100)}
    dataset = _opened("algonauts2021", root, "07", track="mini")
    return dataset, "07", 0.0, packs, [*packs][:3], "videos0901"


def bids(root, rng):
    movies = {"a.mp4": 160.0, "b.mp4": 160.0, "c.mp4": 120.0}
    shown = [[("a.mp4", 8.0), ("b.mp4", 190.0)], [("c.mp4", 8.0), ("c.mp4", 140.0)]]
    by_movie = simulate_fmriprep(
        root, ["1"], space="fsaverage5", lag=5.0, repetition_time=2.0, clip_seconds=2.0, movies=movies,
        repeats=shown, rng=rng, fps=0.5,
    )  # fmt: skip
    options = {"task": "movie", "space": "fsaverage5", "tr": 2.0, "clip_seconds": 2.0, "test": ["c.mp4"],
               "offset": "start"}  # fmt: skip
    features = {movie.removesuffix(".mp4"): values for movie, values in by_movie.items()}
    return _opened("bids", root, "1", **options), "1", 5.0, features, ["a", "b"], "c"


def _opened(name, root, subject, **options):
    return open_dataset(DatasetConfig(name=name, data_root=str(root), subjects=(subject,), options=options))


def targets_of(features):
    """What decoders aim at, made of the features: an embedding, a condition, and latents that move."""
    still = features.reshape(-1, 1, 2, 2, 2)
    moving = still[:, :, :, ::-1] * np.array([0.0, 0.7, 1.4]).reshape(1, 3, 1, 1, 1)
    return {
        "clip_embedding_text": features,
        "clip_embedding_image": features[:, ::-1].copy(),
        "prompt_embedding": features.reshape(-1, 2, 4),
        "latents": (still + moving).astype(np.float32),
    }


def identified(predicted, true):
    """Fraction of pairs in which a prediction correlates more with its own clip than with the other one."""
    rows = [(side - side.mean(axis=1, keepdims=True)) for side in (predicted, true)]
    rows = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in rows]
    together = rows[0] @ rows[1].T
    return float((np.diag(together)[:, None] > together)[~np.eye(len(together), dtype=bool)].mean())


@pytest.mark.parametrize("layout", [cc2017, hcp, algonauts2021, bids])
def test_decoders_identify_test_clips(layout, tmp_path):
    rng = np.random.default_rng(5)
    dataset, subject, lag, features, train, test = layout(tmp_path, rng)
    settings = FmriConfig(lag=lag)
    means = {s: average_repeats(dataset.responses(subject, s, settings)).mean for s in (*train, test)}
    stacked = np.concatenate([means[segment] for segment in (*train, test)])
    stacked = stacked[:, np.nanstd(stacked, axis=0) > 0]
    n_test = len(means[test])
    is_train = np.arange(len(stacked)) < len(stacked) - n_test
    scaled = scale_splits(stacked, is_train, "train")[0]
    movies = [movie for segment in train for movie in dataset.clip_table(segment)["movie"]]
    shown = targets_of(np.concatenate([features[segment] for segment in train]))
    ground_truth = targets_of(features[test])
    out = {}
    for decoder in ("semantic", "structure", "motion"):
        chosen = decoder_settings(decoder, "ridge_residual", SMALL[decoder])
        trained = train_decoder(decoder, chosen, [scaled[is_train]], shown, movies, seed=1)
        network = restore(decoder, chosen.model_dump(mode="json"), trained.shapes, trained.weights)
        first = {"first": out["structure"]} if decoder == "motion" else {}
        out |= decode(network, scaled[~is_train], **first)
    drift = out["latents"][:, 2] - out["latents"][:, 0]
    scores = {
        "semantic": identified(out["semantic"], ground_truth["clip_embedding_text"]),
        "structure": identified(
            out["structure"].reshape(n_test, -1), ground_truth["latents"][:, 0].reshape(n_test, -1)
        ),
        "motion": identified(
            drift.reshape(n_test, -1),
            (ground_truth["latents"][:, 2] - ground_truth["latents"][:, 0]).reshape(n_test, -1),
        ),
    }
    # by chance a clip's fraction is uniform: the mean's standard deviation is (12 n)^-1/2
    assert min(scores.values()) > 0.5 + 5 / np.sqrt(12 * n_test), scores
