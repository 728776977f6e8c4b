"""All motion comes from the brain: decoded direction follows it, and none is decoded from a brain without
motion."""

import numpy as np
import torch
from moving_blobs import make_blobs

from mind_animator.config.decoders import decoder_settings
from mind_animator.decoders.motion import latent_flow
from mind_animator.decoders.train import decode, restore, train_decoder

SMALL = {
    "width": 32, "token_width": 32, "heads": 2, "head_width": 16, "hidden": 32, "patch": 4, "fmri_tokens": 2,
    "optimisation": {"epochs": 2},
}  # fmt: skip


def _decoded_flow(motion):
    """Mean flow of decoded test clips, their velocity, and how strongly decoded clips change."""
    world = make_blobs(movies=6, clips=80, voxels=150, motion=motion)
    train, test = world.split == "train", world.split == "test"
    settings = decoder_settings("motion", "best", SMALL)
    trained = train_decoder(
        "motion",
        settings,
        [world.responses[train]],
        {"latents": world.latents[train]},
        list(world.movie[train]),
        seed=0,
    )
    network = restore("motion", settings.model_dump(mode="json"), trained.shapes, trained.weights)
    first = np.broadcast_to(world.latents[train, 0].mean(0), world.latents[test, 0].shape)
    (latents,) = decode(network, world.responses[test], first=first)
    return latent_flow(torch.from_numpy(latents), 1)[:, :, 0, 0].numpy(), world.velocity[test]


def test_direction_follows_the_brain():
    flow, velocity = _decoded_flow(motion=True)
    cosine = (flow * velocity).sum(1) / np.linalg.norm(flow, axis=1) / np.linalg.norm(velocity, axis=1)
    assert cosine.mean() > 0.5


def test_no_motion_in_the_brain_gives_none():
    flow, velocity = _decoded_flow(motion=False)
    cosine = (flow * velocity).sum(1) / np.linalg.norm(flow, axis=1) / np.linalg.norm(velocity, axis=1)
    # independent angles: variance 1/2 a clip; four standard errors
    assert abs(cosine.mean()) < 4 * np.sqrt(0.5 / len(cosine))
    moving, _ = _decoded_flow(motion=True)
    assert np.linalg.norm(flow, axis=1).mean() < 0.5 * np.linalg.norm(moving, axis=1).mean()


def test_full_speed_undoes_the_shrinkage():
    world = make_blobs(movies=4, clips=40, noise=1.0)
    train = world.split == "train"
    gains, speed = {}, {}
    for full in (False, True):
        settings = decoder_settings(
            "motion", "best", {**SMALL, "full_speed": full, "optimisation": {"epochs": 0}}
        )
        trained = train_decoder(
            "motion",
            settings,
            [world.responses[train]],
            {"latents": world.latents[train]},
            list(world.movie[train]),
            seed=0,
        )
        network = restore("motion", settings.model_dump(mode="json"), trained.shapes, trained.weights)
        flow, _ = network.decoded_motion(network.inputs(torch.from_numpy(world.responses[train])))
        gains[full], speed[full] = float(network.gains[0]), float(flow.square().mean().sqrt())
    true = float(latent_flow(torch.from_numpy(world.latents[train]), settings.cells).square().mean().sqrt())
    # in sample the flow is a little stronger than with its movie left out, by which the gain was set
    assert true < gains[True] * speed[True] < 2 * true
    assert gains[False] < gains[True]
