"""What a decoder reads: activation patterns, their intervals and their areas. Knows no method and no data
set."""
