"""Captions: BLIP-2 on the first and last frame of each clip, joined to one text; and existing captions."""
