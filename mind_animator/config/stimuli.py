"""How movies are cut into clips."""

from typing import Literal

from pydantic import Field

from mind_animator.config.base import Strict


class StimuliConfig(Strict):
    """Segmentation of movies into clips.

    Attributes
    ----------
    frames : int
        Frames sampled a clip.
    rate : float
        Sampling rate, Hz; frames are taken at onset + k / rate, by presentation time.
    sampling : str
        ``true_rate``, or ``released_code``: every 8th frame of the file, regardless of its rate (0, 8, .., 56;
        3.75 Hz at 30 fps), or ``whole_clip``: ``frames`` spread evenly over each clip, for clips that are longer than
        ``frames / rate`` or of different lengths; reconstructions then play at ``rate`` all the same.
    size : int
        Height and width of the frames, pixels; the aspect ratio is not kept (as published).
    crop : float
        Share of height and width kept about the centre before resizing (420 / 512 takes HCP's letterbox off).
    """

    frames: int = Field(8, ge=2)
    rate: float = Field(4.0, gt=0)
    sampling: Literal["true_rate", "released_code", "whole_clip"] = "true_rate"
    size: int = Field(512, ge=16, multiple_of=8)
    crop: float = Field(1.0, gt=0, le=1)
