"""The embedded world: movies, brains and small models whose truth is known."""
