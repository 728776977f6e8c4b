"""A newcomer's method in one file: one network from responses to frames of its own size and number."""

import numpy as np

from mind_animator.config.base import Strict
from mind_animator.methods.base import Method, Needs, Part, Trained


class Options(Strict):
    """Number of gradient steps."""

    steps: int = 30


class Newcomer(Method):
    """A linear network to five frames of 24 x 40 pixels."""

    kind = "newcomer"
    Options = Options
    reconstruction = "own"
    parts = (Part("network", needs=Needs(frames=True)),)

    @classmethod
    def train(cls, part, settings, data, job):
        import cv2
        import torch

        torch.manual_seed(job.seed)
        (responses,) = data.responses
        frames = np.stack([
            [cv2.resize(frame, (40, 24)) for frame in data.frames.read(clip, "frames")[:5]] for clip in data.clips
        ])  # fmt: skip
        inputs = torch.from_numpy(responses.values)
        targets = torch.from_numpy(frames.reshape(len(frames), -1).astype(np.float32) / 255)
        network = torch.nn.Linear(inputs.shape[1], targets.shape[1])
        optimiser = torch.optim.Adam(network.parameters(), 1e-3)
        for _ in range(Options.model_validate_json(settings).steps):
            optimiser.zero_grad()
            loss = (network(inputs) - targets).square().mean()
            loss.backward()
            optimiser.step()
        return Trained(dict(network.state_dict()), {"loss": float(loss.detach())})

    @classmethod
    def reconstruct(cls, settings, clips, inputs):
        from safetensors.numpy import load_file

        weights = load_file(inputs.prediction.weights["network"])
        for clip, response in zip(inputs.responses.clips, inputs.responses.values, strict=True):
            flat = weights["weight"] @ response + weights["bias"]
            yield clip, (flat.clip(0, 1) * 255).astype(np.uint8).reshape(5, 24, 40, 3)


ENTRY = Newcomer
