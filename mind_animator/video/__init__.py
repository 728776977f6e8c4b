"""Movies to clips of frames: sampling, cuts, warping, and conversion to one size and number of frames."""
