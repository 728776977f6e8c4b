"""Feature providers: targets of the decoders, computed from captions or frames by frozen models."""
