"""Mind-Animator: reconstruct the video a person watched from fMRI responses, and evaluate any method that does so."""

__version__ = "0.1.0"
