"""Activation patterns of decoders, their intervals and areas. The package is independent of methods and data sets."""
