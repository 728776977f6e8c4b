"""The frozen image generator as a video generator: inflate, invert, sample."""
