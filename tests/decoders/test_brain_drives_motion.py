"""All motion comes from the brain: decoded direction follows it, and none is decoded from a brain without
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


def _trained(world, **settings):
    train = world.split == "train"
    settings = decoder_settings("motion", "ridge_residual", {**SMALL, **settings})
    trained = train_decoder(
        "motion", settings, [world.responses[train]], {"latents": world.latents[train]},
        list(world.movie[train]), seed=0,
    )  # fmt: skip
    return restore("motion", settings.model_dump(mode="json"), trained.shapes, trained.weights)


def _decoded(motion):
    """World; of its test clips what is decoded on one and the same first frame: latents, flow."""
    world = make_blobs(movies=6, clips=80, voxels=150, motion=motion)
    train, test = world.split == "train", world.split == "test"
    first = np.broadcast_to(world.latents[train, 0].mean(0), world.latents[test, 0].shape)
    out = decode(_trained(world), world.responses[test], first=first)
    return world, out["latents"], out["flow"]


def _cosines(vectors, velocity):
    length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(velocity, axis=1)
    return (vectors * velocity).sum(1) / np.maximum(length, 1e-12)


def test_direction_follows_the_brain():
    """The flow has the world's directions and is where the blob is; the latents move along too."""
    world, latents, flow = _decoded(motion=True)
    test = world.split == "test"
    velocity = world.velocity[test]
    assert flow.shape == (80, 2, 8, 8)
    assert _cosines(flow.mean((2, 3)), velocity).mean() > 0.8
    moved = moving_flow(torch.from_numpy(latents), 1)[:, :, 0, 0].numpy()
    assert _cosines(moved, velocity).mean() > 0.4
    change = world.latents[test].var(axis=1).mean(axis=1).mean(axis=0)
    strength = np.linalg.norm(flow, axis=1).mean(axis=0)
    assert np.corrcoef(change.ravel(), strength.ravel())[0, 1] > 0.7


def test_no_motion_in_the_brain_gives_none():
    world, _, flow = _decoded(motion=False)
    cosine = _cosines(flow.mean((2, 3)), world.velocity[world.split == "test"])
    # independent angles: variance 1/2 a clip; four standard errors
    assert abs(cosine.mean()) < 4 * np.sqrt(0.5 / len(cosine))
    _, _, moving = _decoded(motion=True)
    assert np.linalg.norm(flow, axis=1).mean() < 0.5 * np.linalg.norm(moving, axis=1).mean()


def test_rescaling_the_flow_undoes_the_shrinkage():
    world = make_blobs(movies=4, clips=40, noise=1.0)
    train = world.split == "train"
    responses = torch.from_numpy(world.responses[train])
    speed = {}
    for full in (False, True):
        network = _trained(world, rescale_flow=full, optimisation={"epochs": 0})
        velocity, _ = network.decoded_motion(network.inputs(responses))
        speed[full] = float((network.speed * velocity).square().mean().sqrt())
    true = float(moving_flow(torch.from_numpy(world.latents[train]), 1).square().mean().sqrt())
    # in sample the velocity is a little stronger than with its movie left out, by which the speed was set
    assert speed[False] < true < speed[True] < 2 * true
