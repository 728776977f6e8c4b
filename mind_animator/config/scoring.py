"""Metrics, baselines and statistics."""

from pydantic import Field, field_validator

from mind_animator.config.base import Strict


class ScoringConfig(Strict):
    """Scoring of reconstructions.

    Attributes
    ----------
    size : int
        Height and width to which ground truth and prediction are resampled for every metric, pixels.
    frames : int, optional
        Number of frames to which both are resampled; by default the number of frames of the ground truth. 1: the frame
        shown at the middle of each clip, scored by metrics of images alone.
    n_ways : tuple of int
        Numbers of candidates of the n-way accuracies.
    metrics : tuple of str
        Metrics to compute: ``standard``, ``all``, names listed in docs/metrics.md, and Python files (``*.py``) that
        define further ones.
    shuffles : int
        Frame shuffles of the published motion test; 0 omits the test, which requires the flow between all pairs of
        frames.
    block : int
        Block length, in clips, for block permutation and block bootstrap.
    block_seconds : float, optional
        Block length in seconds, for clips of any duration. It replaces ``block`` by the smallest number of clips of
        median duration (over the test clips) that fill it.
    pair_size : int
        Height and width at which predictions are compared with the ground truths of other clips (SSIM and hue in the
        block tests); at most ``size``.
    moving_fraction : float
        Fraction of the clips on which `motion_pairing` is tested: those with the largest mean flow in the
        ground truth.
    candidates_from : tuple of str
        Feature folders of other data sets (``results/hcp/features``), whose clips are additional candidates
        in the large retrieval set.
    compare_with : tuple of str
        ``summary.tsv`` files of other results (other data sets), shown on the same leaderboard.
    permutations, bootstraps : int
        Numbers of permutations and bootstrap samples.
    confidence : float
        Confidence level of the intervals.
    batch : int
        Clips per forward pass of the frozen models; the last batch is padded, so that scores do not depend on the batch
        size.
    """

    size: int = Field(256, ge=16)
    frames: int | None = Field(None, ge=1)
    n_ways: tuple[int, ...] = (2, 50)
    metrics: tuple[str, ...] = ("standard",)
    shuffles: int = Field(100, ge=0)
    block: int = Field(10, ge=1)
    block_seconds: float | None = Field(None, gt=0)
    pair_size: int = Field(64, ge=16)
    moving_fraction: float = Field(0.5, gt=0, le=1)
    candidates_from: tuple[str, ...] = ()
    compare_with: tuple[str, ...] = ()
    permutations: int = Field(9999, ge=99)
    bootstraps: int = Field(2000, ge=100)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    batch: int = Field(8, ge=1)

    @field_validator("n_ways")
    @classmethod
    def _two_or_more(cls, n_ways: tuple[int, ...]) -> tuple[int, ...]:
        if not n_ways or min(n_ways) < 2 or len(set(n_ways)) < len(n_ways):
            raise ValueError("must be different numbers of candidates, each at least 2")
        return n_ways
