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
        Frames to which both are resampled; the ground truth's own number by default.
    n_ways : tuple of int
        Candidates of the n-way accuracies.
    metrics : tuple of str
        Metrics that are computed: ``standard``, ``all``, names of docs/metrics.md, and Python files (``*.py``) that
        define further ones.
    shuffles : int
        Frame shuffles of the published motion test; 0 leaves it out (it needs every flow between any two
        frames).
    block : int
        Neighbouring clips that every permutation and bootstrap keeps together.
    block_seconds : float, optional
        The same in seconds, for clips of any length; takes the place of ``block``: the least number of clips of median
        length (over the test clips) that fill it.
    pair_size : int
        Height and width at which predictions meet other clips' ground truths (SSIM and hue of the block tests);
        ``size`` where that is smaller.
    moving_fraction : float
        Fraction of the clips, those whose ground truth has the greatest mean flow, on which `motion_pairing` is tested.
    candidates_from : tuple of str
        Feature folders of other data sets (``results/hcp/features``): the further candidates of retrieval's
        large set.
    compare_with : tuple of str
        ``summary.tsv`` of other results (other data sets), shown on the same leaderboard.
    permutations, bootstraps : int
        Numbers of draws.
    confidence : float
        Level of the intervals.
    batch : int
        Clips a forward of the frozen models; a short last batch is padded, so that no score depends on it.
    """

    size: int = Field(256, ge=16)
    frames: int | None = Field(None, ge=2)
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
            raise ValueError("expected different numbers of candidates, each at least 2")
        return n_ways
