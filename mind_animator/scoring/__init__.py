"""Scoring of whole methods: truth once, clips in streams, pairs for block tests, tables over methods."""
