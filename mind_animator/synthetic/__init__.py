"""The synthetic data set: movies, brains and small models whose ground truth is known."""
