"""The synthetic data set: movies, simulated subjects and small models with known ground truth."""
