"""Metrics, floors and statistics."""

from pydantic import Field

from mind_animator.config.base import Strict


class ScoringConfig(Strict):
    """Scoring of reconstructions.

    Attributes
    ----------
    size : int
        Height and width to which truth and prediction are resampled for every metric, pixels.
    block : int
        Neighbouring clips that every permutation and bootstrap keeps together.
    permutations, bootstraps : int
        Numbers of draws.
    """

    size: int = Field(256, ge=16)
    block: int = Field(10, ge=1)
    permutations: int = Field(9999, ge=99)
    bootstraps: int = Field(2000, ge=100)
