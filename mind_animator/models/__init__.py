"""Frozen pretrained models: lock file, local folders, image preprocessing and strict loading."""
