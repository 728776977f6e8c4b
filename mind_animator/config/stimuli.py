"""Settings for cutting movies into clips."""

from typing import Literal

from pydantic import Field

from mind_animator.config.base import Strict


class StimuliConfig(Strict):
    """Segmentation of movies into clips.

    Attributes
    ----------
    frames : int
        Frames sampled per clip.
    rate : float
        Sampling rate, Hz; frames are taken at onset + k / rate, by presentation time.
    sampling : str
        ``true_rate``, or ``released_code``: every 8th frame of the file, regardless of its rate (0, 8, .., 56;
        3.75 Hz at 30 fps), or ``whole_clip``: ``frames`` are spread evenly over each clip, for clips that are longer
        than ``frames / rate`` or have different durations; reconstructions are still played at ``rate``.
    size : int
        Height and width of the frames, pixels; the aspect ratio is not kept (as published).
    crop : float
        Fraction of height and width kept around the centre before resizing (420 / 512 removes the letterbox of HCP).
    """

    frames: int = Field(8, ge=2)
    rate: float = Field(4.0, gt=0)
    sampling: Literal["true_rate", "released_code", "whole_clip"] = "true_rate"
    size: int = Field(512, ge=16, multiple_of=8)
    crop: float = Field(1.0, gt=0, le=1)
