"""Metrics, one per file; `mind_animator.metrics.registry` finds them."""
