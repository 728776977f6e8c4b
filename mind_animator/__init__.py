"""Mind-Animator: reconstruct what a person watched from fMRI, and judge every method that does."""

__version__ = "0.1.0"
