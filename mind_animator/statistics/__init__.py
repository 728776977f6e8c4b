"""Confidence intervals and permutation tests over blocks of neighbouring clips."""
