"""Scoring of whole methods: ground truth once, clips in streams, pairs for block tests, tables over methods."""
