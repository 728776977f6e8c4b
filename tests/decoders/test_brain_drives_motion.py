"""All motion comes from the responses: decoded direction follows them, and none is decoded from responses without
motion."""

import numpy as np
import torch
from moving_blobs import make_blobs

from mind_animator.config.decoders import decoder_settings
from mind_animator.decoders.flow import moving_flow
from mind_animator.decoders.train import decode, restore, train_decoder

SMALL = {
    "width": 32, "token_width": 32, "heads": 2, "head_width": 16, "hidden": 32, "patch": 4, "fmri_tokens": 2,
    "optimisation": {"epochs": 2},
}  # fmt: skip


def _trained(blobs, **settings):
    train = blobs.split == "train"
    settings = decoder_settings("motion", "ridge_residual", {**SMALL, **settings})
    trained = train_decoder(
        "motion", settings, [blobs.responses[train]], {"latents": blobs.latents[train]},
        list(blobs.movie[train]), seed=0,
    )  # fmt: skip
    return restore("motion", settings.model_dump(mode="json"), trained.shapes, trained.weights)


def _decoded(motion):
    """Simulated data, and what is decoded for its test clips on the same first frame: latents, flow."""
    blobs = make_blobs(movies=6, clips=80, voxels=150, motion=motion)
    train, test = blobs.split == "train", blobs.split == "test"
    first = np.broadcast_to(blobs.latents[train, 0].mean(0), blobs.latents[test, 0].shape)
    out = decode(_trained(blobs), blobs.responses[test], first=first)
    return blobs, out["latents"], out["flow"]


def _cosines(vectors, velocity):
    length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(velocity, axis=1)
    return (vectors * velocity).sum(1) / np.maximum(length, 1e-12)


def test_direction_follows_the_brain():
    """The flow has the true directions and is located at the blob; the latents move as well."""
    blobs, latents, flow = _decoded(motion=True)
    test = blobs.split == "test"
    velocity = blobs.velocity[test]
    assert flow.shape == (80, 2, 8, 8)
    assert _cosines(flow.mean((2, 3)), velocity).mean() > 0.8
    moved = moving_flow(torch.from_numpy(latents), 1)[:, :, 0, 0].numpy()
    assert _cosines(moved, velocity).mean() > 0.4
    change = blobs.latents[test].var(axis=1).mean(axis=1).mean(axis=0)
    strength = np.linalg.norm(flow, axis=1).mean(axis=0)
    assert np.corrcoef(change.ravel(), strength.ravel())[0, 1] > 0.7


def test_no_motion_in_the_brain_gives_none():
    blobs, _, flow = _decoded(motion=False)
    cosine = _cosines(flow.mean((2, 3)), blobs.velocity[blobs.split == "test"])
    # independent angles: variance 1/2 a clip; four standard errors
    assert abs(cosine.mean()) < 4 * np.sqrt(0.5 / len(cosine))
    _, _, moving = _decoded(motion=True)
    assert np.linalg.norm(flow, axis=1).mean() < 0.5 * np.linalg.norm(moving, axis=1).mean()


def test_rescaling_the_flow_undoes_the_shrinkage():
    blobs = make_blobs(movies=4, clips=40, noise=1.0)
    train = blobs.split == "train"
    responses = torch.from_numpy(blobs.responses[train])
    speed = {}
    for full in (False, True):
        network = _trained(blobs, rescale_flow=full, optimisation={"epochs": 0})
        velocity, _ = network.decoded_motion(network.inputs(responses))
        speed[full] = float((network.speed * velocity).square().mean().sqrt())
    true = float(moving_flow(torch.from_numpy(blobs.latents[train]), 1).square().mean().sqrt())
    # in sample the velocity is a little stronger than with its movie left out, by which the speed was set
    assert speed[False] < true < speed[True] < 2 * true
