"""A feature provider in one file: mean brightness of each frame."""

import numpy as np

from mind_animator.config.base import Strict
from mind_animator.features.base import Provider


class Options(Strict):
    """The unit of brightness."""

    unit: float = 255.0


class Brightness(Provider):
    """``brightness`` (frame,)."""

    kind = "brightness"
    source = "frames"
    Options = Options

    def arrays(self):
        return ("brightness",)

    @classmethod
    def compute(cls, settings, clips, models, *, seed, device, notes):
        unit = Options.model_validate_json(settings).unit
        for clip, frames in clips:
            yield clip, {"brightness": np.float32(frames.mean(axis=(1, 2, 3)) / unit)}


ENTRY = Brightness
