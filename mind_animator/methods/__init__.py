"""Methods, one module each: train, predict, reconstruct. `open_methods` binds the config's methods to their
kinds."""

from mind_animator.methods.base import Method, available, open_kind, open_methods

__all__ = ["Method", "available", "open_kind", "open_methods"]
