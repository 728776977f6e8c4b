"""One room a data set: where its files are, their timing, their splits, what there is to download."""

from mind_animator.datasets.base import Dataset, Segment, available, open_dataset

__all__ = ["Dataset", "Segment", "available", "open_dataset"]
