"""Data sets, one module or package each: locations of files, timing, splits and downloads."""

from mind_animator.datasets.base import Dataset, Segment, available, open_dataset

__all__ = ["Dataset", "Segment", "available", "open_dataset"]
